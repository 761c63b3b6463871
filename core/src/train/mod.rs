//! The trainer thread: the notebook's loss, schedule, optimizer, epochs, folds and checkpoints.

pub mod adamw;
pub mod cgroup;
pub mod checkpoint;
pub mod control;
pub mod faults;
pub mod fold;
pub mod fold_inputs;
mod log;
pub mod loss;
pub mod memory;
pub mod metrics;
pub mod outputs;
pub mod preview;
pub mod queue;
pub mod saver;
pub mod scaler;
pub mod schedule;
pub mod skips;
pub mod slice_reader;
pub mod step;
pub mod trainer;
pub mod worst;

use crate::{device, net::weights, run::write_errors};

/// Reasons for training to fail, one sentence each.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The loss or a gradient is NaN or infinite; the step did not change the weights.
    #[error(
        "{what} is not finite in a step with the studies {}; the weights from before it are kept: lower train.learning_rate or look at these studies",
        studies.join(", ")
    )]
    NonFinite {
        /// `the loss` or `the gradient of NAME`.
        what: String,
        /// UIDs of the batch.
        studies: Vec<String>,
    },
    /// A value that belongs in a checkpoint is NaN or infinite; the checkpoint was not written.
    #[error(
        "{0} is no longer finite (NaN or infinite), so no checkpoint is written: the newest one is from before; lower train.learning_rate, or raise train.eps"
    )]
    Diverged(String),
    /// The backward pass gave a parameter no gradient: a bug, reported rather than ignored.
    #[error("{0} got no gradient; this is a bug in rsna-tui: please report it")]
    NoGradient(String),
    /// A study cannot be read.
    #[error(transparent)]
    Study(#[from] crate::study::Error),
    /// Weights cannot be read, or do not fit the network.
    #[error(transparent)]
    Weights(#[from] weights::Error),
    /// A checkpoint or log cannot be written.
    #[error("cannot write {}: {}; {}", path.display(), write_errors::what(source), write_errors::advice(source))]
    Write {
        /// The file.
        path: std::path::PathBuf,
        /// Reason.
        source: std::io::Error,
    },
    /// Training cannot resume from this checkpoint.
    #[error("cannot go on from {}: {why}; remove the file to go on from the one before, or without one to train its fold from the start", path.display())]
    Resume {
        /// The file.
        path: std::path::PathBuf,
        /// The problem.
        why: String,
    },
    /// The weights of this checkpoint cannot be read.
    #[error("cannot read the weights of {}: {why}", path.display())]
    Checkpoint {
        /// The file.
        path: std::path::PathBuf,
        /// The problem.
        why: String,
    },
    /// The system cannot start a thread.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// A step does not fit into memory, even with one image at a time.
    #[error(
        "out of memory: a step does not fit; lower train.batch_size or data.image_size, or free memory that others use"
    )]
    OutOfMemory,
    /// candle reported an error.
    #[error("the engine failed: {}", weights::sentence(.0))]
    Candle(#[from] candle_core::Error),
}

impl Error {
    /// Whether the step may succeed with fewer images at once.
    pub fn is_out_of_memory(&self) -> bool {
        match self {
            Self::OutOfMemory => true,
            Self::Candle(error) => device::is_out_of_memory(error),
            _ => false,
        }
    }
}

/// Result of a training operation.
pub type Result<T> = std::result::Result<T, Error>;
