//! Arguments of runs that a Slurm cluster trains.

use super::{Background, NamedRun, Train};
use crate::{config::Set, train::faults::Faults};
use clap::Args;
use std::path::PathBuf;

/// `rsna-tui submit`
///
/// Submits one job array to Slurm, a task a fold. A task that is preempted, or reaches its time limit, saves
/// after the step at hand and goes on there when Slurm starts it again. Given again, it submits only what is
/// missing: folds that failed, were stopped, died or never started.
#[derive(Debug, Args)]
pub struct Submit {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub named: NamedRun,
    /// Slurm's partition [default: the cluster's]
    #[arg(long, value_name = "P")]
    pub partition: Option<String>,
    /// Time limit of a task, as Slurm writes it: 24:00:00, 2-12:00:00 [default: the partition's]
    #[arg(long, value_name = "LIMIT")]
    pub time: Option<String>,
    /// What a task needs besides, as Slurm writes it: gpu:1
    #[arg(long, value_name = "LIST")]
    pub gres: Option<String>,
    /// CPUs of a task. Its worker computes with so many threads: equal numbers give equal results
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub cpus: Option<u16>,
    /// Memory of a task, as Slurm writes it: 64G
    #[arg(long, value_name = "SIZE")]
    pub mem: Option<String>,
    /// Folds in training at once, at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub at_most: Option<u32>,
    /// More options for sbatch, as in --sbatch="--account=a --exclude=n7"; may be given again
    #[arg(long, value_name = "OPTIONS", allow_hyphen_values = true)]
    pub sbatch: Vec<String>,
    /// Seconds before the time limit at which a task saves and is requeued
    #[arg(long, default_value_t = 120, value_name = "S", value_parser = clap::value_parser!(u16).range(1..))]
    pub signal_seconds: u16,
    /// Where a task computes: auto (the first GPU that CUDA has, else the CPU), cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: String,
    /// Print the job script; write and submit nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub new: NewRun,
}

/// Settings of a run that is not there yet.
#[derive(Debug, Args)]
#[command(next_help_heading = "For a run that is not there yet")]
pub struct NewRun {
    /// Settings, laid over the built-in ones
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Train a small network on made-up vertebrae: needs no data
    #[arg(long)]
    pub demo: bool,
    /// Folds to train [default: train.folds of the config]
    #[arg(long, value_name = "0,2", value_delimiter = ',')]
    pub folds: Option<Vec<usize>>,
    /// The run's seed: the same seed gives the same run [default: seed of the config]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Change one setting, as in train.epochs=2; may be given again
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub sets: Vec<Set>,
    /// The notebook's DEBUG: 16 sampled studies
    #[arg(long)]
    pub debug: bool,
}

impl NewRun {
    /// The arguments that make the run, which is named by `named`.
    pub fn train(&self, named: &NamedRun) -> Train {
        let Self { config, demo, folds, seed, sets, debug } = self;
        Train {
            config: config.clone(),
            demo: *demo,
            run: named.run.clone(),
            runs_dir: named.runs_dir.clone(),
            folds: folds.clone(),
            device: "cpu".into(),
            devices: None,
            seed: *seed,
            sets: sets.clone(),
            debug: *debug,
            background: Background { no_tui: true, detach: false, detached: false },
            print_model: false,
            faults: Faults::default(),
        }
    }

    /// Whether any of them is given.
    pub fn is_given(&self) -> bool {
        let Self { config, demo, folds, seed, sets, debug } = self;
        config.is_some() || *demo || folds.is_some() || seed.is_some() || !sets.is_empty() || *debug
    }
}

/// `rsna-tui cancel`
///
/// Cancels the run's tasks that are pending or running in Slurm's queue. Those that run save after the step at
/// hand. `rsna-tui submit` goes on with them.
#[derive(Debug, Args)]
pub struct Cancel {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub named: NamedRun,
    /// Only this fold's task
    #[arg(long, value_name = "K")]
    pub fold: Option<usize>,
}
