//! From a study's logits to eight probabilities.
//!
//! The notebook ends at its validation loss. The default here, a vertebra by the mean of its slices'
//! logits and the patient by the second head, is how models of its family are used: each slice is
//! trained on its vertebra's label, so its logits are as many votes, and the second head on the
//! patient's (its author's write-up, which was not at hand here:
//! <https://www.kaggle.com/competitions/rsna-2022-cervical-spine-fracture-detection/discussion/362787>).

use super::TARGETS;
use crate::config::{PatientRule, Score, VERTEBRAE, VertebraRule};

/// What the network says of a study.
#[derive(Debug, Clone, PartialEq)]
pub struct Logits {
    /// Of the slices, C1's first: [7 × slices].
    pub slices: Vec<f32>,
    /// Of the study head.
    pub study: f32,
}

impl Logits {
    /// The slices of vertebra `v`, 0..7.
    pub fn of_vertebra(&self, v: usize) -> &[f32] {
        let n = self.slices.len() / VERTEBRAE;
        &self.slices[v * n..(v + 1) * n]
    }

    /// The mean slice logit of C1..C7, and the study head's.
    pub fn means(&self) -> [f64; TARGETS] {
        std::array::from_fn(|t| match t < VERTEBRAE {
            true => mean(self.of_vertebra(t).iter().map(|&x| f64::from(x))),
            false => f64::from(self.study),
        })
    }

    /// Probabilities of C1..C7 and the patient, 0..=1, by the rules of `[score]`; NaN where a logit
    /// that one is made from is not finite.
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

/// As `f64::max`, but one that is not a number stays.
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

/// The probability that a logit stands for. NaN where the logit is not finite: an infinite one comes
/// from an overflow, and is no certainty.
pub fn probability(logit: f64) -> f64 {
    sigmoid(finite(logit))
}

/// The value, or NaN where it is infinite.
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
