//! `rsna-tui predict`: the folds of a run together, on studies that nobody labelled.

use super::{
    attach::named_run,
    progress::Progress,
    recorded,
    report_file::check_place,
    trained::{self, Trained},
};
use crate::{
    cli,
    config::Config,
    predict::{self, Ensemble, part::Part},
    run::folder::Folder,
    study::{Source, Study, Table},
};
use candle_core::Device;
use eyre::{Result, bail};
use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Studies named where some are left out.
const NAMED: usize = 5;

/// Predicts, and says what was written.
pub fn predict(args: &cli::Predict) -> Result<String> {
    let (mut config, networks, run) = chosen(args)?;
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
    let data = match &run {
        Some(folder) if args.of_fold.is_some() => Some(recorded::data(folder, &config)?),
        _ => None,
    };
    let (studies, source) = studies(args, &config, data.as_ref())?;
    let checked = super::check_slices(&config, &*source, &studies)?;
    if let Some(data) = &data {
        data.same_slices(&studies, &checked)?;
    }
    let seen = match (&run, &networks) {
        (Some(folder), Networks::Run(trained)) => Seen::of(folder, &config, trained),
        _ => Seen::default(),
    };
    let warning = seen.check(&studies, args.unseen)?;
    let made_with = made_with(&config, &networks, args);
    let networks = networks.read(&config, &device.device)?;
    let mut part = Part::open(&args.out, &made_with, args.force)?;
    if let Some(warning) = warning {
        eprintln!("rsna-tui: {warning}");
    }
    let left: Vec<Study> = studies.iter().filter(|s| !part.has(&s.uid)).cloned().collect();
    let (all, before) = (studies.len(), studies.len() - left.len());
    if before > 0 {
        eprintln!("rsna-tui: {before} of {all} studies were predicted before: going on");
    }
    let ensemble = Ensemble::new(&config, &networks, args.network.views(), &device.device)
        .without(|study, network| args.unseen && seen.by(study, network));
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

/// Which studies the networks of a run were trained on.
#[derive(Default)]
struct Seen {
    /// The fold of each network.
    networks: Vec<usize>,
    /// The fold of each study of the run, by its name.
    studies: HashMap<Arc<str>, usize>,
}

impl Seen {
    fn of(folder: &Folder, config: &Config, trained: &[Trained]) -> Self {
        let studies = recorded::to_look_at(folder, config).map(|data| data.table.studies);
        let studies = studies.into_iter().flatten().map(|study| (study.uid, study.fold));
        Self { networks: trained.iter().map(|t| t.fold).collect(), studies: studies.collect() }
    }

    /// Whether the network was trained on the study: a fold trains on the studies of all others.
    fn by(&self, study: &str, network: usize) -> bool {
        self.studies.get(study).is_some_and(|fold| *fold != self.networks[network])
    }

    /// A warning, where a network was trained on a study. `unseen`: such networks are left out, and
    /// there is nothing to warn of.
    ///
    /// Errors: a study for which none would be left.
    fn check(&self, studies: &[Study], unseen: bool) -> Result<Option<String>> {
        let by = |study: &Study| -> Vec<String> {
            let networks = (0..self.networks.len()).filter(|&n| self.by(&study.uid, n));
            networks.map(|n| self.networks[n].to_string()).collect()
        };
        let seen: Vec<(&Study, Vec<String>)> =
            studies.iter().map(|s| (s, by(s))).filter(|(_, by)| !by.is_empty()).collect();
        let all = studies.len();
        let mut by_all = seen.iter().filter(|(_, by)| by.len() == self.networks.len());
        match (seen.first(), by_all.next()) {
            (None, _) => Ok(None),
            (_, Some((study, _))) if unseen => bail!(
                "--unseen: all folds at hand were trained on {} of {all} studies, {} first: add \
                 their own folds with --folds, or leave them out with --studies",
                1 + by_all.count(),
                study.uid
            ),
            _ if unseen => Ok(None),
            (Some((study, by)), _) => Ok(Some(format!(
                "{} of {all} studies were trained on by some of these folds, {} first (fold {}): \
                 their predictions look better than they are; --unseen leaves such folds out, study \
                 by study",
                seen.len(),
                study.uid,
                by.join(", ")
            ))),
        }
    }
}

/// The settings and the networks that the command line asks for, and the run that they are of.
fn chosen(args: &cli::Predict) -> Result<(Config, Networks, Option<Folder>)> {
    if !args.weights.is_empty() {
        let config = super::load(args.config.as_deref(), false, &args.network.sets())?;
        return Ok((config, Networks::Files(args.weights.clone()), None));
    }
    let folder = named_run(args.run(), args.network.runs_dir.as_ref())?;
    let config = trained::config(&folder, &args.network.sets())?;
    let trained = trained::of_run(&folder, args.folds.as_deref())?;
    Ok((config, Networks::Run(trained), Some(folder)))
}

/// The studies to predict, and where they are read from. `data`: the run's, where only they are
/// wanted.
fn studies(
    args: &cli::Predict,
    config: &Config,
    data: Option<&recorded::Data>,
) -> Result<(Vec<Study>, Arc<dyn Source>)> {
    let (table, source) = match (data, &args.data) {
        (Some(data), _) => (data.table.clone(), data.source.clone()),
        (None, Some(_)) if !config.is_phantom() => {
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
fn made_with(config: &Config, networks: &Networks, args: &cli::Predict) -> String {
    let networks = match networks {
        Networks::Run(trained) => trained.iter().map(|t| t.best.sum().to_string()).collect(),
        Networks::Files(files) => files.iter().map(|path| sum_of(path)).collect::<Vec<_>>(),
    };
    let (views, unseen) = (args.network.views(), if args.unseen { " unseen" } else { "" });
    let said = format!(
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
    format!("{:08x}", crc32fast::hash(said.as_bytes()))
}

/// A file's checksum; what cannot be read is told where it is needed.
fn sum_of(path: &Path) -> String {
    let hash = |path: &Path| -> std::io::Result<u32> {
        let mut hasher = crc32fast::Hasher::new();
        let mut file = std::fs::File::open(path)?;
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
