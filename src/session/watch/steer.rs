//! Requests to the workers of a shared run, and their answers put together.

use super::workers::{Held, Workers};
#[cfg(unix)]
use crate::run::control_socket;
use crate::run::{
    Command, Event, FoldAction, Request,
    event::{Ack, Level, Log, Stamped},
    folder::Folder,
    requests,
};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// Requests that were passed on and are not answered yet.
pub(super) struct Steering {
    asked: Vec<Asked>,
    /// Time after which a worker that has not answered is named.
    late: Duration,
}

/// A request of a view's.
struct Asked {
    request: Request,
    since: Instant,
    workers: Vec<Waiting>,
    refused: Vec<String>,
    told: bool,
}

/// A worker that has not answered.
struct Waiting {
    fold: usize,
    /// Id of the request that was sent to it.
    id: u64,
    claim: u64,
    by: String,
    /// The request's file, if it was sent as one.
    file: Option<PathBuf>,
    /// The worker no longer holds the fold. Its last words may still come.
    gone: bool,
    /// It has agreed, and has to save and end.
    agreed: bool,
}

impl Steering {
    pub(super) fn new(late: Duration) -> Self {
        Self { asked: Vec::new(), late }
    }

    /// Passes a request on to the workers that hold `folds`. Those who have nothing to do with it may have
    /// `refused` a part of it already.
    pub(super) fn pass(
        &mut self,
        run: &Folder,
        request: Request,
        folds: Vec<(usize, Held)>,
        mut refused: Vec<String>,
    ) {
        let mut workers = Vec::new();
        for (fold, held) in folds {
            let id = rand::random::<u64>() >> 11;
            let own = Request { id: Some(id), worker: Some(fold), command: request.command };
            match send(&run.of_fold(fold), &held, own) {
                Ok(file) => workers.push(Waiting {
                    fold,
                    id,
                    claim: held.claim,
                    by: held.holder.to_string(),
                    file,
                    gone: false,
                    agreed: false,
                }),
                Err(error) => {
                    refused.push(format!("fold {fold}: its worker cannot be reached: {error}"));
                }
            }
        }
        let since = Instant::now();
        self.asked.push(Asked { request, since, workers, refused, told: false });
    }

    /// Takes in an event of a fold. Returns whether it answers a request that was passed on, and so is
    /// not for the view.
    pub(super) fn hear(&mut self, stamped: &Stamped) -> bool {
        let Some(fold) = stamped.fold else { return false };
        match &stamped.event {
            Event::Ack(ack) => {
                for asked in &mut self.asked {
                    let is = |worker: &Waiting| worker.fold == fold && Some(worker.id) == ack.id;
                    let Some(index) = asked.workers.iter().position(is) else { continue };
                    match &ack.refused {
                        Some(why) => {
                            let named = why.starts_with(&format!("fold {fold} "));
                            let of = if named { String::new() } else { format!("fold {fold}: ") };
                            asked.refused.push(of + why);
                            asked.workers.remove(index);
                        }
                        // It still has to save and end.
                        None if ends(asked.request.command) => asked.workers[index].agreed = true,
                        None => drop(asked.workers.remove(index)),
                    }
                    return true;
                }
            }
            Event::RunFinished(_) => {
                for asked in self.asked.iter_mut().filter(|asked| ends(asked.request.command)) {
                    asked.workers.retain(|worker| worker.fold != fold);
                }
            }
            _ => {}
        }
        false
    }

    /// Returns what there is to say: answers of which all parts are there, and who is late. To be called
    /// after the journals were read.
    pub(super) fn settle(&mut self, workers: &Workers) -> Vec<Event> {
        let mut said = Vec::new();
        for asked in &mut self.asked {
            let (command, refused) = (asked.request.command, &mut asked.refused);
            asked.workers.retain_mut(|worker| {
                if workers.held(worker.fold).is_some_and(|held| held.claim == worker.claim) {
                    return true;
                }
                // Read its journal once more.
                if !std::mem::replace(&mut worker.gone, true) {
                    return true;
                }
                if let Some(file) = &worker.file {
                    let _ = std::fs::remove_file(file);
                }
                if !ends(command) && !worker.agreed {
                    let fold = worker.fold;
                    refused.push(format!("fold {fold}: its worker ended before it answered"));
                }
                false
            });
            if !asked.told && asked.since.elapsed() > self.late {
                asked.told = true;
                for worker in asked.workers.iter().filter(|worker| !worker.agreed) {
                    let message = format!(
                        "fold {}: {} has not answered the request to {}",
                        worker.fold,
                        worker.by,
                        words(command)
                    );
                    said.push(Event::Log(Log { level: Level::Warn, message }));
                }
            }
        }
        for asked in self.asked.extract_if(.., |asked| asked.workers.is_empty()) {
            let refused = (!asked.refused.is_empty()).then(|| asked.refused.join("; "));
            said.push(Event::Ack(Ack::of(asked.request, refused)));
        }
        said
    }

    /// Folds whose workers have not answered yet.
    pub(super) fn waits_for(&self, fold: usize) -> bool {
        self.asked.iter().flat_map(|asked| &asked.workers).any(|worker| worker.fold == fold)
    }
}

/// Sends a request to the worker that holds a fold: by its socket if it runs on this host, else as a file,
/// whose path is returned.
fn send(fold: &Folder, held: &Held, request: Request) -> std::io::Result<Option<PathBuf>> {
    #[cfg(unix)]
    if held.holder.is_local() && control_socket::send(fold, request).is_ok() {
        return Ok(None);
    }
    requests::send(fold, held.claim, request).map(Some)
}

/// Whether the command ends the worker.
fn ends(command: Command) -> bool {
    matches!(command, Command::StopNow | Command::Requeue)
}

/// What the command asks for, as in "the request to pause".
pub(super) fn words(command: Command) -> &'static str {
    match command {
        Command::Pause => "pause",
        Command::Resume => "go on",
        Command::StopAfterEpoch => "stop after the epoch",
        Command::StopNow => "stop",
        Command::Requeue => "stop for a restart",
        Command::Checkpoint => "save",
        Command::Plan { .. } => "change the plan",
        Command::Fold { action, .. } => match action {
            FoldAction::Start => "start the fold",
            FoldAction::Pause => "pause the fold",
            FoldAction::Skip => "skip the fold",
            FoldAction::Restore => "bring the fold back",
            FoldAction::Earlier | FoldAction::Later => "move the fold",
            FoldAction::Retrain => "train the fold again",
        },
    }
}
