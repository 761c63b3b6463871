//! Answers to a key.

use crate::run::Command;

/// Response to a key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reply {
    /// Nothing beyond redrawing.
    Nothing,
    /// Send this command to the trainer.
    Send(Command),
    /// Leave the screen once the run is over.
    Leave,
    /// Leave the screen without affecting training.
    Detach,
    /// Give the terminal back to the shell until `fg`.
    Suspend,
}
