//! The selected fold and, where several processes train, the watched one.

use super::{Reply, Screen};
use crate::run::{Command, Request};
use crate::tui::action::Watch;
use crate::view::Fold;

/// Why keys about processes do nothing in a run of one.
const ALONE: &str = "one process trains this run: there is no other fold to watch";

impl Screen {
    pub(super) fn select_fold(&mut self, by: isize) {
        let next = self.shown().saturating_add_signed(by);
        let next = self.state.folds.get(next).filter(|_| next != self.state.current);
        self.selected_fold = next.map(|fold| fold.plan.fold);
    }

    /// Index of the selected fold.
    pub(super) fn shown(&self) -> usize {
        let place = |number| self.state.folds.iter().position(|f| f.plan.fold == number);
        self.selected_fold.and_then(place).unwrap_or(self.state.current)
    }

    /// The selected fold, whose curves are shown and which keys act on.
    pub(super) fn fold(&self) -> Option<&Fold> {
        self.state.folds.get(self.shown())
    }

    /// Watches another fold.
    pub(super) fn watch(&mut self, which: Watch) -> Reply {
        if !self.state.shared {
            return self.notice(ALONE);
        }
        let next = match which {
            Watch::Selected => {
                let Some(fold) = self.fold() else { return Reply::Nothing };
                let (number, word) = (fold.plan.fold, self.state.word(fold));
                if self.state.watched() == Some(number) {
                    return self.notice(format!("fold {number} is watched already"));
                }
                if !fold.is_at_work() {
                    return self.notice(format!("fold {number} is {word}: no process trains it"));
                }
                Some(number)
            }
            Watch::Before => self.state.trained_beside(-1),
            Watch::After => self.state.trained_beside(1),
        };
        let Some(next) = next else { return self.notice("no other fold is in training") };
        self.state.watch(next);
        self.selected_fold = None;
        self.views.crops.release();
        Reply::Nothing
    }

    /// Pauses the process of the selected fold, or resumes it.
    pub(super) fn pause_worker(&mut self) -> Reply {
        if !self.state.shared {
            return self.notice("one process trains this run: p pauses it");
        }
        if let Some(why) = self.deaf() {
            return self.notice(why);
        }
        let Some(fold) = self.fold() else { return Reply::Nothing };
        let (number, word) = (fold.plan.fold, self.state.word(fold));
        if !fold.is_at_work() {
            return self.notice(format!("fold {number} is {word}: no process trains it"));
        }
        let (command, what) = match self.state.goes_on(fold) {
            true => (Command::Pause, "pause"),
            false => (Command::Resume, "go on"),
        };
        self.done(format!("fold {number}: its process was asked to {what}"));
        Reply::SendTo(Request { id: None, worker: Some(number), command })
    }

    /// The watched fold, once after each change: pictures come from its process alone.
    pub fn take_watched(&mut self) -> Option<usize> {
        let watched = self.state.watched();
        let is_new = watched != std::mem::replace(&mut self.told, watched);
        watched.filter(|_| is_new)
    }
}
