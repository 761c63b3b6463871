//! Alerts: conditions that need the user's attention, detected in the events by fixed rules.
//!
//! Every rule has hysteresis: its condition begins and ends at different values, so a figure that
//! fluctuates around a threshold does not raise it repeatedly. An alert is raised when its
//! condition begins, its text is updated while the condition holds, and it stays until
//! acknowledged. It is raised again only after the condition has ended and begun again. The same
//! events give the same alerts, whether live or replayed from a journal.
//!
//! Where several processes train, each has conditions of its own, and the text names its fold. Only
//! the disk is one for all.

use crate::run::event::{Epoch, Gpu, Level, Position, RunStarted, Step, System};
use crate::view::text::with_fold;
use std::collections::BTreeMap;

mod epochs;
mod fold;
mod gate;
mod machine;
mod steps;
#[cfg(test)]
mod tests;

use epochs::Epochs;
use machine::Machine;
use steps::{NotFinite, Steps, What};

/// Maximum number of folds tracked, whatever a journal contains.
const MOST_FOLDS: usize = 100;

/// Kinds of alert, most severe first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An attached dashboard lost its connection before the run ended.
    Lost,
    /// The trainer is on hold because it cannot write.
    Held,
    /// A fold, or the run, ended in an error.
    Error,
    /// A process of a run that several train has ended without releasing its fold. Ends when another
    /// takes the fold over.
    Died,
    /// A loss is not finite, a batch was skipped because its loss or gradient was not finite, or
    /// the gradient was not finite in 8 consecutive steps (the f16 loss scaler skips single steps
    /// by design). Ends after 50 normal steps.
    NotFinite,
    /// For 50 consecutive steps, the smoothed training loss (over about 50 steps) exceeds its
    /// lowest value in the fold by more than half of that value and by more than a quarter of the
    /// fold's improvement until then. If twice the loss of a constant guess is below the lowest
    /// value, it is used instead, so that a fold that never learnt is detected too. Ends after 50
    /// consecutive steps within half of that margin.
    Diverging,
    /// A process on another host has not been heard of for a while. Gone when it is heard of again, or
    /// when it is known to have ended.
    Silent,
    /// Free space on the disk of the run's folder is below 2 GiB, or below three times the most
    /// that the end of an epoch writes (`best` and `last`: 16 bytes per parameter), whichever is
    /// more. Ends at 1.25 times the limit.
    DiskLow,
    /// In 3 consecutive readings the GPU lowers its clocks because of heat, a power brake or
    /// another hardware slowdown; a power cap raises no alert. Ends after 15 consecutive readings
    /// without throttling.
    GpuThrottled,
    /// The GPU is at 87 °C or more in 3 consecutive readings. Ends after 3 readings at or below
    /// 82 °C.
    GpuHot,
    /// More than 20 % of the last 50 steps' time was spent waiting for data, not counting the first
    /// 10 steps after a start. Ends below 10 %.
    Starving,
    /// For 3 consecutive epochs, the mean of both heads' validation losses over 3 epochs exceeds
    /// its lowest value in the fold by more than 10 % and by more than 4 times the typical change
    /// between epochs (the median of the last 20), while the same mean of the training losses
    /// against unmixed targets is lower than it was then. The level of a training loss is not
    /// comparable with validation (mixup, augmentation, dropout); its trend is. Ends within half of
    /// that margin.
    Overfitting,
    /// No new best in the fold for 10 epochs, or for a fifth of the planned epochs, whichever is
    /// more. Ends with a new best.
    Plateau,
}

impl Kind {
    /// Identifier passed to the alert command, such as `not_finite`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Held => "held",
            Self::Error => "error",
            Self::Died => "died",
            Self::NotFinite => "not_finite",
            Self::Diverging => "diverging",
            Self::Silent => "silent",
            Self::DiskLow => "disk_low",
            Self::GpuThrottled => "gpu_throttled",
            Self::GpuHot => "gpu_hot",
            Self::Starving => "starving",
            Self::Overfitting => "overfitting",
            Self::Plateau => "plateau",
        }
    }

    /// Severity.
    pub fn level(self) -> Level {
        match self <= Self::Diverging {
            true => Level::Error,
            false => Level::Warn,
        }
    }

    /// Whether the alert reflects the run's state itself: it lasts exactly as long as that state
    /// and cannot be acknowledged.
    fn is_state(self) -> bool {
        matches!(self, Self::Lost | Self::Held)
    }

    /// Whether the log already has a line for the event that caused it.
    pub fn has_own_event(self) -> bool {
        matches!(self, Self::Lost | Self::Held | Self::Error | Self::Died | Self::Silent)
    }
}

