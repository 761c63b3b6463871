//! Worker threads that fill batches ahead of the trainer.
//!
//! The unit of work is one study of one batch. Units are taken in order, from a window of
//! `data.prefetch` batches and the one behind them that is being filled, so memory is bounded
//! whatever the number of workers; batches are handed out in step order. Nothing that is drawn
//! depends on which worker draws it.

use super::augment::Scratch;
use super::batch::{Batch, Place, Recipe, study_order};
use super::{Error, Source, Study};
use crate::config::Config;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// The batches of one epoch, in step order; an [`Iterator`].
///
/// After an error it ends. Dropping it, in mid-epoch too, stops its workers and waits for them:
/// for one slice at most.
pub struct Loader {
    job: Arc<Job>,
    workers: Vec<JoinHandle<()>>,
    /// Set where no worker could be started.
    failed: Option<Error>,
}

/// What the workers share.
struct Job {
    source: Arc<dyn Source>,
    studies: Arc<[Study]>,
    recipe: Recipe,
    /// Indices into `studies`, batch after batch.
    order: Vec<usize>,
    batch_size: usize,
    /// Batches not yet handed out, the one being filled included.
    window: usize,
    /// Looked at between slices.
    stop: AtomicBool,
    state: Mutex<State>,
    /// A batch was finished or handed out, or `stop` was set.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Next unit: index into `order`.
    next: usize,
    /// Batches handed out.
    taken: usize,
    /// The batches `taken..` that were begun.
    begun: VecDeque<Slot>,
}

/// A batch being filled.
struct Slot {
    batch: Arc<Mutex<Batch>>,
    /// Studies still to come.
    missing: usize,
    /// The error of the lowest row.
    error: Option<(usize, Error)>,
}

impl Loader {
    /// The training batches of one epoch (from 1) of `fold`: `studies` (those of the other folds)
    /// shuffled, augmented and mixed as the config says, the short batch dropped.
    pub fn train(
        source: Arc<dyn Source>,
        studies: Arc<[Study]>,
        config: &Config,
        fold: usize,
        epoch: usize,
    ) -> Self {
        let mut order = study_order(config.seed, fold, epoch, studies.len());
        order.truncate(studies.len() / config.train.batch_size * config.train.batch_size);
        Self::start(source, studies, config, Recipe::train(config, fold, epoch), order)
    }

    /// The validation batches: `studies` in their order, as they are, the short batch kept.
    pub fn valid(source: Arc<dyn Source>, studies: Arc<[Study]>, config: &Config) -> Self {
        let order = (0..studies.len()).collect();
        Self::start(source, studies, config, Recipe::valid(config), order)
    }

