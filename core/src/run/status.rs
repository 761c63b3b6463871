//! `state.json`: the state of a run, for `rsna-tui runs` and for the process that resumes it.

use super::{
    event::{FoldBest, FoldState},
    unfinished::write_atomically,
};
use crate::{bounded, config::MOST_FOLDS};
use serde::{Deserialize, Serialize};
use std::{
    io,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

/// Value of [`Status::format`].
pub const FORMAT: &str = "rsna-tui state 1";
/// Most bytes of the file: [`MOST_FOLDS`] folds with the paths of their checkpoints.
const LONGEST: u64 = 16 << 20;
/// Upper limit of epochs and steps.
const MOST: usize = u32::MAX as usize;

/// State of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// [`FORMAT`]
    pub format: String,
    /// State of the trainer, or how the run ended.
    pub state: RunState,
    /// Why, if it is held.
    #[serde(default)]
    pub reason: Option<String>,
    /// PID of the process that trains or trained it.
    pub pid: u32,
    /// Seconds of the run so far, without the gaps between its processes.
    pub seconds: f64,
    /// Unix time of this update.
    pub updated: f64,
    /// Epochs per fold.
    pub epochs: usize,
    /// The queue, in order.
    pub folds: Vec<FoldStatus>,
}

/// State of the trainer, or how the run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// No process has begun to train what is to be trained next.
    Waiting,
    /// Training.
    Running,
    /// Paused by the user.
    Paused,
    /// Waiting until a problem is resolved.
    Held,
    /// Ended: every fold is done or skipped.
    Completed,
    /// Ended by the user.
    Stopped,
    /// Ended, and should be started again.
    Requeued,
    /// Ended in an error, or a fold did.
    Failed,
}

/// State of a fold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoldStatus {
    /// Number of the fold.
    pub fold: usize,
    /// Its state.
    pub state: FoldState,
    /// Seed of its training.
    pub seed: u64,
    /// Epochs done.
    pub epoch: usize,
    /// Steps done in the next epoch.
    pub step: usize,
    /// Steps per epoch.
    pub steps: usize,
    /// The best epoch so far.
    #[serde(default)]
    pub best: Option<FoldBest>,
}

impl Status {
    /// Writes it atomically.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        write_atomically(path, &text)
    }

    /// Reads it. Errors: when there is no file, or it is not a state of this format; one sentence.
    pub fn read(path: &Path) -> io::Result<Self> {
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        let text = bounded::read(path, LONGEST).map_err(named)?;
        Self::of_bytes(&text).map_err(|why| named(io::Error::new(io::ErrorKind::InvalidData, why)))
    }

    /// Like [`Self::read`], from the file's bytes.
    pub fn of_bytes(text: &[u8]) -> Result<Self, String> {
        let status: Self =
            serde_json::from_slice(text).map_err(|e| bounded::excerpt(&e.to_string(), 200))?;
        if status.format != FORMAT {
            let format = bounded::excerpt(&status.format, 40);
            return Err(format!("its format is {format:?}, not {FORMAT:?}"));
        }
        if status.folds.len() > MOST_FOLDS {
            return Err(format!("it has {} folds, more than {MOST_FOLDS}", status.folds.len()));
        }
        // Readers do arithmetic with these.
        let counts = status.folds.iter().flat_map(|f| [f.epoch, f.step, f.steps]);
        if counts.chain([status.epochs]).any(|n| n > MOST) {
            return Err(format!("it counts epochs or steps beyond {MOST}"));
        }
        Ok(status)
    }
}

/// Returns the current Unix time.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
