//! `rsna-tui predict`: averages the folds of one or several runs on unlabelled studies.

mod workers;

use super::{
    members::Members,
    out::{Destination, Out},
    progress::Progress,
    recorded,
    trained_studies::TrainedStudies,
};
use crate::{
    bounded, cli,
    config::{Config, OnError},
    net::weights,
    predict::{self, part::Part, table},
    print::{self, CommandOutput},
    study::{self, Checked, SliceSource, Study, Table, slices::Listing},
};
use candle_core::Device;
use eyre::{Result, bail};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use workers::{LeftOut, Task, Workers};

/// Most names listed in a message.
const NAMED: usize = 5;

/// Predicts. Returns a summary of the files written, and whether they include all studies.
pub fn predict(args: &cli::Predict) -> Result<(CommandOutput, bool)> {
    let (mut config, runs) = chosen(args)?;
    if let Some(dir) = &args.data {
        config.data.dir.clone_from(dir);
    }
    if args.skip_bad {
        config.data.on_error = OnError::Skip;
    }
    let wide = args.out.with_extension("wide.csv");
    let list = args.out.with_extension("skipped.csv");
    // A process that died while finishing has left some of its files.
    let begun = Part::path(&args.out).exists();
    let beside = |name: &Path| Destination::of(name, true, args.force || begun);
    let destination =
        Destination::of(&args.out, true, args.force || begun)?.refuse_missing_folder()?;
    // A pipe or stdout has no place for files beside it.
    let wide = destination.is_file().then(|| beside(&wide)).transpose()?;
    let list = destination.is_file().then(|| beside(&list)).transpose()?;
    let workers = Workers::set_up(&config, &args.network.device, args.devices.as_deref())?;
    let recorded = match &runs {
        Some(runs) if args.of_fold.is_some() => Some(runs.data()?),
        _ => None,
    };
    let data = recorded.as_ref().map(|recorded| recorded.first());
    let (mut studies, source, mut left_out) = asked(args, &config, data)?;
    let asked = studies.len() + left_out.len();
    let checked = match args.skip_bad {
        true => super::check_slices(&config, &studies, |studies| source.check_each(studies))?,
        false => super::check_slices(&config, &studies, |studies| source.check(studies))?,
    };
    let found = take_out_bad(checked, &mut studies, &mut left_out);
    if let Some(recorded) = &recorded {
        recorded.same_slices(&studies, &found)?;
    }
    let trained_on = match &runs {
        Some(runs) => TrainedStudies::of(runs, args.unseen)?,
        None => TrainedStudies::default(),
    };
    let warning = trained_on.check(&studies, args.unseen)?;
    let made_with = made_with(&config, runs.as_ref(), args);
    let load = |device: &Device| match &runs {
        Some(runs) => {
            let all = runs.iter().map(|member| member.networks(None, device));
            Ok(all.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
        }
        None => {
            let of_file = |path: &PathBuf| Ok(predict::of_file(&config, path, device)?);
            args.weights.iter().map(of_file).collect()
        }
    };
    let leaves_out =
        |study: &str, network: usize| args.unseen && trained_on.include(study, network);
    let task = Task {
        config: &config,
        of_networks: match &runs {
            Some(runs) => runs.configs(),
            None => vec![&config; args.weights.len()],
        },
        views: args.network.views,
        leaves_out: &leaves_out,
    };
    let networks = workers.load(task, load)?;
    let (mut kept, stream) = match &wide {
        Some(_) => (Part::open(&args.out, &made_with, args.force)?, None),
        // Open it before anything is computed: a pipe may have no reader.
        None => (Part::default(), Some(destination.create()?)),
    };
    if let Some(warning) = warning {
        print::warn(warning);
    }
    let done: HashSet<&str> = kept.rows().iter().map(|row| &row[0]).collect();
    let left: Vec<Study> = studies.iter().filter(|s| !done.contains(&*s.uid)).cloned().collect();
    let (all, before) = (studies.len(), studies.len() - left.len());
    if before > 0 {
        print::warn(format_args!("{before} of {all} studies were predicted before: going on"));
    }
    let mut progress = Progress::new("predicting", before, all);
    left_out.extend(networks.run(&source, &left, |predicted| {
        kept.add(&predicted)?;
        progress.step();
        Ok(())
    })?);
    drop(progress);
    warn_left_out(&left_out);
    if let Some(list) = &list {
        write_list(list, &left_out)?;
    }
    let see = list.map_or(String::new(), |list| format!(", see {list}"));
    if left_out.len() == asked {
        bail!("none of {asked} studies could be read{see}");
    }
    let out = stream.map_or_else(|| destination.create(), Ok)?;
    let predicted = write(&kept, &studies, (&destination, out), wide.as_ref())?;
    kept.remove()?;
    let beside = wide.map_or(String::new(), |wide| format!(" and {wide}"));
    let mut lines = vec![format!(
        "wrote {destination} ({predicted} studies, {} rows){beside}: {} network{}, {}",
        predicted * crate::score::TARGETS,
        networks.count(),
        if networks.count() == 1 { "" } else { "s" },
        workers.names()
    )];
    if !left_out.is_empty() {
        lines.push(format!("{} of {asked} studies were left out{see}", left_out.len()));
    }
    Ok((destination.output(lines), left_out.is_empty()))
}

/// Writes the predictions of `studies` to the destination and the wide file; returns their number.
fn write(
    kept: &Part,
    studies: &[Study],
    (destination, mut out): (&Destination, Out),
    wide: Option<&Destination>,
) -> Result<usize> {
    let places: HashMap<&str, usize> =
        studies.iter().enumerate().map(|(i, study)| (&*study.uid, i)).collect();
    let mut rows: Vec<_> = kept.rows().iter().filter(|row| places.contains_key(&row[0])).collect();
    // Several workers finish the studies in any order.
    rows.sort_by_key(|row| places[&row[0]]);
    table::write_answers(&mut out, &rows).map_err(|e| destination.cannot_write(&e))?;
    if let Some(wide) = wide {
        let mut out = wide.create()?;
        table::write_wide(&mut out, &rows).map_err(|e| wide.cannot_write(&e))?;
        wide.finish(out)?;
    }
    destination.finish(out)?;
    Ok(rows.len())
}

/// Removes studies with an unusable file. Returns the fingerprints of the others.
fn take_out_bad(
    checked: Checked,
    studies: &mut Vec<Study>,
    left_out: &mut Vec<LeftOut>,
) -> Vec<u32> {
    let mut bad: BTreeMap<Arc<str>, (String, usize)> = BTreeMap::new();
    for error in checked.errors {
        if let study::Error::Slice { study, .. } = &error {
            bad.entry(study.clone()).or_insert_with(|| (error.to_string(), 0)).1 += 1;
        }
    }
    let fine = |(study, _): &(&Study, u32)| !bad.contains_key(&study.uid);
    let kept = studies.iter().zip(checked.fingerprints).filter(fine);
    let fingerprints = kept.map(|(_, fingerprint)| fingerprint).collect();
    studies.retain(|study| !bad.contains_key(&study.uid));
    left_out.extend(bad.into_iter().map(|(study, (first, files))| match files {
        1 => (study, first),
        n => (study, format!("{first} (and {} more of its files)", n - 1)),
    }));
    fingerprints
}

/// Writes the list of studies left out, or removes an older list if there are none.
fn write_list(destination: &Destination, left_out: &[LeftOut]) -> Result<()> {
    if left_out.is_empty() {
        return destination.remove();
    }
    let mut rows = csv::Writer::from_writer(Vec::new());
    rows.write_record(["StudyInstanceUID", "reason"])?;
    for (study, reason) in left_out {
        rows.write_record([&*print::cell(study), &*print::cell(reason)])?;
    }
    destination.write(&rows.into_inner().map_err(|e| e.into_error())?)
}

/// Loads the settings and opens the runs requested on the command line, of which there are none with
/// --weights.
fn chosen(args: &cli::Predict) -> Result<(Config, Option<Members>)> {
    if !args.weights.is_empty() {
        let config = super::load(args.config.as_deref(), false, &args.network.sets)?;
        return Ok((config, None));
    }
    let runs = Members::open(&args.named(), &args.network.sets, args.folds.as_deref())?;
    Ok((runs.first().config.clone(), Some(runs)))
}

/// The studies to predict, their source, and the requested ones that cannot be predicted.
type Asked = (Vec<Study>, Arc<dyn SliceSource>, Vec<LeftOut>);

/// Finds what is asked for. `data`: the run's own studies, when only those are requested.
///
/// Errors: also when a study cannot be predicted and `--skip-bad` is not given.
fn asked(args: &cli::Predict, config: &Config, data: Option<&recorded::Data>) -> Result<Asked> {
    let mut bad: Vec<LeftOut> = Vec::new();
    let dir = config.data.dir.display();
    let (mut studies, source) = match (data, &args.data) {
        (Some(data), _) => (data.table.studies.clone(), data.source.clone()),
        (None, Some(_)) if !config.is_phantom() => {
            let folder = super::npy_folder(config);
            let Listing { studies, not_utf8, strange } = folder.list()?;
            // With a list of studies, other files are expected.
            if args.studies.is_none() {
                tell_strange(&strange, config);
                let why = "the names of its files are not UTF-8: rename them";
                let left_out_as =
                    |uid: &String| (uid.as_str().into(), format!("study {uid} in {dir}: {why}"));
                bad.extend(not_utf8.iter().map(left_out_as));
            }
            (studies, Arc::new(folder) as Arc<dyn SliceSource>)
        }
        _ => {
            let (table, source) = super::data(config)?;
            (table.studies, source)
        }
    };
    if let Some(path) = &args.studies {
        let named = Table::read_uids(path)?;
        let there: HashSet<&Arc<str>> = studies.iter().map(|study| &study.uid).collect();
        let lack = match &args.data {
            Some(_) => format!("has no crops in {dir}"),
            None => format!("is not in {}", config.data.table.display()),
        };
        let missing = named.studies.iter().filter(|study| !there.contains(&study.uid));
        let left_out_as =
            |s: &Study| (s.uid.clone(), format!("study {} of {} {lack}", s.uid, path.display()));
        bad.extend(missing.map(left_out_as));
        let wanted: HashSet<&Arc<str>> = named.studies.iter().map(|s| &s.uid).collect();
        studies.retain(|study| wanted.contains(&study.uid));
    }
    if let Some(fold) = args.of_fold {
        studies.retain(|study| study.fold == fold);
        if studies.is_empty() {
            bail!("--of-fold {fold}: no study of {} is in that fold", config.data.table.display());
        }
    }
    // A row of the CSV must fit on one line.
    for Study { uid, .. } in studies.extract_if(.., |s| s.uid.contains(char::is_control)) {
        let why = format!("the study {uid:?} has a control character in its name");
        bad.push((uid.escape_default().to_string().into(), why));
    }
    match &bad[..] {
        [(_, why), others @ ..] if !args.skip_bad => {
            let more = match others.len() {
                0 => String::new(),
                n => format!(" (and {n} more such studies)"),
            };
            bail!("{why}{more}; or leave out what cannot be predicted with --skip-bad")
        }
        _ => Ok((studies, source, bad)),
    }
}

/// Warns about files that belong to no study.
fn tell_strange(strange: &BTreeSet<String>, config: &Config) {
    if strange.is_empty() {
        return;
    }
    let names: Vec<&str> = strange.iter().map(String::as_str).take(NAMED).collect();
    print::warn(format_args!(
        "passed over in {}, as not named {{UID}}_{{1..7}}_{{slice}}.npy: {} files ({}{})",
        config.data.dir.display(),
        strange.len(),
        names.join(", "),
        if strange.len() > NAMED { ", …" } else { "" }
    ));
}

/// Fingerprint of everything that affects predictions; only predictions with the same one are continued.
fn made_with(config: &Config, runs: Option<&Members>, args: &cli::Predict) -> String {
    let members = || runs.into_iter().flat_map(Members::iter);
    let of_run = members().flat_map(|m| m.trained.iter().map(|t| t.best.sum().to_string()));
    let networks: Vec<_> = of_run.chain(args.weights.iter().map(|path| sum_of(path))).collect();
    let (views, unseen) = (args.network.views, if args.unseen { " unseen" } else { "" });
    let mut said = format!(
        "{networks:?} {views}{unseen} {:?} {:?} {} {} {:?} {:?} {} {} {:?}",
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
    for other in members().skip(1) {
        said += &format!(" {:?} {}", other.config.model, other.trained.len());
    }
    format!("{:08x}", crc32fast::hash(said.as_bytes()))
}

/// Returns a file's checksum. Loading the file later reports any error.
fn sum_of(path: &Path) -> String {
    // Identify a model on the hub by its name.
    bounded::read(path, weights::LARGEST).map_or_else(
        |_| path.display().to_string(),
        |bytes| format!("{:08x}", crc32fast::hash(&bytes)),
    )
}

/// Warns about studies that could not be read.
pub(super) fn warn_left_out(left_out: &[LeftOut]) {
    if left_out.is_empty() {
        return;
    }
    let n = left_out.len();
    let plural = if n == 1 { "y" } else { "ies" };
    print::warn(format_args!("left out as unreadable: {n} stud{plural}"));
    left_out.iter().for_each(|(_, why)| print::warn(why));
}
