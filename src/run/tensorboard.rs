//! Writes a run's metrics as TensorBoard event files: `tensorboard/fold0/`, one folder per fold, so
//! that TensorBoard shows their curves in one chart.
//!
//! Per step: `train/loss`, `train/slice_loss`, `train/study_loss`, `train/vertebra_loss/C1` to `C7`,
//! `train/learning_rate`, `train/grad_norm`, `train/images_per_second` and `train/data_wait` (the share
//! of the step spent waiting for the batch, 0 to 1). Per epoch: `valid/loss`, `valid/slice_loss`,
//! `valid/study_loss`, `valid/vertebra_loss/C1` to `C7`, and where defined `valid/slice_auc`,
//! `valid/study_auc`, `valid/competition`, `valid/patient_auc`, `valid/patient_average_precision` and
//! `valid/vertebra_auc`. TensorBoard's step counts the fold's optimizer steps from 1; a validation is at
//! the step that preceded it.

pub mod file;
mod proto;

use super::{
    event::{Epoch, Event, Position, Queue, RunStarted, Step},
    folder::Folder,
};
use crate::score::{Figure, Scores};
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
                let x = self.step(step.at);
                let folder = self.folder.clone();
                self.curve(step.at.fold).write(&folder, now, x, &of_step(step))?;
            }
            Event::Epoch(epoch) => {
                let x = self.step(epoch.at);
                let folder = self.folder.clone();
                self.curve(epoch.at.fold).write(&folder, now, x, &of_epoch(epoch))?;
            }
            _ => {}
        }
        Ok(())
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

fn of_step(step: &Step) -> Vec<Scalar> {
    let seconds = step.data_seconds + step.compute_seconds;
    let figures = [
        ("loss", step.loss),
        ("slice_loss", step.slice_loss),
        ("study_loss", step.study_loss),
        ("learning_rate", step.learning_rate),
        ("grad_norm", step.grad_norm),
        ("images_per_second", step.images as f64 / seconds),
        ("data_wait", step.data_seconds / seconds),
    ];
    tagged("train", &figures, step.vertebra_loss.map(Some))
}

fn of_epoch(epoch: &Epoch) -> Vec<Scalar> {
    let scores = epoch.scores.as_deref();
    let patient = scores.map(Scores::patient);
    let value = |figure: Option<Figure>| figure.map(|figure| figure.value);
    let known = [
        ("slice_auc", epoch.slice_auc),
        ("study_auc", epoch.study_auc),
        ("competition", scores.map(|scores| scores.competition.value)),
        ("patient_auc", value(patient.and_then(|patient| patient.auc))),
        ("patient_average_precision", value(patient.and_then(|patient| patient.average_precision))),
        ("vertebra_auc", scores.and_then(Scores::vertebra_auc)),
    ];
    let mut figures = vec![
        ("loss", epoch.valid_loss),
        ("slice_loss", epoch.valid_slice_loss),
        ("study_loss", epoch.valid_study_loss),
    ];
    figures.extend(known.into_iter().filter_map(|(name, figure)| Some((name, figure?))));
    tagged("valid", &figures, epoch.valid_vertebra_loss)
}

/// Adds tags such as `train/loss` and `train/vertebra_loss/C1`. Leaves out unknown values.
fn tagged(part: &str, figures: &[(&str, f64)], vertebrae: [Option<f64>; 7]) -> Vec<Scalar> {
    let figures = figures.iter().map(|&(name, figure)| (format!("{part}/{name}"), figure));
    let vertebrae = vertebrae.into_iter().zip(1..);
    let vertebrae = vertebrae
        .filter_map(|(loss, level)| Some((format!("{part}/vertebra_loss/C{level}"), loss?)));
    figures.chain(vertebrae).collect()
}
