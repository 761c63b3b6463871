//! Worker threads that prepare batches ahead of the trainer.
//!
//! The unit of work is one study of one batch. Units are processed in order, through all phases of a
//! fold (training epoch, validation, training epoch, …), so the first validation batches are
//! filled while the last steps compute, and the next epoch's during validation. At most
//! `data.prefetch` + 1 batches are being filled or ready at a time, and the trainer holds one more:
//! memory is bounded by `data.prefetch` + 2 batches, regardless of the number of workers and across
//! phases. A study's pixels are written once, where the trainer reads them, into buffers that
//! are reused.
//!
//! Batches are returned in step order. Random draws do not depend on which worker makes them.

mod phase;

use super::batch::Batch;
use super::buffers::BufferPool;
use super::{Constant, Error, SliceIndex, SliceSource, Study, constant::is_constant};
use crate::augment::Scratch;
use crate::config::{Config, OnError, VERTEBRAE};
use phase::{Filled, Pass, Phase, Plan, Slot};
use std::collections::{HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Delays in ms before another attempt to read a slice, 2 seconds in total.
const WAITS: &[u64] = &[100, 300, 600, 1000];

/// Batches in step order, phase by phase; an [`Iterator`] over the batches of the current phase.
/// It returns `None` at the end of the phase; the next call starts the next phase.
///
/// After an error it returns `None` for good. Dropping it, even in mid-phase, stops its workers and
/// waits for them, which takes at most the time of one slice.
pub struct Loader {
    job: Arc<Job>,
    workers: Vec<JoinHandle<()>>,
    /// Set if no worker could be started.
    failed: Option<Error>,
    /// The current phase: index into the plan's passes.
    pass: usize,
    /// Batches left in the current phase.
    left: usize,
    /// Whether the current phase has returned a batch.
    some: bool,
    /// The problem with the first study lost in the current phase.
    first_lost: Option<String>,
    skipped: Vec<Skipped>,
    /// Studies with constant slices for `take_constant`, and the names of all found so far.
    constant: Vec<Constant>,
    constant_met: HashSet<Arc<str>>,
}

/// A study left out of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// StudyInstanceUID.
    pub study: Arc<str>,
    /// The slice, its file and the problem.
    pub reason: String,
}

/// State shared by the workers.
struct Job {
    source: Arc<dyn SliceSource>,
    plan: Arc<Plan>,
    on_error: OnError,
    /// Delays in ms before each further attempt to read a slice.
    waits: &'static [u64],
    /// Maximum number of batches not yet returned, including those being filled.
    window: usize,
    pool: Arc<BufferPool>,
    /// Checked between slices.
    stop: AtomicBool,
    state: Mutex<State>,
    /// Notified when a batch is completed or returned, or `stop` is set.
    changed: Condvar,
}

struct State {
    /// Batches not yet begun, through all phases.
    rest: Box<dyn Iterator<Item = Slot> + Send>,
    /// Number of batches returned, over all phases.
    taken: usize,
    /// Batches being filled or ready; the first is number `taken`.
    begun: VecDeque<Slot>,
    /// Studies that could not be read the last time. They get only one attempt the next time, so that a
    /// missing file does not delay every epoch.
    given_up: HashSet<Arc<str>>,
}

/// One study of one batch.
struct Unit {
    phase: Arc<Phase>,
    /// Number of the batch, counted through all phases.
    batch: usize,
    /// Index into the phase's studies.
    study: usize,
    row: usize,
}

impl Loader {
    /// Training batches of one epoch (from 1) of `fold`: `studies` (those of the other folds)
    /// shuffled, augmented and mixed according to the config, without the last short batch.
    pub fn train(
        source: Arc<dyn SliceSource>,
        studies: Arc<[Study]>,
        config: &Config,
        fold: usize,
        epoch: usize,
    ) -> Self {
        let passes = vec![Pass::Train { epoch }];
        Self::start(source, Plan::new(config, fold, studies, Arc::default(), passes), WAITS)
    }

    /// Validation batches: `studies` in their order, not augmented, including the last short batch.
    pub fn valid(source: Arc<dyn SliceSource>, studies: Arc<[Study]>, config: &Config) -> Self {
        let passes = vec![Pass::Valid];
        Self::start(source, Plan::new(config, 0, Arc::default(), studies, passes), WAITS)
    }

