//! Obeys commands between steps, and holds training while files cannot be written.

use super::{
    Error, Result,
    queue::Queue,
    saver::{Failed, File, Job, Saver},
};
use crate::config::Config;
use crate::run::{
    Command, Event, Request,
    channel::EventSender,
    event::{self, FoldState, Level, Position, TrainerEvent, TrainerState},
    folder::Folder,
    status::{self, RunState, Status},
    write_errors,
};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::{collections::VecDeque, io, path::Path, time::Duration};

mod obey;
#[cfg(test)]
mod tests;

/// Delay between attempts to write.
const TRY_EVERY: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 1000 });

/// How training continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Make the next step.
    Continue,
    /// Save `last`, then check for commands again.
    Save,
    /// Save `last`, leave the fold in this state, and train the next one; after `Stopped`, end the run.
    Leave(FoldState),
}

/// Receives the trainer's commands and holds the state of the whole run.
pub struct Control {
    commands: Receiver<Request>,
    /// Requests that arrived while the trainer was held.
    later: VecDeque<Request>,
    /// Channel to the journal and the views.
    pub events: EventSender,
    /// The checkpoint writer thread.
    saver: Saver,
    /// The queue of folds.
    pub queue: Queue,
    folder: Folder,
    /// The run's configuration; commands may change its epochs and lowest learning rate.
    pub config: Config,
    /// State for `state.json`.
    state: RunState,
    reason: Option<String>,
    /// Whether the run ends after the current epoch.
    pub stop_after_epoch: bool,
    /// Whether the run ends in order to be started again.
    pub requeue: bool,
    paused: bool,
    /// Whether no fold is in training.
    idle: bool,
    /// Whether all command senders are gone.
    alone: bool,
    /// Whether the user stopped while a file could not be written: do not hold any more.
    gives_up: bool,
    /// Progress given to the saver last.
    saved: Option<Saved>,
    /// Requests about folds and the plan, to be answered once they have taken effect.
    obeyed: Vec<Request>,
    /// A request to save, to be answered once `last` is on disk.
    saving: Option<Request>,
}

/// A fold's number, epochs done, steps done in the next epoch, and seed.
type Saved = (usize, usize, usize, u64);

impl Control {
    /// Listens to `commands` and acknowledges them on `events`. Errors: when no thread can be started.
    pub fn new(
        commands: Receiver<Request>,
        events: EventSender,
        folder: &Folder,
        queue: Queue,
        config: Config,
    ) -> io::Result<Self> {
        Ok(Self {
            commands,
            later: VecDeque::new(),
            saver: Saver::start(events.clone())?,
            events,
            folder: folder.clone(),
            queue,
            config,
            state: RunState::Running,
            reason: None,
            stop_after_epoch: false,
            requeue: false,
            paused: false,
            idle: false,
            alone: false,
            gives_up: false,
            saved: None,
            obeyed: Vec::new(),
            saving: None,
        })
    }

    /// Obeys the commands received since the last call. Blocks while paused and while the disk cannot be
    /// written; a paused trainer continues once all command senders are gone.
    ///
    /// Errors: when a file cannot be written for a permanent reason, or the user stops while one cannot
    /// be written.
    pub fn check(&mut self, at: Position) -> Result<Flow> {
        self.refuse_to_save("it could not be saved");
        let failed = self.saver.poll();
        self.saved(at, failed)?;
        self.persist(at, Path::new("the journal"), |control| control.events.flush())?;
        while let Some(request) = self.next_request(at) {
            if let Some(flow) = self.obey(at, request)? {
                return Ok(flow);
            }
        }
        Ok(Flow::Continue)
    }

    /// Returns the next request, and waits for it while paused.
    fn next_request(&mut self, at: Position) -> Option<Request> {
        if let Some(request) = self.later.pop_front() {
            return Some(request);
        }
        if !self.paused {
            return self.commands.try_recv().ok();
        }
        let request = self.commands.recv().ok();
        if request.is_none() {
            // Nobody is left who could end the pause.
            self.alone = true;
            self.go_on(at);
        }
        request
    }

    /// Holds until a fold is started, when all that remain are paused. Returns `false` to end the run.
    pub fn wait_for_fold(&mut self, at: Position) -> Result<bool> {
        let why = "no fold waits, and one is paused: start it, or stop the run";
        self.events.log(Level::Warn, why);
        self.idle = true;
        while !self.queue.has_waiting() {
            self.paused = true;
            self.tell(at, TrainerState::Paused)?;
            let flow = self.check(at)?;
            self.refuse_to_save("no fold is in training: nothing to save");
            if flow == Flow::Leave(FoldState::Stopped) || self.alone {
                return Ok(false);
            }
        }
        self.idle = false;
        Ok(true)
    }

    fn go_on(&mut self, at: Position) {
        if std::mem::take(&mut self.paused) {
            // If `state.json` cannot be written now, a later call writes it.
            let _ = self.tell(at, self.running());
        }
    }

