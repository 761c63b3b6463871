//! Trainer → views.
//!
//! Events are cheap values: figures, and previews as raw pixels; never tensors. Times are
//! seconds since the run started, so that a recorded run replays at any speed.

pub use super::position::Position;
pub use super::studies::{
    Constant, ConstantStudy, Picture, Prediction, SliceContent, SliceReply, SliceRequest, Worst,
    WorstStudy,
};
use super::{Command, figure};
use crate::config::Metric;
use crate::score::Scores;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// An event and when it happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stamped {
    /// Seconds since the run started.
    pub at: f64,
    /// What happened.
    pub event: Event,
}

/// What the trainer tells the views.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// Once, before anything else.
    RunStarted(RunStarted),
    /// A fold changed its state.
    Fold(FoldEvent),
    /// The folds' order or what is planned of them changed.
    Queue(Queue),
    /// A fold that was done is trained again, under another seed.
    #[serde(rename = "again")]
    Retrain(Retrain),
    /// Training was given another end.
    Planned(Planned),
    /// An epoch begins.
    EpochStarted(EpochStarted),
    /// One optimizer step is done. May be dropped when the view is slow.
    Step(Step),
    /// One validation batch is done. May be dropped when the view is slow.
    ValidStep(ValidStep),
    /// An epoch and its validation are done.
    Epoch(Epoch),
    /// The studies that a validation was worst at.
    Worst(Worst),
    /// Crops of the current batch. May be dropped when the view is slow.
    Preview(Preview),
    /// A slice that a view asked for. May be dropped when the view is slow.
    #[serde(rename = "look")]
    SliceReply(SliceReply),
    /// How the GPU is doing, every few seconds. May be dropped when the view is slow.
    Gpu(Gpu),
    /// How the machine is doing, every few seconds. May be dropped when the view is slow.
    System(System),
    /// A batch was left out because its loss or a gradient is not finite.
    LeftOut(LeftOut),
    /// Crops without a picture were met, each study once.
    Constant(Constant),
    /// A checkpoint is on disk.
    Checkpoint(Checkpoint),
    /// The trainer as a whole changed its state: the answer to a command.
    Trainer(TrainerEvent),
    /// What became of a command, where no other event says it.
    Answer(Answer),
    /// A line for the log.
    Log(Log),
    /// Something went wrong; the fold or the run has ended because of it.
    Error(ErrorEvent),
    /// Last of all.
    RunFinished(RunFinished),
}

impl Event {
    /// Whether a slow view can live without it (the next one replaces it).
    pub fn may_be_dropped(&self) -> bool {
        matches!(self, Event::Step(_) | Event::ValidStep(_) | Event::Gpu(_) | Event::System(_))
            || self.is_picture()
    }

    /// Whether it carries pictures: the journal does without them.
    pub fn is_picture(&self) -> bool {
        matches!(self, Event::Preview(_) | Event::SliceReply(_))
    }
}

/// What became of a command: of those about a fold or the plan always, of others where they are
/// refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The command, as it was given.
    pub command: Command,
    /// `None`: it was obeyed. Else why it was refused, in one sentence.
    #[serde(default)]
    pub refused: Option<String>,
}

/// The plan of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunStarted {
    /// Name of the run, the last part of its folder.
    pub name: String,
    /// The run's folder, as it is to be shown.
    pub folder: String,
    /// What computes: `CPU, 2 threads`, `CUDA 0: NVIDIA H100`.
    pub device: String,
    /// `convnext_nano`.
    pub model: String,
    /// Trainable parameters.
    pub parameters: usize,
    /// Height and width of the crops, in pixels.
    pub image_size: usize,
    /// Images a study (7 × slices).
    pub images_per_study: usize,
    /// Studies a step.
    pub batch_size: usize,
    /// Epochs a fold.
    pub epochs: usize,
    /// Learning rate of each epoch, `epochs` long.
    pub learning_rates: Vec<f64>,
    /// The folds, in the order in which they were planned.
    pub folds: Vec<FoldPlan>,
    /// The seed of the run.
    pub seed: u64,
    /// What `best` is chosen by.
    #[serde(default)]
    pub select: Metric,
    /// Whether it goes on where an earlier process left it.
    #[serde(default)]
    pub resumed: bool,
}

/// One fold of the plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoldPlan {
    /// The fold's number, as in the table.
    pub fold: usize,
    /// Studies trained on.
    pub train_studies: usize,
    /// Studies validated on.
    pub valid_studies: usize,
    /// Optimizer steps an epoch (the short batch dropped).
    pub steps: usize,
    /// Validation batches an epoch (the short batch kept).
    pub valid_batches: usize,
    /// Validation loss of a constant guess at the training prevalence.
    #[serde(with = "figure")]
    pub baseline: f64,
}

/// A fold's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FoldState {
    /// Not begun.
    Waiting,
    /// Being trained.
    Training,
    /// Being validated.
    Validating,
    /// Set aside by the user, to go on where it stands.
    Paused,
    /// All epochs done.
    Done,
    /// Given up by the user.
    Skipped,
    /// Ended by the user before its last epoch.
    Stopped,
    /// Ended by an error.
    Failed,
}

