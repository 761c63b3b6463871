//! Scores of predictions: the competition's metric and the usual ones of the field, with bootstrap
//! intervals. Plain numbers on the host, independent of networks and files.
//!
//! | file | contents |
//! |---|---|
//! | [`aggregate`] | from a study's slice logits to eight probabilities |
//! | [`ranks`] | metrics of the ranking: ROC AUC, average precision, sensitivity |
//! | [`loss`] | log loss, the competition's metric |
//! | [`calibration`] | calibration of the probabilities |
//! | [`evaluation`] | the file of an evaluation |
//! | `bootstrap` | confidence intervals |
//!
//! A *target* is one of eight: C1..C7 and the patient. A *study* is one exam.

pub mod aggregate;
mod bootstrap;
pub mod calibration;
pub mod evaluation;
pub mod loss;
pub mod ranks;
#[cfg(test)]
mod tests;

use crate::config::{Score, VERTEBRAE};
use bootstrap::{Resamples, interval};
use calibration::Bin;
use ranks::Ranked;
use serde::{Deserialize, Serialize};

/// C1..C7 and the patient.
pub const TARGETS: usize = VERTEBRAE + 1;
/// Index of the patient among the targets.
pub const PATIENT: usize = VERTEBRAE;
/// The competition's names of the targets.
pub const NAMES: [&str; TARGETS] = ["C1", "C2", "C3", "C4", "C5", "C6", "C7", "patient_overall"];

/// Labels and predictions of a study.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Study {
    /// Whether C1..C7 and the patient are fractured.
    pub labels: [bool; TARGETS],
    /// Probabilities of a fracture, 0..=1.
    pub probabilities: [f64; TARGETS],
}

impl Study {
    /// Creates a study from `labels` of C1..C7, 0 or 1; the patient is positive if any of them is.
    pub fn new(labels: [u8; VERTEBRAE], probabilities: [f64; TARGETS]) -> Self {
        let any = labels.contains(&1);
        let labels = std::array::from_fn(|t| labels.get(t).map_or(any, |&label| label == 1));
        Self { labels, probabilities }
    }
}

/// A score and its confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Value over all studies.
    pub value: f64,
    /// Interval of 95 % of the resamples, by percentiles; `None` without resamples, or if most of them
    /// lacked a class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<(f64, f64)>,
}

/// Scores over a set of studies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Number of studies.
    pub studies: usize,
    /// The competition's metric, [`loss::competition`].
    pub competition: Figure,
    /// Scores of C1..C7 and the patient.
    pub targets: [TargetScores; TARGETS],
}

/// Scores of a target. Those that need both classes are `None` if one is missing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TargetScores {
    /// Number of studies in which the target is fractured.
    pub positives: usize,
    /// Log loss, [`loss::log_loss`].
    pub log_loss: Figure,
    /// Area under the ROC curve.
    pub auc: Option<Figure>,
    /// Average precision.
    pub average_precision: Option<Figure>,
    /// Maximum sensitivity at a specificity of at least `score.specificity`.
    pub sensitivity: Option<Figure>,
    /// Expected calibration error, [`calibration::error`].
    pub ece: Figure,
}

impl Scores {
    /// Computes the scores of `studies`; `seed` is for the resamples. Returns `None` without studies, or if
    /// a probability is NaN or outside 0..=1.
    pub fn of(studies: &[Study], settings: &Score, seed: u64) -> Option<Self> {
        let valid = |s: &Study| s.probabilities.iter().all(|p| (0.0..=1.0).contains(p));
        if studies.is_empty() || !studies.iter().all(valid) {
            return None;
        }
        let resamples = Resamples::new(studies.len(), settings.bootstrap, seed);
        let exams: Vec<f64> = studies.iter().map(loss::of_exam).collect();
        Some(Self {
            studies: studies.len(),
            competition: resamples.mean(&exams),
            targets: std::array::from_fn(|t| target(studies, t, settings, &resamples)),
        })
    }

    /// Mean ROC AUC of the vertebrae that have both classes.
    pub fn vertebra_auc(&self) -> Option<f64> {
        let aucs = self.targets[..VERTEBRAE].iter().filter_map(|t| t.auc);
        let (sum, n) = aucs.fold((0.0, 0), |(sum, n), auc| (sum + auc.value, n + 1));
        (n > 0).then(|| sum / f64::from(n))
    }

    /// Returns the patient's scores.
    pub fn patient(&self) -> &TargetScores {
        &self.targets[PATIENT]
    }
}

/// Returns the labels and probabilities of target `t`.
pub fn column(studies: &[Study], t: usize) -> (Vec<bool>, Vec<f64>) {
    studies.iter().map(|s| (s.labels[t], s.probabilities[t])).unzip()
}

fn target(studies: &[Study], t: usize, settings: &Score, resamples: &Resamples) -> TargetScores {
    let (labels, probabilities) = column(studies, t);
    let losses: Vec<f64> =
        labels.iter().zip(&probabilities).map(|(&y, &p)| loss::log_loss(y, p)).collect();
    let ranked = Ranked::new(&probabilities, &labels);
    let of_ranks = |weights: &[u32]| ranked.figures(weights, settings.specificity);
    let all = of_ranks(&vec![1; labels.len()]);
    let resampled: Vec<ranks::Figures> = resamples.weights().filter_map(of_ranks).collect();
    let figure = |of: fn(&ranks::Figures) -> f64| {
        let interval = interval(resampled.iter().map(of).collect(), resamples.len());
        Some(Figure { value: of(all.as_ref()?), interval })
    };
    let bins = |weights: &[u32]| Bin::of(&labels, &probabilities, weights, settings.bins);
    let ece = |weights: &[u32]| calibration::error(&bins(weights));
    TargetScores {
        positives: labels.iter().filter(|&&y| y).count(),
        log_loss: resamples.mean(&losses),
        auc: figure(|f| f.auc),
        average_precision: figure(|f| f.average_precision),
        sensitivity: figure(|f| f.sensitivity),
        ece: Figure {
            value: ece(&vec![1; labels.len()]),
            interval: interval(resamples.weights().map(ece).collect(), resamples.len()),
        },
    }
}
