//! One fold of the folds × epochs table.

use super::curve::{Curve, Mark};
use super::format;
use super::series::{Ema, SMOOTHING};
use crate::run::event::{Epoch, FoldPlan, FoldState, Position, Step, ValidStep, Worst, WorstStudy};
use crate::run::journal::Brief;

/// Studies kept of those that a validation was worst at.
const MOST_WORST: usize = 32;
/// Slices of a study: 64 of each vertebra.
const MOST_SLICES: usize = 7 * 64;

/// One fold: its plan, its state, its epochs and its curves.
#[derive(Debug, Clone, PartialEq)]
pub struct Fold {
    /// Its plan.
    pub plan: FoldPlan,
    /// Its state.
    pub state: FoldState,
    /// The seed that it is trained under, where that is not the run's.
    pub seed: Option<u64>,
    /// Where it stands.
    pub at: Position,
    /// Validation batches done in the epoch at hand.
    pub valid_batch: usize,
    /// Mean validation loss of the epoch at hand so far.
    pub valid_so_far: Option<f64>,
    /// Its epochs, by number − 1; `None` where the epoch is not done.
    pub epochs: Vec<Option<Box<Epoch>>>,
    /// Its figures over steps.
    pub curve: Curve,
    /// Slice loss of C1..C7 in training, smoothed.
    pub vertebrae: [Ema; 7],
    /// Study head's loss in training, smoothed.
    pub study_head: Ema,
    /// What its newest validation was worst at.
    pub worst: Option<Worst>,
    /// Path of its newest `best` checkpoint.
    pub best_path: Option<String>,
    /// Path of its newest `last` checkpoint.
    pub last_path: Option<String>,
}

impl Fold {
    /// A fold that has not begun. `capacity`: points that are kept of a figure.
    pub fn new(plan: FoldPlan, epochs: usize, capacity: usize) -> Self {
        Self {
            at: Position { fold: plan.fold, epoch: 0, step: 0 },
            plan,
            state: FoldState::Waiting,
            seed: None,
            valid_batch: 0,
            valid_so_far: None,
            epochs: vec![None; epochs],
            curve: Curve::new(capacity),
            vertebrae: std::array::from_fn(|_| Ema::new(SMOOTHING)),
            study_head: Ema::new(SMOOTHING),
            worst: None,
            best_path: None,
            last_path: None,
        }
    }

    /// Steps since the fold's start.
    pub fn x(&self, at: Position) -> f64 {
        at.epoch.saturating_sub(1) as f64 * self.plan.steps as f64 + at.step as f64
    }

    /// An epoch begins, or goes on after its first `at.step` steps.
    pub fn start_epoch(&mut self, at: Position) {
        self.curve.truncate(self.x(at));
        for epoch in self.epochs.iter_mut().skip(at.epoch.saturating_sub(1)) {
            *epoch = None;
        }
        self.at = at;
        self.valid_batch = 0;
        self.valid_so_far = None;
    }

    /// A step is done.
    pub fn add_step(&mut self, step: &Step) {
        self.add_brief(step.at, &Brief::of(step));
        self.add_figures(step);
    }

    /// The part of a step that curves are made of.
    pub fn add_brief(&mut self, at: Position, step: &Brief) {
        self.at = at;
        self.curve.add_step(self.x(at), step);
    }

    /// Something happened where the fold stands.
    pub fn mark(&mut self, at: Position, mark: Mark) {
        self.curve.mark(self.x(at), mark);
    }

    /// The rest of a step.
    pub fn add_figures(&mut self, step: &Step) {
        for (ema, &loss) in self.vertebrae.iter_mut().zip(&step.vertebra_loss) {
            ema.add(loss);
        }
        self.study_head.add(step.study_loss);
    }

    /// A validation batch of the epoch at hand is done.
    pub fn add_valid(&mut self, step: &ValidStep) {
        let done = self.epochs.get(step.at.epoch.saturating_sub(1)).is_some_and(Option::is_some);
        if step.at.epoch == self.at.epoch && !done {
            self.valid_batch = step.at.step;
            self.valid_so_far = Some(step.loss);
        }
    }

