//! Obeying commands between steps, and holding while the disk takes nothing.

use super::{
    Error, Result,
    queue::{Effect, Queue},
    saver::{Failed, Job, Saver},
};
use crate::run::{
    Command, Event,
    channel::EventSender,
    event::{self, Again, FoldState, Level, Position, TrainerEvent, TrainerState},
    folder::Folder,
    status::{self, RunState, Status},
};
use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};
use std::{
    collections::VecDeque,
    io::{self, ErrorKind},
    path::PathBuf,
    time::Duration,
};

#[cfg(test)]
mod tests;

/// Between two tries to write what could not be written.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// With the next step.
    Continue,
    /// Save `last`, then ask again.
    Save,
    /// Save `last`, set the fold aside in this state, and go on with the next one.
    Leave(FoldState),
    /// Save and end.
    Stop,
}

/// The trainer's ear, and what it holds of the run as a whole.
pub struct Control {
    commands: Receiver<Command>,
    /// Given while the trainer could not obey.
    later: VecDeque<Command>,
    /// To journal and views.
    pub events: EventSender,
    /// To the disk.
    saver: Saver,
    state_file: PathBuf,
    /// The folds.
    pub queue: Queue,
    epochs: usize,
    /// What `state.json` is to say.
    state: RunState,
    reason: Option<String>,
    /// Whether the run ends after this epoch.
    pub stop_after_epoch: bool,
    /// Whether it ends to be started again.
    pub requeue: bool,
    paused: bool,
}

impl Control {
    /// Listens to `commands` and acknowledges them on `events`. Errors: the system has no thread.
    pub fn new(
        commands: Receiver<Command>,
        events: EventSender,
        folder: &Folder,
        queue: Queue,
        epochs: usize,
    ) -> io::Result<Self> {
        Ok(Self {
            commands,
            later: VecDeque::new(),
            saver: Saver::start(events.clone())?,
            events,
            state_file: folder.state(),
            queue,
            epochs,
            state: RunState::Running,
            reason: None,
            stop_after_epoch: false,
            requeue: false,
            paused: false,
        })
    }

    /// Obeys what has been asked since the last call. While paused, and while the disk takes
    /// nothing, it sleeps in here; a trainer that nobody can command any more goes on.
    ///
    /// Errors: a file that cannot be written for a reason that will not pass, or the user stopped
    /// while it could not.
    pub fn check(&mut self, at: Position) -> Result<Flow> {
        if let Some(failed) = self.saver.look() {
            self.saved(at, Some(failed))?;
        }
        let events = self.events.clone();
        self.persist(at, "the journal".into(), |_| events.flush())?;
        loop {
            let command = match self.command() {
                Ok(Some(command)) => command,
                Ok(None) => return Ok(Flow::Continue),
                Err(()) => {
                    self.go_on(at);
                    return Ok(Flow::Continue);
                }
            };
            match command {
                Command::Pause if !self.paused => {
                    self.paused = true;
                    self.tell(at, TrainerState::Paused, None)?;
                    return Ok(Flow::Save);
                }
                Command::Pause => {}
                Command::Resume => self.go_on(at),
                Command::Checkpoint => return Ok(Flow::Save),
                Command::StopAfterEpoch => {
                    self.stop_after_epoch = true;
                    self.tell(at, TrainerState::StoppingAfterEpoch, None)?;
                    if self.paused {
                        self.tell(at, TrainerState::Paused, None)?;
                    }
                }
                Command::StopNow | Command::Requeue => {
                    self.requeue = command == Command::Requeue;
                    self.paused = false;
                    self.tell(at, TrainerState::Stopping, None)?;
                    return Ok(Flow::Stop);
                }
                Command::Fold { fold, action } => match self.fold(fold, action)? {
                    Effect::Stay => {}
                    Effect::GoOn => self.go_on(at),
                    Effect::Leave(state) => {
                        self.go_on(at);
                        return Ok(Flow::Leave(state));
                    }
                },
            }
        }
    }

    /// The next command: waits for it while paused. `Err`: paused, and nobody can command any more.
    fn command(&mut self) -> std::result::Result<Option<Command>, ()> {
        if let Some(command) = self.later.pop_front() {
            return Ok(Some(command));
        }
        match self.paused {
            true => self.commands.recv().map(Some).map_err(|_| ()),
            false => match self.commands.try_recv() {
                Ok(command) => Ok(Some(command)),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => Ok(None),
            },
        }
    }

    /// No fold waits, but some are set aside: holds until one is asked for. `false`: the run ends.
    pub fn wait_for_fold(&mut self, at: Position) -> Result<bool> {
        self.paused = true;
        self.events.log(Level::Warn, "no fold waits, and one is paused: start it, or stop the run");
        self.tell(at, TrainerState::Paused, None)?;
        loop {
            match self.check(at)? {
                // There is nothing to save between folds.
                Flow::Save => {}
                Flow::Leave(_) => {}
                Flow::Stop => return Ok(false),
                // Somebody asked for a fold, or nobody can any more.
                Flow::Continue => return Ok(true),
            }
        }
    }

