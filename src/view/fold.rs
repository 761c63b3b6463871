//! State of one fold.

use super::curve::{Curve, Mark};
use super::format;
use super::series::{Ema, SMOOTHING};
use crate::run::event::{
    Epoch, FoldPlan, FoldState, Position, Step, ValidStep, Worker, WorkerState, Worst, WorstStudy,
};

/// Maximum number of worst validation studies kept.
const MOST_WORST: usize = 32;
/// Maximum slices of a study: 64 of each vertebra.
const MOST_SLICES: usize = 7 * 64;

/// One fold: its plan, state, epochs and curves.
#[derive(Debug, Clone, PartialEq)]
pub struct Fold {
    /// The fold's plan.
    pub plan: FoldPlan,
    /// The fold's state in the queue.
    pub state: FoldState,
    /// The fold's seed, if different from the run's.
    pub seed: Option<u64>,
    /// Current position of training.
    pub at: Position,
    /// Validation batches done in the current epoch.
    pub valid_batch: usize,
    /// Mean validation loss of the current epoch so far.
    pub valid_so_far: Option<f64>,
    /// Finished epochs, indexed by number − 1; `None` for those not finished.
    pub epochs: Vec<Option<Box<Epoch>>>,
    /// Figures over steps.
    pub curve: Curve,
    /// Smoothed training slice loss of C1..C7.
    pub vertebrae: [Ema; 7],
    /// Smoothed training loss of the study head.
    pub study_head: Ema,
    /// Worst studies of the newest validation.
    pub worst: Option<Worst>,
    /// Path of the newest `best` checkpoint.
    pub best_path: Option<String>,
    /// Path of the newest `last` checkpoint.
    pub last_path: Option<String>,
    /// Learning rate of each epoch, if different from the run's.
    pub rates: Option<Vec<f64>>,
    /// The process that trains it, where several train.
    pub worker: Option<Worker>,
}

impl Fold {
    /// Creates a fold that has not begun. `capacity`: points kept per figure.
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
            rates: None,
            worker: None,
        }
    }

    /// Converts a position to steps since the fold's start.
    pub fn x(&self, at: Position) -> f64 {
        at.epoch.saturating_sub(1) as f64 * self.plan.steps as f64 + at.step as f64
    }

    /// Starts an epoch, or resumes it after its first `at.step` steps.
    pub fn start_epoch(&mut self, at: Position) {
        self.curve.truncate(self.x(at));
        for epoch in self.epochs.iter_mut().skip(at.epoch.saturating_sub(1)) {
            *epoch = None;
        }
        self.at = at;
        self.valid_batch = 0;
        self.valid_so_far = None;
    }

    /// Takes in a training step.
    pub fn add_step(&mut self, step: &Step) {
        self.at = step.at;
        self.curve.add_step(self.x(step.at), step);
        for (ema, &loss) in self.vertebrae.iter_mut().zip(&step.vertebra_loss) {
            ema.add(loss);
        }
        self.study_head.add(step.study_loss);
    }

    /// Adds a marker at the given position.
    pub fn mark(&mut self, at: Position, mark: Mark) {
        self.curve.mark(self.x(at), mark);
    }

    /// Takes in a validation batch of the current epoch.
    pub fn add_valid(&mut self, step: &ValidStep) {
        let done = self.epochs.get(step.at.epoch.saturating_sub(1)).is_some_and(Option::is_some);
        if step.at.epoch == self.at.epoch && !done {
            self.valid_batch = step.at.step;
            self.valid_so_far = Some(step.loss);
        }
    }

    /// Takes in a finished epoch.
    pub fn add_epoch(&mut self, epoch: &Epoch) {
        self.at = Position { step: self.plan.steps, ..epoch.at };
        // Ignore an epoch beyond the plan.
        if let Some(slot) =
            epoch.at.epoch.checked_sub(1).and_then(|index| self.epochs.get_mut(index))
        {
            *slot = Some(Box::new(epoch.clone()));
        }
        self.valid_batch = self.plan.valid_batches;
        self.valid_so_far = None;
    }

    /// Takes in the worst studies of a validation, up to fixed limits.
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

    /// Finished epochs.
    pub fn done(&self) -> impl Iterator<Item = &Epoch> {
        self.epochs.iter().flatten().map(|epoch| &**epoch)
    }

    /// A figure of each finished epoch where it is finite, at the step where the epoch ends.
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

    /// The epoch with the lowest metric, which selects `best`; the first of equals, as for `best`.
    pub fn best_epoch(&self) -> Option<&Epoch> {
        self.done().filter(|e| e.metric.is_finite()).min_by(|a, b| a.metric.total_cmp(&b.metric))
    }

    /// Whether it is trained or validated by a process that is there.
    pub fn is_at_work(&self) -> bool {
        let worker = self.worker.as_ref().map(|worker| worker.state);
        matches!(self.state, FoldState::Training | FoldState::Validating)
            && matches!(worker, None | Some(WorkerState::Training))
    }

    /// Whether the fold has ended for good.
    pub fn is_over(&self) -> bool {
        matches!(
            self.state,
            FoldState::Done | FoldState::Skipped | FoldState::Stopped | FoldState::Failed
        )
    }

    /// Share of the fold's planned work that is behind the run, 0 to 1. A skipped or failed fold
    /// counts as 1 because no more work follows.
    pub fn share_behind(&self) -> f64 {
        match self.state {
            FoldState::Done | FoldState::Skipped | FoldState::Failed => 1.0,
            _ => self.share(),
        }
    }

    /// Number of finished epochs, not counting the current one unless finished.
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

/// Display name of a fold's state.
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
