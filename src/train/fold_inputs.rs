//! What a fold is trained with, and how it ends.

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

/// What a fold is trained with.
pub struct Fold<'a> {
    /// The run's configuration.
    pub config: &'a Config,
    /// Numbers of the fold.
    pub plan: &'a FoldPlan,
    /// Where slices come from.
    pub source: Arc<dyn SliceSource>,
    /// Studies of the other folds.
    pub train: Arc<[Study]>,
    /// Studies of this fold.
    pub valid: Arc<[Study]>,
    /// Where files go.
    pub folder: &'a Folder,
    /// To the views.
    pub events: &'a EventSender,
    /// Where it computes.
    pub device: &'a Device,
    /// What a step keeps of its images; less once that did not fit.
    pub memory: &'a Cell<memory::Plan>,
    /// Buffers from step to step.
    pub arena: &'a Arena,
    /// Studies with crops without a picture that the run has told of.
    pub constant: &'a RefCell<HashSet<Arc<str>>>,
    /// How the GPU is doing, where there is one that tells.
    pub monitor: Option<&'a Monitor>,
    /// The seed, where it is not the run's: the fold is trained again.
    pub retrain_seed: Option<u64>,
    /// The notebook's DEBUG: no `last`.
    pub debug: bool,
    /// The time of the log, as `time.ctime()`.
    pub clock: fn() -> String,
    /// For the tests: panic at this step of the fold, from 1.
    pub panic_at_step: Option<usize>,
    /// For the tests: print at this step of the fold, from 1.
    pub print_at_step: Option<usize>,
    /// For the tests: the loss of this batch of each epoch, from 1, is not finite.
    pub nan_at_batch: Option<usize>,
}

/// How a fold ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In this state; the next fold.
    Left(FoldState),
    /// The run ends.
    Stopped,
}

impl<'a> Fold<'a> {
    /// What computes the steps of `model`.
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

    /// What `last` is called; `older` = so many before it.
    pub(super) fn last(&self, older: usize) -> PathBuf {
        self.folder.last(self.plan.fold, self.retrain_seed, older)
    }

    /// The notebook's log.
    pub(super) fn log(&self) -> PathBuf {
        self.folder.log(&self.config.run.kernel_type, self.retrain_seed)
    }

    /// As it is told.
    pub(super) fn best(&self, Best { metric, epoch, valid_loss, slice_auc }: Best) -> FoldBest {
        let (fold, baseline) = (self.plan.fold, self.plan.baseline);
        let path = self.folder.best(fold, self.retrain_seed).display().to_string();
        FoldBest { fold, metric, epoch, valid_loss, slice_auc, baseline, path }
    }
}

/// candle's name of it. On the CPU it is f32: `device::choose` sees to that.
pub fn compute(precision: Precision) -> DType {
    match precision {
        Precision::F32 => DType::F32,
        Precision::Bf16 => DType::BF16,
        Precision::F16 => DType::F16,
    }
}
