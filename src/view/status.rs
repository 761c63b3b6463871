//! One-line descriptions of a run's state.

use super::fold::word;
use super::{State, format, pending, report};
use crate::run::Command;
use crate::run::event::{FoldState, Level, Outcome, TrainerState};

/// Shown by an attached view whose events ended before the run did.
const CONNECTION_ENDED: &str =
    "the connection ended: the training process may be gone, see `rsna-tui runs`";

/// Alarm line at the top of the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// Severity.
    pub level: Level,
    /// One line: the condition, since when it holds, and the number of further alerts.
    pub text: String,
}

impl State {
    /// Describes the trainer's activity briefly: `paused at fold 1 epoch 3 step 41`.
    pub fn status(&self) -> String {
        if self.vanished {
            return match self.attached {
                true => "the connection ended".into(),
                false => "the trainer ended without a word; see the log".into(),
            };
        }
        if let Some(finished) = &self.finished {
            return report::outcome(finished.outcome).into();
        }
        let pending = self.pending.and_then(pending::words);
        let held = !self.shared && self.trainer == Some(TrainerState::Held);
        if held && self.pending != Some(Command::StopNow) {
            // A pending command has to wait until the hold is over.
            let held = format!("held at {}", self.position());
            return pending.map_or(held.clone(), |pending| format!("{held} · {pending}"));
        }
        if let Some(pending) = pending {
            return pending;
        }
        if self.shared {
            return self.crew_status();
        }
        let doing = self.doing();
        match self.stops_after_epoch || self.pending == Some(Command::StopAfterEpoch) {
            true => format!("{doing} · stopping after this epoch"),
            false => doing,
        }
    }

    /// `3 of 5 folds in training · 1 pending`, and what is wrong.
    fn crew_status(&self) -> String {
        let (crew, folds) = (self.crew(), self.folds.len());
        let mut text = match crew.training {
            0 => format!("none of {folds} folds in training"),
            n => format!("{n} of {folds} folds in training"),
        };
        let others = [
            (crew.held, "held"),
            (crew.died, "died"),
            (crew.silent, "silent"),
            (crew.paused, "paused"),
            (crew.starting, "starting"),
            (crew.pending, "pending"),
        ];
        for (count, word) in others.into_iter().filter(|(count, _)| *count > 0) {
            text += &format!(" · {count} {word}");
        }
        if self.is_stopping() {
            text += " · stopping";
        } else if self.all_stop_after_epoch() || self.pending == Some(Command::StopAfterEpoch) {
            text += " · stopping after this epoch";
        }
        text
    }

    /// What the watched fold's process does: `fold 1 epoch 3 step 23/40`.
    pub fn watching(&self) -> Option<String> {
        let fold = self.fold().filter(|_| self.shared && !self.is_over())?;
        let at = fold.at;
        Some(match (self.word(fold), fold.state) {
            (_, FoldState::Validating) => format!(
                "fold {} epoch {} validation {}/{}",
                at.fold, at.epoch, fold.valid_batch, fold.plan.valid_batches
            ),
            ("training", _) => format!("{at}/{}", fold.plan.steps),
            (word, _) => format!("fold {} {word}", at.fold),
        })
    }

    fn doing(&self) -> String {
        let at = self.position();
        match (self.trainer, self.fold()) {
            (Some(TrainerState::Stopping), _) => "stopping… saving last".into(),
            (Some(TrainerState::Paused), _) if self.lacks_a_fold() => {
                "paused: no fold waits".into()
            }
            (Some(TrainerState::Paused), Some(fold)) if fold.state == FoldState::Validating => {
                format!("paused at fold {} epoch {} validation", at.fold, at.epoch)
            }
            (Some(TrainerState::Paused), _) => format!("paused at {at}"),
            _ if self.plan.is_none() => "starting…".into(),
            _ if !self.has_begun() => "working on the first step…".into(),
            (_, Some(fold)) => match fold.state {
                FoldState::Validating => format!(
                    "validating fold {} epoch {} batch {}/{}",
                    at.fold, at.epoch, fold.valid_batch, fold.plan.valid_batches
                ),
                FoldState::Training => {
                    format!("training {at}/{}", fold.plan.steps)
                }
                state => format!("fold {} {}", at.fold, word(state)),
            },
            (_, None) => "training".into(),
        }
    }

    /// The most severe unacknowledged alert.
    pub fn alarm(&self) -> Option<Alarm> {
        let standing = self.alerts.standing();
        let (first, others) = standing.split_first()?;
        let mut text = first.text.clone();
        if !first.kind.has_own_event() {
            text += &format!(" · since {}", format::duration(first.since));
            if let Some(until) = first.until {
                text += &format!(" until {}", format::duration(until));
            }
        }
        if !others.is_empty() {
            // A non-breaking space keeps the two words on one row.
            text += &format!(" · {}\u{a0}more", others.len());
        }
        Some(Alarm { level: first.kind.level(), text })
    }

    /// Log message for events that ended too early.
    pub(super) fn lost(&self) -> &'static str {
        if self.attached { CONNECTION_ENDED } else { "the trainer ended without a word" }
    }

    /// Whether the run has ended without failing.
    pub fn ended_well(&self) -> bool {
        matches!(&self.finished, Some(f) if f.outcome != Outcome::Failed)
    }
}
