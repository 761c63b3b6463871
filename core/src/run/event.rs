//! Events from the trainer to the views.
//!
//! Events are cheap values: numbers, and previews as raw pixels; never tensors. Times are seconds since
//! the run started, so that a recorded run replays at any speed.

mod delivery;
mod measured;

pub use super::position::Position;
pub use super::studies::{
    Constant, ConstantStudy, Picture, Prediction, SliceContent, SliceReply, SliceRequest, Worst,
    WorstStudy,
};
pub use super::worker::{Worker, WorkerState};
pub use measured::{Epoch, EpochStarted, Gpu, LeftOut, Step, System, ValidStep};

use super::{Command, Request, figure};
use crate::config::Metric;
use serde::{Deserialize, Serialize};

/// An event with its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stamped {
    /// Seconds since the run started.
    pub at: f64,
    /// The event.
    pub event: Event,
    /// The fold whose worker sent it, in a run that several processes train.
    #[serde(default)]
    pub fold: Option<usize>,
}

impl Stamped {
    /// An event of a run of one process.
    pub fn new(at: f64, event: Event) -> Self {
        Self { at, event, fold: None }
    }
}

/// An event from the trainer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The run started; once, before any other event.
    RunStarted(RunStarted),
    /// A fold changed its state.
    Fold(FoldEvent),
    /// The queue's order or the state of a fold in it changed.
    Queue(Queue),
    /// A finished fold is trained again, under another seed.
    #[serde(rename = "again")]
    Retrain(Retrain),
    /// The number of epochs or the final learning rate changed.
    Planned(Planned),
    /// An epoch starts.
    EpochStarted(EpochStarted),
    /// An optimizer step is done. May be dropped for a slow view.
    Step(Step),
    /// A validation batch is done. May be dropped for a slow view.
    ValidStep(ValidStep),
    /// An epoch and its validation are done.
    Epoch(Epoch),
    /// The studies with the highest loss of a validation.
    Worst(Worst),
    /// Crops of the current batch. May be dropped for a slow view.
    Preview(Preview),
    /// A slice that a view requested. May be dropped for a slow view.
    #[serde(rename = "look")]
    SliceReply(SliceReply),
    /// State of the GPU, every few seconds. May be dropped for a slow view.
    Gpu(Gpu),
    /// State of the machine, every few seconds. May be dropped for a slow view.
    System(System),
    /// A batch was left out because its loss or a gradient was not finite.
    LeftOut(LeftOut),
    /// Training met crops without a picture; each study is reported once.
    Constant(Constant),
    /// A checkpoint was written.
    Checkpoint(Checkpoint),
    /// The trainer changed its state: the answer to a command.
    Trainer(TrainerEvent),
    /// The answer to a [`Request`].
    #[serde(rename = "answer")]
    Ack(Ack),
    /// A process of a shared run began to train a fold, or is known to be about to, or to have ended.
    Worker(Worker),
    /// A line for the log.
    Log(Log),
    /// Something went wrong; the fold or the run has ended because of it.
    Error(ErrorEvent),
    /// The run ended; the last event.
    RunFinished(RunFinished),
    /// An event of a newer version of this program.
    #[serde(other)]
    Unknown,
}

/// Result of a request: one for each. Older versions sent it only for commands about a fold or the plan,
/// and for refusals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ack {
    /// The request's id, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// The command as received.
    pub command: Command,
    /// Why the command was refused, in one sentence; `None` if it was carried out.
    #[serde(default)]
    pub refused: Option<String>,
}

impl Ack {
    /// The answer to `request`.
    pub fn of(Request { id, command, .. }: Request, refused: Option<String>) -> Self {
        Self { id, command, refused }
    }
}

/// Description of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunStarted {
    /// Name of the run: the last part of its folder's path.
    pub name: String,
    /// The run's folder, for display.
    pub folder: String,
    /// Device: `CPU, 2 threads`, `CUDA 0: NVIDIA H100`.
    pub device: String,
    /// Backbone: `convnext_nano`.
    pub model: String,
    /// Trainable parameters.
    pub parameters: usize,
    /// Height and width of the crops, in pixels.
    pub image_size: usize,
    /// Images per study (7 × slices).
    pub images_per_study: usize,
    /// Studies per step.
    pub batch_size: usize,
    /// Epochs per fold.
    pub epochs: usize,
    /// Learning rate of each epoch, `epochs` long.
    pub learning_rates: Vec<f64>,
    /// The folds, in their planned order.
    pub folds: Vec<FoldPlan>,
    /// Seed of the run.
    pub seed: u64,
    /// Metric by which `best` is chosen.
    #[serde(default)]
    pub select: Metric,
    /// Whether the run continues from an earlier process.
    #[serde(default)]
    pub resumed: bool,
}

/// One fold of the plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoldPlan {
    /// Number of the fold, as in the table.
    pub fold: usize,
    /// Number of training studies.
    pub train_studies: usize,
    /// Number of validation studies.
    pub valid_studies: usize,
    /// Optimizer steps per epoch (a short last batch is dropped).
    pub steps: usize,
    /// Validation batches per epoch (a short last batch is kept).
    pub valid_batches: usize,
    /// Validation loss when always predicting the training prevalence.
    #[serde(with = "figure")]
    pub baseline: f64,
}

