//! Exports all of a run's metrics as CSV, read from its journal line by line.

use crate::{
    run::{
        event::{Epoch, Event, Stamped, Step},
        journal,
    },
    score::{Figure, Scores, TargetScores},
};
use std::{collections::BTreeMap, io, io::Write, path::Path};

/// Most folds whose seeds are kept, whatever the journal contains.
const MOST_FOLDS: usize = 1000;

/// Columns of the table of steps.
const STEPS: [&str; 24] = [
    "fold",
    "epoch",
    "step",
    "seed",
    "elapsed",
    "time",
    "loss",
    "slice_loss",
    "study_loss",
    "c1",
    "c2",
    "c3",
    "c4",
    "c5",
    "c6",
    "c7",
    "grad_norm",
    "skipped",
    "learning_rate",
    "mixup",
    "images",
    "data_seconds",
    "compute_seconds",
    "steps_in_epoch",
];
/// Columns of the table of epochs.
const EPOCHS: [&str; 33] = [
    "fold",
    "epoch",
    "steps",
    "seed",
    "elapsed",
    "time",
    "learning_rate",
    "train_loss",
    "train_slice_loss",
    "train_study_loss",
    "valid_loss",
    "valid_slice_loss",
    "valid_study_loss",
    "valid_c1",
    "valid_c2",
    "valid_c3",
    "valid_c4",
    "valid_c5",
    "valid_c6",
    "valid_c7",
    "slice_auc",
    "study_auc",
    "metric",
    "best_metric",
    "is_best",
    "competition",
    "patient_auc",
    "patient_average_precision",
    "vertebra_auc",
    "patient_ece",
    "train_seconds",
    "valid_seconds",
    "valid_batches",
];

/// Metrics that could not be exported; the message is one sentence.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// A row cannot be written.
    #[error("cannot write the figures: {0}")]
    Write(#[from] io::Error),
}

/// Counts of what was exported.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Rows of the table of steps.
    pub steps: u64,
    /// Rows of the table of epochs.
    pub epochs: u64,
    /// Lines of the journal that could not be parsed.
    pub damaged: usize,
}

/// Writes every step and every epoch of a journal, one per row, in order, under a header. `seed` is the
/// seed of the fold's training: the steps of a retrained fold appear twice, under different seeds.
/// `elapsed` is in seconds of the run, `time` is Unix time. A missing value is an empty field; a
/// non-finite one is `NaN`, `inf` or `-inf`.
///
/// Errors: when the journal cannot be read, or a row cannot be written.
pub fn write(journal: &Path, steps: impl Write, epochs: impl Write) -> Result<Counted, Error> {
    let mut writer = ::csv::WriterBuilder::new();
    writer.has_headers(false);
    let (mut steps, mut epochs) = (writer.from_writer(steps), writer.from_writer(epochs));
    steps.write_record(STEPS).map_err(io::Error::from)?;
    epochs.write_record(EPOCHS).map_err(io::Error::from)?;
    let (mut counted, mut seeds) = (Counted::default(), Seeds::default());
    counted.damaged = journal::for_each::<Error>(journal, |stamped, time| {
        seeds.hear(&stamped.event);
        let row = match &stamped.event {
            Event::Step(step) => {
                counted.steps += 1;
                steps.serialize(step_row(step, stamped, time, seeds.of(step.at.fold)))
            }
            Event::Epoch(epoch) => {
                counted.epochs += 1;
                epochs.serialize(epoch_row(epoch, stamped, time, seeds.of(epoch.at.fold)))
            }
            _ => Ok(()),
        };
        Ok(row.map_err(io::Error::from)?)
    })?;
    steps.flush()?;
    epochs.flush()?;
    Ok(counted)
}

fn step_row(s: &Step, stamped: &Stamped, time: f64, seed: Option<u64>) -> impl serde::Serialize {
    let at = (s.at.fold, s.at.epoch, s.at.step, seed, stamped.at, time);
    let losses = (s.loss, s.slice_loss, s.study_loss, s.vertebra_loss, s.grad_norm, s.skipped);
    let rest = (s.learning_rate, s.mixup, s.images, s.data_seconds, s.compute_seconds, s.steps);
    (at, losses, rest)
}

fn epoch_row(e: &Epoch, stamped: &Stamped, time: f64, seed: Option<u64>) -> impl serde::Serialize {
    let at = (e.at.fold, e.at.epoch, e.at.step, seed, stamped.at, time, e.learning_rate);
    let train = (e.train_loss, e.train_slice_loss, e.train_study_loss);
    let valid = (e.valid_loss, e.valid_slice_loss, e.valid_study_loss, e.valid_vertebra_loss);
    let metrics = (e.slice_auc, e.study_auc, e.metric, e.best_metric, e.is_best);
    let scores = e.scores.as_deref();
    let patient = |of: fn(&TargetScores) -> Option<Figure>| {
        scores.and_then(|scores| of(scores.patient())).map(|figure| figure.value)
    };
    let scores = (
        scores.map(|scores| scores.competition.value),
        patient(|target| target.auc),
        patient(|target| target.average_precision),
        scores.and_then(Scores::vertebra_auc),
        patient(|target| Some(target.ece)),
    );
    (at, train, valid, metrics, scores, (e.train_seconds, e.valid_seconds, e.valid_batches))
}

/// Seeds of the folds' training.
#[derive(Default)]
struct Seeds {
    run: Option<u64>,
    own: BTreeMap<usize, u64>,
}

impl Seeds {
    fn hear(&mut self, event: &Event) {
        match event {
            Event::RunStarted(plan) => self.run = Some(plan.seed),
            Event::Queue(queue) => queue.folds.iter().for_each(|q| self.set(q.fold, q.seed)),
            Event::Retrain(e) => self.set(e.at.fold, e.seed),
            _ => {}
        }
    }

    fn set(&mut self, fold: usize, seed: u64) {
        if self.own.len() < MOST_FOLDS || self.own.contains_key(&fold) {
            self.own.insert(fold, seed);
        }
    }

    fn of(&self, fold: usize) -> Option<u64> {
        self.own.get(&fold).copied().or(self.run)
    }
}
