//! Meaning of a key for a fold in its current state: a command, a question first, or a refusal with
//! the reason.

use super::confirm::Question;
use super::keys::OfFold;
use crate::run::event::FoldState;
use crate::run::{Command, FoldAction};
use crate::view::{Fold, State, fold::word};

/// Response to a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Send this command.
    Send(Command),
    /// Ask this question first.
    Ask(Question),
    /// Do nothing; the reason, in one line.
    Refuse(String),
}

/// Decides what `key` does to `fold`. The trainer makes the final decision; foreseeable refusals
/// are reported at once.
pub fn verdict(key: OfFold, state: &State, fold: &Fold) -> Verdict {
    use FoldAction as A;
    use FoldState as S;
    let number = fold.plan.fold;
    let word = word(fold.state);
    let send = |action| Verdict::Send(Command::Fold { fold: number, action });
    let refuse = |why: &str| Verdict::Refuse(format!("fold {number} is {word}: {why}"));
    let is_at_hand = state.in_training().is_some_and(|other| other.plan.fold == number);
    let place = state.folds.iter().position(|other| other.plan.fold == number);
    match (key, fold.state) {
        (OfFold::Hold | OfFold::Act(A::Start), S::Done) => refuse("a trains it again"),
        (OfFold::Hold, S::Waiting | S::Training | S::Validating) => send(A::Pause),
        (OfFold::Hold, _) => send(A::Restore),
        (OfFold::Act(A::Start), _) if is_at_hand && state.is_paused() => {
            Verdict::Send(Command::Resume)
        }
        (OfFold::Act(A::Start), _) if is_at_hand => refuse("it need not be started"),
        (OfFold::Act(A::Start), _) => match state.in_training() {
            Some(_) => Verdict::Ask(Question::Start(number)),
            None => send(A::Start),
        },
        (OfFold::Act(A::Earlier | A::Later), S::Done) => {
            refuse("it has no place in the queue any more")
        }
        (OfFold::Act(A::Earlier), _) if place == Some(0) => refuse("it is the first already"),
        (OfFold::Act(A::Later), _) if place.is_some_and(|at| at + 1 >= state.folds.len()) => {
            refuse("it is the last already")
        }
        (OfFold::Act(A::Skip), S::Done) => refuse("there is nothing to give up"),
        (OfFold::Act(A::Skip), S::Skipped | S::Stopped | S::Failed) => refuse("f brings it back"),
        (OfFold::Act(A::Skip), _) => Verdict::Ask(Question::Skip(number)),
        (OfFold::Act(A::Retrain), S::Done) => Verdict::Ask(Question::Retrain(number)),
        (OfFold::Act(A::Retrain), _) => refuse("only one that is done is trained again"),
        (OfFold::Act(action), _) => send(action),
    }
}

/// Label of `key` on the key line for `fold`; `None` if it does not apply.
pub fn label(key: OfFold, state: &State, fold: &Fold) -> Option<&'static str> {
    match (key, verdict(key, state, fold)) {
        // With two folds or more, at least one of the two directions is possible.
        (OfFold::Act(FoldAction::Earlier), _) if fold.state != FoldState::Done => {
            (state.folds.len() > 1).then_some("move")
        }
        (_, Verdict::Refuse(_)) => None,
        (OfFold::Hold, Verdict::Send(Command::Fold { action: FoldAction::Restore, .. })) => {
            Some("bring back")
        }
        (OfFold::Act(FoldAction::Start), Verdict::Send(Command::Resume)) => None,
        (OfFold::Hold, _) => Some("pause"),
        (OfFold::Act(FoldAction::Start), _) => Some("start now"),
        (OfFold::Act(FoldAction::Skip), _) => Some("give up"),
        (OfFold::Act(FoldAction::Retrain), _) => Some("train again"),
        (OfFold::Act(_), _) => None,
    }
}
