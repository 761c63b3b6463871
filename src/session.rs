//! Turns a command line into a run: configuration, data and folder, checked before any training.

mod attach;
mod augment;
mod bench;
mod check;
mod detach;
mod devices;
mod evaluate;
mod export;
mod import;
mod live;
mod manual;
mod members;
mod monitor;
mod named_run;
mod on_alert;
mod out;
mod plain;
mod predict;
mod previews;
mod progress;
mod recorded;
mod report_file;
mod selftest;
mod share;
mod share_end;
mod show;
mod signals;
mod steer;
mod submit;
mod tensorboard;
mod trained;
mod trained_studies;
mod watch;
mod work;
mod workers;

pub use attach::{attach, runs};
pub use augment::augment;
pub use bench::bench;
pub use check::check;
pub use detach::{detach, leave_session};
pub use evaluate::evaluate;
pub use export::export;
pub use import::import;
pub use live::FrontEnd;
pub use manual::{completions, man};
pub use predict::predict;
pub use report_file::report;
pub use selftest::selftest;
pub use share::create;
pub use signals::outlive_file_size_limit;
pub use steer::{fold, plan, steer_fold};
pub use submit::{cancel, submit};
pub use watch::{Watched, watch};
pub use work::work;

use crate::{
    cli,
    config::{Config, Precision, Set},
    device,
    net::{Classifier, Spec, summary, weights},
    print::{self, CommandOutput},
    run::{folder::Folder, journal, status::Status},
    study::{self, Checked, NpyFolder, Phantom, SliceSource, Study, Table},
    train::{
        checkpoint,
        fold::MOST_KEPT,
        trainer::{Job, Left},
    },
    tui,
    view::report,
};
use candle_core::{DType, Device};
use eyre::{Result, bail, eyre};
use std::{path::Path, process::ExitCode, sync::Arc};

/// Number of studies sampled with the notebook's DEBUG.
const DEBUG_STUDIES: usize = 16;
/// Minimum number of folds for made-up studies.
const PHANTOM_FOLDS: usize = 4;
/// Number of files above which a check is announced, because it may take a while.
const MANY_FILES: usize = 20_000;

/// Builds the configuration from the command line.
pub fn config(args: &cli::Train) -> Result<Config> {
    check_runs_dir(args.runs_dir.as_deref())?;
    load(args.config.as_deref(), args.demo, &args.sets())
}

/// Rejects a runs folder that is not UTF-8, because a run's settings name it as text.
fn check_runs_dir(dir: Option<&Path>) -> Result<()> {
    match dir.filter(|dir| dir.to_str().is_none()) {
        Some(dir) => bail!(
            "--runs-dir {}: expected a path in UTF-8, as a run's config.toml holds it; give another, \
             or a link to it",
            dir.display()
        ),
        None => Ok(()),
    }
}

fn load(given: Option<&Path>, demo: bool, sets: &[Set]) -> Result<Config> {
    let file = if demo { given } else { file_or_default(given) };
    if let (true, Some(file)) = (demo, file) {
        // Check it by itself: the demo's settings override it and would hide errors.
        Config::load(Some(file), false, &[])?;
        print::warn(format_args!("--demo's settings win over those in {}", file.display()));
    }
    let config = Config::load(file, demo, sets)?;
    keys(&config)?;
    Ok(config)
}

/// Builds the dashboard's key bindings.
fn keys(config: &Config) -> Result<tui::Keymap> {
    tui::Keymap::new(&config.keys).map_err(|why| eyre!("{why}"))
}

/// Returns the given config, or ./config.toml if it exists.
fn file_or_default(given: Option<&Path>) -> Option<&Path> {
    let default = Path::new("config.toml");
    given.or_else(|| default.symlink_metadata().is_ok().then_some(default))
}

/// Runs `rsna-tui keys`.
pub fn keys_table() -> Result<String> {
    Ok(keys(&load(None, false, &[])?)?.table())
}

/// Makes the table of `--print-model`.
pub fn model_table(config: &Config) -> Result<String> {
    let model = Classifier::new(&Spec::new(config), config.seed, 0, DType::F32, &Device::Cpu)?;
    Ok(summary::table(&model, config.train.batch_size, config.data.image_size))
}

