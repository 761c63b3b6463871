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
        if self.trainer == Some(TrainerState::Held) && self.pending != Some(Command::StopNow) {
            // A pending command has to wait until the hold is over.
            let held = format!("held at {}", self.position());
            return pending.map_or(held.clone(), |pending| format!("{held} · {pending}"));
        }
        if let Some(pending) = pending {
            return pending;
        }
        let doing = self.doing();
        match self.stops_after_epoch || self.pending == Some(Command::StopAfterEpoch) {
            true => format!("{doing} · stopping after this epoch"),
            false => doing,
        }
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
