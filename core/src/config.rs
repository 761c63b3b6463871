//! `config.toml`: types, defaults, checks, and error messages that name the key.
//!
//! The defaults are the repository's own `config.toml`, embedded, so that documentation and program
//! cannot disagree. These override it, in this order: the user's file, the demo's settings
//! (`assets/demo.toml`) with `--demo`, and each `--set SECTION.KEY=VALUE`.

mod changes;
mod check;
mod layers;
pub mod renamed;
mod score;
#[cfg(test)]
mod tests;
mod ui;

pub use crate::augment::CHANNELS;
use crate::{augment, bounded};
pub use layers::in_home;
use layers::{Layers, defaults, parse, parse_set};
pub use score::{BINS, Metric, PatientRule, Score, Select, VertebraRule};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use ui::{Ascii, Background, Colors, Pictures, Ui};

/// The repository's `config.toml`.
pub const DEFAULTS: &str = include_str!("../../config.toml");
/// Settings of `--demo`.
pub const DEMO: &str = include_str!("../../assets/demo.toml");

/// Vertebrae of the neck, C1..C7.
pub const VERTEBRAE: usize = 7;

/// Maximum config size, in bytes.
const LONGEST: u64 = 1 << 20;

/// Maximum folds of a run.
pub const MOST_FOLDS: usize = 1000;
/// Maximum epochs of a fold.
pub const MOST_EPOCHS: usize = 100_000;

/// A configuration that cannot be used: one sentence that names the file or key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the config {}: {source}; give an existing file with --config", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not valid TOML.
    #[error("{origin} is not valid TOML: {message}")]
    Syntax {
        /// The file or flag.
        origin: String,
        /// Line and reason.
        message: String,
    },
    /// A key or its value is not accepted.
    #[error("{key} = {value}: {expected} (from {origin})")]
    Key {
        /// `section.key`.
        key: String,
        /// The value as given.
        value: String,
        /// Allowed values.
        expected: String,
        /// The file or flag.
        origin: String,
    },
    /// A setting is given both by its name and by its name in an earlier version.
    #[error("{origin} gives both {new} and {old}, its earlier name: keep {new} alone")]
    Twice {
        /// The earlier name.
        old: String,
        /// The name.
        new: String,
        /// The file or flag.
        origin: String,
    },
    /// A resumed run has a changed setting.
    #[error(
        "the run cannot go on with other settings: {0}; put them back as they were, or begin a new run (train.epochs may grow; data.dir, data.workers, checkpoint, run, ui and the like are free)"
    )]
    Changed(String),
    /// `--set` without `=` or without a section.
    #[error("--set {0}: expected SECTION.KEY=VALUE, as in --set train.epochs=2")]
    Set(String),
}

type Result<T> = std::result::Result<T, Error>;

/// A setting given on the command line.
#[derive(Debug, Clone, PartialEq)]
pub struct Set {
    /// `SECTION.KEY=VALUE`
    pub text: String,
    /// The flag it came from, for messages.
    pub origin: String,
}

impl Set {
    /// Makes a setting from `--set`.
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { origin: format!("--set {text}"), text }
    }
}

/// For clap.
impl From<String> for Set {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

/// All settings of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Random seed. The same seed gives the same run.
    pub seed: u64,
    /// Location and format of the crops.
    pub data: Data,
    /// Training.
    pub train: Train,
    /// The network.
    pub model: Model,
    /// The augmentations.
    pub augment: augment::Settings,
    /// Rules for predictions and scores.
    pub score: Score,
    /// Metric by which `best` is chosen.
    pub select: Select,
    /// Intervals of `last` checkpoints.
    pub checkpoint: Checkpoint,
    /// The run's folder and output.
    pub run: Run,
    /// The dashboard's appearance.
    pub ui: Ui,
    /// Key bindings that replace the dashboard's own: action name to keys, separated by spaces.
    pub keys: BTreeMap<String, String>,
}

/// `[data]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Folder of the `.npy` files, or `phantom`.
    pub dir: PathBuf,
    /// The CSV with the studies' labels and folds.
    pub table: PathBuf,
    /// Number of made-up studies if `dir` is `phantom`.
    pub phantom_studies: usize,
    /// How hard their fractures are to see.
    pub phantom_difficulty: Difficulty,
    /// Height and width of the network's input in pixels, a multiple of 32.
    pub image_size: usize,
    /// Slices per vertebra.
    pub slices_per_vertebra: usize,
    /// Loader threads; 0: one less than the cores, 1 to 8.
    pub workers: usize,
    /// Number of batches prepared ahead.
    pub prefetch: usize,
    /// How to treat a study that cannot be read during training.
    pub on_error: OnError,
}

/// How hard it is to tell a made-up fracture from normal bone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Difficulty {
    /// Wide, black gaps in nearly every slice
    Easy,
    /// Somewhat narrower, greyer gaps in about 13 of 15 slices, more noise, and three look-alikes each
    Medium,
    /// Hairlines in about 8 of 15 slices, much noise, and many that look alike
    Hard,
}

/// How to treat a study that still cannot be read after several tries, or a step whose loss or gradient
/// is not finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// End the fold.
    Stop,
    /// Leave it out.
    Skip,
}

