//! What is known of a command that the trainer has not answered yet.

use crate::run::event::{Event, FoldState, TrainerState};
use crate::run::{Command, FoldAction, rules};

/// Whether it concerns the whole run. Pending commands about a fold or a checkpoint must not hide it.
pub(super) fn concerns_the_run(command: Command) -> bool {
    !matches!(command, Command::Fold { .. } | Command::Checkpoint | Command::Plan { .. })
}

/// Whether `event` answers the command or makes an answer unnecessary.
pub(super) fn is_answered(command: Command, event: &Event) -> bool {
    match (command, event) {
        (_, Event::Trainer(trainer)) if trainer.state == TrainerState::Stopping => true,
        // The fold itself shows it before the acknowledgement does.
        (Command::Fold { fold, action }, Event::Fold(event)) if event.at.fold == fold => {
            let at_work = matches!(event.state, FoldState::Training | FoldState::Validating);
            at_work == (action == FoldAction::Start)
        }
        _ => rules::answer(command.into(), event).is_some(),
    }
}

/// Status text, such as `pausing…`; `None` where the trainer's own state is more informative.
pub(super) fn words(command: Command) -> Option<String> {
    Some(match command {
        Command::StopNow | Command::Requeue => "stopping… saving last".into(),
        Command::Pause => "pausing…".into(),
        Command::Resume => "resuming…".into(),
        Command::Checkpoint => "saving last…".into(),
        Command::Plan { .. } => "changing the plan…".into(),
        Command::Fold { fold, action } => match action {
            FoldAction::Start => format!("starting fold {fold}…"),
            FoldAction::Pause => format!("pausing fold {fold}…"),
            FoldAction::Skip => format!("skipping fold {fold}…"),
            FoldAction::Restore => format!("bringing fold {fold} back…"),
            FoldAction::Earlier | FoldAction::Later => format!("moving fold {fold}…"),
            FoldAction::Retrain => format!("queueing fold {fold} again…"),
        },
        Command::StopAfterEpoch => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::event::{Ack, FoldEvent, Position, TrainerEvent};

    fn fold_event(fold: usize, state: FoldState) -> Event {
        Event::Fold(FoldEvent { at: Position { fold, epoch: 1, step: 2 }, state })
    }

    #[test]
    fn what_changes_the_fold_in_training_is_answered_by_that_fold() {
        let of = |fold, action| Command::Fold { fold, action };
        let pause = of(1, FoldAction::Pause);
        assert!(!is_answered(pause, &fold_event(1, FoldState::Validating)));
        assert!(is_answered(pause, &fold_event(1, FoldState::Paused)));
        let refused = Ack { id: None, command: pause, refused: Some("no".into()) };
        assert!(is_answered(pause, &Event::Ack(refused.clone())));
        assert!(!is_answered(of(2, FoldAction::Pause), &Event::Ack(refused)));
        let start = of(2, FoldAction::Start);
        assert!(!is_answered(start, &fold_event(1, FoldState::Waiting)));
        assert!(is_answered(start, &fold_event(2, FoldState::Training)));
    }

    #[test]
    fn a_run_that_stops_answers_nothing_else() {
        let state = TrainerState::Stopping;
        let stopping = TrainerEvent { at: Position::default(), state, reason: None };
        assert!(is_answered(Command::Checkpoint, &Event::Trainer(stopping)));
    }
}
