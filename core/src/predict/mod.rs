//! Predictions by trained networks: by one network for its fold's own studies, or by an ensemble for
//! studies that none of them was trained on.
//!
//! | file | contents |
//! |---|---|
//! | [`tta`] | flipped and transposed batches |
//! | [`table`] | predictions as CSV |
//! | [`part`] | file of the predictions so far, to resume from |

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
    train::{self, memory::Plan, outputs::outputs, step::Stepper},
};
use candle_core::{DType, Device};
use std::{path::Path, sync::Arc};

/// Reasons why a prediction fails; one sentence.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A network's output is NaN or infinite.
    #[error(
        "the network gives no number for study {0}: its weights or this study's crops are broken; look at both"
    )]
    NotANumber(Arc<str>),
    /// A study cannot be read.
    #[error(transparent)]
    Study(#[from] crate::study::Error),
    /// The forward pass failed.
    #[error(transparent)]
    Train(#[from] train::Error),
    /// candle reported an error.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

type Result<T> = std::result::Result<T, Error>;

/// Prediction for a study.
#[derive(Debug, Clone, PartialEq)]
pub struct Predicted {
    /// StudyInstanceUID.
    pub study: Arc<str>,
    /// Labels of C1..C7 in the table: fractured (1) or not (0).
    pub labels: [u8; VERTEBRAE],
    /// Logits of the slices, C1's first: [7 × slices]. All values are means over networks and views.
    pub slices: Vec<f32>,
    /// Means of the slices' logits for C1..C7, and the study head's logit.
    pub logits: [f64; TARGETS],
    /// Probabilities of C1..C7 and the patient, 0..=1.
    pub probabilities: [f64; TARGETS],
}

/// Loads a complete network from a file in a format that `model.pretrained` accepts. Errors: when the
/// file cannot be used.
pub fn of_file(config: &Config, path: &Path, device: &Device) -> Result<Classifier> {
    let model = Classifier::new(&Spec::new(config), 0, 0, DType::F32, device)?;
    weights::fill(&model, path, Some(Content::Network)).map_err(train::Error::from)?;
    Ok(model)
}

/// Whether the network with this index skips the study with this name.
type LeavesOut<'a> = Box<dyn Fn(&str, usize) -> bool + 'a>;

/// Networks whose predictions are averaged.
pub struct Ensemble<'a> {
    networks: &'a [Classifier],
    /// Number of views of each study: 1, 2, 4 or 8.
    views: usize,
    rules: &'a Score,
    device: &'a Device,
    /// Memory plan of each network.
    plans: Vec<Plan>,
    arena: Arena,
    leaves_out: LeavesOut<'a>,
}

impl<'a> Ensemble<'a> {
    /// Creates an ensemble of at least one network on `device`. Each network predicts the first `views` of
    /// [`tta::FLIPS`].
    pub fn new(
        config: &'a Config,
        networks: &'a [Classifier],
        views: usize,
        device: &'a Device,
    ) -> Self {
        let plans = vec![plan(config, device, 1); networks.len()];
        let (rules, arena) = (&config.score, Arena::default());
        let leaves_out = Box::new(|_: &str, _| false);
        Self { networks, views, rules, device, plans, arena, leaves_out }
    }

    /// Takes other memory plans, one of [`plan`] for each network: networks of several runs differ in size, and
    /// several ensembles may share the machine's memory.
    pub fn planned(self, plans: Vec<Plan>) -> Self {
        assert_eq!(plans.len(), self.networks.len());
        Self { plans, ..self }
    }

    /// Excludes networks per study: `leaves_out` is called with a study's name and a network's index. At
    /// least one network must remain for each study.
    pub fn without(self, leaves_out: impl Fn(&str, usize) -> bool + 'a) -> Self {
        Self { leaves_out: Box::new(leaves_out), ..self }
    }

    /// Predicts each study of a batch.
    ///
    /// Errors: when candle fails, or a logit is not finite.
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
                    ..Stepper::on_cpu(model, self.plans[n], &self.arena)
                };
                let (slices, studies) = stepper.predict(batch, batch.len())?;
                let (slices, studies) = (slices.to_vec1::<f32>()?, studies.to_vec1::<f32>()?);
                for (b, output) in outputs(batch, &slices, &studies).enumerate() {
                    if !predicts(n, b) {
                        continue;
                    }
                    let sum = sums[b].get_or_insert_with(|| Predicted {
                        study: output.study,
                        labels: output.labels,
                        slices: vec![0.0; output.logits.slices.len()],
                        logits: [0.0; TARGETS],
                        probabilities: [0.0; TARGETS],
                    });
                    add(&mut sum.logits, &output.logits.means());
                    add(&mut sum.probabilities, &output.logits.probabilities(self.rules));
                    add(&mut sum.slices, &output.logits.slices);
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

    /// Predicts `studies` one by one and passes each prediction to `each`. One study is in the network at a
    /// time, and about `data.prefetch` studies are read ahead: memory does not grow with their number.
    ///
    /// Returns the studies that could not be read, with the reasons, if `data.on_error` is `skip`.
    ///
    /// Errors: when a study cannot be read or the network fails, and those that `each` returns.
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
                // The skipped studies are returned below, each with its own reason.
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

/// The memory plan for a network of `config` on `device`, with `sharing` ensembles on the machine.
pub fn plan(config: &Config, device: &Device, sharing: usize) -> Plan {
    Plan::for_device(&alone(config), device, sharing).0
}

/// Sets a batch size of 1, so that a study's prediction does not depend on the other studies.
fn alone(config: &Config) -> Config {
    let mut config = config.clone();
    config.train.batch_size = 1;
    config
}

fn add<T: std::ops::AddAssign + Copy>(sum: &mut [T], values: &[T]) {
    sum.iter_mut().zip(values).for_each(|(sum, x)| *sum += *x);
}
