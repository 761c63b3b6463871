//! How predictions are made of logits, how they are scored, and what `best` is chosen by.

use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// What `score.bins` may be.
pub const BINS: RangeInclusive<usize> = 1..=1000;

/// `[score]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// From a vertebra's slices to its probability.
    pub vertebra: VertebraRule,
    /// From the study head, or the vertebrae, to the patient's probability.
    pub patient: PatientRule,
    /// Specificity at which sensitivity is told, 0..1.
    pub specificity: f64,
    /// Bins of the calibration error.
    pub bins: usize,
    /// Resamples of the bootstrap; 0 = no intervals.
    pub bootstrap: usize,
}

/// From a vertebra's slices to its probability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VertebraRule {
    /// Sigmoid of the mean logit.
    MeanLogit,
    /// Mean of the slices' probabilities.
    MeanProbability,
    /// The highest of them.
    MaxProbability,
}

/// How the patient's probability comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PatientRule {
    /// Sigmoid of the study head's logit.
    Head,
    /// The highest of the vertebrae's.
    MaxVertebra,
    /// That at least one is fractured, were they independent: 1 − Π (1 − p).
    AnyVertebra,
}

/// `[select]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Select {
    /// What `best` is chosen by.
    pub metric: Metric,
}

/// A figure of a validation.
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

impl Metric {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loss => "valid loss",
            Self::Competition => "competition metric",
            Self::PatientAuc => "patient AUC",
            Self::PatientAveragePrecision => "patient average precision",
            Self::VertebraAuc => "mean vertebra AUC",
        }
    }

    /// The figure whose cost this is, and the cost of a figure: where higher is better, 1 minus it.
    pub fn of_cost(self, cost: f64) -> f64 {
        match self {
            Self::Loss | Self::Competition => cost,
            Self::PatientAuc | Self::PatientAveragePrecision | Self::VertebraAuc => 1.0 - cost,
        }
    }
}
