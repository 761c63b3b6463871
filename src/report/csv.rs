//! Exports all of a run's metrics as CSV, read from its journal line by line.

use crate::run::{
    catalogue::{self, Figure, Unit},
    event::{Event, Position, Stamped},
    folder::Folder,
    journal::{self, Passed},
    replay,
};
use serde::Serialize;
use std::{collections::BTreeMap, io, io::Write, path::Path};

/// Most folds whose seeds are kept, whatever the journal contains.
const MOST_FOLDS: usize = 1000;

/// Columns before the figures.
const AT: [&str; 6] = ["fold", "epoch", "step", "seed", "elapsed", "time"];
/// The figures of a step that other programs expect in this order; later ones follow.
const STEPS: &str = "loss slice_loss study_loss c1 c2 c3 c4 c5 c6 c7 grad_norm skipped learning_rate \
                     mixup images data_seconds compute_seconds steps_in_epoch";

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

/// Writes every step and every epoch of a run, one per row, in order, under a header; those of a shared run
/// fold after fold. `seed` is the seed of the fold's training: the steps of a retrained fold appear twice,
/// under different seeds. `elapsed` is in seconds of the run, or of a shared run's fold; `time` is Unix time. A
/// missing value is an empty field; a non-finite one is `NaN`, `inf` or `-inf`.
///
/// Errors: when a journal cannot be read, or a row cannot be written.
pub fn write_run(folder: &Folder, steps: impl Write, epochs: impl Write) -> Result<Counted, Error> {
    write_events(|take| replay::for_each(folder, take), steps, epochs)
}

/// Like [`write_run`], for a journal alone.
///
/// Errors: as for [`write_run`].
pub fn write(journal: &Path, steps: impl Write, epochs: impl Write) -> Result<Counted, Error> {
    write_events(|take| journal::for_each(journal, None, take), steps, epochs)
}

/// Takes an event with its Unix time.
type Take<'a> = &'a mut dyn FnMut(&Stamped, f64) -> Result<(), Error>;

fn write_events(
    events: impl FnOnce(Take) -> Result<Passed, Error>,
    steps: impl Write,
    epochs: impl Write,
) -> Result<Counted, Error> {
    let mut writer = ::csv::WriterBuilder::new();
    writer.has_headers(false);
    let (mut steps, mut epochs) = (writer.from_writer(steps), writer.from_writer(epochs));
    let (of_step, of_epoch) = (columns(STEPS, catalogue::STEP), columns("", catalogue::EPOCH));
    let mut at = AT.to_vec();
    steps.write_record(at.iter().chain(&names(&of_step))).map_err(io::Error::from)?;
    at[2] = "steps";
    epochs.write_record(at.iter().chain(&names(&of_epoch))).map_err(io::Error::from)?;
    let (mut counted, mut seeds) = (Counted::default(), Seeds::default());
    let passed = events(&mut |stamped, time| {
        seeds.hear(&stamped.event);
        let place =
            |at: Position| (at.fold, at.epoch, at.step, seeds.of(at.fold), stamped.at, time);
        let row = match &stamped.event {
            Event::Step(step) => {
                counted.steps += 1;
                steps.serialize((place(step.at), cells(&of_step, step)))
            }
            Event::Epoch(epoch) => {
                counted.epochs += 1;
                epochs.serialize((place(epoch.at), cells(&of_epoch, epoch)))
            }
            _ => Ok(()),
        };
        Ok(row.map_err(io::Error::from)?)
    })?;
    counted.damaged = passed.damaged;
    steps.flush()?;
    epochs.flush()?;
    Ok(counted)
}

/// Returns the columns: those in `order` first.
fn columns<E>(order: &str, figures: &'static [Figure<E>]) -> Vec<&'static Figure<E>> {
    let mut columns: Vec<_> = figures.iter().filter(|figure| figure.column).collect();
    let place = |id: &str| order.split(' ').position(|named| named == id);
    columns.sort_by_key(|figure| place(figure.id).unwrap_or(usize::MAX));
    columns
}

fn names<E>(columns: &[&Figure<E>]) -> Vec<&'static str> {
    columns.iter().map(|figure| figure.id).collect()
}

/// A figure as its event holds it.
#[derive(Serialize)]
#[serde(untagged)]
enum Cell {
    Count(u64),
    Flag(bool),
    Number(f64),
}

fn cells<E>(columns: &[&Figure<E>], event: &E) -> Vec<Option<Cell>> {
    let cell = |figure: &&Figure<E>| {
        (figure.read)(event).map(|x| match figure.unit {
            Unit::Count => Cell::Count(x as u64),
            Unit::Flag => Cell::Flag(x > 0.0),
            _ => Cell::Number(x),
        })
    };
    columns.iter().map(cell).collect()
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
