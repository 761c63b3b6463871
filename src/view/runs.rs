//! All runs of a folder: what `rsna-tui runs` lists and the dashboard compares.

use super::{State, format};
use crate::run::event::{FoldBest, FoldState};
use crate::run::folder::Folder;
use crate::run::status::{self, FoldStatus, RunState, Status};
use std::io;
use std::path::Path;

/// A run, as it is listed.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Run {
    /// Its name, without control characters.
    pub run: String,
    /// `running`, `paused`, `held`, `starting`, `completed`, `stopped`, `requeued`, `failed`, `died` or
    /// `unknown`.
    pub state: &'static str,
    /// Its state.json, where there is one.
    pub status: Option<Status>,
}

impl Run {
    /// That of `folder`.
    pub fn of(folder: &Folder) -> Self {
        let status = Status::read(&folder.state()).ok();
        let state = match (&status, folder.is_in_use()) {
            (None, true) => "starting",
            (None, false) => "unknown",
            (Some(status), alive) => match (status.state, alive) {
                (RunState::Running, true) => "running",
                (RunState::Paused, true) => "paused",
                (RunState::Held, true) => "held",
                (RunState::Running | RunState::Paused | RunState::Held, false) => "died",
                // It goes on, and has not said so yet.
                (_, true) => "starting",
                (RunState::Completed, false) => "completed",
                (RunState::Stopped, false) => "stopped",
                (RunState::Requeued, false) => "requeued",
                (RunState::Failed, false) => "failed",
            },
        };
        Self { run: format::sanitized(&folder.name), state, status }
    }

    /// Share of its epochs that are trained, 0 to 1, folds that were given up not counted.
    pub fn share(&self) -> Option<f64> {
        let status = self.status.as_ref()?;
        let epochs = status.epochs.max(1) as f64;
        let share = |f: &FoldStatus| {
            let step = f.step as f64 / f.steps.max(1) as f64;
            ((f.epoch as f64 + step) / epochs).min(1.0)
        };
        let counted = status.folds.iter().filter(|f| f.state != FoldState::Skipped);
        let (sum, n) = counted.map(share).fold((0.0, 0), |(sum, n), x| (sum + x, n + 1));
        Some(sum / f64::from(n.max(1)))
    }

    /// Folds that are done, and all.
    pub fn folds(&self) -> (usize, usize) {
        let folds = self.status.as_ref().map_or(&[][..], |status| &status.folds);
        (folds.iter().filter(|f| f.state == FoldState::Done).count(), folds.len())
    }

    /// The best of its folds.
    pub fn best(&self) -> Option<&FoldBest> {
        let best = self.status.as_ref()?.folds.iter().filter_map(|f| f.best.as_ref());
        best.min_by(|a, b| a.metric.total_cmp(&b.metric))
    }

    /// Mean of its folds' best validation losses.
    pub fn mean_best(&self) -> Option<f64> {
        let folds = &self.status.as_ref()?.folds;
        let best: Vec<f64> = folds.iter().filter_map(|f| Some(f.best.as_ref()?.loss())).collect();
        (!best.is_empty()).then(|| best.iter().sum::<f64>() / best.len() as f64)
    }

    /// Seconds since it was written.
    pub fn ago(&self) -> Option<f64> {
        Some((status::now() - self.status.as_ref()?.updated).max(0.0))
    }
}

/// Every run in `dir`, the one that was begun last first.
///
/// Errors: the folder cannot be read.
pub fn list(dir: &Path) -> io::Result<Vec<Run>> {
    Ok(Folder::all(dir)?.iter().map(Run::of).collect())
}

/// A run's validation loss over its epochs, mean over the folds that have the epoch.
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

/// [`curve`] of the run `name` in `dir`, from its journal; empty where it cannot be read.
pub fn curve_of(dir: &Path, name: &str) -> Vec<(f64, f64)> {
    let Ok(folder) = Folder::open(dir, Some(name)) else { return Vec::new() };
    State::of_journal(&folder.journal(), None).map_or(Vec::new(), |(state, _)| curve(&state))
}
