//! State of a run, folded from its events.

use super::alerts::{Alerts, Kind};
use super::constant::Constants;
use super::fold::Fold;
use super::progress::Progress;
use super::slice_cache::SliceCache;
use super::system::History;
use super::{Mark, format, pending, text, worker};
use crate::run::Command;
use crate::run::event::{
    CheckpointKind, Epoch, Event, FoldState, Gpu, Level, Planned, Position, Preview, Queue,
    RunFinished, RunStarted, Stamped, Step, System, TrainerState, ValidStep, Worker, WorkerState,
};
use crate::run::journal;
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

mod of_run;
mod parts;
mod plan;
mod questions;
#[cfg(test)]
mod tests;

pub use parts::Crew;
use parts::Part;

/// Maximum number of log lines kept.
pub const LOG_LINES: usize = 1000;
/// Maximum number of folds shown, whatever a journal contains.
const MOST_FOLDS: usize = 100;
/// Maximum number of epochs, all folds together.
const MOST_EPOCHS: usize = 500_000;
/// Maximum number of points per figure, shared equally by all folds.
const MOST_POINTS: usize = 1 << 20;

/// A line of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogLine {
    /// Seconds since the run started.
    pub at: f64,
    /// Severity.
    pub level: Level,
    /// One line, without control characters.
    pub text: String,
}

/// State of a run, folded from its events.
///
/// Where several processes train, what only one of them can tell (its steps, pictures, speed and machine)
/// is of the *watched* fold's; [`Self::watch`] changes which one that is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    /// The plan, once the trainer has sent it.
    pub plan: Option<RunStarted>,
    /// The folds, in queue order.
    pub folds: Vec<Fold>,
    /// Index in `folds` of the current fold, or of the last one trained; where several processes train, of
    /// the watched one.
    pub current: usize,
    /// The newest step.
    pub step: Option<Step>,
    /// The newest preview.
    pub preview: Option<Preview>,
    /// Slices requested by the view of the crops.
    pub slice_cache: SliceCache,
    /// GPU readings, if the device provides them.
    pub gpu: Option<Gpu>,
    /// Readings of the machine.
    pub system: Option<System>,
    /// History of the machine's and the GPU's readings and of the speed.
    pub history: History,
    /// Number of previews so far, so that unchanged pictures need not be encoded again.
    pub previews: u64,
    /// Measured speeds.
    pub progress: Progress,
    /// The newest log lines, oldest first.
    pub log: VecDeque<LogLine>,
    /// Number of log lines so far, including dropped ones.
    pub log_total: u64,
    /// Crops without image content.
    pub constant: Constants,
    /// Alerts of the run.
    pub alerts: Alerts,
    /// The trainer's state; `None` before its first report.
    pub trainer: Option<TrainerState>,
    /// Whether the run will end after the current epoch.
    pub stops_after_epoch: bool,
    /// Device of the watched fold's process.
    device: String,
    /// Time of its newest event.
    heard: f64,
    /// Whether several processes train the run.
    pub shared: bool,
    /// Number of the watched fold.
    watched: Option<usize>,
    /// What the processes of the other folds told.
    others: BTreeMap<usize, Part>,
    /// The command that has not been answered yet.
    pub pending: Option<Command>,
    /// Result of the run, once it has ended.
    pub finished: Option<RunFinished>,
    /// Whether the trainer ended without a final event.
    pub vanished: bool,
    /// Whether the trainer is another process; the end of its events then means a lost connection.
    pub attached: bool,
    /// Whether slices can be read although the run is over.
    pub reads_slices: bool,
    /// Time of the newest event, in seconds since the run started.
    pub at: f64,
}

impl State {
    /// Folds an event in.
    pub fn apply(&mut self, stamped: &Stamped) {
        match self.fold_of(stamped) {
            Some(fold) => self.apply_to(fold, stamped),
            None => self.take(stamped),
        }
    }

    fn take(&mut self, stamped: &Stamped) {
        let raised = self.alerts.raised();
        // A finished run's clock stands still, even while slices are viewed.
        if !(self.is_over() && stamped.event.is_picture()) {
            // The clocks of several hosts differ.
            self.at = if self.shared { self.at.max(stamped.at) } else { stamped.at };
        }
        self.fold_in(stamped);
        self.alerts.apply(stamped);
        self.log_alerts(raised);
    }

