//! Aggregates a study's logits to eight probabilities.
//!
//! The notebook ends with its validation loss. By default, a vertebra's probability comes from the mean
//! of its slices' logits and the patient's from the second head, as usual for models of this family:
//! each slice is trained on its vertebra's label, so its logit is a vote, and the second head is
//! trained on the patient's label. (The author's write-up, which we could not read:
//! <https://www.kaggle.com/competitions/rsna-2022-cervical-spine-fracture-detection/discussion/362787>.)

use super::TARGETS;
use crate::config::{PatientRule, Score, VERTEBRAE, VertebraRule};

/// The network's output for a study.
#[derive(Debug, Clone, PartialEq)]
pub struct Logits {
    /// Logits of the slices, C1's first: [7 × slices].
    pub slices: Vec<f32>,
    /// Logit of the study head.
    pub study: f32,
}

impl Logits {
    /// Returns the logits of vertebra `v`, 0..7.
    pub fn of_vertebra(&self, v: usize) -> &[f32] {
        let n = self.slices.len() / VERTEBRAE;
        &self.slices[v * n..(v + 1) * n]
    }

    /// Returns the mean slice logits of C1..C7, and the study head's logit.
    pub fn means(&self) -> [f64; TARGETS] {
        std::array::from_fn(|t| match t < VERTEBRAE {
            true => mean(self.of_vertebra(t).iter().map(|&x| f64::from(x))),
            false => f64::from(self.study),
        })
    }

    /// Computes the probabilities of C1..C7 and the patient, 0..=1, by the rules of `[score]`. NaN if one
    /// of the logits involved is not finite.
    pub fn probabilities(&self, rules: &Score) -> [f64; TARGETS] {
        let slices = |v: usize| self.of_vertebra(v).iter().map(|&x| probability(x.into()));
        let means = self.means();
        let mut p = [0.0; TARGETS];
        for (v, p) in p[..VERTEBRAE].iter_mut().enumerate() {
            *p = match rules.vertebra {
                VertebraRule::MeanLogit => probability(means[v]),
                VertebraRule::MeanProbability => mean(slices(v)),
                VertebraRule::MaxProbability => slices(v).fold(f64::NEG_INFINITY, larger),
            };
        }
        p[VERTEBRAE] = match rules.patient {
            PatientRule::Head => probability(means[VERTEBRAE]),
            PatientRule::MaxVertebra => p[..VERTEBRAE].iter().copied().fold(0.0, larger),
            PatientRule::AnyVertebra => {
                1.0 - p[..VERTEBRAE].iter().map(|p| 1.0 - p).product::<f64>()
            }
        };
        p
    }
}

/// Like `f64::max`, but keeps NaN.
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

/// Converts a logit to a probability. NaN if the logit is not finite: an infinite logit comes from an
/// overflow and does not mean certainty.
pub fn probability(logit: f64) -> f64 {
    sigmoid(finite(logit))
}

/// Replaces infinite values by NaN.
pub(super) fn finite(x: f64) -> f64 {
    if x.is_finite() { x } else { f64::NAN }
}

/// 1 / (1 + e^-x), without overflow.
pub fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}