/// An alert.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// Kind of alert.
    pub kind: Kind,
    /// Number within the run, counted from 1.
    pub number: u64,
    /// When it was raised, in seconds since the run started.
    pub since: f64,
    /// When its condition ended, in seconds since the run started.
    pub until: Option<f64>,
    /// Position of training, for alerts about training.
    pub at: Option<Position>,
    /// The fold whose process is meant, where several train.
    pub worker: Option<usize>,
    /// Current description, in one line.
    pub text: String,
    /// Whether the user has acknowledged it.
    acknowledged: bool,
}

/// All alerts of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Alerts {
    list: Vec<Alert>,
    raised: u64,
    /// Seconds since the run started.
    now: f64,
    /// Losses of a constant guess, by fold.
    baselines: BTreeMap<usize, f64>,
    /// Epochs per fold.
    planned: usize,
    /// The fold whose process sent the event at hand, where several train.
    worker: Option<usize>,
    /// What the rules remember of each process.
    rules: BTreeMap<Option<usize>, Rules>,
    steps: BTreeMap<usize, Steps>,
    epochs: BTreeMap<usize, Epochs>,
}

/// What the rules remember of a process.
#[derive(Debug, Clone, PartialEq, Default)]
struct Rules {
    /// The fold in training.
    fold: Option<usize>,
    not_finite: NotFinite,
    machine: Machine,
}

impl Alerts {
    /// Unacknowledged alerts, most severe first.
    pub fn standing(&self) -> Vec<&Alert> {
        let mut standing: Vec<&Alert> = self.list.iter().filter(|a| !a.acknowledged).collect();
        standing.sort_by_key(|alert| (alert.kind, std::cmp::Reverse(alert.number)));
        standing
    }

    /// Number of alerts raised so far.
    pub fn raised(&self) -> u64 {
        self.raised
    }

    /// Alerts raised after the first `raised`, in that order.
    pub fn since(&self, raised: u64) -> impl Iterator<Item = &Alert> {
        self.list.iter().filter(move |alert| alert.number > raised)
    }

    /// Whether any alert can be acknowledged.
    pub fn can_acknowledge(&self) -> bool {
        self.list.iter().any(|alert| !alert.acknowledged && !alert.kind.is_state())
    }

    /// Acknowledges the most severe alert that can be; returns `false` if there is none.
    pub fn acknowledge(&mut self) -> bool {
        let gravest = self.standing().into_iter().find(|alert| !alert.kind.is_state());
        let Some(number) = gravest.map(|alert| alert.number) else { return false };
        for alert in &mut self.list {
            alert.acknowledged |= alert.number == number;
        }
        self.clear();
        true
    }

    /// Drops alerts that have ended, after a journal was replayed: they are of no use to a new
    /// viewer.
    pub fn settle(&mut self) {
        self.list.retain(|alert| alert.until.is_none());
    }

    /// Advances the clock to `seconds` since the run started.
    pub(super) fn pass(&mut self, seconds: f64) {
        self.now = seconds;
    }

    /// The rules of the process at hand.
    fn rules(&mut self) -> &mut Rules {
        self.rules.entry(self.worker).or_default()
    }

    /// A process starts or resumes the run: ends the conditions observed by the previous process.
    pub(super) fn start(&mut self, plan: &RunStarted) {
        let rules = self.rules();
        rules.machine.start(plan);
        rules.not_finite = NotFinite::default();
        for kind in [Kind::NotFinite, Kind::DiskLow, Kind::GpuThrottled, Kind::GpuHot] {
            self.end(kind);
        }
        self.end(Kind::Starving);
        self.drop(Kind::Error);
        self.drop(Kind::Held);
        self.drop(Kind::Lost);
    }

    /// Forgets the fold's history because its training starts over.
    pub(super) fn retrain(&mut self, fold: usize) {
        self.steps.remove(&fold);
        self.epochs.remove(&fold);
        if self.rules().fold == Some(fold) {
            self.leave_fold();
        }
    }

    /// Takes in a step's timings.
    pub(super) fn pace(&mut self, step: &Step) {
        let starving = self.rules().machine.pace(step);
        self.tell(Kind::Starving, None, starving);
    }

    /// Takes in a step's figures. `baseline`: the loss of a constant guess.
    pub(super) fn step(&mut self, step: &Step, baseline: f64) {
        let at = step.at;
        self.enter_fold(at.fold);
        match step.loss.is_finite() {
            true if self.rules().not_finite.is_past() => self.end(Kind::NotFinite),
            true => {}
            false => self.tell_not_finite(at, What::Loss),
        }
        if self.rules().not_finite.gradients(step.grad_norm) {
            self.tell_not_finite(at, What::Gradients);
        }
        if !self.steps.contains_key(&at.fold) && self.steps.len() == MOST_FOLDS {
            return;
        }
        let condition = self.steps.entry(at.fold).or_default().add(at, step.loss, baseline);
        self.tell(Kind::Diverging, Some(at), condition);
    }

