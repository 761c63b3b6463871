//! Alerts: what wants a look, found in the events by stated rules.
//!
//! Every rule is a condition that begins and ends at different values, so that a figure that
//! wavers about one of them does not begin it again and again. An alert rises when its condition
//! begins, is brought up to date while that lasts, and stands until it is acknowledged. It rises
//! once more only after its condition has ended and begun anew. The same events give the same
//! alerts, whether they are heard or read from a journal.

use crate::run::event::{Epoch, Gpu, Level, Position, RunStarted, System};
use crate::run::journal::{Brief, Pace};
use std::collections::BTreeMap;

mod epochs;
mod gate;
mod machine;
mod steps;
#[cfg(test)]
mod tests;

use epochs::Epochs;
use machine::Machine;
use steps::{NotFinite, Steps, What};

/// Folds that are watched, whatever a journal says.
const MOST_FOLDS: usize = 100;

/// What an alert is about, the gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An attached view heard the end of the connection and not of the run.
    Lost,
    /// The trainer holds because it cannot write.
    Held,
    /// A fold, or the run, ended in an error.
    Error,
    /// A loss is not finite, a batch was left out because a loss or a gradient is not, or a
    /// gradient is not in 8 steps in a row (the scaler of f16 skips single ones, as it should).
    /// Ends after 50 steps as they should be.
    NotFinite,
    /// The smoothed training loss (over about 50 steps) lies for 50 steps in a row above its
    /// lowest value in the fold by more than half of that value, and by more than a quarter of
    /// what the fold had gained by then. In place of the lowest value stands twice the loss of a
    /// constant guess where that is less, so that a fold that never learnt is seen too. Ends after
    /// 50 steps in a row within half of that.
    Diverging,
    /// Less is free on the disk of the run's folder than 2 GiB, or than three times what the end of
    /// an epoch writes at most (`best` and `last`: 16 bytes a parameter), whichever is more. Ends
    /// at a quarter more.
    DiskLow,
    /// The GPU lowers its clocks in 3 readings in a row because of heat, a power brake or another
    /// slowdown of its hardware; a power cap is no alert. Ends after 15 readings without.
    GpuThrottled,
    /// The GPU has 87 °C or more in 3 readings in a row. Ends after 3 of at most 82 °C.
    GpuHot,
    /// More than 20 % of the last 50 steps' time was spent waiting for data; the first 10 steps
    /// after a start are not counted. Ends below 10 %.
    Starving,
    /// The mean of both heads' validation losses, over 3 epochs, lies in 3 epochs in a row above
    /// its lowest value in the fold by more than 10 % of that, and by more than 4 times the usual
    /// change from epoch to epoch (the median of the last 20), while the same mean of the training
    /// losses against unmixed targets is lower than it was then. The level of a training loss is
    /// not comparable with validation (mixup, augmentation, dropout); its trend is. Ends within
    /// half of that.
    Overfitting,
    /// No new best in the fold for 10 epochs, or for a fifth of the epochs planned, whichever is
    /// more. Ends with a new best.
    Plateau,
}

impl Kind {
    /// Its name, for a command: `not_finite`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Held => "held",
            Self::Error => "error",
            Self::NotFinite => "not_finite",
            Self::Diverging => "diverging",
            Self::DiskLow => "disk_low",
            Self::GpuThrottled => "gpu_throttled",
            Self::GpuHot => "gpu_hot",
            Self::Starving => "starving",
            Self::Overfitting => "overfitting",
            Self::Plateau => "plateau",
        }
    }

    /// How grave.
    pub fn level(self) -> Level {
        match self <= Self::Diverging {
            true => Level::Error,
            false => Level::Warn,
        }
    }

    /// Whether it is the run's state itself: it stands as long as it is so, cannot be acknowledged,
    /// and goes when it ends.
    fn is_state(self) -> bool {
        matches!(self, Self::Lost | Self::Held)
    }

    /// Whether the event that it comes from is in the log by itself.
    pub fn has_own_event(self) -> bool {
        matches!(self, Self::Lost | Self::Held | Self::Error)
    }
}

/// An alert.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// What it is about.
    pub kind: Kind,
    /// Which alert of the run it is, from 1.
    pub number: u64,
    /// Since when, in seconds since the run started.
    pub since: f64,
    /// When its condition ended, if it has.
    pub until: Option<f64>,
    /// Where training stood, for one that is about training.
    pub at: Option<Position>,
    /// What is so, as of now, in one line.
    pub text: String,
    /// Whether the user has seen it.
    acknowledged: bool,
}

/// All alerts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Alerts {
    list: Vec<Alert>,
    raised: u64,
    /// The run's seconds.
    now: f64,
    /// The fold in training.
    fold: Option<usize>,
    not_finite: NotFinite,
    steps: BTreeMap<usize, Steps>,
    epochs: BTreeMap<usize, Epochs>,
    machine: Machine,
}

impl Alerts {
    /// Those that stand, the gravest first.
    pub fn standing(&self) -> Vec<&Alert> {
        let mut standing: Vec<&Alert> = self.list.iter().filter(|a| !a.acknowledged).collect();
        standing.sort_by_key(|alert| (alert.kind, std::cmp::Reverse(alert.number)));
        standing
    }

    /// How many have risen so far.
    pub fn raised(&self) -> u64 {
        self.raised
    }

    /// Those that have risen since there were `raised`, in that order.
    pub fn since(&self, raised: u64) -> impl Iterator<Item = &Alert> {
        self.list.iter().filter(move |alert| alert.number > raised)
    }