/// Runs `rsna-tui phantom`: writes the studies and explains how to train on them.
pub fn phantom(args: &cli::Phantom) -> Result<CommandOutput> {
    if !args.size.is_multiple_of(32) {
        bail!("--size {}: expected a multiple of 32, from 32 to 512", args.size);
    }
    let defaults = Config::load(None, false, &[])?;
    let folds = args.folds.unwrap_or(args.studies.clamp(1, 5));
    let phantom = Phantom::new(args.size, defaults.data.slices_per_vertebra, args.seed)
        .of_difficulty(args.difficulty);
    let table = phantom.write(&args.out, args.studies, folds)?;
    let fractured = table.studies.iter().filter(|s| s.fractured()).count();
    let dir = args.out.display();
    let plural = if folds == 1 { "" } else { "s" };
    let wrote = format!(
        "wrote {} studies ({fractured} with a fracture, {folds} fold{plural}) to {dir}",
        args.studies
    );
    let smallest = (0..folds).map(|f| table.split(f).0.len()).min().unwrap_or(0);
    if smallest < 2 {
        let few = "too few to train on: that takes 2 studies outside each fold";
        return Ok(vec![wrote, few.into()].into());
    }
    let batch = match smallest < defaults.train.batch_size {
        true => format!(" --set train.batch_size={smallest}"),
        false => String::new(),
    };
    let numbers: Vec<String> = (0..folds).map(|f| f.to_string()).collect();
    let train = format!(
        "train on them: rsna-tui --set data.dir={dir}/crops \
         --set data.table={dir}/train_seg.csv --set data.image_size={} --folds {}{batch}",
        args.size,
        numbers.join(",")
    );
    Ok(vec![wrote, train].into())
}

/// Trains a new run.
pub fn train(args: &cli::Train, config: Config, front_end: FrontEnd) -> Result<ExitCode> {
    match &args.devices {
        Some(devices) => workers::begin_with_workers(args, config, devices, front_end),
        None => live::train(prepare(args, config)?, args.faults, front_end),
    }
}

/// Goes on with a run: in this process, or with workers if it is a shared one or has several devices.
pub fn resume(args: &cli::Resume, front_end: FrontEnd) -> Result<ExitCode> {
    check_runs_dir(args.named.runs_dir.as_deref())?;
    let is_shared = || named_run::named_run(&args.named).map(|folder| folder.is_shared());
    match &args.devices {
        Some(devices) => workers::resume_with_workers(args, devices, front_end),
        None if is_shared()? => {
            let device = devices::one(&args.device)?;
            workers::resume_with_workers(args, device, front_end)
        }
        None => live::train(alone(args)?, args.faults, front_end),
    }
}

/// Checks everything a run needs and creates its folder. Leaves nothing behind on bad input.
fn prepare(args: &cli::Train, config: Config) -> Result<Job> {
    let device = set_up(&config, &args.device, config.train.precision)?;
    let New { config, folder, data } = begin(args, config)?;
    let job = job(config, device, data, folder);
    Ok(Job { debug: args.debug, ..job })
}

/// A run that was just begun.
struct New {
    config: Config,
    folder: Folder,
    data: (Table, Arc<dyn SliceSource>),
}

/// Checks settings and data, and creates the run's folder with its settings and studies.
fn begin(args: &cli::Train, mut config: Config) -> Result<New> {
    let (mut table, source) = data_or_demo(&config)?;
    if args.debug {
        table = table.sample(DEBUG_STUDIES, config.seed);
        // With few studies, a fold may have none.
        let holds = |fold: &usize| table.studies.iter().any(|s| s.fold == *fold);
        let (folds, empty) = config.train.folds.iter().partition(|f| holds(f));
        config.train.folds = folds;
        let empty: Vec<usize> = empty;
        if !empty.is_empty() {
            print::warn(format_args!("--debug sampled no study of the folds {empty:?}: left out"));
        }
    }
    let checked = check_inputs(&config, &table, &*source)?;
    let folder = match &args.run {
        Some(name) => Folder::create(&config.run.dir, name)?,
        None => Folder::create_new(&config.run.dir, &default_name(args.demo))?,
    };
    // Write the studies first: once the folder has a config, it counts as a run.
    recorded::write(&folder, &table, checked, args.debug)?;
    folder.write_config(&config.to_toml())?;
    Ok(New { config, folder, data: (table, source) })
}