    /// Takes in that a batch was skipped.
    pub(super) fn left_out(&mut self, at: Position) {
        self.tell_not_finite(at, What::Batch);
    }

    fn tell_not_finite(&mut self, at: Position, what: What) {
        let text = self.rules().not_finite.add(at, what);
        self.tell(Kind::NotFinite, Some(at), Some(text));
    }

    /// Takes in an epoch of a fold with `planned` epochs.
    pub(super) fn epoch(&mut self, epoch: &Epoch, planned: usize) {
        let at = epoch.at;
        self.enter_fold(at.fold);
        if !epoch.valid_loss.is_finite() {
            self.tell_not_finite(at, What::Loss);
        }
        if !self.epochs.contains_key(&at.fold) && self.epochs.len() == MOST_FOLDS {
            return;
        }
        let (overfitting, plateau) = self.epochs.entry(at.fold).or_default().add(epoch, planned);
        self.tell(Kind::Overfitting, Some(at), overfitting);
        self.tell(Kind::Plateau, Some(at), plateau);
    }

    /// Takes in readings of the machine.
    pub(super) fn system(&mut self, system: &System) {
        // All processes write to the same disk.
        let worker = self.worker.take();
        let condition = self.rules().machine.disk(system);
        self.tell(Kind::DiskLow, None, condition);
        self.worker = worker;
    }

    /// Takes in readings of the GPU.
    pub(super) fn gpu(&mut self, gpu: &Gpu) {
        let hot = self.rules().machine.temperature(gpu);
        self.tell(Kind::GpuHot, None, hot);
        let throttled = self.rules().machine.throttled(gpu);
        self.tell(Kind::GpuThrottled, None, throttled);
    }

    /// Raises an alert that repeats an event.
    pub(super) fn state(&mut self, kind: Kind, text: String) {
        if kind == Kind::Error {
            // Each error is an alert of its own.
            self.drop(kind);
        }
        self.tell(kind, None, Some(text));
    }

    /// Sets or, with `None`, clears the reason why the trainer is on hold.
    pub(super) fn held(&mut self, reason: Option<String>) {
        match reason {
            Some(reason) => self.state(Kind::Held, reason),
            None => self.drop(Kind::Held),
        }
    }

    fn enter_fold(&mut self, fold: usize) {
        if self.rules().fold.replace(fold) != Some(fold) {
            self.leave_fold();
        }
    }

    /// Ends the alerts about the fold that was in training.
    fn leave_fold(&mut self) {
        for kind in [Kind::Diverging, Kind::Overfitting, Kind::Plateau] {
            self.end(kind);
        }
    }

    /// Ends what can no longer be observed, because the process has ended.
    pub(super) fn leave_process(&mut self) {
        for kind in [Kind::NotFinite, Kind::GpuThrottled, Kind::GpuHot, Kind::Starving] {
            self.end(kind);
        }
        self.drop(Kind::Held);
        self.leave_fold();
    }

    /// Adds `text` to an alert whose condition holds.
    pub(super) fn append(&mut self, kind: Kind, text: &str) {
        let worker = self.worker;
        let same = |alert: &&mut Alert| alert.kind == kind && alert.worker == worker;
        if let Some(alert) = self.list.iter_mut().filter(same).find(|a| a.until.is_none()) {
            alert.text += text;
        }
    }

    /// Takes in whether the condition of `kind` holds: its description, or `None`.
    fn tell(&mut self, kind: Kind, at: Option<Position>, condition: Option<String>) {
        let Some(text) = condition else { return self.end(kind) };
        let text = with_fold(self.worker, text);
        let worker = self.worker;
        let same = |alert: &&mut Alert| alert.kind == kind && alert.worker == worker;
        if let Some(alert) = self.list.iter_mut().filter(same).find(|a| a.until.is_none()) {
            alert.text = text;
            return;
        }
        self.drop(kind);
        self.raised += 1;
        let (number, since) = (self.raised, self.now);
        let (until, acknowledged) = (None, false);
        self.list.push(Alert { kind, number, since, until, at, worker, text, acknowledged });
    }

    fn end(&mut self, kind: Kind) {
        let (now, worker) = (self.now, self.worker);
        let same = |alert: &&mut Alert| alert.kind == kind && alert.worker == worker;
        for alert in self.list.iter_mut().filter(same).filter(|a| a.until.is_none()) {
            alert.until = Some(now);
        }
        self.clear();
    }

    fn drop(&mut self, kind: Kind) {
        let worker = self.worker;
        self.list.retain(|alert| alert.kind != kind || alert.worker != worker);
    }

    /// Drops alerts that have ended and were acknowledged.
    fn clear(&mut self) {
        self.list.retain(|alert| alert.until.is_none() || !alert.acknowledged);
    }
}