    /// Whether there is one to acknowledge.
    pub fn can_acknowledge(&self) -> bool {
        self.list.iter().any(|alert| !alert.acknowledged && !alert.kind.is_state())
    }

    /// Takes the gravest alert that can be acknowledged as seen; `false` where there is none.
    pub fn acknowledge(&mut self) -> bool {
        let gravest = self.standing().into_iter().find(|alert| !alert.kind.is_state());
        let Some(number) = gravest.map(|alert| alert.number) else { return false };
        for alert in &mut self.list {
            alert.acknowledged |= alert.number == number;
        }
        self.clear();
        true
    }

    /// The past is told: what was and is no more is no alert to whoever comes now.
    pub fn settle(&mut self) {
        self.list.retain(|alert| alert.until.is_none());
    }

    /// `seconds` of the run have passed.
    pub(super) fn pass(&mut self, seconds: f64) {
        self.now = seconds;
    }

    /// A process begins or goes on with the run: what was of the one before is past.
    pub(super) fn start(&mut self, plan: &RunStarted) {
        self.machine.start(plan);
        self.not_finite = NotFinite::default();
        for kind in [Kind::NotFinite, Kind::DiskLow, Kind::GpuThrottled, Kind::GpuHot] {
            self.end(kind);
        }
        self.end(Kind::Starving);
        self.drop(Kind::Error);
        self.drop(Kind::Held);
        self.drop(Kind::Lost);
    }

    /// The fold begins anew.
    pub(super) fn retrain(&mut self, fold: usize) {
        self.steps.remove(&fold);
        self.epochs.remove(&fold);
        if self.fold == Some(fold) {
            self.leave_fold();
        }
    }

    /// A step's speed.
    pub(super) fn pace(&mut self, pace: Pace) {
        if let Some(condition) = self.machine.pace(pace) {
            self.tell(Kind::Starving, None, condition);
        }
    }

    /// A step's figures. `baseline`: the loss of a constant guess.
    pub(super) fn step(&mut self, at: Position, step: &Brief, baseline: f64) {
        self.enter_fold(at.fold);
        match step.loss.is_finite() {
            true if self.not_finite.is_past() => self.end(Kind::NotFinite),
            true => {}
            false => self.tell_not_finite(at, What::Loss),
        }
        if self.not_finite.gradients(step.grad_norm) {
            self.tell_not_finite(at, What::Gradients);
        }
        if !self.steps.contains_key(&at.fold) && self.steps.len() == MOST_FOLDS {
            return;
        }
        let condition = self.steps.entry(at.fold).or_default().add(at, step.loss, baseline);
        self.tell(Kind::Diverging, Some(at), condition);
    }

    /// A batch was left out.
    pub(super) fn left_out(&mut self, at: Position) {
        self.tell_not_finite(at, What::Batch);
    }

    fn tell_not_finite(&mut self, at: Position, what: What) {
        let text = self.not_finite.add(at, what);
        self.tell(Kind::NotFinite, Some(at), Condition::Holds(text));
    }

    /// An epoch of a fold that has `planned` of them.
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

    /// The machine's figures.
    pub(super) fn system(&mut self, system: &System) {
        let condition = self.machine.disk(system);
        self.tell(Kind::DiskLow, None, condition);
    }

    /// The GPU's figures.
    pub(super) fn gpu(&mut self, gpu: &Gpu) {
        let hot = self.machine.temperature(gpu);
        self.tell(Kind::GpuHot, None, hot);
        let throttled = self.machine.throttled(gpu);
        self.tell(Kind::GpuThrottled, None, throttled);
    }

    /// Something is so that an event says by itself.
    pub(super) fn state(&mut self, kind: Kind, text: String) {
        if kind == Kind::Error {
            // Another one is another alert.
            self.drop(kind);
        }
        self.tell(kind, None, Condition::Holds(text));
    }

    /// The trainer holds for this reason, or does not.
    pub(super) fn held(&mut self, reason: Option<String>) {
        match reason {
            Some(reason) => self.state(Kind::Held, reason),
            None => self.drop(Kind::Held),
        }
    }

    fn enter_fold(&mut self, fold: usize) {
        if self.fold.replace(fold) != Some(fold) {
            self.leave_fold();
        }
    }

    /// What was of the fold before has ended with it.
    fn leave_fold(&mut self) {
        for kind in [Kind::Diverging, Kind::Overfitting, Kind::Plateau] {
            self.end(kind);
        }
    }

    fn tell(&mut self, kind: Kind, at: Option<Position>, condition: Condition) {
        let text = match condition {
            Condition::Holds(text) => text,
            Condition::Ended => return self.end(kind),
        };
        if let Some(alert) = self.list.iter_mut().find(|a| a.kind == kind && a.until.is_none()) {
            alert.text = text;
            return;
        }
        self.drop(kind);
        self.raised += 1;
        let (number, since) = (self.raised, self.now);
        self.list.push(Alert { kind, number, since, until: None, at, text, acknowledged: false });
    }

    fn end(&mut self, kind: Kind) {
        let now = self.now;
        for alert in self.list.iter_mut().filter(|a| a.kind == kind && a.until.is_none()) {
            alert.until = Some(now);
        }
        self.clear();
    }

    fn drop(&mut self, kind: Kind) {
        self.list.retain(|alert| alert.kind != kind);
    }

    /// Forgets what is over and seen.
    fn clear(&mut self) {
        self.list.retain(|alert| alert.until.is_none() || !alert.acknowledged);
    }
}

/// What a rule says now.
#[derive(Debug, Clone, PartialEq)]
enum Condition {
    /// Its condition holds, in words.
    Holds(String),
    /// It does not hold.
    Ended,
}
