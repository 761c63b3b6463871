//! Losses of probabilities.

use super::{PATIENT, Study, TARGETS};

/// Minimum distance of a probability from 0 and 1, which keeps the loss of a wrong one finite.
/// scikit-learn's `log_loss` clips f64 in the same way.
const CLIP: f64 = f64::EPSILON;

/// Returns −ln of the probability given to the true class, clipped; NaN for NaN.
pub fn log_loss(positive: bool, probability: f64) -> f64 {
    let p = probability.clamp(CLIP, 1.0 - CLIP);
    if positive { -p.ln() } else { -(1.0 - p).ln() }
}

/// Returns the weight of a target in the competition's metric: 7 for the patient, 1 for a vertebra,
/// doubled if it is fractured
/// (<https://www.kaggle.com/competitions/rsna-2022-cervical-spine-fracture-detection/overview/evaluation>).
pub fn weight(target: usize, positive: bool) -> f64 {
    let weight = if target == PATIENT { 7.0 } else { 1.0 };
    if positive { 2.0 * weight } else { weight }
}

/// Returns an exam's part of the competition's metric: Σ w·ℓ / Σ w over its eight targets.
pub fn of_exam(study: &Study) -> f64 {
    let (mut sum, mut weights) = (0.0, 0.0);
    for t in 0..TARGETS {
        let w = weight(t, study.labels[t]);
        sum += w * log_loss(study.labels[t], study.probabilities[t]);
        weights += w;
    }
    sum / weights
}

/// Computes the competition's metric: the mean of [`of_exam`] over the exams. All p = 0.5 gives ln 2.
/// NaN without exams.
pub fn competition(studies: &[Study]) -> f64 {
    studies.iter().map(of_exam).sum::<f64>() / studies.len() as f64
}

/// Computes the competition's metric of a guess that gives each target, in every exam, the share of
/// these exams in which it is fractured. NaN without exams.
pub fn guess(studies: &[Study]) -> f64 {
    let n = studies.len() as f64;
    let share = |t: usize| studies.iter().filter(|s| s.labels[t]).count() as f64 / n;
    let probabilities = std::array::from_fn(share);
    let guessed: Vec<Study> = studies.iter().map(|s| Study { probabilities, ..*s }).collect();
    competition(&guessed)
}
