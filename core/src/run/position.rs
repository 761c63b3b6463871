//! A position within training.

use serde::{Deserialize, Serialize};

/// A position within training. Epoch and step count from 1, as in the log; 0: before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Position {
    /// Number of the fold.
    pub fold: usize,
    /// Epoch within the fold, from 1.
    pub epoch: usize,
    /// Steps done within the epoch.
    pub step: usize,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "fold {} epoch {} step {}", self.fold, self.epoch, self.step)
    }
}
