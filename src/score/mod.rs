//! How good predictions are: the competition's metric and the field's usual ones, with bootstrap
//! intervals. Plain numbers on the host; knows neither network nor files.
//!
//! | file | what it holds |
//! |---|---|
//! | [`aggregate`] | from a study's slice logits to eight probabilities |
//! | [`ranks`] | what depends on the order alone: ROC AUC, average precision, sensitivity |
//! | [`loss`] | log loss, the competition's metric |
//! | [`calibration`] | do probabilities mean what they say? |
//! | [`evaluation`] | figures as a file |
//! | `bootstrap` | intervals |
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
/// The patient's place among the targets.
pub const PATIENT: usize = VERTEBRAE;
/// What the competition calls them.
pub const NAMES: [&str; TARGETS] = ["C1", "C2", "C3", "C4", "C5", "C6", "C7", "patient_overall"];

/// What is known and predicted of a study.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Study {
    /// Fractured or not: C1..C7, and whether any is.
    pub labels: [bool; TARGETS],
    /// Their probabilities, 0..=1.
    pub probabilities: [f64; TARGETS],
}

impl Study {
    /// `labels` of C1..C7, 0 or 1; the patient is fractured where one of them is.
    pub fn new(labels: [u8; VERTEBRAE], probabilities: [f64; TARGETS]) -> Self {
        let any = labels.contains(&1);
        let labels = std::array::from_fn(|t| labels.get(t).map_or(any, |&label| label == 1));
        Self { labels, probabilities }
    }
}

/// A figure and how sure it is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Of all studies.
    pub value: f64,
    /// Within which 95 % of the resamples lie, by percentiles; `None` where there were none, or most
    /// of them lacked a class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<(f64, f64)>,
}

/// Figures over some studies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// How many there are.
    pub studies: usize,
    /// The competition's metric, [`loss::competition`].
    pub competition: Figure,
    /// Of C1..C7 and the patient.
    pub targets: [TargetScores; TARGETS],
}

/// Figures of a target. What needs both classes is `None` where one is missing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TargetScores {
    /// Studies in which it is fractured.
    pub positives: usize,
    /// [`loss::log_loss`]
    pub log_loss: Figure,
    /// Area under the ROC curve.
    pub auc: Option<Figure>,
    /// Average precision.
    pub average_precision: Option<Figure>,
    /// The highest sensitivity at no less than `score.specificity`.
    pub sensitivity: Option<Figure>,
    /// [`calibration::error`]
    pub ece: Figure,
}

impl Scores {
    /// The figures of `studies`; `seed` of the resamples. `None` without studies, or where a
    /// probability is NaN or not within 0..=1.
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

    /// The patient's figures.
    pub fn patient(&self) -> &TargetScores {
        &self.targets[PATIENT]
    }
}

/// Labels and probabilities of target `t`.
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
    let (auc, average_precision, sensitivity) = match all {
        None => (None, None, None),
        Some(all) => {
            let resampled: Vec<ranks::Figures> = resamples.weights().filter_map(of_ranks).collect();
            let figure = |value: f64, of: fn(&ranks::Figures) -> f64| {
                let values = resampled.iter().map(of).collect();
                Some(Figure { value, interval: interval(values, resamples.len()) })
            };
            (
                figure(all.auc, |f| f.auc),
                figure(all.average_precision, |f| f.average_precision),
                figure(all.sensitivity, |f| f.sensitivity),
            )
        }
    };
    let bins = |weights: &[u32]| Bin::of(&labels, &probabilities, weights, settings.bins);
    let ece = |weights: &[u32]| calibration::error(&bins(weights));
    TargetScores {
        positives: labels.iter().filter(|&&y| y).count(),
        log_loss: resamples.mean(&losses),
        auc,
        average_precision,
        sensitivity,
        ece: Figure {
            value: ece(&vec![1; labels.len()]),
            interval: interval(resamples.weights().map(ece).collect(), resamples.len()),
        },
    }
}