    /// An epoch is done.
    pub fn add_epoch(&mut self, epoch: &Epoch) {
        self.at = Position { step: self.plan.steps, ..epoch.at };
        // One beyond the plan is none of ours.
        if let Some(slot) =
            epoch.at.epoch.checked_sub(1).and_then(|index| self.epochs.get_mut(index))
        {
            *slot = Some(Box::new(epoch.clone()));
        }
        self.valid_batch = self.plan.valid_batches;
        self.valid_so_far = None;
    }

    /// What a validation was worst at; what is kept of it is bounded.
    pub fn add_worst(&mut self, worst: &Worst) {
        let kept = |study: &WorstStudy| {
            let mut kept = study.clone();
            kept.prediction.study = format::brief(&study.prediction.study);
            kept.prediction.slices.truncate(MOST_SLICES);
            kept
        };
        let studies = worst.studies.iter().take(MOST_WORST).map(kept).collect();
        self.worst = Some(Worst { at: worst.at, studies });
    }

    /// The finished epochs.
    pub fn done(&self) -> impl Iterator<Item = &Epoch> {
        self.epochs.iter().flatten().map(|epoch| &**epoch)
    }

    /// A figure of each finished epoch over the steps at its end, where it is finite.
    pub fn at_epochs(&self, figure: impl Fn(&Epoch) -> Option<f64>) -> Vec<(f64, f64)> {
        let end = |epoch: &Epoch| epoch.at.epoch as f64 * self.plan.steps as f64;
        self.done()
            .filter_map(|epoch| Some((end(epoch), figure(epoch).filter(|y| y.is_finite())?)))
            .collect()
    }

    /// The newest finished epoch.
    pub fn last_epoch(&self) -> Option<&Epoch> {
        self.done().last()
    }

    /// The epoch with the lowest metric, which `best` is chosen by; of equals the first, as `best` is kept.
    pub fn best_epoch(&self) -> Option<&Epoch> {
        self.done().filter(|e| e.metric.is_finite()).min_by(|a, b| a.metric.total_cmp(&b.metric))
    }

    /// Whether nothing more comes.
    pub fn is_over(&self) -> bool {
        matches!(
            self.state,
            FoldState::Done | FoldState::Skipped | FoldState::Stopped | FoldState::Failed
        )
    }

    /// Share of the fold that the run has behind it, 0 to 1: a fold that was skipped or failed
    /// counts as whole, since nothing more of it comes.
    pub fn share_behind(&self) -> f64 {
        match self.state {
            FoldState::Done | FoldState::Skipped | FoldState::Failed => 1.0,
            _ => self.share(),
        }
    }

    /// Epochs wholly done, the one at hand not counted.
    pub fn epochs_done(&self) -> usize {
        let at_hand = self.at.epoch;
        match at_hand.checked_sub(1).and_then(|i| self.epochs.get(i)) {
            Some(Some(_)) => at_hand,
            _ => at_hand.saturating_sub(1),
        }
    }

    /// Share of the fold that is trained, 0 to 1.
    pub fn share(&self) -> f64 {
        let done = self.epochs_done();
        let step = if done == self.at.epoch { 0 } else { self.at.step };
        let within = step as f64 / self.plan.steps.max(1) as f64;
        ((done as f64 + within) / self.epochs.len().max(1) as f64).min(1.0)
    }
}

/// The word for a fold's state.
pub fn word(state: FoldState) -> &'static str {
    match state {
        FoldState::Waiting => "waiting",
        FoldState::Training => "training",
        FoldState::Validating => "validating",
        FoldState::Paused => "paused",
        FoldState::Done => "done",
        FoldState::Skipped => "skipped",
        FoldState::Stopped => "stopped",
        FoldState::Failed => "failed",
    }
}
