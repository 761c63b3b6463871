//! Who trains a fold of a shared run, in words.

use super::format::brief;
use crate::run::event::{Level, Worker, WorkerState};

/// A line for the log.
pub(super) fn line(worker: &Worker) -> (Level, String) {
    let fold = worker.fold;
    let by = process(worker).unwrap_or_else(|| "its worker".into());
    let reason = worker.reason.as_deref().map(brief);
    let because = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let (level, text) = match worker.state {
        WorkerState::Pending => (Level::Info, format!("its job is pending{because}")),
        WorkerState::Training => {
            (Level::Info, format!("{by} trains it on {}", brief(&worker.device)))
        }
        WorkerState::Ended => (Level::Info, format!("{by} has ended{because}")),
        WorkerState::Preempted => {
            (Level::Warn, format!("{by} has saved and ended: its job was preempted or requeued"))
        }
        WorkerState::Died => (Level::Error, format!("{by} has died{because}")),
        WorkerState::Silent => (Level::Warn, format!("{by} does not answer{because}")),
    };
    (level, format!("fold {fold}: {text}"))
}

/// The process: `process 77 on node1, Slurm job 12_3`.
pub(super) fn process(worker: &Worker) -> Option<String> {
    worker.holder.as_ref().map(|holder| brief(&holder.to_string()))
}

/// A copy with clean and short texts, to be kept.
pub(super) fn kept(worker: &Worker) -> Worker {
    let mut kept = worker.clone();
    if let Some(holder) = &mut kept.holder {
        for text in [&mut holder.host, &mut holder.boot, &mut holder.device] {
            *text = brief(text);
        }
    }
    kept.device = brief(&worker.device);
    kept.reason = worker.reason.as_deref().map(brief);
    kept
}

/// Its host, without the domain.
pub fn host(worker: &Worker) -> Option<&str> {
    let host = &worker.holder.as_ref()?.host;
    Some(host.split('.').next().unwrap_or(host)).filter(|host| !host.is_empty())
}

/// Its device in short: `cuda:1`, `cpu`.
pub fn device(worker: &Worker) -> Option<&str> {
    let short = worker.holder.as_ref().map(|holder| holder.device.as_str());
    let long = worker.device.split([':', ',']).next();
    short.filter(|short| !short.is_empty()).or(long).filter(|device| !device.is_empty())
}

/// Its job and array task in the batch system.
pub fn job(worker: &Worker) -> Option<String> {
    Some(worker.holder.as_ref()?.job.as_ref()?.to_string())
}

/// What is wrong, or what it waits for, where it does not train: `Priority`.
pub fn trouble(worker: &Worker) -> Option<String> {
    let at = host(worker).map(|host| format!("{host}: ")).unwrap_or_default();
    let reason = worker.reason.as_deref().unwrap_or_default();
    let text = match (worker.state, reason) {
        (WorkerState::Training | WorkerState::Preempted, _) | (WorkerState::Ended, "") => {
            return None;
        }
        (WorkerState::Pending, "") => "in the batch system's queue".into(),
        (WorkerState::Pending, reason) => format!("({reason})"),
        (WorkerState::Died, "") => format!("{at}it has ended"),
        (WorkerState::Silent, "") => format!("{at}it does not answer"),
        (_, reason) => format!("{at}{reason}"),
    };
    Some(text)
}