    /// Batches of a fold from `first_epoch` (from 1) to its end, without the first `done` batches of that
    /// epoch: the batches of [`Self::train`], then those of [`Self::valid`], then the next epoch's.
    pub fn fold(
        source: Arc<dyn SliceSource>,
        train: Arc<[Study]>,
        valid: Arc<[Study]>,
        config: &Config,
        fold: usize,
        (first_epoch, done): (usize, usize),
    ) -> Self {
        let epochs = first_epoch..=config.train.epochs;
        let passes = epochs.flat_map(|epoch| [Pass::Train { epoch }, Pass::Valid]).collect();
        let mut plan = Plan::new(config, fold, train, valid, passes);
        plan.done = done.min(plan.batches_of(0));
        Self::start(source, plan, WAITS)
    }

    /// Number of batches of the current phase that were returned or left out.
    pub fn taken(&self) -> usize {
        self.job.plan.batches_of(self.pass) - self.left
    }

    fn start(source: Arc<dyn SliceSource>, plan: Plan, waits: &'static [u64]) -> Self {
        let plan = Arc::new(plan);
        let data = &plan.config.data;
        let workers = match data.workers {
            0 => std::thread::available_parallelism().map_or(1, |n| (n.get() - 1).clamp(1, 8)),
            n => n,
        };
        let window = data.prefetch + 1;
        // More workers than studies in the window would have no work.
        let workers = workers.min(window * plan.config.train.batch_size);
        let left = plan.batches_of(0) - plan.done;
        let (rest, begun) = (Box::new(Slot::all(plan.clone())), VecDeque::new());
        let job = Arc::new(Job {
            source,
            on_error: data.on_error,
            waits,
            window,
            pool: BufferPool::new(plan.study_bytes()),
            plan,
            stop: AtomicBool::new(false),
            state: Mutex::new(State { rest, taken: 0, begun, given_up: HashSet::new() }),
            changed: Condvar::new(),
        });
        let mut loader = Self {
            job,
            workers: Vec::new(),
            failed: None,
            pass: 0,
            left,
            some: false,
            first_lost: None,
            skipped: Vec::new(),
            constant: Vec::new(),
            constant_met: HashSet::new(),
        };
        for i in 0..workers {
            let job = loader.job.clone();
            let name = format!("loader-{i}");
            match std::thread::Builder::new().name(name).spawn(move || job.work()) {
                Ok(handle) => loader.workers.push(handle),
                // With fewer workers loading only takes longer.
                Err(source) if i == 0 => loader.failed = Some(Error::Threads { source }),
                Err(_) => break,
            }
        }
        loader
    }

    /// Returns the studies left out of batches since the last call, in order, including those of batches
    /// lost completely. Empty unless `data.on_error` is `skip`.
    pub fn take_skipped(&mut self) -> Vec<Skipped> {
        std::mem::take(&mut self.skipped)
    }

    /// Returns the studies with constant slices in the batches since the last call, in order, each study
    /// only once.
    pub fn take_constant(&mut self) -> Vec<Constant> {
        std::mem::take(&mut self.constant)
    }

    /// Waits for the next batch and returns it. `None` once stopped.
    fn next_slot(&self) -> Option<Slot> {
        let mut state = self.job.lock();
        loop {
            if self.job.stopped() {
                return None;
            }
            if state.begun.front().is_some_and(Slot::is_full) {
                break;
            }
            state = self.job.wait(state);
        }
        let slot = state.begun.pop_front()?;
        state.taken += 1;
        drop(state);
        self.job.changed.notify_all();
        Some(slot)
    }

    /// Records the studies missing in `slot`. Errors: when one of them must stop the loader.
    fn note_failed(&mut self, slot: &mut Slot) -> Result<(), Error> {
        for (study, error) in slot.take_failed() {
            match (error, self.job.on_error) {
                // A bug in the program, not in the data.
                (error @ Error::Panic { .. }, _) => return Err(error),
                (error, OnError::Stop) => {
                    let (source, tries) = (Box::new(error), self.job.waits.len() + 1);
                    return Err(Error::Unreadable { source, tries });
                }
                (error, OnError::Skip) => {
                    let reason = error.to_string();
                    self.first_lost.get_or_insert_with(|| reason.clone());
                    self.skipped.push(Skipped { study, reason });
                }
            }
        }
        Ok(())
    }

    /// Moves on to the next phase. Errors: when this phase lost all its batches.
    fn end_phase(&mut self) -> Result<(), Error> {
        let plan = &self.job.plan;
        let Some(&pass) = plan.passes.get(self.pass) else { return Ok(()) };
        let first = self.first_lost.take();
        let some = std::mem::take(&mut self.some);
        self.pass += 1;
        self.left = plan.batches_of(self.pass);
        match first {
            Some(first) if !some => Err(Error::NothingLeft { what: pass.to_string(), first }),
            _ => Ok(()),
        }
    }

    fn stop_with(&self, error: Error) -> Option<Result<Batch, Error>> {
        self.job.stop();
        Some(Err(error))
    }
}