/// Prepares the run to resume in this process, with its original settings.
fn alone(args: &cli::Resume) -> Result<Job> {
    let folder = named_run::named_run(&args.named)?.lock()?;
    let sets = args.all_sets();
    let mut config = load(Some(&folder.config()), false, &sets)?;
    config.run.dir = folder.dir().to_owned();
    let device = set_up_again(&folder, &config, &args.device)?;
    let data = recorded::data(&folder, &config)?;
    let checked = check_inputs(&config, &data.table, &*data.source)?;
    data.same_slices(&data.table.studies, &checked.fingerprints)?;
    let left = left(&folder, &config, &device.name)?;
    if data.record.is_none() {
        recorded::write(&folder, &data.table, checked, false)?;
    }
    if !sets.is_empty() {
        folder.write_config(&config.to_toml())?;
    }
    let job = job(config, device, (data.table, data.source), folder);
    Ok(Job { resume: Some(left), ..job })
}

/// Like [`set_up`], for a run that was begun before.
fn set_up_again(folder: &Folder, config: &Config, device: &str) -> Result<device::Chosen> {
    let precision = config.train.precision;
    set_up(config, device, precision).map_err(|error| {
        match error.downcast_ref() {
            // The error suggests another precision, but a run cannot change it.
            Some(device::Error::Precision { why, .. }) => {
                let why = device::no_cuda(why.as_ref());
                eyre!(
                    "{} trains in {precision}, which the CPU does not: resume it on a machine with \
                     a GPU{why}",
                    folder.name
                )
            }
            _ => error,
        }
    })
}

/// Returns a device's name without the CPU's threads, which do not affect the numbers.
fn kind(device: &str) -> &str {
    if device.starts_with("CPU,") { "CPU" } else { device }
}

/// Reads the run's progress. Trims the journal to the checkpoints.
fn left(folder: &Folder, config: &Config, device: &str) -> Result<Left> {
    let folds = match Status::read(&folder.state()) {
        Ok(status) => status.folds,
        Err(error) => {
            if error.kind() != std::io::ErrorKind::NotFound {
                print::warn(format_args!("{error}; the folds are taken up in the config's order"));
            }
            Vec::new()
        }
    };
    let mut known = Vec::new();
    let mut changed = Vec::new();
    for &fold in &config.train.folds {
        let status = folds.iter().find(|f| f.fold == fold);
        let retrain_seed = status.map(|f| f.seed).filter(|&seed| seed != config.seed);
        let files = (0..=MOST_KEPT).map(|older| folder.last(fold, retrain_seed, older));
        let progress = match checkpoint::newest(files) {
            (Some(last), _) => {
                let progress = last.progress()?;
                for change in config.changes(last.config())? {
                    if !changed.contains(&change) {
                        changed.push(change);
                    }
                }
                (progress.epoch, progress.step)
            }
            (None, refused) if refused.is_empty() => (0, 0),
            // Keep the journal of a fold that will not continue.
            (None, _) => continue,
        };
        known.push(journal::Known { fold, epochs: progress.0, steps: progress.1 });
    }
    let (seconds, before) = journal::trim(&folder.journal(), &known)?;
    let before = before.filter(|before| kind(before) != kind(device));
    changed.extend(before.map(|before| {
        format!("device: {before} → {device}; they compute alike, but not to the last digit")
    }));
    for change in &changed {
        print::warn(format_args!("changed since: {change}"));
    }
    Ok(Left { seconds, folds, changed })
}

fn job(
    config: Config,
    device: device::Chosen,
    (table, source): (Table, Arc<dyn SliceSource>),
    folder: Folder,
) -> Job {
    Job {
        config,
        table,
        source,
        folder,
        device: device.device,
        device_name: device.name,
        no_gpu: device.why.map(|why| why.to_string()),
        worker: None,
        sharing: 1,
        resume: None,
        debug: false,
        report: report::text,
    }
}

