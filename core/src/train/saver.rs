//! Writes checkpoints on a thread of its own, so that steps do not wait for the disk.

use super::checkpoint::Snapshot;
use crate::run::{
    Event, Request,
    channel::EventSender,
    event::{Ack, Checkpoint, CheckpointKind, Position},
    folder::write_keeping,
};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::{io, path::PathBuf, time::Instant};

/// A file to be written.
#[derive(Debug)]
pub struct File {
    /// Kind of checkpoint.
    pub kind: CheckpointKind,
    /// Contents of the file.
    pub snapshot: Snapshot,
    /// Path of the file.
    pub path: PathBuf,
    /// Paths of older generations, the newest first.
    pub older: Vec<PathBuf>,
}

/// Files to be written together; a retry starts with the first that failed.
#[derive(Debug)]
pub struct Job {
    /// Position of training.
    pub at: Position,
    /// Files in the order of writing.
    pub files: Vec<File>,
    /// The request to save, answered once all files are written.
    pub request: Option<Request>,
}

/// A job that could not be completed.
#[derive(Debug)]
pub struct Failed {
    /// Remaining files of the job, first the one that failed.
    pub job: Job,
    /// Reason for the failure.
    pub error: io::Error,
}

/// Handle to the thread. At most one job is in progress.
pub struct Saver {
    jobs: Sender<Job>,
    done: Receiver<Result<(), Failed>>,
    busy: bool,
}

impl Saver {
    /// Starts the thread, which ends when this is dropped. Errors: when no thread can be started.
    pub fn start(events: EventSender) -> io::Result<Self> {
        let (jobs, received) = bounded::<Job>(1);
        let (tell, done) = bounded(1);
        std::thread::Builder::new().name("saver".into()).spawn(move || {
            for job in received {
                if tell.send(write(job, &events)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { jobs, done, busy: false })
    }

    /// Gives `job` to the thread, which must be idle: see [`Self::wait`].
    pub fn save(&mut self, job: Job) {
        self.busy = true;
        // Sending cannot fail: the thread lives as long as `self`.
        let _ = self.jobs.send(job);
    }

    /// Returns the failure of the last job, if it has ended with one. Does not wait.
    pub fn poll(&mut self) -> Option<Failed> {
        let done = self.done.try_recv().ok()?;
        self.busy = false;
        done.err()
    }

    /// Waits until no job is in progress, and returns the failure of the last one.
    pub fn wait(&mut self) -> Option<Failed> {
        if !self.busy {
            return None;
        }
        self.busy = false;
        self.done.recv().ok()?.err()
    }
}

fn write(mut job: Job, events: &EventSender) -> Result<(), Failed> {
    while let Some(file) = job.files.first() {
        let start = Instant::now();
        // The journal must contain the steps that the checkpoint counts.
        let written = events
            .sync()
            .and_then(|()| file.snapshot.to_bytes())
            .and_then(|bytes| write_keeping(&file.path, &bytes, &file.older));
        if let Err(error) = written {
            return Err(Failed { job, error });
        }
        events.send(Event::Checkpoint(Checkpoint {
            at: job.at,
            kind: file.kind,
            path: file.path.display().to_string(),
            seconds: start.elapsed().as_secs_f64(),
        }));
        job.files.remove(0);
    }
    if let Some(request) = job.request {
        events.send(Event::Ack(Ack::of(request, None)));
    }
    Ok(())
}