    fn go_on(&mut self, at: Position) {
        if std::mem::take(&mut self.paused) {
            let state = match self.stop_after_epoch {
                true => TrainerState::StoppingAfterEpoch,
                false => TrainerState::Running,
            };
            // Its file is written at the next occasion, if not now.
            let _ = self.tell(at, state, None);
        }
    }

    fn fold(&mut self, fold: usize, action: crate::run::FoldAction) -> Result<Effect> {
        match self.queue.obey(fold, action) {
            Ok(effect) => {
                if action == crate::run::FoldAction::Again {
                    let seed = self.queue.get(fold).map_or(0, |entry| entry.seed);
                    let at = Position { fold, epoch: 0, step: 0 };
                    self.events.send(Event::Again(Again { at, seed }));
                }
                self.tell_queue()?;
                Ok(effect)
            }
            Err(why) => {
                self.events.log(Level::Warn, why);
                Ok(Effect::Stay)
            }
        }
    }

    /// Tells the queue to views, and to who goes on with the run.
    pub fn tell_queue(&mut self) -> Result<()> {
        self.events.send(Event::Queue(event::Queue { folds: self.queue.told() }));
        self.write_state(Position::default())
    }

    /// Gives `job` to the saver, once it has written the one before.
    pub fn save(&mut self, job: Job) -> Result<()> {
        let at = job.at;
        let before = self.saver.wait();
        self.saved(at, before)?;
        self.saver.save(job);
        Ok(())
    }

    /// Whether a checkpoint is still being written.
    pub fn is_saving(&self) -> bool {
        self.saver.is_busy()
    }

    /// Waits until every checkpoint is on the disk.
    pub fn saved_all(&mut self, at: Position) -> Result<()> {
        let last = self.saver.wait();
        self.saved(at, last)
    }

    fn saved(&mut self, at: Position, mut failed: Option<Failed>) -> Result<()> {
        let Some(path) = failed.as_ref().map(|failed| failed.path.clone()) else { return Ok(()) };
        self.persist(at, path.display().to_string(), |control| match failed.take() {
            // Not told yet, so no try of its own.
            Some(Failed { error, .. }) if !passes(&error) => Err(error),
            Some(again) => {
                control.saver.again(again);
                match control.saver.wait() {
                    None => Ok(()),
                    Some(still) => {
                        let error = io::Error::new(still.error.kind(), still.error.to_string());
                        failed = Some(still);
                        Err(error)
                    }
                }
            }
            None => Ok(()),
        })
    }

    /// Writes `what` with `write`; while the disk takes nothing it holds and tries again.
    ///
    /// Errors: one that will not pass, or the user stopped meanwhile.
    pub fn persist(
        &mut self,
        at: Position,
        what: String,
        mut write: impl FnMut(&mut Self) -> io::Result<()>,
    ) -> Result<()> {
        let mut held = false;
        loop {
            let source = match write(self) {
                Ok(()) => break,
                Err(error) => error,
            };
            let failed = |source| Err(Error::Write { path: what.clone().into(), source });
            if !passes(&source) {
                return failed(source);
            }
            if !std::mem::replace(&mut held, true) {
                let reason =
                    format!("cannot write {what}: {source}; it goes on when there is room");
                (self.state, self.reason) = (RunState::Held, Some(reason.clone()));
                let event = TrainerEvent { at, state: TrainerState::Held, reason: Some(reason) };
                self.events.send(Event::Trainer(event));
            }
            match self.commands.recv_timeout(TRY_EVERY) {
                Ok(Command::StopNow | Command::Requeue) => return failed(source),
                Ok(command) => self.later.push_back(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(TRY_EVERY),
            }
        }
        if held {
            let state = if self.paused { TrainerState::Paused } else { TrainerState::Running };
            self.tell(at, state, None)?;
        }
        Ok(())
    }

    /// Tells the trainer's state to views, and to who asks for it without one.
    pub fn tell(
        &mut self,
        at: Position,
        state: TrainerState,
        reason: Option<String>,
    ) -> Result<()> {
        self.state = match state {
            TrainerState::Paused => RunState::Paused,
            TrainerState::Held => RunState::Held,
            _ => RunState::Running,
        };
        self.reason = reason.clone();
        self.events.send(Event::Trainer(TrainerEvent { at, state, reason }));
        self.write_state(at)
    }

    /// Notes how the run ended.
    pub fn ended(&mut self, at: Position, state: RunState) -> Result<()> {
        (self.state, self.reason) = (state, None);
        self.write_state(at)
    }

    /// Writes `state.json`.
    pub fn write_state(&mut self, at: Position) -> Result<()> {
        let path = self.state_file.clone();
        let what = path.display().to_string();
        // A held run cannot write its state either, and must not wait for that.
        if self.state == RunState::Held {
            return Ok(());
        }
        self.persist(at, what, |control| control.status().write(&path))
    }

    fn status(&self) -> Status {
        Status {
            format: status::FORMAT.into(),
            state: self.state,
            reason: self.reason.clone(),
            pid: std::process::id(),
            seconds: self.events.seconds(),
            updated: status::now(),
            epochs: self.epochs,
            folds: self.queue.status(),
        }
    }
}

/// Whether an error may pass by itself, or by somebody who makes room.
fn passes(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull
            | ErrorKind::QuotaExceeded
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::FileTooLarge
    )
}