/// A fold changed its state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoldEvent {
    /// Where it stands.
    pub at: Position,
    /// Its state from now on.
    pub state: FoldState,
}

/// The folds in the order in which they are to be trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    /// Each fold of the run once.
    pub folds: Vec<Queued>,
}

/// A fold in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// The fold's number.
    pub fold: usize,
    /// Its state.
    pub state: FoldState,
    /// The seed that it is trained under; another than the run's where it is trained again.
    pub seed: u64,
}

/// Another end of training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    /// Where it was asked for; it counts from the next step on.
    pub at: Position,
    /// Epochs a fold.
    pub epochs: usize,
    /// Learning rate of each epoch, `epochs` long.
    pub learning_rates: Vec<f64>,
    /// What is another now, a line each: `train.epochs: 50 → 60`.
    pub changes: Vec<String>,
}

/// A fold begins anew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retrain {
    /// The fold; epoch and step 0.
    pub at: Position,
    /// The seed that it is trained under from now on.
    pub seed: u64,
}

/// An epoch begins, or goes on after an interruption.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochStarted {
    /// Fold, epoch, and the steps of it that are done already.
    pub at: Position,
    /// Learning rate of the epoch.
    pub learning_rate: f64,
}

/// One optimizer step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Where; `at.step` is this step, from 1.
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
    /// Slice loss of C1..C7, the mixed targets counted by their share.
    #[serde(with = "figure::seven")]
    pub vertebra_loss: [f64; 7],
    /// L2 norm of all gradients; not finite where the step was skipped.
    #[serde(with = "figure")]
    pub grad_norm: f64,
    /// With f16: a gradient was not finite, so the scaler skipped the optimizer's step.
    pub skipped: bool,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Mixup's lambda, where the batch was mixed.
    pub mixup: Option<f64>,
    /// Images in the step.
    pub images: usize,
    /// Seconds spent waiting for the batch.
    pub data_seconds: f64,
    /// Seconds spent computing.
    pub compute_seconds: f64,
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
    /// Seconds spent, waiting for data included.
    pub seconds: f64,
    /// Those of them that were spent waiting for the batch.
    pub data_seconds: f64,
}

/// A GPU at a moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gpu {
    /// Bytes of its memory in use, by whomever.
    pub memory_used: u64,
    /// Bytes of memory that it has.
    pub memory_total: u64,
    /// Percent of the last moments in which it computed.
    pub utilisation: Option<u32>,
    /// °C
    pub temperature: Option<u32>,
    /// W
    pub watts: Option<f64>,
    /// Why its clocks are lower than they could be, in short words: `power cap, thermal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled: Option<String>,
}

/// The machine at a moment, and this process in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct System {
    /// Percent of all cores' time in which they computed, by whomever, since the last one: 0 to 100.
    pub cpu: f64,
    /// The same of this process alone, in percent of one core.
    pub process_cpu: f64,
    /// Bytes of memory that this process has resident.
    pub resident: u64,
    /// Bytes of the machine's, or the container's, memory in use.
    pub memory_used: u64,
    /// Bytes of memory that it has.
    pub memory_total: u64,
    /// Bytes that this user can still write to the disk of the run's folder.
    pub disk_free: Option<u64>,
    /// Bytes of that disk.
    pub disk_total: Option<u64>,
    /// Threads that ran or waited to run, averaged over a minute.
    pub load: Option<f64>,
}

/// A batch that was left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The step before it.
    pub at: Position,
    /// What is not finite: `the loss` or `the gradient of NAME`.
    pub what: String,
    /// UIDs of the batch.
    pub studies: Vec<String>,
}

/// An epoch with its validation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Fold and epoch; `at.step` = steps in the epoch.
    pub at: Position,
    /// Learning rate of the epoch.
    pub learning_rate: f64,
    /// Mean training loss over the steps.
    #[serde(with = "figure")]
    pub train_loss: f64,
    /// Mean over the steps of the slice head's loss.
    #[serde(with = "figure")]
    pub train_slice_loss: f64,
    /// Mean over the steps of the study head's loss.
    #[serde(with = "figure")]
    pub train_study_loss: f64,
    /// Validation loss: mean over batches of (slice loss + study loss) / 2.
    #[serde(with = "figure")]
    pub valid_loss: f64,
    /// Mean over batches of the slice head's validation loss.
    #[serde(with = "figure")]
    pub valid_slice_loss: f64,
    /// Mean over batches of the study head's validation loss.
    #[serde(with = "figure")]
    pub valid_study_loss: f64,
    /// Validation slice loss of C1..C7; NaN-free: `None` where there was no slice.
    #[serde(with = "figure::maybe_seven")]
    pub valid_vertebra_loss: [Option<f64>; 7],
    /// ROC AUC over all validation slices; `None` where one class is missing.
    pub slice_auc: Option<f64>,
    /// ROC AUC of the study head; `None` where one class is missing.
    pub study_auc: Option<f64>,
    /// What `best` is chosen by, lower is better: the validation loss, or of what else
    /// `select.metric` names, where higher is better, 1 minus it. NaN where the epoch cannot be the
    /// best: it was not trained, its validation loss is not finite, or there is no such figure.
    #[serde(with = "figure")]
    pub metric: f64,
    /// The best metric of the fold so far, this epoch included.
    #[serde(with = "figure")]
    pub best_metric: f64,
    /// Whether this epoch became the best.
    pub is_best: bool,
    /// Figures over the validation's studies; `None` where a logit was not a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<Arc<Scores>>,
    /// Seconds spent in training.
    pub train_seconds: f64,
    /// Seconds spent in validation.
    pub valid_seconds: f64,
    /// Validation batches that took `valid_seconds`.
    pub valid_batches: usize,
}

