//! Commands from the views to the trainer.

use serde::{Deserialize, Serialize};

/// A command, and the number by which its sender recognises the
/// [`Event::Ack`](super::event::Event::Ack) that answers it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the sender; `None` if it does not matter to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// The fold whose worker is meant, in a shared run; `None`: all workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<usize>,
    /// What to do.
    #[serde(flatten)]
    pub command: Command,
}

impl Request {
    /// A request with a number, for all workers.
    pub fn numbered(id: u64, command: Command) -> Self {
        Self { id: Some(id), worker: None, command }
    }
}

impl From<Command> for Request {
    fn from(command: Command) -> Self {
        Self { id: None, worker: None, command }
    }
}

/// A command from a view to the trainer. Each takes effect between two steps and is answered by one
/// [`Event::Ack`](super::event::Event::Ack): carried out, or refused. (Views request slices by
/// [`SliceRequest`](super::SliceRequest); the trainer does not handle those.)
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Pause after the current step (or validation batch).
    Pause,
    /// Continue after a pause.
    Resume,
    /// Finish this epoch with its validation and checkpoints, then end the run.
    StopAfterEpoch,
    /// Save `last` and end the run after the current step.
    StopNow,
    /// Like [`Self::StopNow`], with the outcome that asks a batch system to start the run again.
    Requeue,
    /// Save `last` after the current step and continue.
    Checkpoint,
    /// Change how long training lasts, from the next step on. `None` leaves a value unchanged.
    Plan {
        /// Epochs per fold: more than before.
        epochs: Option<usize>,
        /// Final learning rate of the schedule, from 0 to the schedule's maximum.
        min_learning_rate: Option<f64>,
    },
    /// Act on one fold of the queue.
    Fold {
        /// The fold's number.
        fold: usize,
        /// What to do with it.
        action: FoldAction,
    },
}

/// An action on one fold; its names on the command line and in the journal are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum FoldAction {
    /// Train it now from where it stood; the fold in training pauses and keeps its place.
    Start,
    /// Pause it until it is started again; the next fold in the queue trains.
    Pause,
    /// Give it up; the next fold in the queue trains.
    Skip,
    /// Put a skipped, paused, stopped or failed fold back into the queue.
    Restore,
    /// Move it one place forward in the queue.
    Earlier,
    /// Move it one place back in the queue.
    Later,
    /// Train a finished fold again from the start, under a new seed; its earlier files are kept.
    #[serde(rename = "again")]
    #[value(name = "again")]
    Retrain,
}
