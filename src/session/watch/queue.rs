//! The order and the states of a shared run's folds.

use super::workers::Workers;
use crate::run::{
    event::{FoldBest, FoldState, Outcome, Queue, Queued},
    folder::Folder,
    shared::Plan,
    status::{FoldStatus, RunState, Status},
};
use std::collections::BTreeMap;

/// What is known of the queue.
pub(super) struct Known {
    /// The newest plan that could be read.
    pub(super) plan: Plan,
    /// The newest state of each fold that could be read.
    states: BTreeMap<usize, Status>,
}

impl Known {
    pub(super) fn new(plan: Plan) -> Self {
        Self { plan, states: BTreeMap::new() }
    }

    /// Reads the plan and the folds' states again; keeps those that cannot be read now.
    pub(super) fn look(&mut self, run: &Folder) {
        if let Ok(plan) = Plan::read(run) {
            self.plan = plan;
        }
        for fold in self.plan.folds() {
            if let Ok(status) = self.plan.status(run, fold) {
                self.states.insert(fold, status);
            }
        }
    }

    /// The folds in their order. One whose worker is gone waits.
    pub(super) fn entries(&self, workers: &Workers) -> Vec<FoldStatus> {
        let entry = |fold: usize| {
            let status = self.states.get(&fold)?;
            let mut entry = status.folds.iter().find(|entry| entry.fold == fold)?.clone();
            let is_short = entry.epoch < self.plan.plan.epochs;
            let goes_on = match entry.state {
                FoldState::Training | FoldState::Validating => workers.held(fold).is_none(),
                FoldState::Done => is_short && workers.held(fold).is_none(),
                FoldState::Stopped => status.state == RunState::Requeued,
                _ => false,
            };
            if goes_on {
                entry.state = FoldState::Waiting;
            }
            Some(entry)
        };
        self.plan.folds().into_iter().filter_map(entry).collect()
    }

    /// The queue as an event.
    pub(super) fn queue(&self, workers: &Workers) -> Queue {
        let queued = |e: FoldStatus| Queued { fold: e.fold, state: e.state, seed: e.seed };
        Queue { folds: self.entries(workers).into_iter().map(queued).collect() }
    }

    /// The best epoch of each fold that has one.
    pub(super) fn best(&self) -> Vec<FoldBest> {
        let all = self.states.iter();
        let of_fold = |(fold, status): (&usize, &Status)| {
            status.folds.iter().find(|entry| entry.fold == *fold)?.best.clone()
        };
        all.filter_map(of_fold).collect()
    }

    /// How the run has ended, if nobody trains and nobody will without being asked to.
    pub(super) fn outcome(&self, workers: &Workers) -> Option<Outcome> {
        let entries = self.entries(workers);
        if workers.any() || entries.is_empty() {
            return None;
        }
        let is = |entry: &FoldStatus, state| entry.state == state;
        let is_over = |entry: &FoldStatus| {
            matches!(entry.state, FoldState::Done | FoldState::Skipped | FoldState::Failed)
        };
        if entries.iter().all(is_over) {
            let failed = entries.iter().any(|entry| is(entry, FoldState::Failed));
            return Some(if failed { Outcome::Failed } else { Outcome::Completed });
        }
        let stopped = entries.iter().any(|entry| is(entry, FoldState::Stopped));
        let died = entries.iter().any(|entry| workers.died(entry.fold));
        (stopped && !died).then_some(Outcome::Stopped)
    }
}
