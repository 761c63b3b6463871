//! What belongs to each process of a run that several train.

use super::*;
use crate::view::fold;
use crate::view::progress::{Pace, in_parallel};
use std::mem::{swap, take};

/// What the process of a fold told that is not kept with the fold.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Part {
    step: Option<Step>,
    preview: Option<Preview>,
    gpu: Option<Gpu>,
    system: Option<System>,
    history: History,
    progress: Progress,
    trainer: Option<TrainerState>,
    stops_after_epoch: bool,
    device: String,
    heard: f64,
}

/// Number of folds by what is done with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Crew {
    /// Trained or validated now.
    pub training: usize,
    /// Their process cannot write.
    pub held: usize,
    /// Their process has died, and none has taken them over.
    pub died: usize,
    /// Their process does not answer.
    pub silent: usize,
    /// Paused, or their process is.
    pub paused: usize,
    /// Their process has not come to the first step.
    pub starting: usize,
    /// Their job waits in the batch system's queue.
    pub pending: usize,
}

impl State {
    /// Number of the watched fold, where several processes train.
    pub fn watched(&self) -> Option<usize> {
        self.watched
    }

    /// Watches another fold: steps, pictures, speed and machine are those of its process.
    pub fn watch(&mut self, fold: usize) {
        let known = self.folds.iter().any(|other| other.plan.fold == fold);
        if !self.shared || !known || self.watched == Some(fold) {
            return;
        }
        let mut part = self.others.remove(&fold).unwrap_or_default();
        self.swap(&mut part);
        if let Some(before) = self.watched.replace(fold) {
            self.others.insert(before, part);
        }
        self.select(fold);
        // Another picture is the newest now.
        self.previews += 1;
    }

    /// The fold in training that is `by` places after the watched one in the queue, or before it.
    pub fn trained_beside(&self, by: isize) -> Option<usize> {
        let (count, here) = (self.folds.len() as isize, self.current as isize);
        let places = (1..count).map(|n| (here + n * by.signum()).rem_euclid(count) as usize);
        let mut folds = places.filter_map(|place| self.folds.get(place));
        folds.find(|fold| fold.is_at_work()).map(|fold| fold.plan.fold)
    }

    /// The fold that an event of a process is about.
    pub(super) fn fold_of(&self, stamped: &Stamped) -> Option<usize> {
        match &stamped.event {
            Event::Worker(worker) => Some(worker.fold),
            _ => stamped.fold,
        }
    }

    /// Folds in an event of the process of `fold`.
    pub(super) fn apply_to(&mut self, fold: usize, stamped: &Stamped) {
        // The end and the queue of a fold's own folder are not the run's.
        let alone = matches!(stamped.event, Event::Queue(_) | Event::RunFinished(_));
        if alone || self.fold_mut(fold).is_none() {
            return;
        }
        self.shared = true;
        let is_watched = *self.watched.get_or_insert(fold) == fold;
        let mut part = Part::default();
        if !is_watched {
            part = self.others.remove(&fold).unwrap_or_default();
            self.swap(&mut part);
        }
        self.select(fold);
        self.take(stamped);
        if stamped.fold.is_some() && !matches!(stamped.event, Event::Worker(_)) {
            self.heard = self.heard.max(stamped.at);
        }
        if !is_watched {
            self.swap(&mut part);
            self.others.insert(fold, part);
        }
        self.follow();
    }

    /// Comes back to the watched fold, or goes to another if nobody trains it any more.
    fn follow(&mut self) {
        let Some(watched) = self.watched else { return };
        self.select(watched);
        if !self.is_trained(watched)
            && let Some(next) = self.trained_beside(1)
        {
            self.watch(next);
        }
    }

    fn swap(&mut self, part: &mut Part) {
        swap(&mut self.step, &mut part.step);
        swap(&mut self.preview, &mut part.preview);
        swap(&mut self.gpu, &mut part.gpu);
        swap(&mut self.system, &mut part.system);
        swap(&mut self.history, &mut part.history);
        swap(&mut self.progress, &mut part.progress);
        swap(&mut self.trainer, &mut part.trainer);
        swap(&mut self.stops_after_epoch, &mut part.stops_after_epoch);
        swap(&mut self.device, &mut part.device);
        swap(&mut self.heard, &mut part.heard);
    }

    /// Drops what is about folds that a new plan lacks.
    pub(super) fn keep_parts(&mut self) {
        let mut others = take(&mut self.others);
        others.retain(|&fold, _| self.folds.iter().any(|f| f.plan.fold == fold));
        self.others = others;
        self.watched = self.watched.filter(|&fold| self.folds.iter().any(|f| f.plan.fold == fold));
        if let Some(fold) = self.watched {
            self.select(fold);
        }
    }

