//! Obeys commands between steps, and holds training while files cannot be written.

use super::{
    Error, Result,
    queue::{Effect, Queue},
    saver::{Failed, Job, Saver},
    schedule,
};
use crate::config::{Config, MOST_EPOCHS};
use crate::run::{
    Command, Event, FoldAction,
    channel::EventSender,
    event::{
        self, Answer, FoldState, Level, Planned, Position, Retrain, TrainerEvent, TrainerState,
    },
    folder::{Folder, write_atomically},
    status::{self, RunState, Status},
    write_errors,
};
use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};
use std::{collections::VecDeque, io, time::Duration};

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
    /// Save `last`, leave the fold in this state, and train the next one.
    Leave(FoldState),
    /// Save and end the run.
    Stop,
}

/// Receives the trainer's commands and holds the state of the whole run.
pub struct Control {
    commands: Receiver<Command>,
    /// Commands that arrived while the trainer was held.
    later: VecDeque<Command>,
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
    /// Commands to acknowledge once the queue has been reported.
    obeyed: Vec<Command>,
}

/// A fold's number, epochs done, steps done in the next epoch, and seed.
type Saved = (usize, usize, usize, u64);

impl Control {
    /// Listens to `commands` and acknowledges them on `events`. Errors: when no thread can be started.
    pub fn new(
        commands: Receiver<Command>,
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
        })
    }

    /// Obeys the commands received since the last call. Blocks while paused and while the disk cannot be
    /// written; a paused trainer continues once all command senders are gone.
    ///
    /// Errors: when a file cannot be written for a permanent reason, or the user stops while one cannot
    /// be written.
    pub fn check(&mut self, at: Position) -> Result<Flow> {
        if let Some(failed) = self.saver.poll() {
            self.saved(at, Some(failed))?;
        }
        let events = self.events.clone();
        self.persist(at, "the journal".into(), |_| events.flush())?;
        loop {
            let command = match self.command() {
                Ok(Some(command)) => command,
                Ok(None) => return Ok(Flow::Continue),
                Err(()) => {
                    self.alone = true;
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
                // Repeat the answer: the sender may have missed the first.
                Command::Pause => self.tell(at, TrainerState::Paused, None)?,
                Command::Resume if self.paused => self.go_on(at),
                Command::Resume => self.tell(at, self.running(), None)?,
                Command::Checkpoint => {
                    // Save even if nothing changed, so that the command is answered.
                    self.saved = None;
                    return Ok(Flow::Save);
                }
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
                Command::Plan { epochs, min_learning_rate } => {
                    if self.plan(at, command, (epochs, min_learning_rate))? {
                        // Checkpoints must hold the new plan.
                        self.saved = None;
                        return Ok(Flow::Save);
                    }
                }
                Command::Fold { fold, action } => match self.fold(command, fold, action)? {
                    Effect::Stay => {}
                    Effect::GoOn if self.idle || action == FoldAction::Start => self.go_on(at),
                    Effect::GoOn => {}
                    Effect::Leave(state) => {
                        // After a pause, the next fold stays paused too.
                        if state != FoldState::Paused {
                            self.go_on(at);
                        }
                        return Ok(Flow::Leave(state));
                    }
                },
            }
        }
    }

    /// Returns the next command, and waits for it while paused. `Err`: paused, and all senders are gone.
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

    /// Holds until a fold is started, when all that remain are paused. Returns `false` to end the run.
    pub fn wait_for_fold(&mut self, at: Position) -> Result<bool> {
        let why = "no fold waits, and one is paused: start it, or stop the run";
        self.events.log(Level::Warn, why);
        self.idle = true;
        while !self.queue.has_waiting() {
            self.paused = true;
            self.tell(at, TrainerState::Paused, None)?;
            match self.check(at)? {
                Flow::Save => {
                    self.refuse(Command::Checkpoint, "no fold is in training: nothing to save")
                }
                Flow::Continue | Flow::Leave(_) => {}
                Flow::Stop => return Ok(false),
            }
            if self.alone {
                return Ok(false);
            }
        }
        self.idle = false;
        Ok(true)
    }

    fn go_on(&mut self, at: Position) {
        if std::mem::take(&mut self.paused) {
            // If `state.json` cannot be written now, a later call writes it.
            let _ = self.tell(at, self.running(), None);
        }
    }

    fn running(&self) -> TrainerState {
        match self.stop_after_epoch {
            true => TrainerState::StoppingAfterEpoch,
            false => TrainerState::Running,
        }
    }

    /// Reports that `command` is refused, and why.
    fn refuse(&self, command: Command, why: impl Into<String>) {
        self.events.send(Event::Answer(Answer { command, refused: Some(why.into()) }));
    }

    fn fold(&mut self, command: Command, fold: usize, action: FoldAction) -> Result<Effect> {
        match self.queue.obey(fold, action) {
            Ok(effect) => {
                self.obeyed.push(command);
                if action == FoldAction::Retrain {
                    let seed = self.queue.get(fold).map_or(0, |entry| entry.seed);
                    let at = Position { fold, epoch: 0, step: 0 };
                    self.events.send(Event::Retrain(Retrain { at, seed }));
                }
                // If a fold is left, the queue is reported once that is done.
                if !matches!(effect, Effect::Leave(_)) {
                    self.tell_queue()?;
                }
                Ok(effect)
            }
            Err(why) => {
                self.refuse(command, why);
                Ok(Effect::Stay)
            }
        }
    }

    /// Changes the epochs or the lowest learning rate, in the run's config file first. Returns whether it
    /// did.
    fn plan(
        &mut self,
        at: Position,
        command: Command,
        (epochs, min_learning_rate): (Option<usize>, Option<f64>),
    ) -> Result<bool> {
        let mut config = self.config.clone();
        let train = &mut config.train;
        let (old, highest) = (train.epochs, train.learning_rate);
        train.epochs = epochs.unwrap_or(old);
        train.min_learning_rate = min_learning_rate.unwrap_or(train.min_learning_rate);
        let why = match (train.epochs, train.min_learning_rate) {
            (n, _) if !(old..=MOST_EPOCHS).contains(&n) => {
                Some(format!("{n} epochs: expected {old} to {MOST_EPOCHS}, they can only grow"))
            }
            (_, lr) if !(0.0..=highest).contains(&lr) => {
                Some(format!("a lowest learning rate of {lr}: expected 0 to {highest}"))
            }
            _ => None,
        };
        if let Some(why) = why {
            self.refuse(command, format!("plan: {why}"));
            return Ok(false);
        }
        let changes = config.changes(&self.config.to_toml()).unwrap_or_default();
        let (file, toml) = (self.folder.config(), config.to_toml());
        self.persist(at, file.display().to_string(), |_| write_atomically(&file, toml.as_bytes()))?;
        self.config = config;
        self.queue.extend(self.config.train.epochs);
        self.events.send(Event::Planned(Planned {
            at,
            epochs: self.config.train.epochs,
            learning_rates: schedule::learning_rates(&self.config.train),
            changes,
        }));
        self.obeyed.push(command);
        self.tell_queue()?;
        Ok(true)
    }

    /// Reports the queue to the views, and in `state.json` for a process that resumes the run.
    pub fn tell_queue(&mut self) -> Result<()> {
        // Write it to disk before anyone relies on it.
        self.write_state(Position::default())?;
        self.events.send(Event::Queue(event::Queue { folds: self.queue.states() }));
        for command in self.obeyed.drain(..) {
            self.events.send(Event::Answer(Answer { command, refused: None }));
        }
        Ok(())
    }

    /// Whether `last` holds this progress already.
    pub fn is_saved(&self, what: Saved) -> bool {
        self.saved == Some(what)
    }

    /// Waits for the previous job, then gives `job`, which holds `what`, to the saver.
    pub fn save(&mut self, what: Saved, job: Job) -> Result<()> {
        self.saved = Some(what);
        let at = job.at;
        let before = self.saver.wait();
        self.saved(at, before)?;
        self.saver.save(job);
        Ok(())
    }

    /// Waits until all checkpoints are on disk.
    pub fn saved_all(&mut self, at: Position) -> Result<()> {
        let last = self.saver.wait();
        self.saved(at, last)
    }

    fn saved(&mut self, at: Position, mut failed: Option<Failed>) -> Result<()> {
        let Some(path) = failed.as_ref().map(|failed| failed.job.files[0].path.clone()) else {
            return Ok(());
        };
        self.persist(at, path.display().to_string(), |control| match failed.take() {
            // A permanent error: report it without another attempt.
            Some(Failed { error, .. }) if !write_errors::passes(&error) => Err(error),
            Some(unsaved) => {
                control.saver.save(unsaved.job);
                match control.saver.wait() {
                    None => Ok(()),
                    Some(still) => {
                        let error = match still.error.raw_os_error() {
                            Some(number) => io::Error::from_raw_os_error(number),
                            None => io::Error::new(still.error.kind(), still.error.to_string()),
                        };
                        failed = Some(still);
                        Err(error)
                    }
                }
            }
            None => Ok(()),
        })
    }

    /// Calls `write` to write `what`. Holds and tries again while that fails for a reason that may pass, or
    /// while the run folder is missing.
    ///
    /// Errors: when the reason is permanent, or the user stops meanwhile.
    pub fn persist(
        &mut self,
        at: Position,
        what: String,
        mut write: impl FnMut(&mut Self) -> io::Result<()>,
    ) -> Result<()> {
        let mut held = false;
        loop {
            // A new folder under the same path is not the run's.
            let source = match self.folder.check().and_then(|()| write(self)) {
                Ok(()) => break,
                Err(error) => error,
            };
            let failed = |source| Err(Error::Write { path: what.clone().into(), source });
            if self.gives_up || !write_errors::passes(&source) {
                return failed(source);
            }
            if !std::mem::replace(&mut held, true) {
                let (why, when) = (write_errors::what(&source), write_errors::goes_on(&source));
                let reason = format!("cannot write {what}: {why}; it goes on {when}");
                (self.state, self.reason) = (RunState::Held, Some(reason.clone()));
                let event = TrainerEvent { at, state: TrainerState::Held, reason: Some(reason) };
                self.events.send(Event::Trainer(event));
            }
            match self.commands.recv_timeout(TRY_EVERY) {
                Ok(Command::StopNow | Command::Requeue) => {
                    self.gives_up = true;
                    return failed(source);
                }
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

    /// Reports the trainer's state to the views and in `state.json`.
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
        self.write_state(at)?;
        self.events.send(Event::Trainer(TrainerEvent { at, state, reason }));
        Ok(())
    }

    /// Records how the run ended.
    pub fn ended(&mut self, at: Position, state: RunState) -> Result<()> {
        (self.state, self.reason) = (state, None);
        self.write_state(at)
    }

    /// Writes `state.json`.
    pub fn write_state(&mut self, at: Position) -> Result<()> {
        let path = self.folder.state();
        let what = path.display().to_string();
        // While held, the state cannot be written either, and `persist` must not call itself.
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
            epochs: self.config.train.epochs,
            folds: self.queue.status(),
        }
    }
}
