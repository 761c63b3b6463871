//! The state of a run from the journals in its folder.

use super::{MOST_EPOCHS, State};
use crate::run::event::{Event, Level, Stamped};
use crate::run::folder::Folder;
use crate::run::{journal, replay};
use std::collections::{BTreeMap, BTreeSet};

impl State {
    /// Replays the journal of a run, or of a shared run those of its folds. Returns the state and the number
    /// of lines that could not be understood.
    ///
    /// Errors: when a journal or a shared run's queue cannot be read, or has an unknown format.
    pub fn of_run(folder: &Folder) -> Result<(Self, usize), journal::Error> {
        Self::of_run_with(folder, |_, _| {})
    }

    /// Like [`Self::of_run`], and passes every event with its Unix time to `also`.
    ///
    /// Errors: as for [`Self::of_run`].
    pub fn of_run_with(
        folder: &Folder,
        mut also: impl FnMut(&Stamped, f64),
    ) -> Result<(Self, usize), journal::Error> {
        if !folder.is_shared() {
            return Self::of_journal_with(&folder.journal(), None, also);
        }
        let mut state = Self::default();
        // A fold that was planned anew may have more epochs than the run.
        let mut epochs: BTreeMap<usize, usize> = BTreeMap::new();
        let passed = replay::for_each(folder, |stamped, time| {
            match (&stamped.event, stamped.fold) {
                (Event::RunStarted(plan), Some(fold)) => {
                    epochs.insert(fold, plan.epochs);
                    state.give_epochs(fold, plan.epochs);
                }
                // These are about this fold alone; the run's own come last.
                (Event::Queue(_) | Event::RunFinished(_), Some(_)) => {}
                (event, fold) => {
                    if let (Event::Planned(planned), Some(fold)) = (event, fold) {
                        epochs.insert(fold, planned.epochs);
                    }
                    state.apply(stamped);
                }
            }
            also(stamped, time);
            Ok::<(), journal::Error>(())
        })?;
        for (fold, epochs) in epochs {
            state.give_epochs(fold, epochs);
        }
        state.passed_over(passed.unknown);
        state.alerts.settle();
        Ok((state, passed.damaged))
    }

    /// Makes room for the epochs of a fold.
    fn give_epochs(&mut self, fold: usize, epochs: usize) {
        let most = MOST_EPOCHS / self.folds.len().max(1);
        if let Some(fold) = self.fold_mut(fold) {
            let done = fold.last_epoch().map_or(0, |epoch| epoch.at.epoch);
            fold.epochs.resize(epochs.min(most).max(done), None);
        }
    }

    /// Logs what a newer version wrote.
    pub(super) fn passed_over(&mut self, unknown: BTreeSet<String>) {
        if !unknown.is_empty() {
            let names = Vec::from_iter(unknown).join(", ");
            let text = format!("a newer rsna-tui wrote this journal; passed over: {names}");
            self.log_line(Level::Warn, &text);
        }
    }
}
