//! `rsna-tui predict`: the folds of a run together, on studies that nobody labelled.

use super::{
    attach::named_run,
    out::Place,
    progress::Progress,
    trained::{self, Trained},
};
use crate::{
    bounded, cli,
    config::Config,
    predict::{self, Ensemble, Predicted, part::Part, table},
    print::{self, Said},
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
pub fn predict(args: &cli::Predict) -> Result<Said> {
    let (mut config, networks) = chosen(args)?;
    if let Some(dir) = &args.data {
        config.data.dir.clone_from(dir);
    }
    let wide = args.out.with_extension("wide.csv");
    // One that was cut between its last two files has left one of them.
    let begun = Part::path(&args.out).exists();
    let place = Place::of(&args.out, true, args.force || begun)?;
    // Beside a pipe or stdout there is no place for other files.
    let wide = place.is_file().then(|| Place::of(&wide, true, args.force || begun)).transpose()?;
    let device = super::set_up(&config, &args.network.device)?;
    let (studies, source) = studies(args, &config)?;
    if !config.is_phantom() {
        super::check_files(&config, &studies)?;
    }
    let made_with = made_with(&config, &networks, args.network.views());
    let networks = networks.read(&config, &device.device)?;
    let mut kept = match wide {
        Some(wide) => Kept::File { part: Part::open(&args.out, &made_with, args.force)?, wide },
        None => Kept::Memory(Vec::new()),
    };
    let left: Vec<Study> = studies.iter().filter(|s| !kept.has(&s.uid)).cloned().collect();
    let (all, before) = (studies.len(), studies.len() - left.len());
    if before > 0 {
        print::warn(format_args!("{before} of {all} studies were predicted before: going on"));
    }
    let ensemble = Ensemble::new(&config, &networks, args.network.views(), &device.device);
    let mut progress = Progress::new("predicting", before, all);
    let skipped = ensemble.run(&config, source, left.into(), |predicted| -> Result<()> {
        kept.add(&predicted)?;
        progress.step();
        Ok(())
    })?;
    drop(progress);
    told(&skipped);
    if kept.is_empty() {
        bail!("none of {all} studies could be read");
    }
    let wanted: HashSet<&str> = studies.iter().map(|study| &*study.uid).collect();
    let (predicted, beside) = kept.finish(&place, &wanted)?;
    Ok(place.said(vec![format!(
        "wrote {place} ({predicted} studies, {} rows){beside}: {} network{}, {}",
        predicted * crate::score::TARGETS,
        networks.len(),
        if networks.len() == 1 { "" } else { "s" },
        device.name
    )]))
}

/// Predictions until all are there.
enum Kept {
    /// In a file beside the one that is to be written, which a second process goes on from; and the
    /// place for a row a study.
    File { part: Part, wide: Place },
    /// Rows, for what is no file.
    Memory(Vec<Vec<String>>),
}

impl Kept {
    fn has(&self, study: &str) -> bool {
        matches!(self, Self::File { part, .. } if part.has(study))
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::File { part, .. } => part.is_empty(),
            Self::Memory(rows) => rows.is_empty(),
        }
    }

    fn add(&mut self, predicted: &Predicted) -> Result<()> {
        match self {
            Self::File { part, .. } => part.add(predicted)?,
            Self::Memory(rows) => rows.push(table::row(predicted)),
        }
        Ok(())
    }

    /// Writes the predictions of `wanted` studies. Returns how many studies there are, and what is
    /// said of the file beside.
    fn finish(self, place: &Place, wanted: &HashSet<&str>) -> Result<(usize, String)> {
        let mut answers = place.create()?;
        match self {
            Self::File { part, wide } => {
                let mut studies = wide.create()?;
                let is_wanted = |study: &str| wanted.contains(study);
                let written = part.write(&mut answers, &mut studies, is_wanted)?;
                wide.finish(studies)?;
                place.finish(answers)?;
                part.remove()?;
                Ok((written, format!(" and {wide}")))
            }
            Self::Memory(rows) => {
                let failed = |e: std::io::Error| place.cannot_write(&e);
                let mut csv = table::Answers::begin(&mut answers).map_err(failed)?;
                rows.iter().try_for_each(|row| csv.add(row)).map_err(failed)?;
                csv.finish().map_err(failed)?;
                place.finish(answers)?;
                Ok((rows.len(), String::new()))
            }
        }
    }
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
    print::warn(format_args!("left out as unreadable: {} studies", skipped.len()));
    for (_, why) in skipped.iter().take(NAMED) {
        print::warn(why);
    }
}
