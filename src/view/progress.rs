//! Progress, speed and remaining time of a run.

use super::fold::Fold;
use super::recent::Recent;
use crate::run::event::{Epoch, FoldState, RunStarted, Step, ValidStep};

/// Steps over which speed is measured.
const WINDOW: usize = 50;

/// Cost of a validation image relative to a training image, used before the first validation: one
/// forward pass against a forward pass and a backward pass of twice its cost.
const VALID_COST: f64 = 1.0 / 3.0;

/// Durations of the newest steps or validation batches.
#[derive(Debug, Clone, PartialEq)]
pub struct Speed {
    data: Recent,
    compute: Recent,
    images: Recent,
}

impl Default for Speed {
    fn default() -> Self {
        let recent = || Recent::new(WINDOW);
        Self { data: recent(), compute: recent(), images: recent() }
    }
}

impl Speed {
    fn add(&mut self, data: f64, compute: f64, images: usize) {
        self.data.add(data);
        self.compute.add(compute);
        self.images.add(images as f64);
    }

    /// Seconds per step or batch, data loading included.
    pub fn seconds(&self) -> Option<f64> {
        Some(self.compute.mean()? + self.data.mean().unwrap_or(0.0))
    }

    /// Images per second.
    pub fn images_per_second(&self) -> Option<f64> {
        let seconds = self.data.sum() + self.compute.sum();
        (seconds > 0.0 && !self.images.is_empty()).then(|| self.images.sum() / seconds)
    }

    /// Share of the time spent waiting for data, 0 to 1.
    pub fn data_share(&self) -> Option<f64> {
        let (data, all) = (self.data.sum(), self.data.sum() + self.compute.sum());
        (all > 0.0 && !self.data.is_empty()).then(|| data / all)
    }
}

/// Measured speeds. Pauses are not part of a step's duration, so they affect nothing here.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Progress {
    /// Of training steps.
    pub train: Speed,
    /// Of validation batches.
    pub valid: Speed,
    steps_seen: u64,
}

impl Progress {
    /// Takes in a step's timings.
    pub fn add_step(&mut self, step: &Step) {
        // The run's first step warms up caches and kernels and would distort the average for 50
        // steps.
        if self.steps_seen == 1 {
            self.train = Speed::default();
        }
        self.steps_seen += 1;
        self.train.add(step.data_seconds, step.compute_seconds, step.images);
    }

    /// Takes in a validation batch's timings.
    pub fn add_valid(&mut self, step: &ValidStep) {
        self.valid.add(step.data_seconds, step.seconds - step.data_seconds, step.images);
    }

    /// Takes in a finished validation, for a view that missed its batches.
    pub fn add_epoch(&mut self, epoch: &Epoch) {
        if self.valid.compute.is_empty() && epoch.valid_batches > 0 {
            self.valid.compute.add(epoch.valid_seconds / epoch.valid_batches as f64);
        }
        if self.steps_seen == 0 && epoch.at.step > 0 {
            self.train.compute.add(epoch.train_seconds / epoch.at.step as f64);
        }
    }

    /// Seconds per validation batch of `fold`; estimated from training before the first validation.
    fn valid_batch_seconds(&self, plan: &RunStarted, fold: &Fold) -> Option<f64> {
        if let Some(measured) = self.valid.seconds() {
            return Some(measured);
        }
        let per_step = self.train.seconds()?;
        let per_study = per_step / plan.batch_size.max(1) as f64;
        let studies = fold.plan.valid_studies as f64 / fold.plan.valid_batches.max(1) as f64;
        Some(per_study * studies * VALID_COST)
    }

    /// How fast `fold` is trained, once a step is measured.
    pub fn pace(&self, plan: &RunStarted, fold: &Fold) -> Option<Pace> {
        Some(Pace { step: self.train.seconds()?, valid: self.valid_batch_seconds(plan, fold)? })
    }

