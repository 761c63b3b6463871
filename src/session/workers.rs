//! Starts a worker for each device of this machine, watches them, and shows the run: `--devices`.

use super::devices::{self, WorkerDevice};
use crate::cli;
use eyre::Result;
use std::process::ExitCode;

/// Begins a run with several workers.
pub fn begin_with_workers(args: &cli::Train, devices: &str) -> Result<ExitCode> {
    let _: Vec<WorkerDevice> = devices::parse(devices)?;
    let _ = args;
    todo!()
}

/// Goes on with a run with several workers.
pub fn resume_with_workers(args: &cli::Resume) -> Result<ExitCode> {
    let _ = args;
    todo!()
}
