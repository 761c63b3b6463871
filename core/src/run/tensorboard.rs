//! Writes a run's metrics as TensorBoard event files: `tensorboard/fold0/`, one folder per fold, so
//! that TensorBoard shows their curves in one chart.
//!
//! The figures are those of the catalogue that have a tag: of each step under `train/`, of each epoch
//! under `valid/`, such as `train/loss` and `valid/vertebra_loss/C1`. TensorBoard's step counts the
//! fold's optimizer steps from 1; a validation is at the step that preceded it.

pub mod file;
mod proto;

use super::{
    catalogue::{self, Figure},
    event::{Event, Position, Queue, RunStarted},
    folder::Folder,
};
use file::{EventFile, Scalar};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    io,
    path::PathBuf,
    time::SystemTime,
};

/// Writes a run's events as curves.
#[derive(Debug)]
pub struct Curves {
    folder: Folder,
    /// Seed of the run.
    seed: u64,
    /// Seed of each fold's training.
    seeds: BTreeMap<usize, u64>,
    /// Steps per epoch of each fold.
    steps: BTreeMap<usize, usize>,
    /// Curves by folder.
    folds: BTreeMap<PathBuf, Curve>,
}

impl Curves {
    /// Makes the writer for the run in `folder`. It creates no file before the first value.
    pub fn new(folder: Folder) -> Self {
        let (seeds, steps, folds) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { folder, seed: 0, seeds, steps, folds }
    }

    /// Takes in an event received at `now`. Needs all events from the start of the run.
    ///
    /// Errors: when a file or its folder cannot be written; the values of this event are then lost.
    pub fn hear(&mut self, event: &Event, now: SystemTime) -> io::Result<()> {
        match event {
            Event::RunStarted(RunStarted { seed, folds, .. }) => {
                self.seed = *seed;
                self.steps = folds.iter().map(|plan| (plan.fold, plan.steps)).collect();
            }
            Event::Queue(Queue { folds }) => {
                self.seeds = folds.iter().map(|queued| (queued.fold, queued.seed)).collect();
            }
            Event::EpochStarted(epoch) => {
                let next = self.step(epoch.at) + 1;
                self.curve(epoch.at.fold).go_on(next);
            }
            Event::Step(step) => {
                self.write(step.at, now, &tagged("train", catalogue::STEP, step))?;
            }
            Event::Epoch(epoch) => {
                self.write(epoch.at, now, &tagged("valid", catalogue::EPOCH, epoch))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn write(&mut self, at: Position, now: SystemTime, scalars: &[Scalar]) -> io::Result<()> {
        let (x, folder) = (self.step(at), self.folder.clone());
        self.curve(at.fold).write(&folder, now, x, scalars)
    }

    /// Returns the fold's optimizer steps up to `at`.
    fn step(&self, at: Position) -> usize {
        let steps = self.steps.get(&at.fold).copied().unwrap_or(0);
        at.epoch.saturating_sub(1) * steps + at.step
    }

    fn curve(&mut self, fold: usize) -> &mut Curve {
        let retrain_seed = self.seeds.get(&fold).copied().filter(|&seed| seed != self.seed);
        match self.folds.entry(self.folder.tensorboard(fold, retrain_seed)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let dir = new.key().clone();
                new.insert(Curve { dir, file: None, last: 0, restart: None })
            }
        }
    }
}

/// The event file of one fold.
#[derive(Debug)]
struct Curve {
    dir: PathBuf,
    file: Option<EventFile>,
    /// The last step written.
    last: usize,
    /// The step that training continues with, until the file says so.
    restart: Option<usize>,
}

impl Curve {
    /// Marks values of `next` and later steps as void, including those from earlier processes.
    fn go_on(&mut self, next: usize) {
        if self.file.is_none() || next <= self.last {
            self.restart = Some(self.restart.map_or(next, |before| before.min(next)));
        }
    }

    fn write(
        &mut self,
        folder: &Folder,
        now: SystemTime,
        step: usize,
        scalars: &[Scalar],
    ) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                // Do not recreate a run folder that was deleted.
                folder.check()?;
                none.insert(EventFile::create(&self.dir, now)?)
            }
        };
        if let Some(next) = self.restart {
            file.restart(now, next)?;
            self.restart = None;
        }
        self.last = step;
        file.scalars(now, step, scalars)
    }
}

/// Returns the known values of an event, under tags such as `train/loss`.
fn tagged<E>(part: &str, figures: &[Figure<E>], event: &E) -> Vec<Scalar> {
    let value = |of: &Figure<E>| Some((format!("{part}/{}", of.tag?), (of.read)(event)?));
    figures.iter().filter_map(value).collect()
}
