//! Settings for predictions, scores and the choice of `best`.

use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// Allowed values of `score.bins`.
pub const BINS: RangeInclusive<usize> = 1..=1000;

/// `[score]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// How a vertebra's probability follows from its slices.
    pub vertebra: VertebraRule,
    /// How the patient's probability follows from the study head or the vertebrae.
    pub patient: PatientRule,
    /// Specificity at which sensitivity is reported, 0..1.
    pub specificity: f64,
    /// Number of bins for the calibration error.
    pub bins: usize,
    /// Bootstrap resamples; 0: no intervals.
    pub bootstrap: usize,
}

/// How a vertebra's probability follows from its slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VertebraRule {
    /// Sigmoid of the mean logit.
    MeanLogit,
    /// Mean of the slices' probabilities.
    MeanProbability,
    /// Maximum of the slices' probabilities.
    MaxProbability,
}

/// How the patient's probability is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PatientRule {
    /// Sigmoid of the study head's logit.
    Head,
    /// Maximum of the vertebrae's probabilities.
    MaxVertebra,
    /// Probability that any vertebra is fractured, if they were independent: 1 − Π (1 − p).
    AnyVertebra,
}

/// `[select]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Select {
    /// Metric by which `best` is chosen.
    pub metric: Metric,
}

/// A metric of a validation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The notebook's validation loss.
    #[default]
    Loss,
    /// The competition's metric.
    Competition,
    /// ROC AUC of the patient.
    PatientAuc,
    /// Average precision of the patient.
    PatientAveragePrecision,
    /// Mean ROC AUC of the vertebrae that have both classes.
    VertebraAuc,
}
