//! Shows a shared run while this process runs its workers.

use super::signals::Signals;
use crate::{config::Config, run::folder::Folder};
use eyre::Result;

/// The front end of a shared run.
pub(super) struct Shown;

/// Starts it.
pub(super) fn start(_: &Folder, _: &Config, _: bool, _: &Signals) -> Result<Shown> {
    Ok(Shown)
}

impl Shown {
    /// Waits until it has shown the end of the run, if there is one.
    pub(super) fn close(self, _: bool) {}
}
