//! The plan, and the folds and the queue that follow from it.

use super::*;

impl State {
    pub(super) fn start(&mut self, plan: &RunStarted) {
        // A resumed run sends its plan again; keep the state of its folds.
        let mut known = std::mem::take(&mut self.folds);
        let folds = plan.folds.len().min(MOST_FOLDS);
        let epochs = plan.epochs.min(MOST_EPOCHS / folds.max(1));
        let planned = plan.folds.iter().take(folds);
        self.folds = planned
            .map(|f| match known.iter().position(|k| k.plan == *f) {
                Some(i) => {
                    let mut fold = known.swap_remove(i);
                    fold.epochs.resize(epochs, None);
                    if matches!(fold.state, FoldState::Training | FoldState::Validating) {
                        fold.state = FoldState::Waiting;
                    }
                    fold
                }
                None => Fold::new(f.clone(), epochs, MOST_POINTS / folds.max(1)),
            })
            .collect();
        self.plan = Some(RunStarted {
            name: format::brief(&plan.name),
            folder: format::brief(&plan.folder),
            device: format::brief(&plan.device),
            model: format::brief(&plan.model),
            learning_rates: plan.learning_rates.iter().take(epochs).copied().collect(),
            folds: plan.folds.iter().take(folds).cloned().collect(),
            ..*plan
        });
        self.current = 0;
        self.keep_parts();
        self.finished = None;
        self.vanished = false;
        self.trainer = None;
        self.pending = None;
        self.stops_after_epoch = false;
    }

    /// Applies a changed training schedule.
    pub(super) fn replan(&mut self, planned: &Planned) {
        let epochs = planned.epochs.min(MOST_EPOCHS / self.folds.len().max(1));
        if let Some(plan) = &mut self.plan {
            plan.epochs = planned.epochs;
            plan.learning_rates = planned.learning_rates.iter().take(epochs).copied().collect();
        }
        for fold in &mut self.folds {
            let done = fold.last_epoch().map_or(0, |epoch| epoch.at.epoch);
            fold.epochs.resize(epochs.max(done), None);
        }
        if let Some(fold) = self.fold_mut(planned.at.fold) {
            fold.mark(planned.at, Mark::Rate);
        }
    }

    /// Applies the queue's order and states.
    pub(super) fn order(&mut self, queue: &Queue) {
        let current = self.fold().map(|fold| fold.plan.fold);
        let place = |fold: &Fold| queue.folds.iter().position(|q| q.fold == fold.plan.fold);
        self.folds.sort_by_key(|fold| place(fold).unwrap_or(usize::MAX));
        if let Some(current) = current {
            self.select(current);
        }
        let seed = self.plan.as_ref().map(|plan| plan.seed);
        for queued in queue.folds.iter().take(MOST_FOLDS) {
            let at_work = match self.shared {
                // Without a process that is known to be there, its state is what it was left in.
                true => self.has_worker(queued.fold),
                false => self.in_training().is_some_and(|fold| fold.plan.fold == queued.fold),
            };
            if let Some(fold) = self.fold_mut(queued.fold) {
                // The events of the fold in training are more detailed and more recent.
                if !(at_work && is_to_come(queued.state)) {
                    fold.state = queued.state;
                }
                fold.seed = Some(queued.seed).filter(|&s| Some(s) != seed);
            }
        }
    }

    /// The process of `fold` has started: takes its own plan, and leaves the other folds alone.
    pub(super) fn start_fold(&mut self, fold: usize, plan: &RunStarted) {
        self.device = format::brief(&plan.device);
        (self.trainer, self.stops_after_epoch) = (None, false);
        if !plan.resumed {
            // It starts from the beginning, or its journal is read anew.
            self.step = None;
            (self.progress, self.history) = Default::default();
        }
        let capacity = MOST_POINTS / self.folds.len().max(1);
        let seed = Some(plan.seed).filter(|&own| Some(own) != self.plan.as_ref().map(|p| p.seed));
        if let Some(fold) = self.fold_mut(fold) {
            if !plan.resumed {
                let (worker, seed) = (fold.worker.take(), fold.seed);
                *fold = Fold::new(fold.plan.clone(), fold.epochs.len(), capacity);
                (fold.seed, fold.worker) = (seed, worker);
            }
            fold.seed = seed.or(fold.seed);
        }
        self.set_rates(fold, plan.epochs, &plan.learning_rates);
    }

    /// Applies a training schedule that one fold has changed.
    pub(super) fn replan_fold(&mut self, fold: usize, planned: &Planned) {
        self.set_rates(fold, planned.epochs, &planned.learning_rates);
        if let Some(fold) = self.fold_mut(fold) {
            fold.mark(planned.at, Mark::Rate);
        }
    }

    fn set_rates(&mut self, fold: usize, epochs: usize, rates: &[f64]) {
        let epochs = epochs.min(MOST_EPOCHS / self.folds.len().max(1));
        let rates = &rates[..rates.len().min(epochs)];
        let own = self.plan.as_ref().is_none_or(|plan| plan.learning_rates != rates);
        if let Some(fold) = self.fold_mut(fold) {
            let done = fold.last_epoch().map_or(0, |epoch| epoch.at.epoch);
            fold.epochs.resize(epochs.max(done), None);
            fold.rates = own.then(|| rates.to_vec());
        }
    }
}