    fn fold_in(&mut self, stamped: &Stamped) {
        if let Some((level, text)) = text::of_stamped(stamped).filter(|_| !self.is_said(stamped)) {
            self.log_line_at(stamped.at, level, &text);
        }
        if self.pending.is_some_and(|command| self.is_answered(command, stamped)) {
            self.pending = None;
        }
        match &stamped.event {
            Event::RunStarted(plan) => match stamped.fold {
                Some(fold) => self.start_fold(fold, plan),
                None => self.start(plan),
            },
            Event::Fold(event) => {
                self.select(event.at.fold);
                if let Some(fold) = self.folds.get_mut(self.current) {
                    fold.state = event.state;
                    if event.state != FoldState::Waiting {
                        fold.at = event.at;
                    }
                }
            }
            Event::Queue(queue) => self.order(queue),
            Event::Retrain(e) => {
                let capacity = MOST_POINTS / self.folds.len().max(1);
                if let Some(fold) = self.fold_mut(e.at.fold) {
                    let worker = fold.worker.take();
                    *fold = Fold::new(fold.plan.clone(), fold.epochs.len(), capacity);
                    (fold.seed, fold.worker) = (Some(e.seed), worker);
                }
            }
            Event::Planned(planned) => match stamped.fold {
                Some(fold) => self.replan_fold(fold, planned),
                None => self.replan(planned),
            },
            Event::EpochStarted(event) => {
                self.select(event.at.fold);
                if let Some(fold) = self.folds.get_mut(self.current) {
                    fold.state = FoldState::Training;
                    fold.start_epoch(event.at);
                    if event.at.step > 0 {
                        fold.mark(event.at, Mark::Resumed);
                    }
                }
            }
            Event::Step(step) => self.add_step(step, stamped.at),
            Event::ValidStep(step) => self.add_valid_step(step),
            Event::Epoch(epoch) => self.add_epoch(epoch),
            Event::Worst(worst) => {
                if let Some(fold) = self.fold_mut(worst.at.fold) {
                    fold.add_worst(worst);
                }
            }
            Event::SliceReply(reply) => self.slice_cache.add(reply.clone()),
            Event::Preview(preview) => {
                self.preview = Some(preview.clone());
                self.previews += 1;
            }
            Event::Gpu(gpu) => {
                self.history.add_gpu(stamped.at, gpu);
                self.gpu = Some(gpu.clone());
            }
            Event::System(system) => {
                self.history.add_system(stamped.at, system);
                self.system = Some(system.clone());
            }
            Event::LeftOut(left_out) => {
                if let Some(fold) = self.fold_mut(left_out.at.fold) {
                    fold.mark(left_out.at, Mark::NonFinite);
                }
            }
            Event::Constant(constant) => self.constant.add(constant),
            Event::Checkpoint(checkpoint) => {
                if let Some(fold) = self.fold_mut(checkpoint.at.fold) {
                    match checkpoint.kind {
                        CheckpointKind::Best => fold.mark(checkpoint.at, Mark::Best),
                        // Not worth a marker at an epoch's boundary, where it is always saved.
                        CheckpointKind::Last if checkpoint.at.step == 0 => {}
                        CheckpointKind::Last if checkpoint.at.step == fold.plan.steps => {}
                        CheckpointKind::Last => fold.mark(checkpoint.at, Mark::Saved),
                    }
                    let path = Some(format::brief(&checkpoint.path));
                    match checkpoint.kind {
                        CheckpointKind::Best => fold.best_path = path,
                        CheckpointKind::Last => fold.last_path = path,
                    }
                }
            }
            Event::Trainer(event) => {
                let mark = match event.state {
                    TrainerState::Paused | TrainerState::Held => Some(Mark::Paused),
                    TrainerState::Running if self.was_paused() => Some(Mark::Resumed),
                    _ => None,
                };
                if let (Some(mark), Some(fold)) = (mark, self.fold_mut(event.at.fold)) {
                    fold.mark(event.at, mark);
                }
                self.answer(event.state);
            }
            // Shown by the log; `pending` was handled above.
            Event::Ack(_) | Event::Log(_) | Event::Error(_) | Event::Unknown => {}
            Event::Worker(worker) => self.take_worker(worker),
            Event::RunFinished(finished) => {
                self.finished = Some(finished.clone());
                self.pending = None;
            }
        }
    }

    /// Replays a run's journal, its first `upto` bytes or all of it. Returns the state and the
    /// number of lines that could not be understood.
    ///
    /// Errors: when it cannot be read, or has an unknown format.
    pub fn of_journal(path: &Path, upto: Option<u64>) -> Result<(Self, usize), journal::Error> {
        Self::of_journal_with(path, upto, |_, _| {})
    }