    /// Takes in what is known of the process that trains a fold.
    pub(super) fn take_worker(&mut self, worker: &Worker) {
        let Some(fold) = self.fold_mut(worker.fold) else { return };
        let is_new = fold.worker.as_ref().is_none_or(|old| old.holder != worker.holder);
        let is_there = matches!(worker.state, WorkerState::Training | WorkerState::Silent);
        let comes_back = matches!(worker.state, WorkerState::Preempted | WorkerState::Pending);
        let is_left = match fold.state {
            FoldState::Training | FoldState::Validating => !is_there,
            FoldState::Stopped => comes_back,
            _ => false,
        };
        if is_left {
            // The queue and the next process say how it goes on.
            fold.state = FoldState::Waiting;
        }
        let taken_up = is_new && worker.state == WorkerState::Training;
        fold.worker = Some(worker::kept(worker));
        if taken_up || !is_there {
            (self.trainer, self.stops_after_epoch) = (None, false);
        }
        if taken_up {
            self.device = format::brief(&worker.device);
        }
    }

    /// A step shows that the process of `fold` is there.
    pub(super) fn is_heard(&mut self, fold: usize) {
        if let Some(worker) = self.fold_mut(fold).and_then(|fold| fold.worker.as_mut())
            && worker.state == WorkerState::Silent
        {
            worker.state = WorkerState::Training;
        }
    }

    /// Whether the log has the event's line already, or will have.
    pub(super) fn is_said(&self, stamped: &Stamped) -> bool {
        if stamped.fold.is_none() || matches!(stamped.event, Event::Worker(_)) {
            return false;
        }
        // Its journal is read anew.
        let again = stamped.at < self.heard;
        // The answers of all processes to this dashboard's command come together as one.
        let own = matches!(&stamped.event, Event::Ack(ack) if self.pending == Some(ack.command));
        again || own
    }

    /// Whether an event answers the pending command. That of one process does not answer for all.
    pub(super) fn is_answered(&self, command: Command, stamped: &Stamped) -> bool {
        let counts = stamped.fold.is_none() || matches!(stamped.event, Event::Fold(_));
        counts && pending::is_answered(command, &stamped.event)
    }

    fn part(&self, fold: usize) -> Option<&Part> {
        self.others.get(&fold)
    }

    /// The trainer's state in the process of `fold`.
    fn trainer_of(&self, fold: usize) -> Option<TrainerState> {
        match !self.shared || self.watched == Some(fold) {
            true => self.trainer,
            false => self.part(fold)?.trainer,
        }
    }

    /// Measured speeds of the process of `fold`, or of the only one.
    pub fn progress_of(&self, fold: Option<usize>) -> &Progress {
        static NOTHING: std::sync::LazyLock<Progress> = std::sync::LazyLock::new(Progress::default);
        match fold {
            Some(fold) if self.shared && self.watched != Some(fold) => {
                self.part(fold).map_or(&NOTHING, |part| &part.progress)
            }
            _ => &self.progress,
        }
    }

    /// The device of the watched fold's process, or of the only one.
    pub fn device(&self) -> &str {
        match (self.shared, &self.plan) {
            (true, _) => &self.device,
            (false, plan) => plan.as_ref().map_or("", |plan| &plan.device),
        }
    }

    /// Whether a process trains the fold with this number, paused or not.
    pub fn is_trained(&self, fold: usize) -> bool {
        !self.is_over() && self.folds.iter().any(|f| f.plan.fold == fold && f.is_at_work())
    }

    /// Whether a process is known to train the fold with this number.
    pub(super) fn has_worker(&self, fold: usize) -> bool {
        let is_there = |worker: &Worker| worker.state == WorkerState::Training;
        self.is_trained(fold)
            && self
                .folds
                .iter()
                .any(|f| f.plan.fold == fold && f.worker.as_ref().is_some_and(is_there))
    }

    /// Folds that a process trains, paused or not.
    pub(super) fn trained(&self) -> impl Iterator<Item = &Fold> {
        self.folds.iter().filter(|fold| fold.is_at_work() && !self.is_over())
    }

    /// Whether a fold's process trains, and is neither paused nor on hold.
    pub fn goes_on(&self, fold: &Fold) -> bool {
        let trainer = self.trainer_of(fold.plan.fold);
        let stands = matches!(trainer, Some(TrainerState::Paused | TrainerState::Held));
        fold.is_at_work() && !stands && !self.is_over()
    }

