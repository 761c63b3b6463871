//! The rules of the control protocol, the same for the trainer and the views: what an action does to a
//! fold, and which event answers a command.

use super::{
    Command, FoldAction, Request,
    event::{CheckpointKind, Event, FoldState, TrainerState},
};

/// A fold as the rules see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoldInQueue {
    /// Its state.
    pub state: FoldState,
    /// Its place in the queue, from 0.
    pub place: usize,
    /// Number of folds in the queue.
    pub folds: usize,
    /// Whether it is the fold in training.
    pub current: bool,
    /// Whether any fold is in training.
    pub busy: bool,
}

/// What an action means for the fold in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Stay,
    /// It is left in this state.
    Leave(FoldState),
    /// Nothing; a run that waits for a fold continues.
    GoOn,
}

/// Effect of `action` on `fold`; `None` if it makes no sense and is refused.
pub fn effect(action: FoldAction, fold: FoldInQueue) -> Option<Effect> {
    use FoldAction as A;
    use FoldState as S;
    match (action, fold.state) {
        (A::Start, _) if fold.current => Some(Effect::GoOn),
        (A::Start, S::Done) => None,
        // The fold in training resumes when its turn comes.
        (A::Start, _) if fold.busy => Some(Effect::Leave(S::Waiting)),
        (A::Start, _) => Some(Effect::GoOn),
        (A::Pause, _) if fold.current => Some(Effect::Leave(S::Paused)),
        (A::Skip, _) if fold.current => Some(Effect::Leave(S::Skipped)),
        (A::Pause | A::Skip, S::Waiting | S::Paused) => Some(Effect::Stay),
        (A::Restore, state) if is_set_aside(state) => Some(Effect::GoOn),
        (A::Earlier, state) if state != S::Done && fold.place > 0 => Some(Effect::Stay),
        (A::Later, state) if state != S::Done && fold.place + 1 < fold.folds => Some(Effect::Stay),
        (A::Retrain, S::Done) => Some(Effect::GoOn),
        _ => None,
    }
}

/// Whether a fold in this state is neither done nor in the queue, and can be restored.
pub fn is_set_aside(state: FoldState) -> bool {
    matches!(state, FoldState::Paused | FoldState::Skipped | FoldState::Stopped | FoldState::Failed)
}

