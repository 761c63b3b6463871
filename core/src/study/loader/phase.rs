//! The phases of a loader, and a batch being filled.

use crate::config::{Config, VERTEBRAE};
use crate::study::batch::{Batch, Recipe, study_order};
use crate::study::{Constant, Error, Images, SliceIndex, Study};
use std::sync::Arc;

/// Minimum size of a training batch: the study head's BatchNorm needs two rows.
const LEAST_IN_TRAINING: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// `epoch`: from 1.
    Train { epoch: usize },
    /// The validation at its end.
    Valid,
}

impl std::fmt::Display for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Train { epoch } => write!(f, "training epoch {epoch}"),
            Self::Valid => write!(f, "the validation"),
        }
    }
}

/// All passes with their studies and settings.
pub struct Plan {
    pub config: Config,
    pub passes: Vec<Pass>,
    /// Batches of the first pass to skip because they are already trained.
    pub done: usize,
    fold: usize,
    train: Arc<[Study]>,
    valid: Arc<[Study]>,
}

impl Plan {
    pub fn new(
        config: &Config,
        fold: usize,
        train: Arc<[Study]>,
        valid: Arc<[Study]>,
        passes: Vec<Pass>,
    ) -> Self {
        Self { config: config.clone(), passes, done: 0, fold, train, valid }
    }

    /// Number of batches of the `i`-th pass, 0 if there is none: training drops the last short one,
    /// validation keeps it.
    pub fn batches_of(&self, i: usize) -> usize {
        let size = self.config.train.batch_size;
        match self.passes.get(i) {
            None => 0,
            Some(Pass::Train { .. }) => self.train.len() / size,
            Some(Pass::Valid) => self.valid.len().div_ceil(size),
        }
    }

    pub fn study_bytes(&self) -> usize {
        let recipe = Recipe::valid(&self.config);
        recipe.images_per_study() * recipe.image_bytes()
    }

    pub fn phase(&self, pass: Pass) -> Phase {
        let config = &self.config;
        let (studies, recipe, order) = match pass {
            Pass::Train { epoch } => (
                &self.train,
                Recipe::train(config, self.fold, epoch),
                study_order(config.seed, self.fold, epoch, self.train.len()),
            ),
            Pass::Valid => (&self.valid, Recipe::valid(config), (0..self.valid.len()).collect()),
        };
        let batch_size = config.train.batch_size;
        Phase { pass, studies: studies.clone(), recipe, order, batch_size }
    }
}

/// A pass in progress.
pub struct Phase {
    pub pass: Pass,
    pub studies: Arc<[Study]>,
    pub recipe: Recipe,
    /// Indices into `studies`, batch by batch.
    order: Vec<usize>,
    batch_size: usize,
}

pub struct Filled {
    pub images: Images,
    pub places: Vec<SliceIndex>,
    /// Number of constant slices of C1..C7.
    pub constant: [usize; VERTEBRAE],
}

/// A batch being filled.
pub struct Slot {
    pub phase: Arc<Phase>,
    /// Number of the batch in the phase, from 0.
    number: usize,
    /// `[B]`: the rows; `None` while being filled.
    rows: Vec<Option<Result<Filled, Error>>>,
    given: usize,
}

impl Slot {
    /// Returns the empty batches of all passes in order.
    pub fn all(plan: Arc<Plan>) -> impl Iterator<Item = Self> {
        (0..plan.passes.len()).flat_map(move |i| {
            let phase = Arc::new(plan.phase(plan.passes[i]));
            let first = if i == 0 { plan.done } else { 0 };
            (first..plan.batches_of(i)).map(move |number| Self::new(phase.clone(), number))
        })
    }

    fn new(phase: Arc<Phase>, number: usize) -> Self {
        let start = number * phase.batch_size;
        let rows = phase.batch_size.min(phase.order.len() - start);
        Self { phase, number, rows: (0..rows).map(|_| None).collect(), given: 0 }
    }

    /// Returns the next row to fill, and its study as an index into the phase's studies.
    pub fn give(&mut self) -> Option<(usize, usize)> {
        let row = self.given;
        if row == self.rows.len() {
            return None;
        }
        self.given += 1;
        Some((row, self.study(row)))
    }

    fn study(&self, row: usize) -> usize {
        self.phase.order[self.number * self.phase.batch_size + row]
    }

    pub fn put(&mut self, row: usize, filled: Result<Filled, Error>) {
        self.rows[row] = Some(filled);
    }

    /// Whether all rows have been stored, filled or failed.
    pub fn is_full(&self) -> bool {
        self.rows.iter().all(Option::is_some)
    }

    /// Removes the studies that could not be filled and returns them with their errors, by row.
    pub fn take_failed(&mut self) -> Vec<(Arc<str>, Error)> {
        let mut failed = Vec::new();
        for row in 0..self.rows.len() {
            if let Some(Err(error)) = self.rows[row].take_if(|filled| filled.is_err()) {
                failed.push((self.phase.studies[self.study(row)].uid.clone(), error));
            }
        }
        failed
    }

    pub fn constant(&self) -> impl Iterator<Item = Constant> {
        (0..self.rows.len()).filter_map(|row| match &self.rows[row] {
            Some(Ok(Filled { constant, .. })) if *constant != [0; VERTEBRAE] => Some(Constant {
                study: self.phase.studies[self.study(row)].uid.clone(),
                slices: *constant,
            }),
            _ => None,
        })
    }

    /// Makes a batch of the filled rows; `None` if they are too few.
    pub fn into_batch(mut self) -> Option<Batch> {
        let rows = std::mem::take(&mut self.rows);
        let phase = &self.phase;
        let recipe = &phase.recipe;
        let images_per_study = recipe.images_per_study();
        let mut batch = Batch {
            images: Vec::new(),
            size: recipe.size,
            images_per_study,
            studies: Vec::new(),
            targets: Vec::new(),
            places: Vec::new(),
            mixup: None,
        };
        for (row, filled) in rows.into_iter().enumerate() {
            let Some(Ok(Filled { images, places, .. })) = filled else { continue };
            let study = &phase.studies[self.study(row)];
            let label = |place: &SliceIndex| f32::from(study.labels[usize::from(place.vertebra)]);
            batch.images.push(images);
            batch.studies.push(study.uid.clone());
            batch.targets.extend(places.iter().map(label));
            batch.places.extend(places);
        }
        let least = match phase.pass {
            Pass::Train { .. } => LEAST_IN_TRAINING,
            Pass::Valid => 1,
        };
        if batch.len() < least {
            return None;
        }
        batch.mixup = recipe.mixup(self.number, batch.len());
        Some(batch)
    }
}