    /// Seconds left in the current epoch of `fold`, validation included.
    pub fn epoch_left(&self, plan: &RunStarted, fold: &Fold) -> Option<f64> {
        Some(self.pace(plan, fold)?.epoch_left(fold))
    }

    /// Seconds left in `fold`; 0 for a paused fold, because it may never be resumed.
    pub fn fold_left(&self, plan: &RunStarted, fold: &Fold) -> Option<f64> {
        if fold.is_over() || fold.state == FoldState::Paused {
            return Some(0.0);
        }
        Some(self.pace(plan, fold)?.fold_left(fold))
    }

    /// Seconds left in the run.
    pub fn run_left(&self, plan: &RunStarted, folds: &[Fold]) -> Option<f64> {
        folds.iter().map(|fold| self.fold_left(plan, fold)).sum()
    }
}

/// How fast a fold is trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Seconds per step.
    pub step: f64,
    /// Seconds per validation batch.
    pub valid: f64,
}

impl Pace {
    /// Mean of several; `None` if there are none.
    pub fn mean(all: &[Self]) -> Option<Self> {
        let mean = |of: fn(&Self) -> f64| all.iter().map(of).sum::<f64>() / all.len() as f64;
        (!all.is_empty())
            .then(|| Self { step: mean(|pace| pace.step), valid: mean(|pace| pace.valid) })
    }

    /// Seconds left in the current epoch of `fold`, validation included.
    pub fn epoch_left(self, fold: &Fold) -> f64 {
        if fold.epochs_done() == fold.at.epoch {
            return 0.0;
        }
        let steps = match fold.state {
            FoldState::Validating => 0,
            _ => fold.plan.steps.saturating_sub(fold.at.step),
        };
        let batches = fold.plan.valid_batches.saturating_sub(fold.valid_batch);
        steps as f64 * self.step + batches as f64 * self.valid
    }

    /// Seconds left in `fold`; 0 if it is over or paused.
    pub fn fold_left(self, fold: &Fold) -> f64 {
        if fold.is_over() || fold.state == FoldState::Paused {
            return 0.0;
        }
        let whole =
            fold.plan.steps as f64 * self.step + fold.plan.valid_batches as f64 * self.valid;
        let to_come = fold.epochs.len().saturating_sub(fold.at.epoch);
        let at_hand = if fold.at.epoch == 0 { 0.0 } else { self.epoch_left(fold) };
        at_hand + to_come as f64 * whole
    }
}

/// Seconds until several processes have done all work: each is `busy` for so long with what it does, and
/// whichever is free first takes the next of `waiting`. `None` if there is no process.
pub fn in_parallel(busy: &[f64], waiting: &[f64]) -> Option<f64> {
    let mut free: Vec<f64> = busy.to_vec();
    let mut end = free.iter().copied().reduce(f64::max)?;
    for work in waiting {
        let first = free.iter_mut().min_by(|a, b| a.total_cmp(b))?;
        *first += work;
        end = end.max(*first);
    }
    Some(end)
}

