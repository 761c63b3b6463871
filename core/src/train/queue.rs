//! The queue of folds to train, in the order chosen by the user.

use crate::run::{
    FoldAction,
    event::{FoldPlan, FoldState, Queued},
    rules::{self, Effect, FoldInQueue},
    status::FoldStatus,
};

/// Folds of a run.
#[derive(Debug, Default)]
pub struct Queue {
    /// Folds in training order.
    pub entries: Vec<FoldStatus>,
    /// Number of the fold in training.
    current: Option<usize>,
    /// Number of the fold that the user wants next.
    asked: Option<usize>,
}

impl Queue {
    /// Creates a queue of all `plans` with the state in `known`. `epochs`: the epochs of a fold.
    pub fn new(plans: &[FoldPlan], seed: u64, epochs: usize, known: &[FoldStatus]) -> Self {
        let entry = |plan: &FoldPlan| {
            let (fold, steps) = (plan.fold, plan.steps);
            let Some(known) = known.iter().find(|k| k.fold == fold) else {
                let state = FoldState::Waiting;
                return FoldStatus { fold, state, seed, epoch: 0, step: 0, steps, best: None };
            };
            let state = match known.state {
                // Keep the user's decisions.
                FoldState::Paused | FoldState::Skipped => known.state,
                FoldState::Done if known.epoch >= epochs => FoldState::Done,
                _ => FoldState::Waiting,
            };
            FoldStatus { state, steps, ..known.clone() }
        };
        let mut entries: Vec<FoldStatus> = plans.iter().map(entry).collect();
        // Keep the known order; append new folds.
        let place = |fold: usize| known.iter().position(|k| k.fold == fold).unwrap_or(usize::MAX);
        entries.sort_by_key(|entry| place(entry.fold));
        // Resume the fold that was in training first.
        let at_work = |k: &FoldStatus| {
            matches!(k.state, FoldState::Training | FoldState::Validating | FoldState::Stopped)
        };
        let asked = known.iter().find(|k| at_work(k)).map(|k| k.fold);
        Self { entries, current: None, asked }
    }

    /// A queue of folds in these states, none of them in training.
    pub fn of(entries: Vec<FoldStatus>) -> Self {
        Self { entries, current: None, asked: None }
    }

    /// Puts completed folds back into the queue after the number of epochs was raised to `epochs`.
    pub fn extend(&mut self, epochs: usize) {
        let done = |e: &&mut FoldStatus| e.state == FoldState::Done && e.epoch < epochs;
        for entry in self.entries.iter_mut().filter(done) {
            entry.state = FoldState::Waiting;
        }
    }

    /// Picks the next fold to train, if there is one.
    pub fn take_next(&mut self) -> Option<usize> {
        let waits = |e: &&FoldStatus| e.state == FoldState::Waiting;
        let asked = self.asked.take();
        let asked = asked.filter(|&fold| self.get(fold).as_ref().is_some_and(waits));
        self.current = asked.or_else(|| self.entries.iter().find(waits).map(|e| e.fold));
        self.current
    }

    /// Whether a fold is waiting.
    pub fn has_waiting(&self) -> bool {
        self.entries.iter().any(|e| e.state == FoldState::Waiting)
    }

    /// Whether a fold is paused.
    pub fn has_paused(&self) -> bool {
        self.entries.iter().any(|e| e.state == FoldState::Paused)
    }

    /// Returns the fold `number`.
    pub fn get(&self, number: usize) -> Option<&FoldStatus> {
        self.entries.iter().find(|e| e.fold == number)
    }

    /// Returns the fold `number` for changes.
    pub fn get_mut(&mut self, number: usize) -> Option<&mut FoldStatus> {
        self.entries.iter_mut().find(|e| e.fold == number)
    }

    /// Ends the training of the current fold in `state`.
    pub fn left(&mut self, state: FoldState) {
        if let Some(entry) = self.current.take().and_then(|fold| self.get_mut(fold)) {
            entry.state = state;
        }
    }

    /// Sets the state of the fold `number`.
    pub fn stands(&mut self, number: usize, state: FoldState) {
        if let Some(entry) = self.get_mut(number) {
            entry.state = state;
        }
    }

