//! Views → trainer.

use serde::{Deserialize, Serialize};

/// What a view may ask of the trainer. Each takes effect between two steps and is acknowledged
/// by an [`Event::Trainer`](super::event::Event::Trainer),
/// [`Event::Fold`](super::event::Event::Fold), [`Event::Queue`](super::event::Event::Queue),
/// [`Event::Planned`](super::event::Event::Planned) or
/// [`Event::Checkpoint`](super::event::Event::Checkpoint). What is refused, and when a command
/// about a fold or the plan is done, an [`Event::Answer`](super::event::Event::Answer) says. (A
/// slice to be shown is asked for by a [`SliceRequest`](super::SliceRequest): the trainer has no
/// part in it.)
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Hold after the step (or validation batch) at hand.
    Pause,
    /// Go on after a pause.
    Resume,
    /// Finish this epoch with its validation and checkpoints, then end the run.
    StopAfterEpoch,
    /// Save `last` and end the run after the step at hand.
    StopNow,
    /// As [`Self::StopNow`], with the outcome that asks a batch system to start the run again.
    Requeue,
    /// Save `last` after the step at hand and go on.
    Checkpoint,
    /// Another end of training, from the next step on. What is `None` stays.
    Plan {
        /// Epochs a fold: more than before.
        epochs: Option<usize>,
        /// The learning rate that the schedule falls to, 0 to its highest.
        min_learning_rate: Option<f64>,
    },
    /// Something about one fold of the queue.
    Fold {
        /// The fold's number.
        fold: usize,
        /// What about it.
        action: FoldAction,
    },
}

/// What can be asked about one fold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FoldAction {
    /// Train it now: it goes on where it stood; the one at hand is paused in its place.
    Start,
    /// Set it aside where it stands, until it is started; the next one in the queue goes on.
    Pause,
    /// Give it up; the next one in the queue goes on.
    Skip,
    /// Take one that was given up, paused, stopped or failed back into the queue.
    Restore,
    /// One place forward in the queue.
    Earlier,
    /// One place back in the queue.
    Later,
    /// Train one that is done again from its start, under a new seed; what it left is kept.
    #[serde(rename = "again")]
    Retrain,
}