/// `[train]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// Folds to train, in order.
    pub folds: Vec<usize>,
    /// Epochs per fold.
    pub epochs: usize,
    /// Studies per step, at least 2 (BatchNorm of the study head).
    pub batch_size: usize,
    /// Learning rate of the first epoch.
    pub learning_rate: f64,
    /// Learning rate at the end of the cosine schedule.
    pub min_learning_rate: f64,
    /// AdamW's betas.
    pub betas: [f64; 2],
    /// AdamW's epsilon.
    pub eps: f64,
    /// AdamW's weight decay.
    pub weight_decay: f64,
    /// Probability that a batch is mixed.
    pub mixup: f64,
    /// Probability that a study's vertebrae are shuffled.
    pub vertebra_shuffle: f64,
    /// Probability that a vertebra's slices are shuffled.
    pub slice_shuffle: f64,
    /// Weight of the slice head's loss.
    pub slice_weight: f64,
    /// Weight of the study head's loss.
    pub study_weight: f64,
    /// Weight of positive targets.
    pub positive_weight: f64,
    /// Floating-point type of training.
    pub precision: Precision,
    /// How to treat a step whose loss or gradient is not finite.
    pub on_nonfinite: OnError,
    /// Whether f32 matrix products on CUDA use TF32.
    pub tf32: bool,
    /// Images per pass through the encoder; 0: from free memory.
    pub chunk_size: usize,
    /// Memory for the encoder's activations in MiB; 0: from free memory.
    pub memory: usize,
    /// Compute threads; 0: `RAYON_NUM_THREADS`, or one per core.
    pub threads: usize,
}

/// Floating-point type of training; validation is always f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit throughout.
    F32,
    /// bfloat16 compute, f32 master weights (CUDA).
    Bf16,
    /// float16 compute with a gradient scaler, f32 master weights (CUDA).
    F16,
}

impl std::fmt::Display for Precision {
    /// Writes the name used in the config.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        })
    }
}

/// `[model]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The encoder.
    pub backbone: Backbone,
    /// Pretrained weights, a file or `hf:OWNER/NAME`; empty: none.
    pub pretrained: PathBuf,
    /// Width of each LSTM direction.
    pub lstm_hidden: usize,
    /// Width of each head's hidden layer.
    pub head_hidden: usize,
    /// Dropout of the heads.
    pub dropout: f64,
}

/// A ConvNeXt, named as in timm 1.0. `_ols`: with an overlapping stem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Backbone {
    /// Not in timm: widths 16, 32, 64, 128, depths 1, 1, 2, 1, for the demo and the tests.
    ConvnextMicro,
    ConvnextAtto,
    ConvnextAttoOls,
    ConvnextFemto,
    ConvnextFemtoOls,
    ConvnextPico,
    ConvnextPicoOls,
    ConvnextNano,
    ConvnextNanoOls,
    ConvnextTiny,
}

/// `[checkpoint]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Steps between `last` checkpoints; 0: not by steps.
    pub every_steps: usize,
    /// Minutes between `last` checkpoints; 0: not by time.
    pub every_minutes: f64,
    /// Number of newest `last` checkpoints kept per fold.
    pub keep: usize,
}

/// `[run]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Folder of the runs.
    pub dir: PathBuf,
    /// Name of the log file.
    pub kernel_type: String,
    /// Steps between lines of headless output.
    pub log_every_steps: usize,
    /// Signal at which the run saves and exits, to be started again.
    pub requeue_signal: RequeueSignal,
    /// Whether to write event files for TensorBoard.
    pub tensorboard: bool,
}

/// Signal by which a batch system announces preemption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RequeueSignal {
    /// No signal.
    None,
    /// SIGUSR1
    Usr1,
    /// SIGUSR2
    Usr2,
    /// SIGTERM
    Term,
}

impl Config {
    /// Merges the layers and checks the result.
    ///
    /// `file`: the user's config, which overrides the defaults. `sets`: override everything else. Errors
    /// name the key, its value, the allowed values and the source.
    pub fn load(file: Option<&Path>, demo: bool, sets: &[Set]) -> Result<Self> {
        let mut layers = Layers::new();
        if let Some(path) = file {
            let text = bounded::read_text(path, LONGEST)
                .map_err(|source| Error::Read { path: path.to_owned(), source })?;
            let origin = path.display().to_string();
            layers.add(parse(&text, &origin)?, &origin)?;
        }
        if demo {
            layers.add(parse(DEMO, "--demo")?, "--demo")?;
        }
        for set in sets {
            layers.add(parse_set(&set.text)?, &set.origin)?;
        }
        layers.finish()
    }

    /// Like [`Self::load`], from a config's text; `origin` is its name in messages.
    pub fn of_text(text: &str, origin: &str) -> Result<Self> {
        let mut layers = Layers::new();
        layers.add(parse(text, origin)?, origin)?;
        layers.finish()
    }

    /// Returns the number of images per study: 7 × slices.
    pub fn images_per_study(&self) -> usize {
        VERTEBRAE * self.data.slices_per_vertebra
    }

    /// Whether the studies are made up: `data.dir = "phantom"`.
    pub fn is_phantom(&self) -> bool {
        self.data.dir.as_os_str() == "phantom"
    }

    /// Returns the whole configuration as TOML, for the run's folder.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("a config is plain data")
    }
}