    fn running(&self) -> TrainerState {
        match self.stop_after_epoch {
            true => TrainerState::StoppingAfterEpoch,
            false => TrainerState::Running,
        }
    }

    /// Reports the queue to the views, and in `state.json` for a process that resumes the run.
    pub fn tell_queue(&mut self) -> Result<()> {
        // Write it to disk before anyone relies on it.
        self.write_state(Position::default())?;
        self.events.send(Event::Queue(event::Queue { folds: self.queue.states() }));
        self.acknowledge_obeyed();
        Ok(())
    }

    /// Whether `last` holds this progress already.
    pub fn is_saved(&self, what: Saved) -> bool {
        self.saved == Some(what)
    }

    /// Waits for the previous job, then gives `files`, which hold `what`, to the saver.
    pub fn save(&mut self, what: Saved, at: Position, files: Vec<File>) -> Result<()> {
        self.saved = Some(what);
        self.saved_all(at)?;
        self.saver.save(Job { at, files, request: self.saving.take() });
        Ok(())
    }

    /// Waits until all checkpoints are on disk.
    pub fn saved_all(&mut self, at: Position) -> Result<()> {
        let failed = self.saver.wait();
        self.saved(at, failed)
    }

    fn saved(&mut self, at: Position, failed: Option<Failed>) -> Result<()> {
        let Some(Failed { job, error }) = failed else { return Ok(()) };
        let path = job.files[0].path.clone();
        let mut unsaved = Some(job);
        // A permanent error: report it without another attempt.
        let mut permanent = Some(error).filter(|error| !write_errors::passes(error));
        self.persist(at, &path, |control| {
            if let Some(error) = permanent.take() {
                return Err(error);
            }
            if let Some(job) = unsaved.take() {
                control.saver.save(job);
            }
            match control.saver.wait() {
                None => Ok(()),
                Some(Failed { job, error }) => {
                    unsaved = Some(job);
                    Err(error)
                }
            }
        })
    }

    /// Calls `write` to write the file `path`. Holds and tries again while that fails for a reason that may
    /// pass, or while the run folder is missing.
    ///
    /// Errors: when the reason is permanent, or the user stops meanwhile.
    pub fn persist(
        &mut self,
        at: Position,
        path: &Path,
        mut write: impl FnMut(&mut Self) -> io::Result<()>,
    ) -> Result<()> {
        let mut held = false;
        loop {
            // A new folder under the same path is not the run's.
            let source = match self.folder.check().and_then(|()| write(self)) {
                Ok(()) => break,
                Err(error) => error,
            };
            let failed = |source| Err(Error::Write { path: path.into(), source });
            if self.gives_up || !write_errors::passes(&source) {
                return failed(source);
            }
            if !std::mem::replace(&mut held, true) {
                let (why, when) = (write_errors::what(&source), write_errors::goes_on(&source));
                let reason = format!("cannot write {}: {why}; it goes on {when}", path.display());
                (self.state, self.reason) = (RunState::Held, Some(reason.clone()));
                let event = TrainerEvent { at, state: TrainerState::Held, reason: Some(reason) };
                self.events.send(Event::Trainer(event));
            }
            match self.commands.recv_timeout(TRY_EVERY) {
                Ok(request) if matches!(request.command, Command::StopNow | Command::Requeue) => {
                    self.gives_up = true;
                    self.acknowledge(request, None);
                    return failed(source);
                }
                Ok(request) => self.later.push_back(request),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(TRY_EVERY),
            }
        }
        if held {
            let state = if self.paused { TrainerState::Paused } else { TrainerState::Running };
            self.tell(at, state)?;
        }
        Ok(())
    }

    /// Reports the trainer's state to the views and in `state.json`.
    fn tell(&mut self, at: Position, state: TrainerState) -> Result<()> {
        self.state = match state {
            TrainerState::Paused => RunState::Paused,
            _ => RunState::Running,
        };
        self.reason = None;
        self.write_state(at)?;
        self.events.send(Event::Trainer(TrainerEvent { at, state, reason: None }));
        Ok(())
    }

    /// Records how the run ended.
    pub fn ended(&mut self, at: Position, state: RunState) -> Result<()> {
        (self.state, self.reason) = (state, None);
        self.write_state(at)
    }

    /// Writes `state.json`.
    pub fn write_state(&mut self, at: Position) -> Result<()> {
        // While held, the state cannot be written either, and `persist` must not call itself.
        if self.state == RunState::Held {
            return Ok(());
        }
        let path = self.folder.state();
        self.persist(at, &path, |control| control.status().write(&path))
    }

    fn status(&self) -> Status {
        Status {
            format: status::FORMAT.into(),
            state: self.state,
            reason: self.reason.clone(),
            pid: std::process::id(),
            seconds: self.events.seconds(),
            updated: status::now(),
            epochs: self.config.train.epochs,
            folds: self.queue.entries.clone(),
        }
    }
}