impl Iterator for Loader {
    type Item = Result<Batch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            return self.stop_with(error);
        }
        while self.left > 0 {
            let mut slot = self.next_slot()?;
            self.left -= 1;
            if let Err(error) = self.note_failed(&mut slot) {
                return self.stop_with(error);
            }
            for constant in slot.constant() {
                if self.constant_met.insert(constant.study.clone()) {
                    self.constant.push(constant);
                }
            }
            if let Some(batch) = slot.into_batch() {
                self.some = true;
                return Some(Ok(batch));
            }
        }
        self.end_phase().err().and_then(|error| self.stop_with(error))
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.job.stop();
        for worker in self.workers.drain(..) {
            // A worker's panic has been reported as an error already.
            let _ = worker.join();
        }
    }
}

impl Job {
    /// Locks the state. No user code runs under the lock, so a poisoned one is still consistent.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn stop(&self) {
        // Hold the lock, so that no thread checks `stop` before this and waits after it.
        let state = self.lock();
        self.stop.store(true, Ordering::Relaxed);
        drop(state);
        self.changed.notify_all();
    }

    fn work(&self) {
        let mut scratch = Scratch::default();
        while let Some(unit) = self.take_unit() {
            let study = &unit.phase.studies[unit.study];
            let filled = catch_unwind(AssertUnwindSafe(|| self.fill(&unit, &mut scratch)))
                .unwrap_or_else(|panic| {
                    let message = crate::panics::message(panic.as_ref()).into();
                    Err(Error::Panic { study: study.uid.clone(), message })
                });
            match filled {
                Ok(None) => return,
                Ok(Some(filled)) => self.finish(&unit, Ok(filled)),
                Err(error) => self.finish(&unit, Err(error)),
            }
        }
    }

    /// Returns the next unit, and waits while the window is full. `None`: no work is left.
    fn take_unit(&self) -> Option<Unit> {
        let mut state = self.lock();
        loop {
            if self.stopped() {
                return None;
            }
            let batch = (state.taken + state.begun.len()).wrapping_sub(1);
            if let Some(slot) = state.begun.back_mut()
                && let Some((row, study)) = slot.give()
            {
                return Some(Unit { phase: slot.phase.clone(), batch, study, row });
            }
            if state.begun.len() == self.window {
                state = self.wait(state);
            } else {
                let next = state.rest.next()?;
                state.begun.push_back(next);
            }
        }
    }

    /// Fills the study of `unit`. Returns `None` once stopped.
    fn fill(&self, unit: &Unit, scratch: &mut Scratch) -> Result<Option<Filled>, Error> {
        let study = &unit.phase.studies[unit.study];
        let places = unit.phase.recipe.places(study);
        let mut images = self.pool.take();
        let given_up = self.lock().given_up.contains(&study.uid);
        let waits = if given_up { &[] } else { self.waits };
        let mut constant = [0; VERTEBRAE];
        let recipe = &unit.phase.recipe;
        for (image, &at) in images.chunks_exact_mut(recipe.image_bytes()).zip(&places) {
            if !self.read(study, at, image, waits)? {
                return Ok(None);
            }
            // Check before augmentation, which may add noise to a constant slice.
            constant[usize::from(at.vertebra)] += usize::from(is_constant(image));
            recipe.augment(study, at, image, scratch);
        }
        Ok(Some(Filled { images, places, constant }))
    }

    /// Reads one slice, with another attempt after each of `waits` if it cannot be read. Returns false
    /// once stopped.
    fn read(
        &self,
        study: &Study,
        at: SliceIndex,
        out: &mut [u8],
        waits: &[u64],
    ) -> Result<bool, Error> {
        let mut waits = waits.iter();
        loop {
            if self.stopped() {
                return Ok(false);
            }
            let Err(error) = self.source.slice(study, at, out) else {
                return Ok(true);
            };
            let Some(&wait) = waits.next() else { return Err(error) };
            let wait = Duration::from_millis(wait);
            // Wakes up at once when the loader is dropped.
            drop(self.changed.wait_timeout_while(self.lock(), wait, |_| !self.stopped()));
        }
    }

    fn finish(&self, unit: &Unit, filled: Result<Filled, Error>) {
        let mut state = self.lock();
        let uid = &unit.phase.studies[unit.study].uid;
        match &filled {
            Ok(_) => state.given_up.remove(uid),
            Err(_) => state.given_up.insert(uid.clone()),
        };
        let index = unit.batch - state.taken;
        let slot = &mut state.begun[index];
        slot.put(unit.row, filled);
        let full = slot.is_full();
        drop(state);
        if full {
            self.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests;
