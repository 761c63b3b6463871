//! Listing of a folder's runs, for `rsna-tui runs` and the dashboard's comparison.

use super::{State, format};
use crate::run::event::{FoldBest, FoldState};
use crate::run::folder::Folder;
use crate::run::shared;
use crate::run::status::{self, FoldStatus, RunState, Status};
use std::io;
use std::path::Path;

/// A listed run.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Run {
    /// Name, without control characters.
    pub run: String,
    /// `waiting`, `running`, `paused`, `held`, `starting`, `completed`, `stopped`, `requeued`, `failed`, `died` or
    /// `unknown`.
    pub state: &'static str,
    /// Contents of the run's state.json, if it can be read.
    pub status: Option<Status>,
}

impl Run {
    /// Reads the run in `folder`.
    pub fn of(folder: &Folder) -> Self {
        let status = shared::status(folder).ok();
        let state = match (&status, folder.is_in_use()) {
            (None, true) => "starting",
            (None, false) => "unknown",
            (Some(status), alive) => match (status.state, alive) {
                (RunState::Running, true) => "running",
                (RunState::Paused, true) => "paused",
                (RunState::Held, true) => "held",
                (RunState::Running | RunState::Paused | RunState::Held, false) => "died",
                // Resumed, but the process has not updated state.json yet.
                (_, true) => "starting",
                (RunState::Waiting, false) => "waiting",
                (RunState::Completed, false) => "completed",
                (RunState::Stopped, false) => "stopped",
                (RunState::Requeued, false) => "requeued",
                (RunState::Failed, false) => "failed",
            },
        };
        Self { run: format::sanitized(&folder.name), state, status }
    }

    /// Share of its epochs that are trained, 0 to 1, skipped folds not counted.
    pub fn share(&self) -> Option<f64> {
        let status = self.status.as_ref()?;
        let epochs = status.epochs.max(1) as f64;
        let share = |f: &FoldStatus| {
            let step = f.step as f64 / f.steps.max(1) as f64;
            match f.state {
                // Another fold of a shared run may have been given more epochs.
                FoldState::Done => 1.0,
                _ => ((f.epoch as f64 + step) / epochs).min(1.0),
            }
        };
        let counted = status.folds.iter().filter(|f| f.state != FoldState::Skipped);
        let (sum, n) = counted.map(share).fold((0.0, 0), |(sum, n), x| (sum + x, n + 1));
        Some(sum / f64::from(n.max(1)))
    }

    /// Number of finished folds, and of all folds.
    pub fn folds(&self) -> (usize, usize) {
        let folds = self.status.as_ref().map_or(&[][..], |status| &status.folds);
        (folds.iter().filter(|f| f.state == FoldState::Done).count(), folds.len())
    }

    /// Result of the best fold.
    pub fn best(&self) -> Option<&FoldBest> {
        let best = self.status.as_ref()?.folds.iter().filter_map(|f| f.best.as_ref());
        best.min_by(|a, b| a.metric.total_cmp(&b.metric))
    }

    /// Mean of the folds' best validation losses.
    pub fn mean_best(&self) -> Option<f64> {
        let folds = &self.status.as_ref()?.folds;
        let best: Vec<f64> = folds.iter().filter_map(|f| Some(f.best.as_ref()?.loss())).collect();
        (!best.is_empty()).then(|| best.iter().sum::<f64>() / best.len() as f64)
    }

    /// Seconds since state.json was last updated.
    pub fn ago(&self) -> Option<f64> {
        Some((status::now() - self.status.as_ref()?.updated).max(0.0))
    }
}

/// Lists all runs in `dir`, the most recently started first.
///
/// Errors: when the folder cannot be read.
pub fn list(dir: &Path) -> io::Result<Vec<Run>> {
    Ok(Folder::all(dir)?.iter().map(Run::of).collect())
}

/// A run's validation loss by epoch, averaged over the folds that have the epoch.
pub fn curve(state: &State) -> Vec<(f64, f64)> {
    let epochs = state.folds.iter().map(|fold| fold.epochs.len()).max().unwrap_or(0);
    (0..epochs)
        .filter_map(|epoch| {
            let at = state.folds.iter().filter_map(|fold| fold.epochs.get(epoch)?.as_ref());
            let losses: Vec<f64> = at.map(|e| e.valid_loss).filter(|y| y.is_finite()).collect();
            let mean = losses.iter().sum::<f64>() / losses.len() as f64;
            (!losses.is_empty()).then_some(((epoch + 1) as f64, mean))
        })
        .collect()
}

/// [`curve`] of the run `name` in `dir`, read from its journal; empty if it cannot be read.
pub fn curve_of(dir: &Path, name: &str) -> Vec<(f64, f64)> {
    let Ok(folder) = Folder::open(dir, Some(name)) else { return Vec::new() };
    State::of_run(&folder).map_or(Vec::new(), |(state, _)| curve(&state))
}
