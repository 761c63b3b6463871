//! `state.json`: where a run stands, for `rsna-tui runs` and for the process that goes on with it.

use super::{
    event::{FoldBest, FoldState},
    folder::write_atomically,
};
use crate::{bounded, config::MOST_FOLDS};
use serde::{Deserialize, Serialize};
use std::{
    io,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

/// The first words of the file.
pub const FORMAT: &str = "rsna-tui state 1";
/// Bytes of the file, at most: [`MOST_FOLDS`] folds with the paths of their checkpoints.
const LONGEST: u64 = 16 << 20;
/// Epochs and steps beyond this no run has.
const MOST: usize = u32::MAX as usize;

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// [`FORMAT`]
    pub format: String,
    /// What the trainer does, or how the run ended.
    pub state: RunState,
    /// Why, where it is held.
    #[serde(default)]
    pub reason: Option<String>,
    /// Of the process that trains or trained it.
    pub pid: u32,
    /// The run's seconds so far, the time between two processes not counted.
    pub seconds: f64,
    /// When this was written, Unix.
    pub updated: f64,
    /// Epochs a fold.
    pub epochs: usize,
    /// The queue, in its order.
    pub folds: Vec<FoldStatus>,
}

/// What the trainer does, or how the run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// At work.
    Running,
    /// Paused by the user.
    Paused,
    /// Holding for a reason.
    Held,
    /// Ended: every fold is done or given up.
    Completed,
    /// Ended by the user.
    Stopped,
    /// Ended, to be started again.
    Requeued,
    /// Ended in an error, or a fold did.
    Failed,
}

/// Where a fold stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoldStatus {
    /// The fold's number.
    pub fold: usize,
    /// Its state.
    pub state: FoldState,
    /// The seed that it is trained under.
    pub seed: u64,
    /// Epochs done.
    pub epoch: usize,
    /// Steps done in the next.
    pub step: usize,
    /// Steps an epoch.
    pub steps: usize,
    /// The best epoch so far.
    #[serde(default)]
    pub best: Option<FoldBest>,
}

impl Status {
    /// Writes it, whole or not at all.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        write_atomically(path, &text)
    }

    /// Reads it. Errors: there is none, or none of ours; one sentence.
    pub fn read(path: &Path) -> io::Result<Self> {
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        let text = bounded::read(path, LONGEST).map_err(named)?;
        Self::of_bytes(&text).map_err(|why| named(io::Error::new(io::ErrorKind::InvalidData, why)))
    }

    /// As [`Self::read`], from the file's bytes.
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
        // Whoever reads it counts on from these.
        let counts = status.folds.iter().flat_map(|f| [f.epoch, f.step, f.steps]);
        if counts.chain([status.epochs]).any(|n| n > MOST) {
            return Err(format!("it counts epochs or steps beyond {MOST}"));
        }
        Ok(status)
    }
}

/// Unix time.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