/// Crops of the current batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preview {
    /// Where training stands.
    pub at: Position,
    /// The crops.
    pub crops: Vec<Crop>,
    /// What the network says of all slices of their studies, each study once.
    #[serde(default)]
    pub predictions: Vec<Prediction>,
}

/// One crop of the batch at hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Crop {
    /// StudyInstanceUID.
    pub study: String,
    /// 1..=7 for C1..C7.
    pub vertebra: u8,
    /// 0..15.
    pub slice: u8,
    /// The slice's target, 0 or 1.
    #[serde(with = "figure::single")]
    pub label: f32,
    /// The slice head's probability.
    #[serde(with = "figure::single")]
    pub probability: f32,
    /// Height of the picture.
    pub height: usize,
    /// Width of the picture.
    pub width: usize,
    /// The picture that the network saw and that the probability belongs to.
    pub seen: Picture,
    /// The same slice before augmentation, equal to `seen` where nothing is augmented; `None`
    /// where it could not be read once more.
    pub raw: Option<Picture>,
}

/// A checkpoint is on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Where training stood.
    pub at: Position,
    /// `best` or `last`.
    pub kind: CheckpointKind,
    /// The file, as it is to be shown.
    pub path: String,
    /// Seconds it took to write.
    pub seconds: f64,
}

/// Which checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckpointKind {
    /// Lowest metric of the fold.
    Best,
    /// The newest weights with the optimizer's state: what training goes on from.
    Last,
}

/// The trainer's state, in answer to a command or by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainerEvent {
    /// Where training stands.
    pub at: Position,
    /// The state from now on.
    pub state: TrainerState,
    /// Why, where it was not asked for: `cannot write …: no space left`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The trainer's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrainerState {
    /// Working.
    Running,
    /// Holding until resumed or stopped.
    Paused,
    /// Holding until what is wrong (`reason`) is not any more: a full disk.
    Held,
    /// Will end after this epoch.
    StoppingAfterEpoch,
    /// Saving and ending.
    Stopping,
}

/// A line for the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Log {
    /// How grave.
    pub level: Level,
    /// One line.
    pub message: String,
}

/// How grave a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// For the record.
    Info,
    /// Worth a look.
    Warn,
    /// Something failed.
    Error,
}

/// Something went wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorEvent {
    /// Where.
    pub at: Position,
    /// One sentence: what happened, to which file or study, what to do.
    pub message: String,
    /// Whether the whole run has ended (a fold alone otherwise).
    pub fatal: bool,
}

/// How the run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunFinished {
    /// Why.
    pub outcome: Outcome,
    /// For each fold that finished an epoch: its number, best metric and the epoch of it.
    pub best: Vec<FoldBest>,
    /// Studies that were left out of batches because they could not be read; by fold.
    pub skipped: Vec<SkippedStudy>,
}

/// A study that was left out of a fold's batches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedStudy {
    /// The fold's number.
    pub fold: usize,
    /// StudyInstanceUID.
    pub study: String,
    /// How many batches it was missing in.
    pub times: usize,
    /// Why, the first time: the slice, its file and what is wrong with it.
    pub message: String,
}

/// A fold's best epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoldBest {
    /// The fold's number.
    pub fold: usize,
    /// Lowest metric.
    #[serde(with = "figure")]
    pub metric: f64,
    /// Its epoch, from 1.
    pub epoch: usize,
    /// Validation loss of that epoch, where the metric is another figure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_loss: Option<f64>,
    /// Slice AUC of that epoch, if any.
    pub slice_auc: Option<f64>,
    /// The constant guess's validation loss.
    #[serde(with = "figure")]
    pub baseline: f64,
    /// Its checkpoint, as it is to be shown.
    pub path: String,
}

impl FoldBest {
    /// The validation loss of the best epoch.
    pub fn loss(&self) -> f64 {
        self.valid_loss.unwrap_or(self.metric)
    }
}

/// Why the run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every fold is done or skipped.
    Completed,
    /// The user stopped it.
    Stopped,
    /// It was interrupted and is to be started again: a batch system's preemption.
    Requeued,
    /// At least one fold failed.
    Failed,
}
