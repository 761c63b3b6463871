//! Arguments of runs that several processes share.

use super::{NamedRun, NewRun};
use crate::train::faults::Faults;
use clap::Args;
use std::path::PathBuf;

/// `rsna-tui create`
///
/// Checks settings and data as training does and makes the run's folder, but trains nothing: workers do that,
/// on any machines that see the folder. See `rsna-tui work`.
#[derive(Debug, Args)]
pub struct Create {
    /// Name of the run, a folder in the runs folder [default: the date and time]
    #[arg(value_name = "RUN")]
    pub name: Option<String>,
    /// Where runs are kept [default: run.dir of the config, runs]
    #[arg(long, value_name = "DIR")]
    pub runs_dir: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub new: NewRun,
}

/// `rsna-tui work`
///
/// Claims the next fold of the run that nobody trains, trains it, and takes the next until none is left. Several
/// workers may run at once, on one machine or on several that see the run's folder; no fold is ever trained by
/// two. A fold whose worker has died goes on where its newest checkpoint stands.
///
/// SIGUSR1 and SIGTERM end it after the step at hand, saved. Exit codes: 0 nothing is left to train, 1 a fold
/// failed, 75 ended by SIGUSR1, 143 by SIGTERM, 130 stopped, 3 another process has taken the fold over.
#[derive(Debug, Args)]
pub struct Work {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub named: NamedRun,
    /// Only this fold; it is tried again if it failed
    #[arg(long, value_name = "K")]
    pub fold: Option<usize>,
    /// Where to compute: auto (the first GPU that CUDA has, else the CPU), cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: String,
    /// Threads to compute with, instead of train.threads. Equal numbers give equal results
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Number of workers that share this machine's memory
    #[arg(long, hide = true, default_value_t = 1, value_name = "N")]
    pub sharing: usize,
    /// Seconds after which the claim of a worker that cannot be asked about counts as abandoned
    #[arg(long, hide = true, value_name = "S")]
    pub claim_seconds: Option<f64>,
    #[command(flatten)]
    #[doc(hidden)]
    pub faults: Faults,
}
