//! Shows a shared run while this process watches over its workers.

use super::{
    attach,
    live::{self, Front},
    signals::Signals,
};
use crate::{config::Config, run::event::Outcome, run::folder::Folder};
use eyre::Result;
use std::thread::JoinHandle;

/// The front end of a shared run.
pub(super) struct Shown {
    front: JoinHandle<()>,
    is_plain: bool,
}

impl Shown {
    /// Starts it.
    ///
    /// Errors: when the run's plan cannot be read, or no thread can be started.
    pub(super) fn start(
        run: &Folder,
        config: &Config,
        is_plain: bool,
        signals: &Signals,
    ) -> Result<Self> {
        let opened = attach::shared(run, config)?;
        let front = Front {
            handle: opened.handle,
            config: config.clone(),
            signals: signals.clone(),
            reachable: true,
        };
        let mut state = opened.state;
        state.reopen();
        Ok(Self { front: front.start(state, is_plain)?, is_plain })
    }

    /// Waits until it has shown the end of the run.
    pub(super) fn close(self, outcome: Outcome, signals: &Signals) {
        live::wait_for(&self.front, outcome, self.is_plain, signals);
    }
}
