//! Which view is shown, and of what.

use crate::view::{Fold, State};

/// A view, which fills the screen between header and key line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum View {
    /// Is it going well?
    #[default]
    Overview,
    /// What changed, and when?
    Curves,
    /// Which level is hard?
    Vertebrae,
    /// What does it see, and where is it wrong?
    Crops,
    /// How do the folds compare?
    Folds,
    /// Is the machine busy, and with what?
    System,
    /// What has happened?
    Log,
    /// Is it better than before?
    Runs,
}

/// What a view shows.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The run's state.
    pub state: &'a State,
    /// Index of the selected fold, whose curves are shown and that keys act on.
    pub shown: usize,
    /// Whether an overlay is on top.
    pub covered: bool,
    /// Seconds since the run started.
    pub now: f64,
}

impl<'a> Context<'a> {
    /// The selected fold.
    pub fn fold(&self) -> Option<&'a Fold> {
        self.state.folds.get(self.shown)
    }
}