/// How `event` answers `request`: it was carried out, or refused and why. `None`: it does not answer it.
///
/// Ids are compared where both sides have one. A trainer of an older version has none, and answers
/// commands that change its own state only by that change.
pub fn answer(request: Request, event: &Event) -> Option<Result<(), &str>> {
    use TrainerState as T;
    let Request { id, command, .. } = request;
    let is_stop = matches!(command, Command::StopNow | Command::Requeue);
    let done = match (command, event) {
        (_, Event::Ack(ack)) => {
            let same_id = id.zip(ack.id).is_none_or(|(ours, theirs)| ours == theirs);
            match &ack.refused {
                _ if !same_id || ack.command != command => false,
                Some(why) => return Some(Err(why)),
                // The run still has to save and end.
                None => !is_stop,
            }
        }
        (Command::Pause, Event::Trainer(t)) => t.state == T::Paused,
        // The trainer's next state shows that the pause has ended.
        (Command::Resume, Event::Trainer(t)) => {
            matches!(t.state, T::Running | T::StoppingAfterEpoch)
        }
        (Command::StopAfterEpoch, Event::Trainer(t)) => t.state == T::StoppingAfterEpoch,
        (Command::Checkpoint, Event::Checkpoint(c)) => c.kind == CheckpointKind::Last,
        (_, Event::RunFinished(_)) => is_stop,
        _ => false,
    };
    done.then_some(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::event::{Ack, Level, Log, Position, TrainerEvent};
    use FoldAction as A;
    use FoldState as S;

    #[test]
    fn what_an_action_does_to_a_fold() {
        use Effect::{GoOn, Leave, Stay};
        let fold = |state, current, busy| FoldInQueue { state, place: 1, folds: 3, current, busy };
        let table = [
            // state, is in training, another is: start, pause, skip, restore, earlier and later, again
            (
                fold(S::Training, true, true),
                [
                    Some(GoOn),
                    Some(Leave(S::Paused)),
                    Some(Leave(S::Skipped)),
                    None,
                    Some(Stay),
                    None,
                ],
            ),
            (
                fold(S::Waiting, false, true),
                [Some(Leave(S::Waiting)), Some(Stay), Some(Stay), None, Some(Stay), None],
            ),
            (
                fold(S::Waiting, false, false),
                [Some(GoOn), Some(Stay), Some(Stay), None, Some(Stay), None],
            ),
            (
                fold(S::Paused, false, false),
                [Some(GoOn), Some(Stay), Some(Stay), Some(GoOn), Some(Stay), None],
            ),
            (
                fold(S::Skipped, false, true),
                [Some(Leave(S::Waiting)), None, None, Some(GoOn), Some(Stay), None],
            ),
            (fold(S::Failed, false, false), [Some(GoOn), None, None, Some(GoOn), Some(Stay), None]),
            (fold(S::Done, false, true), [None, None, None, None, None, Some(GoOn)]),
        ];
        for (fold, expected) in table {
            let actions = [A::Start, A::Pause, A::Skip, A::Restore, A::Earlier, A::Retrain];
            assert_eq!(actions.map(|action| effect(action, fold)), expected, "{fold:?}");
            assert_eq!(effect(A::Later, fold), effect(A::Earlier, fold), "{fold:?}");
            assert_eq!(effect(A::Earlier, FoldInQueue { place: 0, ..fold }), None);
            assert_eq!(effect(A::Later, FoldInQueue { place: 2, ..fold }), None);
        }
    }

    fn ack(id: Option<u64>, command: Command, refused: Option<&str>) -> Event {
        Event::Ack(Ack { id, command, refused: refused.map(String::from) })
    }

    #[test]
    fn what_answers_a_command() {
        let fold = |fold, action| Command::Fold { fold, action };
        let pause = Request::numbered(7, fold(1, A::Pause));
        let of_ack = |id, command| answer(pause, &ack(id, command, None)).is_some();
        assert!(of_ack(Some(7), pause.command) && of_ack(None, pause.command));
        assert!(!of_ack(Some(8), pause.command) && !of_ack(Some(7), fold(10, A::Pause)));
        assert_eq!(answer(pause, &ack(Some(7), pause.command, Some("no"))), Some(Err("no")));
        for other in [
            fold(10, A::Pause),
            fold(1, A::Skip),
            Command::Plan { epochs: Some(3), min_learning_rate: None },
            Command::Checkpoint,
        ] {
            assert_eq!(answer(pause, &ack(None, other, Some("no"))), None, "{other:?}");
        }
        for message in ["fold 1: a batch was left out", "fold 10 is done: it cannot be paused"] {
            let log = Log { level: Level::Warn, message: message.into() };
            assert_eq!(answer(pause, &Event::Log(log)), None, "{message}");
        }
        // A stop is over with the run, and not before.
        let stop = Request::from(Command::StopNow);
        assert_eq!(answer(stop, &ack(None, Command::StopNow, None)), None);
    }

    #[test]
    fn an_older_trainer_answers_by_its_state() {
        let answered = |command: Command, state| {
            let event = TrainerEvent { at: Position::default(), state, reason: None };
            answer(command.into(), &Event::Trainer(event)).is_some()
        };
        use TrainerState::{Held, Paused, Running, StoppingAfterEpoch};
        assert!(answered(Command::Pause, Paused) && !answered(Command::Pause, Held));
        assert!(answered(Command::Resume, Running));
        assert!(answered(Command::Resume, StoppingAfterEpoch));
        assert!(answered(Command::StopAfterEpoch, StoppingAfterEpoch));
        assert!(!answered(Command::Checkpoint, Running));
    }
}
