//! The networks that a run has trained.

use crate::{
    config::{Config, Set},
    net::Classifier,
    predict, print,
    run::{event::FoldState, folder::Folder, status::Status},
    train::checkpoint::{self, Whole},
};
use candle_core::Device;
use eyre::{Result, bail};

/// A fold's best weights.
pub(super) struct Trained {
    /// The fold's number.
    pub fold: usize,
    /// The epoch that they are of.
    pub epoch: Option<usize>,
    /// The file.
    pub best: Whole,
}

impl Trained {
    /// Reads the network.
    pub fn network(&self, config: &Config, device: &Device) -> Result<Classifier> {
        Ok(predict::of_checkpoint(config, &self.best, device)?)
    }
}

/// A run's settings, with those that the command line changes.
pub(super) fn config(folder: &Folder, sets: &[Set]) -> Result<Config> {
    Ok(Config::load(Some(&folder.config()), false, sets)?)
}

/// The best weights of the run's folds `wanted`, or of all that are done; those that are not are
/// told on stderr.
///
/// Errors: none is done; one that is wanted has none, or is no fold of the run; a damaged file.
pub(super) fn of_run(folder: &Folder, wanted: Option<&[usize]>) -> Result<Vec<Trained>> {
    let status = Status::read(&folder.state())?;
    // Its own, whatever the command line says.
    let seed = self::config(folder, &[])?.seed;
    let mut all = Vec::new();
    let mut open = Vec::new();
    for fold in &status.folds {
        if wanted.is_some_and(|wanted| !wanted.contains(&fold.fold)) {
            continue;
        }
        let retrain_seed = (fold.seed != seed).then_some(fold.seed);
        let path = folder.best(fold.fold, retrain_seed);
        // A fold may be done and have none: `select.metric` was never defined there.
        if !path.exists() || (fold.state != FoldState::Done && wanted.is_none()) {
            open.push(fold.fold);
            continue;
        }
        let best =
            checkpoint::whole(path).map_err(|(path, why)| predict::Error::Weights { path, why })?;
        all.push(Trained {
            fold: fold.fold,
            epoch: fold.best.as_ref().map(|best| best.epoch),
            best,
        });
    }
    all.sort_by_key(|trained| trained.fold);
    let name = &folder.name;
    if let Some(wanted) = wanted {
        let missing = wanted.iter().find(|&&fold| !all.iter().any(|t| t.fold == fold));
        if let Some(fold) = missing {
            let folds: Vec<String> = status.folds.iter().map(|f| f.fold.to_string()).collect();
            bail!(
                "fold {fold} of the run {name} has no best weights; its folds are {}, of which \
                 with weights: {}",
                folds.join(", "),
                numbers(&all)
            );
        }
    } else if all.is_empty() {
        bail!(
            "no fold of the run {name} is done; give those to be taken as they are with --folds, \
             or train on: rsna-tui resume {name}"
        );
    } else if !open.is_empty() {
        let open: Vec<String> = open.iter().map(usize::to_string).collect();
        print::warn(format_args!(
            "left out as not done, or without best weights: fold {}",
            open.join(", ")
        ));
    }
    Ok(all)
}

/// `0, 2`; `none`.
fn numbers(all: &[Trained]) -> String {
    let folds: Vec<String> = all.iter().map(|t| t.fold.to_string()).collect();
    if folds.is_empty() { "none".into() } else { folds.join(", ") }
}
