//! Inputs of a fold's training, and how it can end.

use super::{checkpoint::Best, memory, step::Stepper};
use crate::{
    config::{Config, Precision},
    device::Monitor,
    net::{Classifier, encoder::Arena},
    run::{
        channel::EventSender,
        event::{FoldBest, FoldPlan, FoldState},
        folder::Folder,
    },
    study::{SliceSource, Study},
};
use candle_core::{DType, Device};
use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    path::PathBuf,
    sync::Arc,
};

/// Inputs of a fold's training.
pub struct Fold<'a> {
    /// The run's configuration.
    pub config: &'a Config,
    /// Number of the fold and its counts of studies and steps.
    pub plan: &'a FoldPlan,
    /// Source of the slices.
    pub source: Arc<dyn SliceSource>,
    /// Training studies: those of the other folds.
    pub train: Arc<[Study]>,
    /// Validation studies: those of this fold.
    pub valid: Arc<[Study]>,
    /// The run folder.
    pub folder: &'a Folder,
    /// Channel to the journal and the views.
    pub events: &'a EventSender,
    /// Device of the network.
    pub device: &'a Device,
    /// Memory plan of a step; replaced by a smaller one after a step runs out of memory.
    pub memory: &'a Cell<memory::Plan>,
    /// Buffers reused from step to step.
    pub arena: &'a Arena,
    /// Studies with constant crops that the run has reported already.
    pub constant: &'a RefCell<HashSet<Arc<str>>>,
    /// GPU monitor, if the GPU has one.
    pub monitor: Option<&'a Monitor>,
    /// Seed of a retrained fold; `None` while the fold uses the run's seed.
    pub retrain_seed: Option<u64>,
    /// The notebook's DEBUG: writes no `last`.
    pub debug: bool,
    /// For tests: panic at this step of the fold, counted from 1.
    pub panic_at_step: Option<usize>,
    /// For tests: print at this step of the fold, counted from 1.
    pub print_at_step: Option<usize>,
    /// For tests: the batch of each epoch, counted from 1, whose loss is not finite.
    pub nan_at_batch: Option<usize>,
}

/// How a fold ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The fold ended in this state; the run continues with the next fold.
    Left(FoldState),
    /// The run stops.
    Stopped,
}

impl<'a> Fold<'a> {
    /// The stepper for `model`.
    pub(super) fn stepper(&self, model: &'a Classifier) -> Stepper<'a> {
        Stepper {
            model,
            plan: self.memory.get(),
            device: self.device,
            compute: compute(self.config.train.precision),
            arena: self.arena,
            clock: None,
        }
    }

    /// Path of `last`, `older` generations back.
    pub(super) fn last(&self, older: usize) -> PathBuf {
        self.folder.last(self.plan.fold, self.retrain_seed, older)
    }

    /// Path of the notebook's log.
    pub(super) fn log(&self) -> PathBuf {
        self.folder.log(&self.config.run.kernel_type, self.retrain_seed)
    }

    /// Converts `best` to the form used in events.
    pub(super) fn best(&self, Best { metric, epoch, valid_loss, slice_auc }: Best) -> FoldBest {
        let (fold, baseline) = (self.plan.fold, self.plan.baseline);
        let path = self.folder.best(fold, self.retrain_seed).display().to_string();
        FoldBest { fold, metric, epoch, valid_loss, slice_auc, baseline, path }
    }
}

/// candle's type for `precision`. It is f32 on the CPU: `device::choose` ensures that.
pub fn compute(precision: Precision) -> DType {
    match precision {
        Precision::F32 => DType::F32,
        Precision::Bf16 => DType::BF16,
        Precision::F16 => DType::F16,
    }
}
