//! The command line.

mod examples;
mod scores;
mod steer;
mod submit;
mod train;
mod weights;
mod work;

pub use scores::{Evaluate, Network, Predict};
pub use steer::{Fold, Plan, Steer, SteerFold, Stop};
pub use submit::{Cancel, NewRun, Submit};
pub use train::Train;
use train::flag;
pub use weights::{Export, Import, Weights, WeightsFormat};
pub use work::{Create, Work};

use crate::{
    config::{self, Difficulty, Set},
    train::faults::Faults,
};
use clap::{Args, Parser, Subcommand};
use examples::EXAMPLES;
use std::ffi::OsString;
use std::path::PathBuf;

/// Train the RSNA 2022 cervical-spine-fracture 1st place 2.5D classifier and watch it live.
///
/// Without arguments it reads ./config.toml, trains the folds one after the other and shows the
/// training in this terminal: 1 to 8 change the view, p pauses, s stops after the epoch, q stops
/// and quits, ? shows all keys. Everything a run leaves lies in runs/NAME/.
#[derive(Debug, Parser)]
#[command(name = "rsna-tui", version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do instead of training.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to train.
    #[command(flatten)]
    pub train: Train,
}

/// What to do instead of training.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Go on with a run that was interrupted, exactly where its newest checkpoints stand
    Resume(Resume),
    /// Make a run for workers, and train nothing yet
    Create(Create),
    /// Train folds of a run beside other workers: on other devices, or in other jobs of a cluster
    Work(Work),
    /// Train a run's folds on a Slurm cluster, a task each; given again, those that are missing
    Submit(Submit),
    /// Cancel a run's tasks on a Slurm cluster
    Cancel(Cancel),
    /// Watch and steer a run of another process, or look at one that is over
    Attach(Attach),
    /// List runs: state, progress, best
    Runs(Runs),
    /// Write what came of a run as one HTML or Markdown file, or its figures as CSV
    Report(Report),
    /// Score a run: each finished fold's best weights on the studies it was not trained on
    Evaluate(Evaluate),
    /// Predict fractures of studies with a run's folds together, as the competition's CSV
    Predict(Predict),
    /// Make pretrained weights, of timm or of the notebook, a file to start training from
    #[command(subcommand)]
    Import(Import),
    /// Write the weights of a fold for PyTorch or as ONNX
    Export(Export),
    /// Pause a run after the step at hand
    Pause(SteerFold),
    /// Let a paused run go on
    Unpause(SteerFold),
    /// Save and end a run after the step at hand
    Stop(Stop),
    /// Save a run's weights now and go on
    Checkpoint(SteerFold),
    /// Give a run more epochs, or another learning rate to end at, from the next step on
    Plan(Plan),
    /// Start, pause, reorder, give up, bring back or train again one fold of a run
    Fold(Fold),
    /// List the dashboard's actions: their names in the config's [keys], keys and views
    Keys,
    /// Write made-up studies in the notebook's layout: OUT/crops/*.npy and OUT/train_seg.csv
    Phantom(Phantom),
    /// Draw a study before and after augmentation: OUT/{study}.png
    Augment(Augment),
    /// Check settings and data as training does, look for crops without a picture, and tell what a
    /// step takes of memory
    Check(Check),
    /// Time training steps on made-up images, part by part: no data needed
    Bench(Bench),
    /// Check that this machine computes right, and how fast: the first minute on a rented one
    Selftest(Selftest),
    /// Print a script that completes commands and flags in a shell
    ///
    /// Keep it where the shell looks for it: as ~/.local/share/bash-completion/completions/rsna-tui for
    /// bash, ~/.config/fish/completions/rsna-tui.fish for fish, and _rsna-tui in a folder of $fpath for
    /// zsh.
    Completions(Completions),
    /// Print the manual page, or write one for each command into a folder
    ///
    /// To read it: rsna-tui man | man -l -
    Man(Man),
}

