//! Figures of steps, epochs and the machine.

use super::Position;
use crate::{run::figure, score::Scores};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// An epoch starts, or continues after an interruption.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochStarted {
    /// Fold, epoch, and the steps of it that are already done.
    pub at: Position,
    /// Learning rate of the epoch.
    pub learning_rate: f64,
}

/// One optimizer step.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Step {
    /// Position; `at.step` is this step, from 1.
    pub at: Position,
    /// Steps in this epoch.
    pub steps: usize,
    /// Training loss of the step (mixup and 15:1 weights included).
    #[serde(with = "figure")]
    pub loss: f64,
    /// The slice head's loss against the unmixed targets (the notebook's `loss1`).
    #[serde(with = "figure")]
    pub slice_loss: f64,
    /// The study head's loss against the unmixed targets (the notebook's `loss2`).
    #[serde(with = "figure")]
    pub study_loss: f64,
    /// Slice loss of C1..C7, mixed targets weighted by their share.
    #[serde(with = "figure::seven")]
    pub vertebra_loss: [f64; 7],
    /// L2 norm of all gradients; not finite if the step was skipped.
    #[serde(with = "figure")]
    pub grad_norm: f64,
    /// f16 only: a gradient was not finite, so the scaler skipped the optimizer's step.
    pub skipped: bool,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Mixup's lambda, if the batch was mixed.
    pub mixup: Option<f64>,
    /// Images in the step.
    pub images: usize,
    /// Seconds spent waiting for the batch.
    pub data_seconds: f64,
    /// Seconds spent computing.
    pub compute_seconds: f64,
}

impl Step {
    /// Seconds of the step, with the wait for data.
    pub fn seconds(&self) -> f64 {
        self.data_seconds + self.compute_seconds
    }
}

/// One validation batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValidStep {
    /// Fold and epoch; `at.step` is the validation batch, from 1.
    pub at: Position,
    /// Validation batches in this epoch.
    pub batches: usize,
    /// Mean validation loss so far.
    #[serde(with = "figure")]
    pub loss: f64,
    /// Images in the batch.
    pub images: usize,
    /// Seconds spent, including the wait for data.
    pub seconds: f64,
    /// Seconds of those spent waiting for the batch.
    pub data_seconds: f64,
}

/// State of a GPU.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Gpu {
    /// GPU memory in use by all processes, in bytes.
    pub memory_used: u64,
    /// Total GPU memory, in bytes.
    pub memory_total: u64,
    /// Percent of the last sampling period in which it computed.
    pub utilisation: Option<u32>,
    /// Temperature in °C.
    pub temperature: Option<u32>,
    /// Power draw in W.
    pub watts: Option<f64>,
    /// Reasons for reduced clocks, in short: `power cap, thermal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled: Option<String>,
}

/// State of the machine and of this process.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct System {
    /// CPU use of all processes since the last event, in percent of all cores: 0 to 100.
    pub cpu: f64,
    /// CPU use of this process, in percent of one core.
    pub process_cpu: f64,
    /// Resident memory of this process, in bytes.
    pub resident: u64,
    /// Memory in use on the machine or in the container, in bytes.
    pub memory_used: u64,
    /// Total memory, in bytes.
    pub memory_total: u64,
    /// Space on the run folder's disk that this user can still write, in bytes.
    pub disk_free: Option<u64>,
    /// Size of that disk, in bytes.
    pub disk_total: Option<u64>,
    /// Load average over one minute: threads that ran or waited to run.
    pub load: Option<f64>,
}

/// A batch that was left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The step before it.
    pub at: Position,
    /// The value that is not finite: `the loss` or `the gradient of NAME`.
    pub what: String,
    /// Study UIDs of the batch.
    pub studies: Vec<String>,
}

/// An epoch with its validation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Epoch {
    /// Fold and epoch; `at.step` = steps in the epoch.
    pub at: Position,
    /// Learning rate of the epoch.
    pub learning_rate: f64,
    /// Mean training loss over the steps.
    #[serde(with = "figure")]
    pub train_loss: f64,
    /// Mean of the slice head's loss over the steps.
    #[serde(with = "figure")]
    pub train_slice_loss: f64,
    /// Mean of the study head's loss over the steps.
    #[serde(with = "figure")]
    pub train_study_loss: f64,
    /// Validation loss: mean over batches of (slice loss + study loss) / 2.
    #[serde(with = "figure")]
    pub valid_loss: f64,
    /// Mean of the slice head's validation loss over the batches.
    #[serde(with = "figure")]
    pub valid_slice_loss: f64,
    /// Mean of the study head's validation loss over the batches.
    #[serde(with = "figure")]
    pub valid_study_loss: f64,
    /// Validation slice loss of C1..C7; `None` instead of NaN where there was no slice.
    #[serde(with = "figure::maybe_seven")]
    pub valid_vertebra_loss: [Option<f64>; 7],
    /// ROC AUC over all validation slices; `None` where one class is missing.
    pub slice_auc: Option<f64>,
    /// ROC AUC of the study head; `None` where one class is missing.
    pub study_auc: Option<f64>,
    /// The value that selects `best`, lower is better: the validation loss or, if `select.metric` names a
    /// metric where higher is better, 1 minus it. NaN if the epoch cannot become the best: it was not
    /// trained, its validation loss is not finite, or the metric is undefined.
    #[serde(with = "figure")]
    pub metric: f64,
    /// Best `metric` of the fold so far, including this epoch.
    #[serde(with = "figure")]
    pub best_metric: f64,
    /// Whether this epoch became the best.
    pub is_best: bool,
    /// Scores over the validation studies; `None` if a logit was NaN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<Arc<Scores>>,
    /// Seconds of training.
    pub train_seconds: f64,
    /// Seconds of validation.
    pub valid_seconds: f64,
    /// Validation batches done in `valid_seconds`.
    pub valid_batches: usize,
}
