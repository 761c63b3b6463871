//! Inputs of a run and of a fold's training.

use super::{checkpoint::Best, faults::Faults, memory, step::Stepper};
use crate::{
    config::{Config, Precision},
    device::Monitor,
    net::{Classifier, encoder::Arena},
    run::{
        Latest,
        channel::EventSender,
        event::{FoldBest, FoldPlan, Preview, RunFinished, Worker},
        folder::Folder,
        status::FoldStatus,
    },
    study::{SliceSource, Study, Table},
};
use candle_core::{DType, Device};
use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    path::PathBuf,
    sync::Arc,
};

/// Inputs of a run.
pub struct Job {
    /// The resolved configuration.
    pub config: Config,
    /// The studies.
    pub table: Table,
    /// Source of the slices.
    pub source: Arc<dyn SliceSource>,
    /// The run folder.
    pub folder: Folder,
    /// Device of the network.
    pub device: Device,
    /// Description of the device.
    pub device_name: String,
    /// Reason for training on the CPU when a GPU was allowed.
    pub no_gpu: Option<String>,
    /// This process as a worker of a run that several share: it trains only the worker's fold, whose folder
    /// `folder` is.
    pub worker: Option<Worker>,
    /// Number of processes that share the CPU's memory, this one included.
    pub sharing: usize,
    /// State left by an earlier process of this run.
    pub resume: Option<Left>,
    /// The notebook's DEBUG: writes no `last`.
    pub debug: bool,
    /// Returns the text of `report.txt`.
    pub report: fn(&RunFinished) -> String,
}

/// State of a run left by an earlier process.
#[derive(Debug, Clone, Default)]
pub struct Left {
    /// Seconds that the run took so far.
    pub seconds: f64,
    /// The queue, if known.
    pub folds: Vec<FoldStatus>,
    /// Settings changed since then, a line each.
    pub changed: Vec<String>,
}

/// Inputs of a fold's training.
pub struct Fold<'a> {
    /// The run.
    pub job: &'a Job,
    /// The run's configuration as it is now, with the fold's seed.
    pub config: &'a Config,
    /// Number of the fold and its counts of studies and steps.
    pub plan: &'a FoldPlan,
    /// Training studies: those of the other folds.
    pub train: Arc<[Study]>,
    /// Validation studies: those of this fold.
    pub valid: Arc<[Study]>,
    /// Channel to the journal and the views.
    pub events: &'a EventSender,
    /// Previews on their way to the slice reader.
    pub previews: &'a Latest<Preview>,
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
    /// Faults caused by the tests.
    pub faults: Faults,
}

impl<'a> Fold<'a> {
    /// The stepper for `model`.
    pub(super) fn stepper(&self, model: &'a Classifier) -> Stepper<'a> {
        Stepper {
            model,
            plan: self.memory.get(),
            device: &self.job.device,
            compute: compute(self.config.train.precision),
            arena: self.arena,
            clock: None,
        }
    }

    /// Path of `last`, `older` generations back.
    pub(super) fn last(&self, older: usize) -> PathBuf {
        self.job.folder.last(self.plan.fold, self.retrain_seed, older)
    }

    /// Path of `best`.
    pub(super) fn best_path(&self) -> PathBuf {
        self.job.folder.best(self.plan.fold, self.retrain_seed)
    }

    /// Path of the notebook's log.
    pub(super) fn log(&self) -> PathBuf {
        self.job.folder.log(&self.config.run.kernel_type, self.retrain_seed)
    }

    /// Converts `best` to the form used in events.
    pub(super) fn best(&self, Best { metric, epoch, valid_loss, slice_auc }: Best) -> FoldBest {
        let FoldPlan { fold, baseline, .. } = *self.plan;
        let path = self.best_path().display().to_string();
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