    /// What is done with a fold, in a word.
    pub fn word(&self, fold: &Fold) -> &'static str {
        let word = fold::word(fold.state);
        if !self.shared || fold.is_over() || self.is_over() {
            return word;
        }
        match (fold.worker.as_ref().map(|worker| worker.state), fold.state) {
            (Some(WorkerState::Died), _) => "died",
            (Some(WorkerState::Silent), _) => "silent",
            (Some(WorkerState::Pending), _) => "pending",
            (Some(WorkerState::Training), FoldState::Waiting) => "starting",
            (Some(WorkerState::Preempted), _) => "preempted",
            (Some(WorkerState::Ended), _) => word,
            _ if fold.is_at_work() => match self.trainer_of(fold.plan.fold) {
                Some(TrainerState::Paused) => "paused",
                Some(TrainerState::Held) => "held",
                Some(TrainerState::Stopping) => "stopping",
                _ => word,
            },
            _ => word,
        }
    }

    /// Counts the folds by what is done with them.
    pub fn crew(&self) -> Crew {
        let mut crew = Crew::default();
        for fold in &self.folds {
            let count = match self.word(fold) {
                "died" => &mut crew.died,
                "silent" => &mut crew.silent,
                "pending" => &mut crew.pending,
                "starting" => &mut crew.starting,
                "paused" => &mut crew.paused,
                "held" => &mut crew.held,
                _ if fold.is_at_work() => &mut crew.training,
                _ => continue,
            };
            *count += 1;
        }
        crew
    }

    /// Images per second of all processes together.
    pub fn images_per_second(&self) -> Option<f64> {
        if !self.shared {
            return self.progress.train.images_per_second();
        }
        let folds = self.folds.iter().filter(|fold| self.goes_on(fold));
        folds.filter_map(|fold| self.speed_of(fold)).reduce(|a, b| a + b)
    }

    /// Images per second of a fold's process.
    pub fn speed_of(&self, fold: &Fold) -> Option<f64> {
        let progress = self.progress_of(Some(fold.plan.fold));
        progress.train.images_per_second().filter(|_| self.goes_on(fold))
    }

    /// Seconds left in a fold that is in training.
    pub fn fold_left(&self, fold: &Fold) -> Option<f64> {
        let plan = self.plan.as_ref().filter(|_| self.goes_on(fold))?;
        let own = self.progress_of(Some(fold.plan.fold)).pace(plan, fold);
        Some(own.or_else(|| self.pace(plan))?.fold_left(fold))
    }

    /// How fast a fold is trained on the average.
    fn pace(&self, plan: &RunStarted) -> Option<Pace> {
        let of = |fold: &Fold| self.progress_of(Some(fold.plan.fold)).pace(plan, fold);
        let paces: Vec<Pace> =
            self.folds.iter().filter(|f| self.goes_on(f)).filter_map(of).collect();
        Pace::mean(&paces)
    }

    /// Seconds left in the run, whose folds are trained side by side.
    ///
    /// What waits goes to whichever process is free first. A pending job counts as a process from now on,
    /// unless it has to wait for another of its array to end. Paused folds are not counted.
    pub(super) fn shared_left(&self, plan: &RunStarted) -> Option<f64> {
        let typical = self.pace(plan)?;
        let (mut busy, mut waiting, mut end) = (Vec::new(), Vec::new(), 0.0_f64);
        for fold in self.folds.iter().filter(|fold| !fold.is_over()) {
            let number = fold.plan.fold;
            let pace = self.progress_of(Some(number)).pace(plan, fold).unwrap_or(typical);
            let work = pace.fold_left(fold);
            let reason = fold.worker.as_ref().and_then(|worker| worker.reason.as_deref());
            match self.word(fold) {
                "paused" | "held" => {}
                "stopping" => end = end.max(pace.step),
                _ if self.goes_on(fold) && self.stops_soon(number) => {
                    end = end.max(pace.epoch_left(fold));
                }
                "starting" => busy.push(work),
                "pending" if !reason.is_some_and(waits_for_another) => busy.push(work),
                _ if self.goes_on(fold) => busy.push(work),
                _ => waiting.push(work),
            }
        }
        match in_parallel(&busy, &waiting) {
            Some(left) => Some(left.max(end)),
            // Nobody will take what waits.
            None => Some(end).filter(|_| waiting.is_empty()),
        }
    }

    /// Whether the process of `fold` ends after this epoch.
    fn stops_soon(&self, fold: usize) -> bool {
        match self.watched == Some(fold) {
            true => self.stops_after_epoch,
            false => self.part(fold).is_some_and(|part| part.stops_after_epoch),
        }
    }

    /// Whether all processes satisfy `is`, and there is one.
    pub(super) fn all_are(&self, is: impl Fn(TrainerState) -> bool) -> bool {
        let mut folds = self.trained().peekable();
        folds.peek().is_some() && folds.all(|f| self.trainer_of(f.plan.fold).is_some_and(&is))
    }

    /// Whether all processes end after their epochs.
    pub fn all_stop_after_epoch(&self) -> bool {
        if !self.shared {
            return self.stops_after_epoch;
        }
        let mut folds = self.trained().peekable();
        folds.peek().is_some() && folds.all(|fold| self.stops_soon(fold.plan.fold))
    }
}

/// Whether a pending job waits for another of the same array.
fn waits_for_another(reason: &str) -> bool {
    reason.contains("JobArrayTaskLimit")
}