/// `rsna-tui resume`
#[derive(Debug, Args)]
pub struct Resume {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub named: NamedRun,
    /// Where to compute: auto (the first GPU that CUDA has, else the CPU), cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: String,
    /// Train folds side by side, a worker a device: cuda:0,cuda:1, all (every GPU), or cpu:2 (two workers)
    #[arg(long, value_name = "LIST", conflicts_with = "device")]
    pub devices: Option<String>,
    /// Train for so many epochs a fold instead of those of the run's config
    #[arg(long, value_name = "N")]
    pub epochs: Option<usize>,
    /// Change one setting that may change in mid-run, as in data.workers=8; may be given again
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub sets: Vec<Set>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub background: Background,
    #[command(flatten)]
    #[doc(hidden)]
    pub faults: Faults,
}

impl Resume {
    /// The settings that change.
    pub fn all_sets(&self) -> Vec<Set> {
        let epochs = self.epochs.map(|epochs| Set::new(format!("train.epochs={epochs}")));
        self.sets.iter().cloned().chain(epochs).collect()
    }
}

/// A run that was begun before.
#[derive(Debug, Clone, Args)]
pub struct NamedRun {
    /// The run's name, or its folder as a path [default: the one that was begun last]
    #[arg(value_name = "RUN")]
    pub run: Option<String>,
    /// Where runs are kept [default: run.dir of ./config.toml, or runs]
    #[arg(long, value_name = "DIR")]
    pub runs_dir: Option<PathBuf>,
}

/// What shows the training.
#[derive(Debug, Clone, Args)]
pub struct Background {
    /// Print plain lines instead of the dashboard (by itself where stdout is no terminal, or TERM=dumb)
    #[arg(long)]
    pub no_tui: bool,
    /// Train in a process of its own and return: `rsna-tui attach` watches it
    #[arg(long)]
    pub detach: bool,
    /// This is that process
    #[arg(long, hide = true)]
    pub detached: bool,
}

/// `rsna-tui attach`
#[derive(Debug, Args)]
pub struct Attach {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub named: NamedRun,
    /// Print plain lines instead of the dashboard (by itself where stdout is no terminal, or TERM=dumb)
    #[arg(long)]
    pub no_tui: bool,
}

/// `rsna-tui runs`
#[derive(Debug, Args)]
pub struct Runs {
    /// Where runs are kept [default: run.dir of ./config.toml, or runs]
    #[arg(long, value_name = "DIR")]
    pub runs_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `rsna-tui report`
#[derive(Debug, Args)]
pub struct Report {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub named: NamedRun,
    /// What to write
    #[arg(long, value_enum, default_value_t = Format::Html, value_name = "FORMAT")]
    pub format: Format,
    /// The file to write, - for stdout, for csv the folder [default: report.html, report.md, steps.csv
    /// and epochs.csv in the run's folder, written anew]
    #[arg(long, value_name = "PATH")]
    pub out: Option<PathBuf>,
    /// Write over the file that is already there at --out; a link's target is written over, the link
    /// stays
    #[arg(long)]
    pub force: bool,
}

/// What a report is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One page with tables, curves and crops
    Html,
    /// Tables, and curves as bars
    Markdown,
    /// Every step and every epoch: steps.csv and epochs.csv
    Csv,
}

/// `rsna-tui phantom`
#[derive(Debug, Args)]
pub struct Phantom {
    /// A new or empty folder
    pub out: PathBuf,
    /// Number of studies
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub studies: usize,
    /// Height and width of a crop, in pixels, 32 to 512
    #[arg(long, default_value_t = 224, value_name = "S")]
    pub size: usize,
    /// The same seed makes the same studies
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
    /// How hard the fractures are to see
    #[arg(long, value_enum, default_value_t = Difficulty::Easy, value_name = "LEVEL")]
    pub difficulty: Difficulty,
    /// Number of folds; 5, or fewer where there are fewer studies
    #[arg(long, value_name = "N")]
    pub folds: Option<usize>,
}

