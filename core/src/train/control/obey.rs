//! What each command does, and its answer.

use super::{Control, Flow};
use crate::{
    config::MOST_EPOCHS,
    run::{
        Command, Event, FoldAction, Request,
        event::{Ack, FoldState, Planned, Position, Retrain, TrainerState},
        folder::write_atomically,
        rules::Effect,
    },
    train::{Result, schedule},
};

impl Control {
    /// Obeys a request. Returns `Some` if the trainer has to do something about it.
    pub(super) fn obey(&mut self, at: Position, request: Request) -> Result<Option<Flow>> {
        let flow = match request.command {
            Command::Pause => {
                let was_paused = std::mem::replace(&mut self.paused, true);
                // Repeated if it is paused already: the sender may have missed the first.
                self.tell(at, TrainerState::Paused)?;
                (!was_paused).then_some(Flow::Save)
            }
            Command::Resume => {
                self.paused = false;
                self.tell(at, self.running())?;
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
                self.tell(at, TrainerState::StoppingAfterEpoch)?;
                if self.paused {
                    self.tell(at, TrainerState::Paused)?;
                }
                None
            }
            Command::StopNow | Command::Requeue => {
                self.requeue = request.command == Command::Requeue;
                self.paused = false;
                self.tell(at, TrainerState::Stopping)?;
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

    /// Answers `request`: it was carried out, or refused and why.
    pub(super) fn acknowledge(&self, request: Request, refused: Option<String>) {
        self.events.send(Event::Ack(Ack::of(request, refused)));
    }

    /// Answers a request to save that no checkpoint has answered.
    pub(super) fn refuse_to_save(&mut self, why: &str) {
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
}
