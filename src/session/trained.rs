//! Finds a run's trained networks.

use super::progress::Progress;
use crate::{
    config::{Config, Set},
    net::{Classifier, Spec},
    print,
    run::{event::FoldState, folder::Folder, shared},
    train::checkpoint::{self, Whole},
};
use candle_core::{DType, Device};
use eyre::{Result, bail, eyre};

/// A fold's best weights.
pub(super) struct Trained {
    /// Number of the fold.
    pub fold: usize,
    /// Epoch of the weights.
    pub epoch: Option<usize>,
    /// The checkpoint.
    pub best: Whole,
}

impl Trained {
    /// Loads the network.
    pub fn network(&self, config: &Config, device: &Device) -> Result<Classifier> {
        let model = Classifier::new(&Spec::new(config), 0, 0, DType::F32, device)?;
        checkpoint::load_weights(&model, &self.best)?;
        Ok(model)
    }
}

/// Reads a run's settings, with the command line's changes.
pub(super) fn config(folder: &Folder, sets: &[Set]) -> Result<Config> {
    Ok(Config::load(Some(&folder.config()), false, sets)?)
}

/// Returns the best weights of the run's folds `wanted`, or of all finished ones; names the others on
/// stderr.
///
/// Errors: when no fold is finished, a wanted one has no weights or is not in the run, or a file is
/// damaged.
pub(super) fn of_run(folder: &Folder, wanted: Option<&[usize]>) -> Result<Vec<Trained>> {
    let status = shared::status(folder)?;
    // Take the run's own seed, whatever the command line sets.
    let seed = self::config(folder, &[])?.seed;
    let mut all = Vec::new();
    let mut open = Vec::new();
    // A sweep of many folds takes a while to be read.
    let mut progress = Progress::of("reading", "folds", 0, status.folds.len());
    for fold in &status.folds {
        progress.step();
        if wanted.is_some_and(|wanted| !wanted.contains(&fold.fold)) {
            continue;
        }
        let retrain_seed = (fold.seed != seed).then_some(fold.seed);
        let path = folder.best(fold.fold, retrain_seed);
        // A finished fold has no best weights if `select.metric` was never defined.
        if !path.exists() || (fold.state != FoldState::Done && wanted.is_none()) {
            open.push(fold.fold);
            continue;
        }
        let best = checkpoint::verify(&path)
            .map_err(|why| eyre!("cannot use the weights {}: {why}", path.display()))?;
        all.push(Trained {
            fold: fold.fold,
            epoch: fold.best.as_ref().map(|best| best.epoch),
            best,
        });
    }
    drop(progress);
    all.sort_by_key(|trained| trained.fold);
    let name = &folder.name;
    if let Some(wanted) = wanted {
        let missing = wanted.iter().find(|&&fold| !all.iter().any(|t| t.fold == fold));
        if let Some(fold) = missing {
            let folds = numbers(status.folds.iter().map(|f| f.fold));
            let trained =
                if all.is_empty() { "none".into() } else { numbers(all.iter().map(|t| t.fold)) };
            bail!(
                "fold {fold} of the run {name} has no best weights; its folds are {folds}, of which \
                 with weights: {trained}"
            );
        }
    } else if all.is_empty() {
        bail!(
            "no fold of the run {name} is done; give those to be taken as they are with --folds, \
             or train on: rsna-tui resume {name}"
        );
    } else if !open.is_empty() {
        let open = numbers(open.into_iter());
        print::warn(format_args!(
            "left out as not done, or without best weights: fold {open} of {name}"
        ));
    }
    Ok(all)
}

/// Formats folds as `0, 2`.
fn numbers(folds: impl Iterator<Item = usize>) -> String {
    folds.map(|fold| fold.to_string()).collect::<Vec<_>>().join(", ")
}
