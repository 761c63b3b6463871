//! Commands that the trainer has not answered yet.

use crate::run::event::{Answer, Event, FoldState, TrainerState};
use crate::run::{Command, FoldAction};

/// A command sent to the trainer and not answered yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pending {
    /// [`Command::Pause`]
    Pausing,
    /// [`Command::Resume`]
    Resuming,
    /// [`Command::Fold`]
    Fold {
        /// The fold's number.
        fold: usize,
        /// The requested action.
        action: FoldAction,
        /// Whether the action changes which fold is in training. The queue's new order is then not
        /// yet the answer.
        changes: bool,
    },
    /// [`Command::Plan`]
    Planning,
    /// [`Command::Checkpoint`]
    Saving,
    /// [`Command::StopAfterEpoch`]
    StoppingAfterEpoch,
    /// [`Command::StopNow`] or [`Command::Requeue`]
    Stopping,
}

impl Pending {
    /// The pending state after `command`. `in_training`: the fold in training.
    pub fn of(command: Command, in_training: Option<usize>) -> Self {
        match command {
            Command::Pause => Self::Pausing,
            Command::Resume => Self::Resuming,
            Command::Fold { fold, action } => {
                let here = in_training == Some(fold);
                let changes = match action {
                    FoldAction::Pause | FoldAction::Skip => here,
                    FoldAction::Start => !here,
                    _ => false,
                };
                Self::Fold { fold, action, changes }
            }
            Command::Plan { .. } => Self::Planning,
            Command::Checkpoint => Self::Saving,
            Command::StopAfterEpoch => Self::StoppingAfterEpoch,
            Command::StopNow | Command::Requeue => Self::Stopping,
        }
    }

    /// Whether it concerns the whole run. Pending requests about a fold or a checkpoint must not
    /// hide it.
    pub fn concerns_the_run(self) -> bool {
        !matches!(self, Self::Fold { .. } | Self::Saving | Self::Planning)
    }

    /// Whether `event` answers the command or makes an answer unnecessary.
    pub fn is_answered_by(self, event: &Event) -> bool {
        if let Event::Trainer(trainer) = event {
            use TrainerState as T;
            return match trainer.state {
                T::Stopping => true,
                T::Running => self == Self::Resuming,
                T::Paused => self == Self::Pausing,
                // The trainer's next state shows that the pause has ended.
                T::StoppingAfterEpoch => {
                    matches!(self, Self::StoppingAfterEpoch | Self::Resuming)
                }
                T::Held => false,
            };
        }
        match (self, event) {
            (Self::Fold { changes: true, .. }, Event::Answer(Answer { refused: None, .. })) => {
                false
            }
            (_, Event::Answer(answer)) => self.is_of(answer.command),
            (Self::Fold { fold, action: FoldAction::Start, .. }, Event::Fold(event)) => {
                event.at.fold == fold && event.state == FoldState::Training
            }
            (Self::Fold { fold, action: FoldAction::Start, .. }, Event::EpochStarted(event)) => {
                event.at.fold == fold
            }
            (Self::Fold { fold, .. }, Event::Fold(event)) => {
                event.at.fold == fold
                    && !matches!(event.state, FoldState::Training | FoldState::Validating)
            }
            // The notebook's DEBUG mode writes no checkpoints, so the epoch's end also counts as
            // the answer.
            (Self::Saving, Event::Checkpoint(_) | Event::Epoch(_)) => true,
            _ => false,
        }
    }

    /// Whether `command` is the pending one.
    fn is_of(self, command: Command) -> bool {
        match (self, command) {
            (Self::Fold { fold, action, .. }, Command::Fold { fold: of, action: what }) => {
                (fold, action) == (of, what)
            }
            (Self::Planning, Command::Plan { .. }) | (Self::Saving, Command::Checkpoint) => true,
            _ => false,
        }
    }

    /// Status text, such as `pausing…`; `None` where the trainer's own state is more informative.
    pub fn words(self) -> Option<String> {
        Some(match self {
            Self::Stopping => "stopping… saving last".into(),
            Self::Pausing => "pausing…".into(),
            Self::Resuming => "resuming…".into(),
            Self::Saving => "saving last…".into(),
            Self::Planning => "changing the plan…".into(),
            Self::Fold { fold, action, .. } => match action {
                FoldAction::Start => format!("starting fold {fold}…"),
                FoldAction::Pause => format!("pausing fold {fold}…"),
                FoldAction::Skip => format!("skipping fold {fold}…"),
                FoldAction::Restore => format!("bringing fold {fold} back…"),
                FoldAction::Earlier | FoldAction::Later => format!("moving fold {fold}…"),
                FoldAction::Retrain => format!("queueing fold {fold} again…"),
            },
            Self::StoppingAfterEpoch => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::event::{FoldEvent, Level, Log, Position, TrainerEvent};

    fn fold_event(fold: usize, state: FoldState) -> Event {
        Event::Fold(FoldEvent { at: Position { fold, epoch: 1, step: 2 }, state })
    }

    #[test]
    fn what_changes_the_fold_in_training_is_answered_by_that_fold() {
        let of = |fold, action| Pending::of(Command::Fold { fold, action }, Some(1));
        let obeyed = |fold, action| {
            let command = Command::Fold { fold, action };
            Event::Answer(Answer { command, refused: None })
        };
        let pause = of(1, FoldAction::Pause);
        assert!(!pause.is_answered_by(&obeyed(1, FoldAction::Pause)));
        assert!(!pause.is_answered_by(&fold_event(1, FoldState::Validating)));
        assert!(pause.is_answered_by(&fold_event(1, FoldState::Paused)));
        assert!(of(2, FoldAction::Pause).is_answered_by(&obeyed(2, FoldAction::Pause)));
        assert!(!of(2, FoldAction::Pause).is_answered_by(&obeyed(3, FoldAction::Pause)));
        let start = of(2, FoldAction::Start);
        assert!(!start.is_answered_by(&obeyed(2, FoldAction::Start)));
        assert!(!start.is_answered_by(&fold_event(1, FoldState::Waiting)));
        assert!(start.is_answered_by(&fold_event(2, FoldState::Training)));
    }

    #[test]
    fn only_a_refusal_of_the_command_itself_ends_the_wait_for_it() {
        let command = Command::Fold { fold: 1, action: FoldAction::Pause };
        let pause = Pending::of(command, Some(1));
        let refused = |command| Event::Answer(Answer { command, refused: Some("no".into()) });
        assert!(pause.is_answered_by(&refused(command)));
        let others = [
            Command::Fold { fold: 10, action: FoldAction::Pause },
            Command::Fold { fold: 1, action: FoldAction::Skip },
            Command::Plan { epochs: Some(3), min_learning_rate: None },
            Command::Checkpoint,
        ];
        for other in others {
            assert!(!pause.is_answered_by(&refused(other)), "{other:?}");
        }
        let message = "fold 1: a batch was left out".into();
        assert!(!pause.is_answered_by(&Event::Log(Log { level: Level::Warn, message })));
    }

    #[test]
    fn going_on_is_answered_whatever_comes_after() {
        let answered = |pending: Pending, state| {
            let event = TrainerEvent { at: Position::default(), state, reason: None };
            pending.is_answered_by(&Event::Trainer(event))
        };
        assert!(answered(Pending::Resuming, TrainerState::Running));
        assert!(answered(Pending::Resuming, TrainerState::StoppingAfterEpoch));
        assert!(!answered(Pending::Pausing, TrainerState::Held));
        assert!(answered(Pending::Saving, TrainerState::Stopping));
    }
}