/// `rsna-tui augment`
#[derive(Debug, Args)]
pub struct Augment {
    /// StudyInstanceUID of the study; phantom.0000 and so on with data.dir=phantom
    #[arg(long, value_name = "UID")]
    pub study: Option<String>,
    /// Folder to write UID.png to, made where it is missing; a file that is there is kept
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Number of slices, spread over C1 to C7
    #[arg(long = "n", default_value_t = 8, value_name = "N")]
    pub n: usize,
    /// The fold that trains on it [default: the first of train.folds that is not the study's own]
    #[arg(long, value_name = "K")]
    pub fold: Option<usize>,
    /// The first of the four epochs shown
    #[arg(long, default_value_t = 1, value_name = "E")]
    pub epoch: usize,
    /// Settings, laid over the built-in ones [default: ./config.toml where it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The run's seed: the same seed gives the same draws [default: seed of the config]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Change one setting, as in augment.transpose=0; may be given again
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub sets: Vec<Set>,
}

/// `rsna-tui check`
#[derive(Debug, Args)]
pub struct Check {
    /// Settings, laid over the built-in ones [default: ./config.toml where it exists, none with --demo]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Check the demo's settings
    #[arg(long)]
    pub demo: bool,
    /// Change one setting, as in train.batch_size=4; may be given again
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub sets: Vec<Set>,
}

/// `rsna-tui bench`
#[derive(Debug, Args)]
pub struct Bench {
    /// Settings, laid over the built-in ones [default: ./config.toml where it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where to compute: auto (the first GPU that CUDA has, else the CPU), cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: String,
    /// Steps that are timed, after one that is not
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub steps: u32,
    /// Print one line of JSON
    #[arg(long)]
    pub json: bool,
    /// Change one setting, as in train.precision=bf16 or train.chunk_size=105; may be given again
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub sets: Vec<Set>,
}

/// `rsna-tui selftest`
///
/// Every operation of the network is compared with the CPU's in f64, the network with one built from
/// candle's own layers, AdamW with candle's, and training steps with the CPU's; then products and memory
/// are timed beside the card's data sheet. An error is ‖device − expected‖ / ‖expected‖. Takes about a
/// minute; nothing is written.
#[derive(Debug, Args)]
pub struct Selftest {
    /// Where to compute: auto (the first GPU that CUDA has, else the CPU), cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: String,
}

/// `rsna-tui completions`
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// `rsna-tui man`
#[derive(Debug, Args)]
pub struct Man {
    /// Folder to write rsna-tui.1, rsna-tui-resume.1 and so on to, made where it is missing [default: print
    /// rsna-tui.1]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Write over pages that are already there
    #[arg(long)]
    pub force: bool,
}

impl Augment {
    /// Returns the settings given on the command line.
    pub fn sets(&self) -> Vec<Set> {
        self.sets.iter().cloned().chain(self.seed.map(seed)).collect()
    }
}

/// Makes the setting of `--seed`.
fn seed(seed: u64) -> Set {
    // TOML's integers end at 2^63 - 1; a larger seed is refused with the key's name.
    let value = i64::try_from(seed).map(toml::Value::from);
    flag("seed", "seed", value.unwrap_or_else(|_| seed.to_string().into()))
}

/// Replaces `~` with the home folder where a shell does not: in `--out=~/file`, or in quotation
/// marks.
pub fn expand_home(arg: OsString) -> OsString {
    let Some(text) = arg.to_str() else { return arg };
    let (flag, path) = match text.split_once('=') {
        Some((flag, path)) if flag.starts_with("--") => (&text[..=flag.len()], path),
        _ => ("", text),
    };
    config::in_home(path).map_or(arg.clone(), |path| format!("{flag}{path}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tilde_is_the_home_folder_in_arguments_that_a_shell_leaves_alone() {
        let home = std::env::home_dir().unwrap().display().to_string();
        let expanded = |arg: &str| expand_home(arg.into()).into_string().unwrap();
        assert_eq!(expanded("--out=~/a b"), format!("--out={home}/a b"));
        assert_eq!(expanded("~/runs/a"), format!("{home}/runs/a"));
        assert_eq!(expanded("~"), home);
        for same in ["a~/b", "--set=data.dir=~/x", "--out=a/~", "~other/x", "-o=~/x", "a=~/b"] {
            assert_eq!(expanded(same), same);
        }
    }
}
