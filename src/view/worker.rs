//! Who trains a fold of a shared run, in words.

use super::format::sanitized;
use crate::run::event::{Level, Worker, WorkerState};

/// A line for the log.
pub(super) fn line(worker: &Worker) -> (Level, String) {
    let fold = worker.fold;
    let by = worker.holder.as_ref().map(|holder| sanitized(&holder.to_string()));
    let by = by.unwrap_or_else(|| "its worker".into());
    let reason = worker.reason.as_deref().map(sanitized);
    let because = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let (level, text) = match worker.state {
        WorkerState::Pending => (Level::Info, format!("its job is pending{because}")),
        WorkerState::Training => {
            (Level::Info, format!("{by} trains it on {}", sanitized(&worker.device)))
        }
        WorkerState::Ended => (Level::Info, format!("{by} has ended{because}")),
        WorkerState::Died => (Level::Error, format!("{by} has died{because}")),
        WorkerState::Silent => (Level::Warn, format!("{by} does not answer{because}")),
    };
    (level, format!("fold {fold}: {text}"))
}