/// State of a fold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FoldState {
    /// Not started.
    Waiting,
    /// Being trained.
    Training,
    /// Being validated.
    Validating,
    /// Paused by the user.
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
    /// Current position.
    pub at: Position,
    /// New state.
    pub state: FoldState,
}

/// The folds in training order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    /// Every fold of the run, once.
    pub folds: Vec<Queued>,
}

/// A fold in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// Number of the fold.
    pub fold: usize,
    /// Its state.
    pub state: FoldState,
    /// Seed of its training; differs from the run's once it is retrained.
    pub seed: u64,
}

/// A changed plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    /// Where it was requested; it applies from the next step on.
    pub at: Position,
    /// Epochs per fold.
    pub epochs: usize,
    /// Learning rate of each epoch, `epochs` long.
    pub learning_rates: Vec<f64>,
    /// The changed settings, one per line: `train.epochs: 50 → 60`.
    pub changes: Vec<String>,
}

/// A fold starts again from the beginning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retrain {
    /// The fold, with epoch and step 0.
    pub at: Position,
    /// Seed of its training from now on.
    pub seed: u64,
}

/// Crops of the current batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preview {
    /// Current position of training.
    pub at: Position,
    /// The crops.
    pub crops: Vec<Crop>,
    /// Predictions for all slices of their studies, each study once.
    #[serde(default)]
    pub predictions: Vec<Prediction>,
}

/// One crop of the current batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Crop {
    /// StudyInstanceUID.
    pub study: String,
    /// Vertebra: 1..=7 for C1..C7.
    pub vertebra: u8,
    /// Slice within the vertebra: 0..15.
    pub slice: u8,
    /// The slice's target, 0 or 1.
    #[serde(with = "figure::single")]
    pub label: f32,
    /// Probability from the slice head.
    #[serde(with = "figure::single")]
    pub probability: f32,
    /// Height of the picture, in pixels.
    pub height: usize,
    /// Width of the picture, in pixels.
    pub width: usize,
    /// The network's input, which `probability` belongs to.
    pub seen: Picture,
    /// The same slice before augmentation, equal to `seen` without augmentation; `None` if it could not be
    /// read again.
    pub raw: Option<Picture>,
}

/// A checkpoint was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Position of training in it.
    pub at: Position,
    /// `best` or `last`.
    pub kind: CheckpointKind,
    /// The file's path, for display.
    pub path: String,
    /// Seconds spent writing it.
    pub seconds: f64,
}

/// Kind of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckpointKind {
    /// The weights with the fold's lowest metric.
    Best,
    /// The newest weights with the optimizer's state; training resumes from them.
    Last,
}

/// A change of the trainer's state, in answer to a command or on its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainerEvent {
    /// Current position of training.
    pub at: Position,
    /// New state.
    pub state: TrainerState,
    /// Why the state changed, if no command asked for it: `cannot write …: no space left`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// State of the trainer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrainerState {
    /// Training or validating.
    Running,
    /// Paused until resumed or stopped.
    Paused,
    /// Waiting until a problem (`reason`) is resolved, such as a full disk.
    Held,
    /// Will end after this epoch.
    StoppingAfterEpoch,
    /// Saving and ending.
    Stopping,
}

/// A line for the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Log {
    /// Severity.
    pub level: Level,
    /// The message, one line.
    pub message: String,
}

/// Severity of a log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Information.
    #[default]
    Info,
    /// Warning.
    Warn,
    /// Error.
    Error,
}

/// An error that ended a fold or the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorEvent {
    /// Position when it happened.
    pub at: Position,
    /// One sentence: what happened, to which file or study, and what to do.
    pub message: String,
    /// Whether the whole run has ended (otherwise only the fold).
    pub fatal: bool,
}

/// How the run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunFinished {
    /// Why.
    pub outcome: Outcome,
    /// Best epoch of each fold that finished an epoch.
    pub best: Vec<FoldBest>,
    /// Studies left out of batches because they could not be read, by fold.
    pub skipped: Vec<SkippedStudy>,
}

/// A study left out of a fold's batches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedStudy {
    /// Number of the fold.
    pub fold: usize,
    /// StudyInstanceUID.
    pub study: String,
    /// Number of batches without it.
    pub times: usize,
    /// Reason the first time: the slice, its file and what is wrong with it.
    pub message: String,
}

/// A fold's best epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoldBest {
    /// Number of the fold.
    pub fold: usize,
    /// Lowest metric.
    #[serde(with = "figure")]
    pub metric: f64,
    /// Epoch of that metric, from 1.
    pub epoch: usize,
    /// Validation loss of that epoch, if the metric is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_loss: Option<f64>,
    /// Slice AUC of that epoch, if any.
    pub slice_auc: Option<f64>,
    /// Validation loss when always predicting the training prevalence.
    #[serde(with = "figure")]
    pub baseline: f64,
    /// Path of its checkpoint, for display.
    pub path: String,
}

impl FoldBest {
    /// Returns the validation loss of the best epoch.
    pub fn loss(&self) -> f64 {
        self.valid_loss.unwrap_or(self.metric)
    }
}

/// Why the run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every fold was done or skipped.
    Completed,
    /// The user stopped it.
    Stopped,
    /// It was interrupted and should be started again: a batch system's preemption.
    Requeued,
    /// At least one fold failed.
    Failed,
}