    /// Applies an action, except that a fold in training is left by [`Self::left`]. Errors: when it is
    /// refused, with the reason as a sentence.
    pub fn obey(&mut self, fold: usize, action: FoldAction) -> Result<Effect, String> {
        use FoldAction as A;
        let Some(place) = self.entries.iter().position(|e| e.fold == fold) else {
            let numbers: Vec<_> = self.entries.iter().map(|e| e.fold.to_string()).collect();
            let numbers = numbers.join(", ");
            return Err(format!("there is no fold {fold} in this run; it has {numbers}"));
        };
        let state = self.entries[place].state;
        let current = self.current == Some(fold);
        let (folds, busy) = (self.entries.len(), self.current.is_some());
        let in_queue = FoldInQueue { state, place, folds, current, busy };
        let Some(effect) = rules::effect(action, in_queue) else {
            let word = format!("{state:?}").to_lowercase();
            let what = match action {
                A::Start => "started; `again` trains it anew",
                A::Pause => "paused",
                A::Skip => "given up",
                A::Restore => "brought back",
                A::Earlier | A::Later => "moved further",
                A::Retrain => "trained again before it is done",
            };
            return Err(format!("fold {fold} is {word}: it cannot be {what}"));
        };
        match action {
            A::Earlier => self.entries.swap(place, place - 1),
            A::Later => self.entries.swap(place, place + 1),
            A::Retrain => {
                let mut entry = self.entries.remove(place);
                (entry.state, entry.epoch, entry.step, entry.best) =
                    (FoldState::Waiting, 0, 0, None);
                entry.seed = entry.seed.wrapping_add(1) & (u64::MAX >> 1);
                self.entries.push(entry);
            }
            _ if current => {}
            A::Start => {
                self.entries[place].state = FoldState::Waiting;
                self.asked = Some(fold);
            }
            A::Restore => self.entries[place].state = FoldState::Waiting,
            A::Pause => self.entries[place].state = FoldState::Paused,
            A::Skip => self.entries[place].state = FoldState::Skipped,
        }
        Ok(effect)
    }

    /// Returns the queue as reported in events.
    pub fn states(&self) -> Vec<Queued> {
        let queued = |e: &FoldStatus| Queued { fold: e.fold, state: e.state, seed: e.seed };
        self.entries.iter().map(queued).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use FoldAction as A;
    use FoldState as S;

    fn plan(fold: usize) -> FoldPlan {
        let (train_studies, valid_studies, steps, valid_batches) = (8, 2, 4, 1);
        FoldPlan { fold, train_studies, valid_studies, steps, valid_batches, baseline: 0.7 }
    }

    fn queue() -> Queue {
        Queue::new(&[0, 1, 2].map(plan), 5, 10, &[])
    }

    #[test]
    fn a_fold_started_in_anothers_place_is_followed_by_it() {
        let mut q = queue();
        assert_eq!(q.take_next(), Some(0));
        assert_eq!(q.obey(2, A::Start), Ok(Effect::Leave(S::Waiting)));
        q.left(S::Waiting);
        assert_eq!(q.take_next(), Some(2));
        q.left(S::Done);
        assert_eq!(q.take_next(), Some(0));
    }

    #[test]
    fn a_paused_fold_waits_until_it_is_asked_for() {
        let mut q = queue();
        q.take_next();
        assert_eq!(q.obey(0, A::Pause), Ok(Effect::Leave(S::Paused)));
        q.left(S::Paused);
        assert_eq!(q.obey(1, A::Skip), Ok(Effect::Stay));
        assert_eq!(q.take_next(), Some(2));
        q.left(S::Done);
        assert_eq!((q.take_next(), q.has_paused()), (None, true));
        assert_eq!(q.obey(0, A::Start), Ok(Effect::GoOn));
        assert_eq!(q.take_next(), Some(0));
        q.left(S::Done);
        assert_eq!(q.obey(1, A::Restore), Ok(Effect::GoOn));
        assert_eq!(q.take_next(), Some(1));
    }

    #[test]
    fn order_states_and_seeds_survive() {
        let mut q = queue();
        assert_eq!(q.take_next(), Some(0));
        q.get_mut(0).unwrap().epoch = 10;
        q.left(S::Done);
        assert_eq!(q.obey(2, A::Earlier), Ok(Effect::Stay));
        assert_eq!(q.obey(0, A::Retrain), Ok(Effect::GoOn));
        q.obey(1, A::Pause).unwrap();
        let restarted = Queue::new(&[0, 1, 2, 3].map(plan), 5, 10, &q.entries);
        let states: Vec<_> = restarted.states().iter().map(|e| (e.fold, e.state, e.seed)).collect();
        let expected =
            [(2, S::Waiting, 5), (1, S::Paused, 5), (0, S::Waiting, 6), (3, S::Waiting, 5)];
        assert_eq!(states, expected);
    }

    #[test]
    fn what_has_no_sense_is_refused_in_a_sentence() {
        let mut q = queue();
        q.take_next();
        q.left(S::Done);
        for (fold, action, words) in [
            (7, A::Start, "no fold 7"),
            (0, A::Start, "fold 0 is done"),
            (0, A::Skip, "cannot be given up"),
            (1, A::Restore, "fold 1 is waiting"),
            (0, A::Earlier, "cannot be moved further"),
            (1, A::Retrain, "before it is done"),
        ] {
            let error = q.obey(fold, action).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
