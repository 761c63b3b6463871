//! Views → trainer.

use serde::{Deserialize, Serialize};

/// What a view may ask of the trainer. Each takes effect between two steps and is acknowledged
/// by an [`Event::Trainer`](super::event::Event::Trainer) or
/// [`Event::Fold`](super::event::Event::Fold).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Hold after the step (or validation batch) at hand.
    Pause,
    /// Go on after a pause.
    Resume,
    /// Give up the fold at hand and go on with the next one.
    SkipFold,
    /// Finish this epoch with its validation and checkpoints, then end the run.
    StopAfterEpoch,
    /// Save `last` and end the run after the step at hand.
    StopNow,
}