/// Share of the run's steps that is done, 0 to 1.
pub fn run_share(folds: &[Fold]) -> f64 {
    let weight = |fold: &Fold| fold.plan.steps as f64 * fold.epochs.len() as f64;
    let all: f64 = folds.iter().map(weight).sum();
    let done: f64 = folds.iter().map(|fold| fold.share_behind() * weight(fold)).sum();
    if all > 0.0 { done / all } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::event::{FoldPlan, Position};

    fn plan() -> RunStarted {
        RunStarted {
            name: "r".into(),
            folder: "runs/r".into(),
            device: "CPU".into(),
            model: "m".into(),
            parameters: 1,
            image_size: 64,
            images_per_study: 105,
            batch_size: 4,
            epochs: 3,
            learning_rates: vec![1e-3; 3],
            folds: Vec::new(),
            seed: 0,
            select: Default::default(),
            resumed: false,
        }
    }

    fn fold(number: usize) -> Fold {
        let plan = FoldPlan {
            fold: number,
            train_studies: 40,
            valid_studies: 8,
            steps: 10,
            valid_batches: 2,
            baseline: 0.6,
        };
        Fold::new(plan, 3, 1024)
    }

    fn step(epoch: usize, step: usize, seconds: f64) -> Step {
        Step {
            at: Position { fold: 0, epoch, step },
            steps: 10,
            loss: 0.5,
            slice_loss: 0.5,
            study_loss: 0.5,
            vertebra_loss: [0.5; 7],
            grad_norm: 1.0,
            learning_rate: 1e-3,
            images: 420,
            data_seconds: 0.25 * seconds,
            compute_seconds: 0.75 * seconds,
            ..Step::default()
        }
    }

    #[test]
    fn before_the_first_validation_an_image_costs_a_third() {
        let (plan, mut progress) = (plan(), Progress::default());
        let mut first = fold(0);
        assert_eq!(progress.run_left(&plan, &[first.clone()]), None, "nothing measured yet");
        first.state = FoldState::Training;
        first.start_epoch(Position { fold: 0, epoch: 1, step: 0 });
        for s in 1..=4 {
            progress.add_step(&step(1, s, 12.0));
            first.add_step(&step(1, s, 12.0));
        }
        // A batch of 4 studies takes 12 s in training and 4 s in validation. Left in the current
        // epoch: 6 · 12 + 2 · 4 = 80; a whole epoch: 10 · 12 + 2 · 4 = 128.
        assert_eq!(progress.epoch_left(&plan, &first), Some(80.0));
        assert_eq!(progress.fold_left(&plan, &first), Some(80.0 + 2.0 * 128.0));
        let folds = [first, fold(1)];
        assert_eq!(progress.run_left(&plan, &folds), Some(80.0 + 2.0 * 128.0 + 3.0 * 128.0));
        assert_eq!(run_share(&folds), 4.0 / 60.0);
        assert_eq!(progress.train.images_per_second(), Some(35.0));
        assert_eq!(progress.train.data_share(), Some(0.25));
    }

    #[test]
    fn a_measured_validation_and_skipped_folds_count() {
        let (plan, mut progress) = (plan(), Progress::default());
        let (mut first, mut second) = (fold(0), fold(1));
        first.state = FoldState::Validating;
        first.start_epoch(Position { fold: 0, epoch: 3, step: 0 });
        for s in 1..=10 {
            progress.add_step(&step(3, s, 2.0));
            first.add_step(&step(3, s, 2.0));
        }
        let valid = ValidStep {
            at: Position { fold: 0, epoch: 3, step: 1 },
            batches: 2,
            loss: 0.5,
            images: 420,
            seconds: 7.0,
            data_seconds: 1.75,
        };
        progress.add_valid(&valid);
        assert_eq!(progress.valid.data_share(), Some(0.25));
        first.valid_batch = 1;
        second.state = FoldState::Skipped;
        assert_eq!(progress.run_left(&plan, &[first.clone(), second.clone()]), Some(7.0));
        second.state = FoldState::Paused;
        assert_eq!(progress.run_left(&plan, &[second, first]), Some(7.0));
    }

    #[test]
    fn waiting_work_goes_to_whoever_is_free_first() {
        assert_eq!(in_parallel(&[], &[5.0]), None);
        assert_eq!(in_parallel(&[30.0, 10.0], &[]), Some(30.0));
        assert_eq!(in_parallel(&[30.0, 10.0], &[15.0]), Some(30.0));
        // The first waits for 10 s, the second for 25 s.
        assert_eq!(in_parallel(&[30.0, 10.0], &[15.0, 40.0]), Some(65.0));
    }

    #[test]
    fn the_first_step_does_not_mislead() {
        let mut progress = Progress::default();
        progress.add_step(&step(1, 1, 100.0));
        assert_eq!(progress.train.seconds(), Some(100.0));
        progress.add_step(&step(1, 2, 2.0));
        assert_eq!(progress.train.seconds(), Some(2.0));
    }
}
