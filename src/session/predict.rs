//! `rsna-tui predict`: the folds of a run together, on studies that nobody labelled.

use super::{
    attach::named_run,
    progress::Progress,
    report_file::check_place,
    trained::{self, Trained},
};
use crate::{
    bounded, cli,
    config::Config,
    predict::{self, Ensemble, part::Part},
    study::{Source, Study, Table},
};
use candle_core::Device;
use eyre::{Result, bail};
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Studies named where some are left out.
const NAMED: usize = 5;

/// Predicts, and says what was written.
pub fn predict(args: &cli::Predict) -> Result<String> {
    let (mut config, networks) = chosen(args)?;
    if let Some(dir) = &args.data {
        config.data.dir.clone_from(dir);
    }
    let wide = args.out.with_extension("wide.csv");
    // One that was cut between its last two files has left one of them.
    let begun = Part::path(&args.out).exists();
    for path in [&args.out, &wide] {
        check_place(path, true, args.force || begun)?;
    }
    let device = super::set_up(&config, &args.network.device)?;
    let (studies, source) = studies(args, &config)?;
    if !config.is_phantom() {
        super::check_files(&config, &studies)?;
    }
    let made_with = made_with(&config, &networks, args.network.views());
    let networks = networks.read(&config, &device.device)?;
    let mut part = Part::open(&args.out, &made_with, args.force)?;
    let left: Vec<Study> = studies.iter().filter(|s| !part.has(&s.uid)).cloned().collect();
    let (all, before) = (studies.len(), studies.len() - left.len());
    if before > 0 {
        eprintln!("rsna-tui: {before} of {all} studies were predicted before: going on");
    }
    let ensemble = Ensemble::new(&config, &networks, args.network.views(), &device.device);
    let mut progress = Progress::new("predicting", before, all);
    let skipped = ensemble.run(&config, source, left.into(), |predicted| -> Result<()> {
        part.add(&predicted)?;
        progress.step();
        Ok(())
    })?;
    drop(progress);
    told(&skipped);
    if part.is_empty() {
        bail!("none of {all} studies could be read");
    }
    let wanted: HashSet<&str> = studies.iter().map(|study| &*study.uid).collect();
    let predicted = part.finish(&args.out, &wide, |study| wanted.contains(study))?;
    Ok(format!(
        "wrote {} ({predicted} studies, {} rows) and {}: {} network{}, {}",
        args.out.display(),
        predicted * crate::score::TARGETS,
        wide.display(),
        networks.len(),
        if networks.len() == 1 { "" } else { "s" },
        device.name
    ))
}

/// The networks that predict.
enum Networks {
    Run(Vec<Trained>),
    Files(Vec<PathBuf>),
}

impl Networks {
    fn read(&self, config: &Config, device: &Device) -> Result<Vec<crate::net::Classifier>> {
        match self {
            Self::Run(trained) => trained.iter().map(|t| t.network(config, device)).collect(),
            Self::Files(files) => {
                files.iter().map(|path| Ok(predict::of_file(config, path, device)?)).collect()
            }
        }
    }
}

/// The settings and the networks that the command line asks for.
fn chosen(args: &cli::Predict) -> Result<(Config, Networks)> {
    if !args.weights.is_empty() {
        let config = super::load(args.config.as_deref(), false, &args.network.sets())?;
        return Ok((config, Networks::Files(args.weights.clone())));
    }
    let folder = named_run(args.run.as_deref(), args.network.runs_dir.as_ref())?;
    let config = trained::config(&folder, &args.network.sets())?;
    let trained = trained::of_run(&folder, args.folds.as_deref())?;
    Ok((config, Networks::Run(trained)))
}

/// The studies to predict, and where they are read from.
fn studies(args: &cli::Predict, config: &Config) -> Result<(Vec<Study>, Arc<dyn Source>)> {
    let (table, source) = match &args.data {
        Some(_) if !config.is_phantom() => {
            let folder = super::npy_folder(config);
            (Table { studies: folder.studies()? }, Arc::new(folder) as Arc<dyn Source>)
        }
        _ => super::data(config)?,
    };
    let mut studies = table.studies;
    if let Some(path) = &args.studies {
        let named = Table::read_uids(path)?;
        let there: HashSet<&Arc<str>> = studies.iter().map(|study| &study.uid).collect();
        let missing = named.studies.iter().find(|study| !there.contains(&study.uid));
        if let Some(study) = missing {
            let dir = config.data.dir.display();
            bail!("study {} of {} has no crops in {dir}", study.uid, path.display());
        }
        let wanted: HashSet<&Arc<str>> = named.studies.iter().map(|s| &s.uid).collect();
        studies.retain(|study| wanted.contains(&study.uid));
    }
    if let Some(fold) = args.of_fold {
        studies.retain(|study| study.fold == fold);
        if studies.is_empty() {
            bail!("--of-fold {fold}: no study of {} is in that fold", config.data.table.display());
        }
    }
    // A row of the file must be a line.
    if let Some(study) = studies.iter().find(|s| s.uid.contains(char::is_control)) {
        bail!("the study {:?} has a control character in its name", &*study.uid);
    }
    Ok((studies, source))
}

/// All that a prediction depends on, in a word: predictions of another are not gone on with.
fn made_with(config: &Config, networks: &Networks, views: usize) -> String {
    let networks = match networks {
        Networks::Run(trained) => trained.iter().map(|t| t.best.sum().to_string()).collect(),
        Networks::Files(files) => files.iter().map(|path| sum_of(path)).collect::<Vec<_>>(),
    };
    let said = format!(
        "{networks:?} {views} {:?} {:?} {} {} {:?} {:?} {} {} {:?}",
        config.score.vertebra,
        config.score.patient,
        config.data.image_size,
        config.data.slices_per_vertebra,
        std::path::absolute(&config.data.dir).unwrap_or_else(|_| config.data.dir.clone()),
        config.model,
        config.seed,
        config.data.phantom_studies,
        config.data.phantom_difficulty,
    );
    format!("{:08x}", crc32fast::hash(said.as_bytes()))
}

/// A file's checksum; what cannot be read is told where it is needed.
fn sum_of(path: &Path) -> String {
    let hash = |path: &Path| -> std::io::Result<u32> {
        let mut hasher = crc32fast::Hasher::new();
        let mut file = bounded::open(path)?;
        let mut piece = vec![0; 1 << 20];
        loop {
            match std::io::Read::read(&mut file, &mut piece)? {
                0 => return Ok(hasher.finalize()),
                n => hasher.update(&piece[..n]),
            }
        }
    };
    // A model of the hub is what it is called.
    hash(path).map_or_else(|_| path.display().to_string(), |sum| format!("{sum:08x}"))
}

/// Names those that could not be read.
pub(super) fn told(skipped: &[(Arc<str>, String)]) {
    if skipped.is_empty() {
        return;
    }
    eprintln!("rsna-tui: left out as unreadable: {} studies", skipped.len());
    for (_, why) in skipped.iter().take(NAMED) {
        eprintln!("rsna-tui: {why}");
    }
}