    /// Like [`Self::of_journal`], and passes every event with its Unix time to `also`.
    ///
    /// Errors: as for [`Self::of_journal`].
    pub fn of_journal_with(
        path: &Path,
        upto: Option<u64>,
        mut also: impl FnMut(&Stamped, f64),
    ) -> Result<(Self, usize), journal::Error> {
        let mut state = Self::default();
        let passed = journal::for_each(path, upto, |stamped, time| {
            state.apply(stamped);
            also(stamped, time);
            Ok::<(), journal::Error>(())
        })?;
        state.passed_over(passed.unknown);
        state.alerts.settle();
        Ok((state, passed.damaged))
    }

    /// Clears the outcome of a run that is being resumed.
    pub fn reopen(&mut self) {
        (self.finished, self.vanished) = (None, false);
        (self.trainer, self.pending) = (None, None);
        self.alerts.held(None);
        self.stops_after_epoch = false;
    }

    fn select(&mut self, number: usize) {
        if let Some(index) = self.folds.iter().position(|f| f.plan.fold == number) {
            self.current = index;
        }
    }

    fn fold_mut(&mut self, number: usize) -> Option<&mut Fold> {
        self.folds.iter_mut().find(|f| f.plan.fold == number)
    }

    fn add_step(&mut self, step: &Step, at: f64) {
        self.select(step.at.fold);
        self.is_heard(step.at.fold);
        self.progress.add_step(step);
        self.history.add_step(at, step);
        if let Some(fold) = self.fold_mut(step.at.fold) {
            fold.state = FoldState::Training;
            fold.add_step(step);
        }
        self.step = Some(step.clone());
    }

    fn add_valid_step(&mut self, step: &ValidStep) {
        self.progress.add_valid(step);
        if let Some(fold) = self.fold_mut(step.at.fold) {
            fold.state = FoldState::Validating;
            fold.at.epoch = step.at.epoch;
            fold.add_valid(step);
        }
    }

    fn add_epoch(&mut self, epoch: &Epoch) {
        self.progress.add_epoch(epoch);
        if let Some(fold) = self.fold_mut(epoch.at.fold) {
            fold.add_epoch(epoch);
        }
    }

    /// Logs the alerts raised after the first `raised`.
    fn log_alerts(&mut self, raised: u64) {
        if self.alerts.raised() == raised {
            return;
        }
        let risen = self.alerts.since(raised).filter(|alert| !alert.kind.has_own_event());
        let lines: Vec<_> = risen.map(|alert| (alert.kind.level(), alert.text.clone())).collect();
        for (level, text) in lines {
            self.log_line(level, &text);
        }
    }

    /// Logs a line that other code in this process printed, at `at` seconds since the run started.
    pub fn stray(&mut self, at: f64, line: &str) {
        self.log_line_at(at, Level::Warn, line);
    }

    fn log_line(&mut self, level: Level, text: &str) {
        self.log_line_at(self.at, level, text);
    }

    fn log_line_at(&mut self, at: f64, level: Level, text: &str) {
        if self.log.len() == LOG_LINES {
            self.log.pop_front();
        }
        self.log_total += 1;
        self.log.push_back(LogLine { at, level, text: format::brief(text) });
    }

    fn answer(&mut self, state: TrainerState) {
        match state {
            TrainerState::StoppingAfterEpoch => {
                self.stops_after_epoch = true;
                self.trainer = Some(TrainerState::Running);
            }
            _ => self.trainer = Some(state),
        }
    }

    /// Records a command that was sent, so that the screen can show it before the answer arrives.
    pub fn command_given(&mut self, command: Command) {
        if self.is_over() || self.pending == Some(Command::StopNow) {
            return;
        }
        let waits_for_the_run = self.pending.is_some_and(pending::concerns_the_run);
        if pending::concerns_the_run(command) || !waits_for_the_run {
            self.pending = Some(command);
        }
    }

    /// Handles the closed event channel: unless the run has finished, the trainer died.
    pub fn disconnected(&mut self) {
        if self.finished.is_none() && !self.vanished {
            self.vanished = true;
            self.pending = None;
            self.log_line(Level::Error, self.lost());
            if self.attached {
                self.alerts.state(Kind::Lost, self.lost().into());
            }
        }
    }
}

/// Whether a fold in this state will be trained without further commands.
fn is_to_come(state: FoldState) -> bool {
    matches!(state, FoldState::Waiting | FoldState::Training | FoldState::Validating)
}
