//! Arguments of training.

use super::{Background, seed};
use crate::{config::Set, train::faults::Faults};
use clap::Args;
use std::path::{Path, PathBuf};

/// How to train.
#[derive(Debug, Clone, Args)]
pub struct Train {
    /// Settings, laid over the built-in ones [default: ./config.toml where it exists, none with --demo]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Train a small network on made-up vertebrae: needs no data, takes a few minutes
    #[arg(long)]
    pub demo: bool,
    /// Name of the run, a folder in the runs folder [default: the date and time]
    #[arg(long, value_name = "NAME")]
    pub run: Option<String>,
    /// Where runs are kept [default: run.dir of the config, runs]
    #[arg(long, value_name = "DIR")]
    pub runs_dir: Option<PathBuf>,
    /// Folds to train, in this order [default: train.folds of the config]
    #[arg(long, value_name = "0,2", value_delimiter = ',')]
    pub folds: Option<Vec<usize>>,
    /// Where to compute: auto (the first GPU that CUDA has, else the CPU), cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: String,
    /// Train folds side by side, a worker a device: cuda:0,cuda:1, all (every GPU), or cpu:2 (two workers with half
    /// the threads each)
    #[arg(long, value_name = "LIST", conflicts_with = "device")]
    pub devices: Option<String>,
    /// The run's seed: the same seed gives the same run [default: seed of the config]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Change one setting, as in train.epochs=2; may be given again
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub sets: Vec<Set>,
    /// The notebook's DEBUG: 16 sampled studies, no `last` checkpoint
    #[arg(long)]
    pub debug: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub background: Background,
    /// Print the network's layers and parameters, and exit
    #[arg(long)]
    pub print_model: bool,
    #[command(flatten)]
    #[doc(hidden)]
    pub faults: Faults,
}

impl Train {
    /// Returns the settings given on the command line, `--set` first. Leaves out a `--runs-dir` that is
    /// not UTF-8, because a config cannot hold it.
    pub fn sets(&self) -> Vec<Set> {
        let mut sets = self.sets.clone();
        sets.extend(self.seed.map(seed));
        if let Some(folds) = &self.folds {
            let folds: Vec<toml::Value> =
                folds.iter().map(|&f| i64::try_from(f).unwrap_or(i64::MAX).into()).collect();
            sets.push(flag("folds", "train.folds", folds.into()));
        }
        if let Some(dir) = self.runs_dir.as_deref().and_then(Path::to_str) {
            sets.push(flag("runs-dir", "run.dir", dir.into()));
        }
        sets
    }
}

/// Makes the setting of `--flag`.
pub(super) fn flag(flag: &str, key: &str, value: toml::Value) -> Set {
    Set { text: format!("{key}={value}"), origin: format!("--{flag}") }
}
