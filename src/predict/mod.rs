//! What trained networks say of studies: one of them of a fold's own, or several together of
//! studies that none was trained on.
//!
//! | file | what it holds |
//! |---|---|
//! | [`tta`] | a batch flipped and transposed |
//! | [`table`] | predictions as CSV |
//! | [`part`] | predictions so far, on disk, to go on from |

pub mod part;
pub mod table;
pub mod tta;

use crate::{
    config::{Config, OnError, Score, VERTEBRAE},
    net::{
        Classifier, Spec,
        encoder::Arena,
        weights::{self, Content},
    },
    score::TARGETS,
    study::{self, Batch, Loader, SliceSource, Study},
    train::{
        self,
        checkpoint::{self, Whole},
        memory::Plan,
        outputs::outputs,
        step::Stepper,
    },
};
use candle_core::{DType, Device};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Why nothing can be predicted; one sentence.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A network's weights cannot be used.
    #[error("cannot use the weights {}: {why}", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A network does not give a number.
    #[error(
        "the network gives no number for study {0}: its weights or this study's crops are broken; look at both"
    )]
    NotANumber(Arc<str>),
    /// A study cannot be read.
    #[error(transparent)]
    Study(#[from] crate::study::Error),
    /// The network failed.
    #[error(transparent)]
    Train(#[from] train::Error),
    /// The engine failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

type Result<T> = std::result::Result<T, Error>;

/// What is predicted of a study.
#[derive(Debug, Clone, PartialEq)]
pub struct Predicted {
    /// StudyInstanceUID.
    pub study: Arc<str>,
    /// Fractured (1) or not (0): C1..C7, as the table has it.
    pub labels: [u8; VERTEBRAE],
    /// The slices' logits, C1's first: [7 × slices]; means over networks and views, as all below.
    pub slices: Vec<f32>,
    /// Of C1..C7 the mean of the slices' logits, and the study head's.
    pub logits: [f64; TARGETS],
    /// Of C1..C7 and the patient, 0..=1.
    pub probabilities: [f64; TARGETS],
}

/// The network of a checkpoint. Errors: it is of another network.
pub fn of_checkpoint(config: &Config, from: &Whole, device: &Device) -> Result<Classifier> {
    let model = Classifier::new(&Spec::new(config), 0, 0, DType::F32, device)?;
    checkpoint::load_weights(&model, from)?;
    Ok(model)
}

/// A whole network of a file that `model.pretrained` takes. Errors: what is wrong with the file.
pub fn of_file(config: &Config, path: &Path, device: &Device) -> Result<Classifier> {
    let model = Classifier::new(&Spec::new(config), 0, 0, DType::F32, device)?;
    weights::fill(&model, path, Some(Content::Network)).map_err(train::Error::from)?;
    Ok(model)
}

/// Whether a network, by its index, leaves a study out, by its name.
type LeavesOut<'a> = Box<dyn Fn(&str, usize) -> bool + 'a>;

/// Networks that predict together.
pub struct Ensemble<'a> {
    networks: &'a [Classifier],
    /// Views of each study: 1, 2, 4 or 8.
    views: usize,
    rules: &'a Score,
    device: &'a Device,
    plan: Plan,
    arena: Arena,
    leaves_out: LeavesOut<'a>,
}

impl<'a> Ensemble<'a> {
    /// Of at least one network on `device`, each looking at the first `views` of
    /// [`tta::FLIPS`].
    pub fn new(
        config: &'a Config,
        networks: &'a [Classifier],
        views: usize,
        device: &'a Device,
    ) -> Self {
        let plan = Plan::for_device(&alone(config), device).0;
        let (rules, arena) = (&config.score, Arena::default());
        let leaves_out = Box::new(|_: &str, _| false);
        Self { networks, views, rules, device, plan, arena, leaves_out }
    }

    /// Predicts a study by those networks only for which `leaves_out` (a study's name, a network's
    /// index) is false. At least one must be left.
    pub fn without(self, leaves_out: impl Fn(&str, usize) -> bool + 'a) -> Self {
        Self { leaves_out: Box::new(leaves_out), ..self }
    }

    /// What they say of each study of a batch.
    ///
    /// Errors: the engine; a logit that is not a number.
    pub fn predict(&self, batch: &Batch) -> Result<Vec<Predicted>> {
        let mut sums: Vec<Option<Predicted>> = vec![None; batch.len()];
        let predicts = |n: usize, b: usize| !(self.leaves_out)(&batch.studies[b], n);
        for flip in tta::FLIPS.into_iter().take(self.views) {
            let flipped = tta::flipped(batch, flip);
            let batch = flipped.as_ref().unwrap_or(batch);
            for (n, model) in self.networks.iter().enumerate() {
                if !(0..batch.len()).any(|b| predicts(n, b)) {
                    continue;
                }
                let stepper = Stepper {
                    device: self.device,
                    ..Stepper::on_cpu(model, self.plan, &self.arena)
                };
                let (slices, studies) = stepper.predict(batch, batch.len())?;
                let (slices, studies) = (slices.to_vec1::<f32>()?, studies.to_vec1::<f32>()?);
                for (b, output) in outputs(batch, &slices, &studies).enumerate() {
                    if !predicts(n, b) {
                        continue;
                    }
                    let logits = output.logits.means();
                    let probabilities = output.logits.probabilities(self.rules);
                    match &mut sums[b] {
                        Some(sum) => {
                            let slices = sum.slices.iter_mut().zip(output.logits.slices);
                            slices.for_each(|(sum, x)| *sum += x);
                            add(&mut sum.logits, logits);
                            add(&mut sum.probabilities, probabilities);
                        }
                        sum => {
                            *sum = Some(Predicted {
                                study: output.study,
                                labels: output.labels,
                                slices: output.logits.slices,
                                logits,
                                probabilities,
                            });
                        }
                    }
                }
            }
        }
        let mut predicted: Vec<Predicted> = sums.into_iter().flatten().collect();
        for (b, sum) in predicted.iter_mut().enumerate() {
            let networks = (0..self.networks.len()).filter(|&n| predicts(n, b)).count();
            let n = (self.views * networks) as f64;
            sum.slices.iter_mut().for_each(|x| *x /= n as f32);
            sum.logits = sum.logits.map(|x| x / n);
            sum.probabilities = sum.probabilities.map(|p| p / n);
            if !sum.probabilities.iter().chain(&sum.logits).all(|x| x.is_finite()) {
                return Err(Error::NotANumber(sum.study.clone()));
            }
        }
        Ok(predicted)
    }

    /// Predicts `studies` one after the other and gives each to `each`. One is in the network at a
    /// time, and `data.prefetch` and a few are read ahead: memory does not grow with their number.
    ///
    /// Returns those that could not be read, where `data.on_error` is `skip`, with why.
    ///
    /// Errors: a study that cannot be read, the network, and what `each` returns.
    pub fn run<E: From<Error>>(
        &self,
        config: &Config,
        source: Arc<dyn SliceSource>,
        studies: Arc<[Study]>,
        mut each: impl FnMut(Predicted) -> std::result::Result<(), E>,
    ) -> std::result::Result<Vec<(Arc<str>, String)>, E> {
        let mut loader = Loader::valid(source, studies, &alone(config));
        for batch in loader.by_ref() {
            let batch = match batch {
                // Each of the last ones is told by itself.
                Err(study::Error::NothingLeft { .. }) if config.data.on_error == OnError::Skip => {
                    break;
                }
                batch => batch.map_err(Error::from)?,
            };
            self.predict(&batch)?.into_iter().try_for_each(&mut each)?;
        }
        Ok(loader.take_skipped().into_iter().map(|s| (s.study, s.reason)).collect())
    }
}

/// A study at a time: what a study gets does not depend on which others there are.
fn alone(config: &Config) -> Config {
    let mut config = config.clone();
    config.train.batch_size = 1;
    config
}

fn add(sum: &mut [f64; TARGETS], values: [f64; TARGETS]) {
    sum.iter_mut().zip(values).for_each(|(sum, x)| *sum += x);
}
