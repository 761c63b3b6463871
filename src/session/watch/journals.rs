//! The journals of a shared run's folds as one stream.

use crate::run::{
    Event,
    event::{FoldBest, Level, Log, SkippedStudy, Stamped},
    folder::Folder,
    journal::Tail,
};
use rayon::prelude::*;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Most lines read of all journals together when a run is opened; of more, some steps are left out.
const MOST_LINES: usize = 200_000;
/// Most lines read of a journal at a time after that.
const MOST_NEWS: usize = 20_000;

/// The journals.
pub(super) struct Journals {
    folds: Vec<Of>,
    /// Unix time of second 0.
    start: f64,
    /// The newest event's time.
    pub(super) clock: Clock,
}

/// The newest time of a run, in its seconds: for events that no journal has. This host's own clock may be
/// another than those of the workers.
#[derive(Clone, Default)]
pub(super) struct Clock(Arc<AtomicU64>);

impl Clock {
    /// Moves it forward to `at`, if it is behind.
    pub(super) fn advance(&self, at: f64) {
        // The bits of numbers that are not negative are in the numbers' order.
        self.0.fetch_max(at.max(0.0).to_bits(), Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// A fold's journal.
struct Of {
    fold: usize,
    tail: Tail,
    /// The newest event's time.
    at: f64,
    /// What its worker left out, from the end of its last training.
    skipped: Vec<SkippedStudy>,
    /// Why it could not be read, if that was told.
    told: Option<String>,
}

impl Journals {
    /// Those of `folds`. `created`: Unix time at which the run was made.
    pub(super) fn of(folder: &Folder, folds: &[usize], created: f64) -> Self {
        Self::by(Tail::new, folder, folds, created)
    }

    /// Like [`Self::of`], without what they hold now.
    pub(super) fn from_end(folder: &Folder, folds: &[usize], created: f64) -> Self {
        Self::by(Tail::from_end, folder, folds, created)
    }

    fn by(tail: fn(&Path) -> Tail, folder: &Folder, folds: &[usize], created: f64) -> Self {
        let of = |&fold: &usize| Of {
            fold,
            tail: tail(&folder.of_fold(fold).journal()),
            at: 0.0,
            skipped: Vec::new(),
            told: None,
        };
        Self { folds: folds.iter().map(of).collect(), start: created, clock: Clock::default() }
    }

    /// Reads everything so far, ordered by time.
    pub(super) fn past(&mut self) -> Vec<Stamped> {
        let most = (MOST_LINES / self.folds.len().max(1)).max(500);
        let read = |of: &mut Of| {
            let mut all = Vec::new();
            let problem = of.read(most, |event, time| all.push((event, time)));
            (all, problem)
        };
        let read: Vec<_> = self.folds.par_iter_mut().map(read).collect();
        // A run that one process began has lines from before it was shared.
        let first = |all: &Vec<(Event, f64)>| all.iter().map(|(_, time)| *time).find(|t| *t > 0.0);
        let earliest = read.iter().filter_map(|(all, _)| first(all)).fold(self.start, f64::min);
        self.start = earliest;
        let mut past = Vec::with_capacity(read.iter().map(|(all, _)| all.len()).sum());
        for (of, (all, problem)) in self.folds.iter_mut().zip(read) {
            past.extend(all.into_iter().map(|(event, time)| of.stamped(event, time, earliest)));
            past.extend(problem.map(|event| of.stamped(event, 0.0, earliest)));
        }
        past.sort_by(|a, b| a.at.total_cmp(&b.at));
        past.iter().for_each(|stamped| self.clock.advance(stamped.at));
        past
    }

    /// Reads what was added to the journals of the folds that are `wanted`, ordered by time.
    pub(super) fn news(&mut self, wanted: impl Fn(usize) -> bool) -> Vec<Stamped> {
        let start = self.start;
        let mut news = Vec::new();
        for of in self.folds.iter_mut().filter(|of| wanted(of.fold)) {
            let mut all = Vec::new();
            let problem = of.read(MOST_NEWS, |event, time| all.push((event, time)));
            news.extend(all.into_iter().map(|(event, time)| of.stamped(event, time, start)));
            news.extend(problem.map(|event| of.stamped(event, 0.0, start)));
        }
        news.sort_by(|a, b| a.at.total_cmp(&b.at));
        news.iter().for_each(|stamped| self.clock.advance(stamped.at));
        news
    }

    /// What all workers left out.
    pub(super) fn skipped(&self) -> Vec<SkippedStudy> {
        self.folds.iter().flat_map(|of| of.skipped.clone()).collect()
    }
}

impl Of {
    /// Reads what was added. Returns a log line if it cannot be read, or lines are damaged; once.
    fn read(&mut self, most: usize, take: impl FnMut(Event, f64)) -> Option<Event> {
        let problem = match self.tail.read(most, take) {
            Ok(0) => return None,
            Ok(damaged) => format!("{damaged} lines of its journal are damaged"),
            Err(error) => error.to_string(),
        };
        if self.told.as_ref() == Some(&problem) {
            return None;
        }
        let message = format!("fold {}: {problem}", self.fold);
        self.told = Some(problem);
        Some(Event::Log(Log { level: Level::Warn, message }))
    }

    /// Stamps an event; within a fold, time never falls, whatever the clocks of its workers say.
    fn stamped(&mut self, event: Event, time: f64, start: f64) -> Stamped {
        if time > 0.0 {
            self.at = self.at.max(time - start);
        }
        if let Event::RunFinished(finished) = &event {
            self.skipped.clone_from(&finished.skipped);
        }
        Stamped { at: self.at, event, fold: Some(self.fold) }
    }
}

/// The best of the folds in the order of their numbers.
pub(super) fn ordered(mut best: Vec<FoldBest>) -> Vec<FoldBest> {
    best.sort_by_key(|best| best.fold);
    best
}
