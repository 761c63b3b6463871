//! Who trains a fold of a shared run.

use super::holder::Holder;
use serde::{Deserialize, Serialize};

/// A process of a shared run, and the fold that it is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    /// Number of the fold.
    pub fold: usize,
    /// What it does.
    pub state: WorkerState,
    /// The process; `None` before it runs.
    #[serde(default)]
    pub holder: Option<Holder>,
    /// Its device: `CPU, 2 threads`, `CUDA 0: NVIDIA H100`; empty before it runs.
    #[serde(default)]
    pub device: String,
    /// What there is to add: why a job is pending, or how it is known that a process has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// Its job waits in the batch system's queue.
    Pending,
    /// It trains the fold.
    Training,
    /// It has ended as it should, and released the fold.
    Ended,
    /// It has saved and released the fold because its batch system took its place; the job is to start again.
    Preempted,
    /// It has ended without releasing the fold.
    Died,
    /// It is on another host, and has not been heard of for a while.
    Silent,
}
