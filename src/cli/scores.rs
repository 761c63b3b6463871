//! `rsna-tui evaluate` and `predict`.

use super::NamedRun;
use crate::config::Set;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use std::path::PathBuf;

/// `rsna-tui evaluate`
#[derive(Debug, Args)]
pub struct Evaluate {
    /// The run's name, or its folder as a path. Several are scored together: each study by the mean of the
    /// networks of all runs that were not trained on it [default: the one that was begun last]
    #[arg(value_name = "RUN")]
    pub runs: Vec<String>,
    /// Where runs are kept [default: run.dir of ./config.toml, or runs]
    #[arg(long, value_name = "DIR")]
    pub runs_dir: Option<PathBuf>,
    /// Only these folds [default: all that are done]
    #[arg(long, value_name = "0,2", value_delimiter = ',')]
    pub folds: Option<Vec<usize>>,
    /// The folder to write scores.json, oof.csv and the curves to, made where it is missing; several
    /// runs need it [default: evaluation in the run's folder, written anew]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Write over what is already there at --out
    #[arg(long, requires = "out")]
    pub force: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub network: Network,
}

impl Evaluate {
    /// The runs whose networks score.
    pub fn named(&self) -> Vec<NamedRun> {
        all_named(self.runs.iter().cloned(), self.runs_dir.as_ref())
    }
}

/// The runs of these names, or else the newest.
fn all_named(runs: impl Iterator<Item = String>, runs_dir: Option<&PathBuf>) -> Vec<NamedRun> {
    let named = |run| NamedRun { run, runs_dir: runs_dir.cloned() };
    let all: Vec<NamedRun> = runs.map(|run| named(Some(run))).collect();
    if all.is_empty() { vec![named(None)] } else { all }
}

/// `rsna-tui predict`
#[derive(Debug, Args)]
pub struct Predict {
    #[command(flatten)]
    named: NamedRun,
    /// The run, as the argument; given again, the networks of all these runs predict together
    #[arg(long = "run", value_name = "RUN", conflicts_with_all = ["run", "weights"])]
    run_flags: Vec<String>,
    /// Only these folds' best weights [default: those of all folds that are done]
    #[arg(long, value_name = "0,2", value_delimiter = ',', conflicts_with = "weights")]
    pub folds: Option<Vec<usize>>,
    /// A whole network's .safetensors or .pth instead of a run's (see import and export), of the network that
    /// --config and --set describe; given again, they predict together
    #[arg(long, value_name = "FILE", conflicts_with = "run")]
    pub weights: Vec<PathBuf>,
    /// Settings beside --weights, laid over the built-in ones [default: ./config.toml where it exists]
    #[arg(long, value_name = "FILE", requires = "weights")]
    pub config: Option<PathBuf>,
    /// Folder of the crops, {UID}_{1..7}_{slice}.npy: every study in it [default: the run's own
    /// studies, data.dir and data.table]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Only the studies that this CSV names in its column StudyInstanceUID, each once: the
    /// competition's test.csv has several rows of a study
    #[arg(long, value_name = "CSV")]
    pub studies: Option<PathBuf>,
    /// Only the studies of the run's table whose fold is this one: with --folds K, what evaluate scores
    #[arg(long, value_name = "K", conflicts_with_all = ["studies", "data"])]
    pub of_fold: Option<usize>,
    /// Predict each study by those folds only that were not trained on it
    #[arg(long, conflicts_with = "weights")]
    pub unseen: bool,
    /// The CSV to write: row_id,fractured. Beside it, NAME.wide.csv has a row a study. - is stdout,
    /// without that second file; a UID that a spreadsheet would run as a formula, as =1+1, gets an
    /// apostrophe before it
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Leave out studies that cannot be predicted (a crop is missing or damaged, a name is not
    /// UTF-8) instead of refusing all. They are listed on stderr and in NAME.skipped.csv beside
    /// --out, and the exit code is 1
    #[arg(long)]
    pub skip_bad: bool,
    /// Write over what is already there at --out, and begin anew
    #[arg(long)]
    pub force: bool,
    /// Predict on several devices at once: cuda:0,cuda:1, all (every GPU), or cpu:2 for two workers with half
    /// the threads each
    #[arg(long, value_name = "LIST", conflicts_with = "device")]
    pub devices: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub network: Network,
}

impl Predict {
    /// The runs whose networks predict.
    pub fn named(&self) -> Vec<NamedRun> {
        let runs = self.named.run.iter().chain(&self.run_flags).cloned();
        all_named(runs, self.named.runs_dir.as_ref())
    }
}

/// How networks that are trained look at studies, and where they are.
#[derive(Debug, Args)]
pub struct Network {
    /// Average over so many views of each study: 1, or flipped horizontally (2), also vertically (4),
    /// also transposed (8)
    #[arg(long, value_name = "N", default_value = "1", value_parser = views())]
    pub views: usize,
    /// Where to compute: auto (the first GPU that CUDA has, else the CPU), cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: String,
    /// Change one setting, as in score.patient=any_vertebra or data.dir=/new/place; may be given again
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub sets: Vec<Set>,
}

fn views() -> impl TypedValueParser<Value = usize> {
    PossibleValuesParser::new(["1", "2", "4", "8"]).try_map(|views| views.parse::<usize>())
}