    fn start(
        source: Arc<dyn Source>,
        studies: Arc<[Study]>,
        config: &Config,
        recipe: Recipe,
        order: Vec<usize>,
    ) -> Self {
        let workers = match config.data.workers {
            0 => std::thread::available_parallelism().map_or(1, |n| (n.get() - 1).clamp(1, 8)),
            n => n,
        };
        let units = order.len();
        let job = Arc::new(Job {
            source,
            studies,
            recipe,
            order,
            batch_size: config.train.batch_size,
            window: config.data.prefetch + 1,
            stop: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let mut loader = Self { job, workers: Vec::new(), failed: None };
        for i in 0..workers.min(units) {
            let job = loader.job.clone();
            let name = format!("loader-{i}");
            match std::thread::Builder::new().name(name).spawn(move || job.work()) {
                Ok(handle) => loader.workers.push(handle),
                // Fewer workers only take longer.
                Err(source) if i == 0 => loader.failed = Some(Error::Threads { source }),
                Err(_) => break,
            }
        }
        loader
    }

    /// Number of batches of the whole epoch.
    pub fn len(&self) -> usize {
        self.job.order.len().div_ceil(self.job.batch_size)
    }

    /// Whether the epoch has no batch at all.
    pub fn is_empty(&self) -> bool {
        self.job.order.is_empty()
    }

    /// The next batch; waits for it.
    fn wait_for_next(&self) -> Option<Result<Batch, Error>> {
        let batches = self.len();
        let mut state = self.job.lock();
        loop {
            if state.taken == batches || self.job.stopped() {
                return None;
            }
            if state.begun.front().is_some_and(|slot| slot.missing == 0) {
                break;
            }
            state = self.job.wait(state);
        }
        let slot = state.begun.pop_front()?;
        state.taken += 1;
        drop(state);
        self.job.changed.notify_all();
        if let Some((_, error)) = slot.error {
            self.job.stop();
            return Some(Err(error));
        }
        // No unit is missing, and each worker let go of the batch before it said so.
        let batch = Arc::into_inner(slot.batch).expect("a finished batch has one owner");
        Some(Ok(batch.into_inner().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Iterator for Loader {
    type Item = Result<Batch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            self.job.stop();
            return Some(Err(error));
        }
        self.wait_for_next()
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.job.stop();
        for worker in self.workers.drain(..) {
            // A worker's panic was told as an error already.
            let _ = worker.join();
        }
    }
}

impl Job {
    /// No user code runs under the lock, so a poisoned one holds nothing half done.
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
        // Under the lock, so that no one checks before and sleeps after.
        let state = self.lock();
        self.stop.store(true, Ordering::Relaxed);
        drop(state);
        self.changed.notify_all();
    }

    /// A worker's life.
    fn work(&self) {
        let mut images = vec![0; self.recipe.images_per_study() * self.recipe.image_bytes()];
        let mut scratch = Scratch::default();
        while let Some((unit, batch)) = self.take_unit() {
            let study = &self.studies[self.order[unit]];
            let places = self.recipe.places(study);
            let (number, row) = (unit / self.batch_size, unit % self.batch_size);
            let source = self.source.as_ref();
            let result = catch_unwind(AssertUnwindSafe(|| {
                self.recipe.images(source, study, &places, &mut images, &mut scratch, &self.stop)
            }))
            .unwrap_or_else(|panic| {
                let message = crate::panics::message(panic.as_ref()).into();
                Err(Error::Panic { study: study.uid.clone(), message })
            });
            let error = match result {
                Ok(false) => return,
                Ok(true) => {
                    fill(&batch, row, study, &places, &images);
                    None
                }
                Err(error) => Some((row, error)),
            };
            drop(batch);
            self.finish(number, error);
        }
    }

    /// The next unit and its batch; waits while the window is full. `None`: nothing is left.
    fn take_unit(&self) -> Option<(usize, Arc<Mutex<Batch>>)> {
        let mut state = self.lock();
        loop {
            if self.stopped() || state.next == self.order.len() {
                return None;
            }
            if state.next / self.batch_size < state.taken + self.window {
                break;
            }
            state = self.wait(state);
        }
        let unit = state.next;
        state.next += 1;
        let (number, row) = (unit / self.batch_size, unit % self.batch_size);
        if row == 0 {
            let missing = self.batch_size.min(self.order.len() - unit);
            let batch = Arc::new(Mutex::new(self.empty(number, missing)));
            state.begun.push_back(Slot { batch, missing, error: None });
        }
        let slot = &state.begun[number - state.taken];
        Some((unit, slot.batch.clone()))
    }

    /// Batch `number` of `len` studies, without pixels.
    fn empty(&self, number: usize, len: usize) -> Batch {
        let images_per_study = self.recipe.images_per_study();
        let n = len * images_per_study;
        Batch {
            images: vec![0; n * self.recipe.image_bytes()],
            size: self.recipe.size,
            images_per_study,
            studies: vec!["".into(); len],
            targets: vec![0.0; n],
            places: vec![Place::default(); n],
            mixup: self.recipe.mixup(number, len),
        }
    }

    /// Counts one study of batch `number` as done.
    fn finish(&self, number: usize, error: Option<(usize, Error)>) {
        let mut state = self.lock();
        let index = number - state.taken;
        let slot = &mut state.begun[index];
        slot.missing -= 1;
        if let Some((row, error)) = error
            && slot.error.as_ref().is_none_or(|(first, _)| row < *first)
        {
            slot.error = Some((row, error));
        }
        let done = slot.missing == 0;
        drop(state);
        if done {
            self.changed.notify_all();
        }
    }
}

/// Copies one study into its row of a batch.
fn fill(batch: &Mutex<Batch>, row: usize, study: &Study, places: &[Place], images: &[u8]) {
    let mut batch = batch.lock().unwrap_or_else(PoisonError::into_inner);
    let t = places.len();
    batch.studies[row] = study.uid.clone();
    batch.images[row * images.len()..(row + 1) * images.len()].copy_from_slice(images);
    batch.places[row * t..(row + 1) * t].copy_from_slice(places);
    for (target, place) in batch.targets[row * t..].iter_mut().zip(places) {
        *target = f32::from(study.labels[usize::from(place.vertebra)]);
    }
}

#[cfg(test)]
mod tests;
