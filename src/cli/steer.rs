//! Arguments of the commands that steer a run.

use super::NamedRun;
use crate::run::FoldAction;
use clap::Args;

/// Which run to steer.
#[derive(Debug, Args)]
pub struct Steer {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub named: NamedRun,
    /// Seconds to wait for the run's answer
    #[arg(long, default_value_t = 600, value_name = "S")]
    pub timeout: u64,
}

/// Which run to steer, or which fold of one whose folds several processes train.
#[derive(Debug, Args)]
pub struct SteerFold {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub steer: Steer,
    /// Only the process that trains this fold [default: all that train the run]
    #[arg(long, value_name = "K")]
    pub fold: Option<usize>,
}

/// `rsna-tui stop`
#[derive(Debug, Args)]
pub struct Stop {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub which: SteerFold,
    /// Finish the epoch at hand with its validation first
    #[arg(long)]
    pub after_epoch: bool,
}

/// `rsna-tui plan`
#[derive(Debug, Args)]
pub struct Plan {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub which: SteerFold,
    /// Epochs a fold, more than it has; folds that are done go on
    #[arg(long, value_name = "N")]
    pub epochs: Option<usize>,
    /// The learning rate that the schedule falls to
    #[arg(long, value_name = "RATE")]
    pub min_learning_rate: Option<f64>,
}

/// `rsna-tui fold`
#[derive(Debug, Args)]
pub struct Fold {
    /// What to do
    pub action: FoldAction,
    /// The fold's number
    pub fold: usize,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub steer: Steer,
}
