//! Meaning of a key for a fold in its current state: a command, with a question first or not, or a
//! refusal with the reason.

use super::action::OfFold;
use super::confirm::Question;
use crate::run::event::FoldState;
use crate::run::rules::{self, Effect, FoldInQueue};
use crate::run::{Command, FoldAction};
use crate::view::{Fold, State, fold::word};

/// Decides what `key` does to `fold`: the command, and the question to ask before sending it. The trainer
/// makes the final decision, by the same rules.
///
/// Errors: when it does nothing; the reason, in one line.
pub fn verdict(
    key: OfFold,
    state: &State,
    fold: &Fold,
) -> Result<(Command, Option<Question>), String> {
    use FoldAction as A;
    use FoldState as S;
    let number = fold.plan.fold;
    let refuse = |why: &str| Err(format!("fold {number} is {}: {why}", word(fold.state)));
    let in_training = state.in_training().map(|other| other.plan.fold);
    let current = match state.shared {
        true => state.is_trained(number),
        false => in_training == Some(number),
    };
    // Where several processes train, a fold that is started takes no other's place.
    let busy = if state.shared { current } else { in_training.is_some() };
    let action = match key {
        OfFold::Act(A::Start) if current && state.is_paused() => {
            return Ok((Command::Resume, None));
        }
        OfFold::Act(A::Start) if current => return refuse("it need not be started"),
        OfFold::Act(action) => action,
        OfFold::Hold if rules::is_set_aside(fold.state) => A::Restore,
        OfFold::Hold => A::Pause,
    };
    let place = state.folds.iter().position(|other| other.plan.fold == number);
    let in_queue = FoldInQueue {
        state: fold.state,
        place: place.unwrap_or_default(),
        folds: state.folds.len(),
        current,
        busy,
    };
    let Some(effect) = rules::effect(action, in_queue) else {
        return refuse(match (action, fold.state) {
            (A::Skip, S::Done) => "there is nothing to give up",
            (A::Skip, _) => "f brings it back",
            (A::Earlier | A::Later, S::Done) => "it has no place in the queue any more",
            (A::Earlier, _) => "it is the first already",
            (A::Later, _) => "it is the last already",
            (A::Retrain, _) => "only one that is done is trained again",
            (A::Start | A::Pause | A::Restore, _) => "a trains it again",
        });
    };
    let question = match (action, effect) {
        (A::Start, Effect::Leave(_)) => Some(Question::Start(number)),
        (A::Skip, _) => Some(Question::Skip(number)),
        (A::Retrain, _) => Some(Question::Retrain(number)),
        _ => None,
    };
    Ok((Command::Fold { fold: number, action }, question))
}

/// Label of `key` on the key line for `fold`; `None` if it does not apply.
pub fn label(key: OfFold, state: &State, fold: &Fold) -> Option<&'static str> {
    // With two folds or more, at least one of the two directions is possible.
    if key == OfFold::Act(FoldAction::Earlier) && fold.state != FoldState::Done {
        return (state.folds.len() > 1).then_some("move");
    }
    let (Command::Fold { action, .. }, _) = verdict(key, state, fold).ok()? else { return None };
    match action {
        FoldAction::Restore => Some("bring back"),
        FoldAction::Pause => Some("pause"),
        FoldAction::Start => Some("start now"),
        FoldAction::Skip => Some("give up"),
        FoldAction::Retrain => Some("train again"),
        FoldAction::Earlier | FoldAction::Later => None,
    }
}
