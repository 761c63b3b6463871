//! Obeys commands between steps, and holds training while files cannot be written.

use super::{
    Error, Result,
    queue::Queue,
    saver::{Failed, File, Job, Saver},
    schedule,
};
use crate::config::{Config, MOST_EPOCHS};
use crate::run::{
    Command, Event, FoldAction, Request,
    channel::EventSender,
    event::{self, Ack, FoldState, Level, Planned, Position, Retrain, TrainerEvent, TrainerState},
    folder::{Folder, write_atomically},
    rules::Effect,
    status::{self, RunState, Status},
    write_errors,
};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::{collections::VecDeque, io, path::Path, time::Duration};

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

    /// Obeys a request. Returns `Some` if the trainer has to do something about it.
    fn obey(&mut self, at: Position, request: Request) -> Result<Option<Flow>> {
        let flow = match request.command {
            Command::Pause => {
                let was_paused = std::mem::replace(&mut self.paused, true);
                // Repeated if it is paused already: the sender may have missed the first.
                self.tell(at, TrainerState::Paused, None)?;
                (!was_paused).then_some(Flow::Save)
            }
            Command::Resume => {
                self.paused = false;
                self.tell(at, self.running(), None)?;
                None
            }
            Command::Checkpoint => {
                // Save even if nothing changed. The request is answered once the file is on disk.
                self.saved = None;
                self.saving = Some(request);
                return Ok(Some(Flow::Save));
            }
            Command::StopAfterEpoch => {
                self.stop_after_epoch = true;
                self.tell(at, TrainerState::StoppingAfterEpoch, None)?;
                if self.paused {
                    self.tell(at, TrainerState::Paused, None)?;
                }
                None
            }
            Command::StopNow | Command::Requeue => {
                self.requeue = request.command == Command::Requeue;
                self.paused = false;
                self.tell(at, TrainerState::Stopping, None)?;
                Some(Flow::Leave(FoldState::Stopped))
            }
            Command::Plan { epochs, min_learning_rate } => {
                return self.plan(at, request, epochs, min_learning_rate);
            }
            Command::Fold { fold, action } => return self.fold(at, request, fold, action),
        };
        self.acknowledge(request, None);
        Ok(flow)
    }

    /// Holds until a fold is started, when all that remain are paused. Returns `false` to end the run.
    pub fn wait_for_fold(&mut self, at: Position) -> Result<bool> {
        let why = "no fold waits, and one is paused: start it, or stop the run";
        self.events.log(Level::Warn, why);
        self.idle = true;
        while !self.queue.has_waiting() {
            self.paused = true;
            self.tell(at, TrainerState::Paused, None)?;
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
            let _ = self.tell(at, self.running(), None);
        }
    }

    fn running(&self) -> TrainerState {
        match self.stop_after_epoch {
            true => TrainerState::StoppingAfterEpoch,
            false => TrainerState::Running,
        }
    }

    /// Answers `request`: it was carried out, or refused and why.
    fn acknowledge(&self, request: Request, refused: Option<String>) {
        self.events.send(Event::Ack(Ack::of(request, refused)));
    }

    /// Answers a request to save that no checkpoint has answered.
    fn refuse_to_save(&mut self, why: &str) {
        if let Some(request) = self.saving.take() {
            self.acknowledge(request, Some(why.into()));
        }
    }

    /// Answers a request to save with the checkpoint that the end of an epoch has begun to write.
    pub fn save_with_epoch(&mut self, at: Position) -> Result<()> {
        if let Some(request) = self.saving.take() {
            self.saved_all(at)?;
            self.acknowledge(request, None);
        }
        Ok(())
    }

    fn fold(
        &mut self,
        at: Position,
        request: Request,
        fold: usize,
        action: FoldAction,
    ) -> Result<Option<Flow>> {
        let effect = match self.queue.obey(fold, action) {
            Ok(effect) => effect,
            Err(why) => {
                self.acknowledge(request, Some(why));
                return Ok(None);
            }
        };
        self.obeyed.push(request);
        if action == FoldAction::Retrain {
            let seed = self.queue.get(fold).map_or(0, |entry| entry.seed);
            let at = Position { fold, epoch: 0, step: 0 };
            self.events.send(Event::Retrain(Retrain { at, seed }));
        }
        if let Effect::Leave(state) = effect {
            // After a pause, the next fold stays paused too.
            if state != FoldState::Paused {
                self.go_on(at);
            }
            // The queue is reported once the fold is left.
            return Ok(Some(Flow::Leave(state)));
        }
        self.tell_queue()?;
        if effect == Effect::GoOn && (self.idle || action == FoldAction::Start) {
            self.go_on(at);
        }
        Ok(None)
    }

    /// Changes the epochs or the lowest learning rate, in the run's config file first.
    fn plan(
        &mut self,
        at: Position,
        request: Request,
        epochs: Option<usize>,
        min_learning_rate: Option<f64>,
    ) -> Result<Option<Flow>> {
        let mut config = self.config.clone();
        let train = &mut config.train;
        let (old, highest) = (train.epochs, train.learning_rate);
        train.epochs = epochs.unwrap_or(old);
        train.min_learning_rate = min_learning_rate.unwrap_or(train.min_learning_rate);
        let why = match (train.epochs, train.min_learning_rate) {
            (n, _) if !(old..=MOST_EPOCHS).contains(&n) => Some(format!(
                "plan: {n} epochs: expected {old} to {MOST_EPOCHS}, they can only grow"
            )),
            (_, lr) if !(0.0..=highest).contains(&lr) => {
                Some(format!("plan: a lowest learning rate of {lr}: expected 0 to {highest}"))
            }
            _ => None,
        };
        if why.is_some() {
            self.acknowledge(request, why);
            return Ok(None);
        }
        let changes = config.changes(&self.config.to_toml()).unwrap_or_default();
        let (file, toml) = (self.folder.config(), config.to_toml());
        self.persist(at, &file, |_| write_atomically(&file, toml.as_bytes()))?;
        self.config = config;
        self.queue.extend(self.config.train.epochs);
        self.events.send(Event::Planned(Planned {
            at,
            epochs: self.config.train.epochs,
            learning_rates: schedule::learning_rates(&self.config.train),
            changes,
        }));
        self.obeyed.push(request);
        self.tell_queue()?;
        // Checkpoints must hold the new plan.
        self.saved = None;
        Ok(Some(Flow::Save))
    }

    /// Reports the queue to the views, and in `state.json` for a process that resumes the run.
    pub fn tell_queue(&mut self) -> Result<()> {
        // Write it to disk before anyone relies on it.
        self.write_state(Position::default())?;
        self.events.send(Event::Queue(event::Queue { folds: self.queue.states() }));
        self.acknowledge_obeyed();
        Ok(())
    }

    /// Answers the requests about folds and the plan that have taken effect. A fold that is to start has
    /// done so once it no longer waits.
    pub fn acknowledge_obeyed(&mut self) {
        let waits = |fold| self.queue.get(fold).is_some_and(|e| e.state == FoldState::Waiting);
        let done = self.obeyed.extract_if(.., |request| {
            !matches!(request.command, Command::Fold { fold, action: FoldAction::Start } if waits(fold))
        });
        for request in done {
            self.events.send(Event::Ack(Ack::of(request, None)));
        }
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
