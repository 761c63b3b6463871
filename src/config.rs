//! `config.toml`: types, defaults, checks, and error messages that name the key.
//!
//! The defaults are the repository's own `config.toml`, embedded, so that documentation and program
//! cannot disagree. These override it, in this order: the user's file, the demo's settings
//! (`assets/demo.toml`) with `--demo`, and each `--set SECTION.KEY=VALUE`.

mod changes;
mod check;
mod layers;
pub(crate) mod renamed;
mod score;
mod ui;

use crate::bounded;
pub use layers::in_home;
use layers::{Layers, defaults, parse, parse_set};
pub use score::{BINS, Metric, PatientRule, Score, Select, VertebraRule};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};
pub use ui::{Ascii, Background, Colors, Pictures, Ui};

/// The repository's `config.toml`.
pub const DEFAULTS: &str = include_str!("../config.toml");
/// Settings of `--demo`.
pub const DEMO: &str = include_str!("../assets/demo.toml");

/// Vertebrae of the neck, C1..C7.
pub const VERTEBRAE: usize = 7;
/// Channels of a crop: five CT slices and a mask.
pub const CHANNELS: usize = 6;

/// Maximum config size, in bytes.
const LONGEST: u64 = 1 << 20;

/// Maximum folds of a run.
pub const MOST_FOLDS: usize = 1000;
/// Maximum epochs of a fold.
pub const MOST_EPOCHS: usize = 100_000;

/// Largest `augment.gauss_noise_variance`.
pub const MAX_NOISE_VARIANCE: f64 = 100.0;

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
    pub augment: Augment,
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

/// How to treat a study that still cannot be read after several tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// End the fold.
    Stop,
    /// Leave the study out of the batch.
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
    pub on_nonfinite: OnNonFinite,
    /// Whether f32 matrix products on CUDA use TF32.
    pub tf32: bool,
    /// Images per pass through the encoder; 0: from free memory.
    pub chunk_size: usize,
    /// Memory for the encoder's activations in MiB; 0: from free memory.
    pub memory: usize,
    /// Compute threads; 0: `RAYON_NUM_THREADS`, or one per core.
    pub threads: usize,
}

/// How to treat a loss or gradient that is not finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnNonFinite {
    /// End the fold.
    Stop,
    /// Leave the batch out.
    Skip,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

impl Backbone {
    /// All backbones.
    pub const ALL: [Self; 10] = [
        Self::ConvnextMicro,
        Self::ConvnextAtto,
        Self::ConvnextAttoOls,
        Self::ConvnextFemto,
        Self::ConvnextFemtoOls,
        Self::ConvnextPico,
        Self::ConvnextPicoOls,
        Self::ConvnextNano,
        Self::ConvnextNanoOls,
        Self::ConvnextTiny,
    ];
}

/// `[augment]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augment {
    /// Preset that supplies the probabilities not set by other keys.
    pub preset: Preset,
    /// Probability of a horizontal flip.
    pub horizontal_flip: f64,
    /// Probability of a vertical flip.
    pub vertical_flip: f64,
    /// Probability of a transpose.
    pub transpose: f64,
    /// Probability of a brightness change.
    pub brightness: f64,
    /// Largest brightness change, as a share of 255.
    pub brightness_limit: f64,
    /// Probability of a shift, scale and rotation.
    pub shift_scale_rotate: f64,
    /// Largest shift in either direction, as a share of the size.
    pub shift_limit: f64,
    /// Largest change of the scale from 1 in either direction.
    pub scale_limit: f64,
    /// Largest rotation in either direction, in degrees.
    pub rotate_limit: f64,
    /// Probability of one of the three blurs or the noise.
    pub blur_or_noise: f64,
    /// Relative probability of motion blur among the four.
    pub motion_blur_weight: f64,
    /// Relative probability of median blur among the four.
    pub median_blur_weight: f64,
    /// Relative probability of Gaussian blur among the four.
    pub gaussian_blur_weight: f64,
    /// Relative probability of Gaussian noise among the four.
    pub gauss_noise_weight: f64,
    /// Smallest and largest variance, in grey values squared.
    pub gauss_noise_variance: [f64; 2],
    /// Probability of one of the two distortions.
    pub distortion: f64,
    /// Relative probability of optical distortion among the two.
    pub optical_distortion_weight: f64,
    /// Largest |k| of the optical distortion.
    pub optical_distortion_limit: f64,
    /// Relative probability of grid distortion among the two.
    pub grid_distortion_weight: f64,
    /// Largest change of a grid cell's width from 1.
    pub grid_distortion_limit: f64,
    /// Grid cells per axis.
    pub grid_steps: usize,
    /// Probability of a cutout.
    pub cutout: f64,
    /// Side of the cutout's square, as a share of the size.
    pub cutout_size: f64,
}