/// Sets up threads and the requested device. Must precede any computation.
fn set_up(config: &Config, device: &str, precision: Precision) -> Result<device::Chosen> {
    use_threads(config)?;
    let chosen = device::choose(device, precision)?;
    device::allow_tf32(config.train.tf32);
    Ok(chosen)
}

/// Uses `train.threads` threads for computation. Must precede any computation.
fn use_threads(config: &Config) -> Result<()> {
    let threads = config.train.threads;
    if threads > 0 {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build_global().map_err(|e| eyre!("train.threads = {threads}: {e}"))?;
    }
    Ok(())
}

/// Reads the studies of `data.table` and opens the source of their slices.
fn data(config: &Config) -> Result<(Table, Arc<dyn SliceSource>)> {
    Ok((table(config)?, source(config)))
}

/// Like [`data`], but the error for a missing table suggests --demo.
fn data_or_demo(config: &Config) -> Result<(Table, Arc<dyn SliceSource>)> {
    data(config).map_err(|error| match error.downcast_ref() {
        Some(study::Error::TableUnreadable { source, .. })
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            eyre!("{error}, or try the program on made-up studies with --demo")
        }
        _ => error,
    })
}

fn table(config: &Config) -> std::result::Result<Table, study::Error> {
    let d = &config.data;
    if !config.is_phantom() {
        return Table::read(&d.table);
    }
    let folds = config.train.folds.iter().max().map_or(0, |f| f + 1).max(PHANTOM_FOLDS);
    Ok(Phantom::table(d.phantom_studies, folds, config.seed))
}

fn source(config: &Config) -> Arc<dyn SliceSource> {
    let d = &config.data;
    if !config.is_phantom() {
        return Arc::new(npy_folder(config));
    }
    let phantom = Phantom::new(d.image_size, d.slices_per_vertebra, config.seed);
    Arc::new(phantom.of_difficulty(d.phantom_difficulty))
}

fn npy_folder(config: &Config) -> NpyFolder {
    let d = &config.data;
    NpyFolder { dir: d.dir.clone(), size: d.image_size, slices_per_vertebra: d.slices_per_vertebra }
}

/// Checks everything that could stop training, before the dashboard opens.
fn check_inputs(config: &Config, table: &Table, source: &dyn SliceSource) -> Result<Checked> {
    table.check_folds(&config.train.folds, config.train.batch_size)?;
    let checked = check_slices(config, &table.studies, |studies| source.check(studies))?;
    if !config.model.pretrained.as_os_str().is_empty() {
        // Check that the weights fit; each fold loads them again into a new network.
        let model = Classifier::new(&Spec::new(config), 0, 0, DType::F32, &Device::Cpu)?;
        let filled = weights::fill_from(&model, &config.model.pretrained, None, false)?;
        if let Some(note) = filled.note {
            print::warn(format_args!("{}: {note}", config.model.pretrained.display()));
        }
    }
    Ok(checked)
}

/// Checks the slices of `studies` by `check`: [`SliceSource::check`] or [`SliceSource::check_each`].
fn check_slices(
    config: &Config,
    studies: &[Study],
    check: impl FnOnce(&[Study]) -> std::result::Result<Checked, study::Error>,
) -> Result<Checked> {
    let files = studies.len() * config.images_per_study();
    let all = summary::grouped(files);
    if !config.is_phantom() && files > MANY_FILES {
        print::note(format_args!("checking {all} slice files …"));
    }
    let checked = check(studies)?;
    if checked.resized > 0 {
        let (some, size) = (summary::grouped(checked.resized), config.data.image_size);
        print::warn(format_args!(
            "{some} of {all} crops are resized to {size} x {size}, data.image_size"
        ));
    }
    Ok(checked)
}

fn default_name(demo: bool) -> String {
    let time = jiff::Zoned::now().strftime("%Y%m%d-%H%M%S");
    if demo { format!("demo-{time}") } else { time.to_string() }
}
