//! A run whose folds several processes train: `queue.json`, and the state of the run put together from its
//! folds'.

use super::{
    event::{FoldState, RunStarted},
    folder::{Folder, write_atomically},
    status::{self, FoldStatus, RunState, Status},
};
use crate::{bounded, config::MOST_FOLDS};
use serde::{Deserialize, Serialize};
use std::io;

/// Value of [`Plan::format`].
const FORMAT: &str = "rsna-tui queue 1";
/// Maximum size of the file in bytes.
const LONGEST: u64 = 16 << 20;

/// `queue.json`: what a shared run trains, and in which order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// [`FORMAT`]
    pub format: String,
    /// Unix time at which the run was made shared.
    pub created: f64,
    /// The run's folds; the device is that of the process that made the plan.
    pub plan: RunStarted,
    /// The folds' numbers in the order in which they are to be trained.
    pub order: Vec<usize>,
}

impl Plan {
    /// A plan in the folds' order.
    pub fn new(plan: RunStarted) -> Self {
        let order = plan.folds.iter().map(|fold| fold.fold).collect();
        Self { format: FORMAT.into(), created: status::now(), plan, order }
    }

    /// Reads it. Errors: when it is missing or not of this format; one sentence.
    pub fn read(folder: &Folder) -> io::Result<Self> {
        let path = folder.queue();
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        let bytes = bounded::read(&path, LONGEST).map_err(named)?;
        Self::of_bytes(&bytes).map_err(|why| named(io::Error::new(io::ErrorKind::InvalidData, why)))
    }

    /// Like [`Self::read`], from the file's bytes.
    pub fn of_bytes(bytes: &[u8]) -> Result<Self, String> {
        let plan: Self =
            serde_json::from_slice(bytes).map_err(|e| bounded::excerpt(&e.to_string(), 200))?;
        if plan.format != FORMAT {
            let format = bounded::excerpt(&plan.format, 40);
            return Err(format!("its format is {format:?}, not {FORMAT:?}"));
        }
        if plan.plan.folds.len() > MOST_FOLDS {
            return Err(format!("it has more than {MOST_FOLDS} folds"));
        }
        Ok(plan)
    }

    /// Writes it atomically.
    pub fn write(&self, folder: &Folder) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        write_atomically(&folder.queue(), &text)
    }

    /// The folds' numbers in their order; those that `order` lacks come last.
    pub fn folds(&self) -> Vec<usize> {
        let known = |fold: &usize| self.plan.folds.iter().any(|plan| plan.fold == *fold);
        let mut folds: Vec<usize> = Vec::new();
        let all = self.plan.folds.iter().map(|plan| plan.fold);
        for fold in self.order.iter().copied().filter(known).chain(all) {
            if !folds.contains(&fold) {
                folds.push(fold);
            }
        }
        folds
    }

    /// The state of a fold as its own folder has it, or as one that waits.
    ///
    /// Errors: when its state.json cannot be read, unless it is missing.
    pub fn status(&self, folder: &Folder, fold: usize) -> io::Result<Status> {
        match Status::read(&folder.of_fold(fold).state()) {
            Ok(status) => Ok(status),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(self.waiting(fold)),
            Err(error) => Err(error),
        }
    }

    fn waiting(&self, fold: usize) -> Status {
        let steps =
            self.plan.folds.iter().find(|plan| plan.fold == fold).map_or(0, |plan| plan.steps);
        let (state, seed) = (FoldState::Waiting, self.plan.seed);
        let entry = FoldStatus { fold, state, seed, epoch: 0, step: 0, steps, best: None };
        Status {
            format: status::FORMAT.into(),
            state: RunState::Waiting,
            reason: None,
            pid: 0,
            seconds: 0.0,
            updated: self.created,
            epochs: self.plan.epochs,
            folds: vec![entry],
        }
    }
}

/// The state of a run, shared or not.
///
/// Errors: when a file cannot be read.
pub fn status(folder: &Folder) -> io::Result<Status> {
    if !folder.is_shared() {
        return Status::read(&folder.state());
    }
    let plan = Plan::read(folder)?;
    let folds = plan.folds();
    let folds: Vec<Status> =
        folds.into_iter().map(|fold| plan.status(folder, fold)).collect::<io::Result<_>>()?;
    Ok(together(&folds).unwrap_or_else(|| plan.waiting(0)))
}

/// Puts the states of folds together; `None` if there are none.
fn together(folds: &[Status]) -> Option<Status> {
    let newest = folds.iter().max_by(|a, b| a.updated.total_cmp(&b.updated))?;
    let has = |state| folds.iter().any(|fold| fold.state == state);
    let entries: Vec<FoldStatus> = folds.iter().flat_map(|fold| fold.folds.clone()).collect();
    let is_over = |fold: &FoldStatus| matches!(fold.state, FoldState::Done | FoldState::Skipped);
    let first = [
        RunState::Running,
        RunState::Held,
        RunState::Paused,
        RunState::Requeued,
        RunState::Failed,
        RunState::Stopped,
    ];
    let state = match first.into_iter().find(|&state| has(state)) {
        Some(state) => state,
        None if entries.iter().all(is_over) => RunState::Completed,
        None => RunState::Waiting,
    };
    Some(Status {
        state,
        reason: folds.iter().find_map(|fold| fold.reason.clone()),
        seconds: folds.iter().map(|fold| fold.seconds).fold(0.0, f64::max),
        epochs: folds.iter().map(|fold| fold.epochs).max().unwrap_or(0),
        folds: entries,
        ..newest.clone()
    })
}
