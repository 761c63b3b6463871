//! Checkpoints on their way to the disk, on a thread of their own: a step does not wait for it.

use super::checkpoint::Snapshot;
use crate::run::{
    Event,
    channel::EventSender,
    event::{Checkpoint, CheckpointKind, Position},
    folder::write_keeping,
};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::{io, path::PathBuf, time::Instant};

/// A file to be written.
#[derive(Debug)]
pub struct File {
    /// Which.
    pub kind: CheckpointKind,
    /// What is in it.
    pub snapshot: Snapshot,
    /// Where it goes.
    pub path: PathBuf,
    /// Where those before it go, the newest first.
    pub older: Vec<PathBuf>,
}

/// What is written at once: all of it, or it is tried again from the first that failed.
#[derive(Debug)]
pub struct Job {
    /// Where training stood.
    pub at: Position,
    /// In this order.
    pub files: Vec<File>,
}

/// Could not be written.
#[derive(Debug)]
pub struct Failed {
    /// What is left of the job.
    job: Job,
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub error: io::Error,
}

/// The thread, seen from training. One job is on its way at most.
pub struct Saver {
    jobs: Sender<Job>,
    done: Receiver<Result<(), Failed>>,
    busy: bool,
}

impl Saver {
    /// Starts the thread; it ends with this. Errors: the system has no thread.
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

    /// Gives `job` to the thread, which must have none: see [`Self::wait`].
    pub fn save(&mut self, job: Job) {
        self.busy = true;
        // The thread lives as long as this does.
        let _ = self.jobs.send(job);
    }

    /// Tries once more what failed.
    pub fn retry(&mut self, failed: Failed) {
        self.save(failed.job);
    }

    /// Whether the last job failed, if it is over; without waiting.
    pub fn poll(&mut self) -> Option<Failed> {
        let done = self.done.try_recv().ok()?;
        self.busy = false;
        done.err()
    }

    /// Waits until nothing is on its way.
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
        // The journal must know the steps that the checkpoint counts.
        let written = events
            .sync()
            .and_then(|()| file.snapshot.to_bytes())
            .and_then(|bytes| write_keeping(&file.path, &bytes, &file.older));
        if let Err(error) = written {
            let path = file.path.clone();
            return Err(Failed { job, path, error });
        }
        events.send(Event::Checkpoint(Checkpoint {
            at: job.at,
            kind: file.kind,
            path: file.path.display().to_string(),
            seconds: start.elapsed().as_secs_f64(),
        }));
        job.files.remove(0);
    }
    Ok(())
}