/// A set of augmentations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// The notebook's augmentations.
    Seed,
    /// The notebook's flips, transpose and brightness.
    Light,
    /// No augmentation.
    None,
}

impl Preset {
    /// Returns the keys of `[augment]` that it sets.
    fn layer(self) -> Table {
        let mut augment = defaults();
        let Some(Value::Table(mut augment)) = augment.remove("augment") else {
            unreachable!("the embedded config has a section [augment]")
        };
        augment.remove("preset");
        let light = ["shift_scale_rotate", "blur_or_noise", "distortion", "cutout"];
        let none = ["horizontal_flip", "vertical_flip", "transpose", "brightness"];
        let off = match self {
            Self::Seed => &[][..],
            Self::Light => &light[..],
            Self::None => &[light, none].concat(),
        };
        for key in off {
            augment.insert((*key).into(), Value::Float(0.0));
        }
        augment
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn load(sets: &[&str]) -> Result<Config> {
        let sets: Vec<Set> = sets.iter().map(|s| Set::new(*s)).collect();
        Config::load(None, false, &sets)
    }

    #[test]
    fn the_defaults_are_the_notebooks() {
        let c = load(&[]).unwrap();
        assert_eq!(c.train.batch_size, 8);
        assert_eq!(c.train.learning_rate, 23e-5);
        assert_eq!(c.images_per_study(), 105);
        assert_eq!(c.model.backbone, Backbone::ConvnextNano);
    }

    #[test]
    fn the_demo_is_valid_and_set_wins_over_it() {
        let c = Config::load(None, true, &[Set::new("train.epochs=77")]).unwrap();
        assert_eq!(c.train.epochs, 77);
        assert!(c.data.image_size <= 64);
    }

    #[test]
    fn a_resolved_config_reads_back_the_same() {
        let c = load(&["train.folds=[1,3]", "data.dir=/a b"]).unwrap();
        let again: Config = toml::from_str(&c.to_toml()).unwrap();
        assert_eq!(c, again);
    }

    #[test]
    fn set_reads_toml_and_bare_words() {
        let c = load(&[
            "model.backbone=convnext_atto_ols",
            "data.dir=/x/y",
            "train.learning_rate=1e-3",
        ])
        .unwrap();
        assert_eq!(c.model.backbone, Backbone::ConvnextAttoOls);
        assert_eq!(c.data.dir, Path::new("/x/y"));
        assert_eq!(c.train.learning_rate, 1e-3);
    }

    #[test]
    fn a_setting_that_is_a_string_is_taken_as_it_was_typed() {
        let texts =
            ["2023", "1.10", "true", "0x10", "1979-05-27", "[a]", "{}", "1e3", "nan", "007"];
        for text in texts {
            let c = load(&[
                &format!("data.dir={text}"),
                &format!("data.table={text}"),
                &format!("run.dir={text}"),
                &format!("model.pretrained={text}"),
                &format!("run.kernel_type={text}"),
            ]);
            let c = c.unwrap();
            for path in [&c.data.dir, &c.data.table, &c.run.dir, &c.model.pretrained] {
                assert_eq!(path, Path::new(text));
            }
            assert_eq!(c.run.kernel_type, text);
        }
        let c = load(&["data.dir=\"a b\"", "data.table='2023'"]).unwrap();
        assert_eq!((c.data.dir, c.data.table), ("a b".into(), "2023".into()));
    }

    #[test]
    fn a_tilde_is_the_home_folder_in_every_path() {
        let home = std::env::home_dir().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mine.toml");
        let text = "[data]\ndir = \"~/crops\"\ntable = \"~\"\n[run]\ndir = \"a/~/b\"\n";
        std::fs::write(&file, text).unwrap();
        let sets = [Set::new("model.pretrained=~/w.pth")];
        let c = Config::load(Some(&file), false, &sets).unwrap();
        assert_eq!(c.data.dir, home.join("crops"));
        assert_eq!(c.data.table, home);
        assert_eq!(c.model.pretrained, home.join("w.pth"));
        assert_eq!(c.run.dir, Path::new("a/~/b"));
        assert_eq!(load(&["data.dir=~other/x"]).unwrap().data.dir, Path::new("~other/x"));
    }

    #[test]
    fn a_preset_lies_below_the_keys_given_with_or_after_it() {
        let augment = |sets: &[&str]| load(sets).unwrap().augment;
        let seed = augment(&[]);
        assert_eq!((seed.preset, seed.cutout, seed.transpose), (Preset::Seed, 0.5, 0.5));
        assert_eq!(augment(&["augment.preset=none", "augment.preset=seed"]), seed);
        let light = augment(&["augment.cutout=1", "augment.preset=light"]);
        assert_eq!((light.cutout, light.transpose, light.distortion), (0.0, 0.5, 0.0));
        let none = augment(&["augment.preset=none", "augment.cutout=0.25"]);
        assert_eq!((none.cutout, none.transpose, none.brightness), (0.25, 0.0, 0.0));

        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mine.toml");
        std::fs::write(&file, "[augment]\ncutout = 0.1\npreset = \"none\"\n").unwrap();
        let c = Config::load(Some(&file), false, &[]).unwrap();
        assert_eq!((c.augment.cutout, c.augment.transpose), (0.1, 0.0));
        assert_eq!(toml::from_str::<Config>(&c.to_toml()).unwrap(), c);
        std::fs::write(&file, c.to_toml()).unwrap();
        assert_eq!(Config::load(Some(&file), false, &[]).unwrap(), c);
    }

    #[test]
    fn refusals_name_key_value_and_what_is_allowed() {
        for (set, words) in [
            ("train.epoch=3", &["train.epoch", "3", "unknown key", "epochs"][..]),
            ("trian.epochs=3", &["trian", "unknown key", "train"]),
            ("train.epochs=many", &["train.epochs", "many", "--set"]),
            ("train.batch_size=1", &["train.batch_size = 1", "2 to"]),
            ("train.mixup=1.5", &["train.mixup = 1.5", "0 to 1"]),
            ("data.phantom_difficulty=brutal", &["data.phantom_difficulty", "brutal", "medium"]),
            ("data.on_error=retry", &["data.on_error", "retry", "skip"]),
            ("model.backbone=huge", &["model.backbone", "huge", "convnext_nano_ols"]),
            ("model.size=huge", &["model.size", "huge", "convnext_nano"]),
            ("data.image_size=100", &["data.image_size = 100", "multiple of 32"]),
            ("train.folds=[0,0]", &["train.folds", "once"]),
            ("augment.preset=heavy", &["augment.preset", "heavy", "light"]),
            ("augment.grid_steps=0", &["augment.grid_steps", "1 to"]),
            ("augment.gauss_noise_variance=[9,3]", &["augment.gauss_noise_variance", "first"]),
            ("train.learning_rate=nan", &["train.learning_rate", "above 0"]),
            ("train.epochs", &["SECTION.KEY=VALUE"]),
        ] {
            let e = load(&[set]).unwrap_err().to_string();
            for w in words {
                assert!(e.contains(w), "{set}: {e:?} lacks {w:?}");
            }
            assert!(!e.contains('\n'), "{e:?}");
        }
    }
}
