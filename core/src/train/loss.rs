//! The notebook's `criterion` and training loss, with their gradients, in f64 on the host.
//!
//! A step has some hundred logits: their loss is computed here, exactly and without a graph, and its
//! gradient passed to the network's backward pass. (candle 0.11's
//! `binary_cross_entropy_with_logit` gives NaN beyond |x| ≈ 90.)

use crate::{config, score::aggregate::sigmoid};

/// Weights of the loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights {
    /// Weight of the slice head, 15 in the notebook.
    pub slice: f64,
    /// Weight of the study head, 1 in the notebook.
    pub study: f64,
    /// Weight of positive targets, 2 in the notebook.
    pub positive: f64,
}

impl From<&config::Train> for Weights {
    fn from(t: &config::Train) -> Self {
        Self { slice: t.slice_weight, study: t.study_weight, positive: t.positive_weight }
    }
}

/// A weighted mean of losses and its gradient with respect to the logits.
#[derive(Debug, Clone, PartialEq)]
pub struct Criterion {
    /// Σ w·ℓ / Σ w.
    pub loss: f64,
    /// Gradient, one value per logit.
    pub grad: Vec<f64>,
}

/// ℓ(x, y) = max(x, 0) - x·y + ln(1 + e^-|x|): binary cross-entropy of a logit, stable for any x.
pub fn bce_with_logits(x: f64, y: f64) -> f64 {
    x.max(0.0) - x * y + (-x.abs()).exp().ln_1p()
}

/// Weight of a target: `positive` if it is above 0, else 1.
pub fn weight(target: f32, positive: f64) -> f64 {
    if target > 0.0 { positive } else { 1.0 }
}

/// The notebook's `criterion`: binary cross-entropy with positive targets weighted by `positive`.
///
/// `logits` and `targets` have the same length, at least 1.
pub fn criterion(logits: &[f32], targets: &[f32], positive: f64) -> Criterion {
    assert_eq!(logits.len(), targets.len());
    let norm: f64 = targets.iter().map(|&y| weight(y, positive)).sum();
    let mut loss = 0.0;
    let grad = logits
        .iter()
        .zip(targets)
        .map(|(&x, &y)| {
            let (x, w, y) = (f64::from(x), weight(y, positive), f64::from(y));
            loss += w * bce_with_logits(x, y);
            w * (sigmoid(x) - y) / norm
        })
        .collect();
    Criterion { loss: loss / norm, grad }
}

/// Returns the studies' targets, each the largest of its slices'. `targets` [B, T] → [B].
pub fn study_targets(targets: &[f32], images_per_study: usize) -> Vec<f32> {
    targets.chunks(images_per_study).map(|t| t.iter().copied().fold(0.0, f32::max)).collect()
}

/// The training loss of a step and its gradients.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainLoss {
    /// The loss to be minimised.
    pub loss: f64,
    /// Slice head, unmixed targets (`loss1`).
    pub slice: f64,
    /// Study head, unmixed targets (`loss2`).
    pub study: f64,
    /// ∂loss/∂slice logits [B·T]; a step multiplies both gradients by the loss scale.
    pub grad_slices: Vec<f32>,
    /// ∂loss/∂study logits [B].
    pub grad_studies: Vec<f32>,
}

/// Computes (15·slice + 1·study) / 16, and with mixup λ times that plus (1-λ) times the same against
/// the partners' targets.
///
/// `slices` [B·T] and `studies` [B]: logits; `targets`: [B·T]; `mixed`: the partners' targets and λ.
pub fn train_loss(
    slices: &[f32],
    studies: &[f32],
    targets: &[f32],
    mixed: Option<(&[f32], f64)>,
    w: Weights,
) -> TrainLoss {
    let t = slices.len() / studies.len();
    let total = w.slice + w.study;
    let against = |targets: &[f32]| {
        let slice = criterion(slices, targets, w.positive);
        let study = criterion(studies, &study_targets(targets, t), w.positive);
        ((slice.loss * w.slice + study.loss * w.study) / total, slice, study)
    };
    let (partner, lambda) = mixed.unwrap_or((targets, 1.0));
    let (own, slice, study) = against(targets);
    let (other, other_slice, other_study) = against(partner);
    let mix = |own: f64, other: f64| lambda * own + (1.0 - lambda) * other;
    let grad = |own: &Criterion, other: &Criterion, weight: f64| {
        let pairs = own.grad.iter().zip(&other.grad);
        pairs.map(|(&own, &other)| (mix(own, other) * weight / total) as f32).collect()
    };
    TrainLoss {
        loss: mix(own, other),
        slice: slice.loss,
        study: study.loss,
        grad_slices: grad(&slice, &other_slice, w.slice),
        grad_studies: grad(&study, &other_study, w.study),
    }
}

/// Validation loss of a constant guess at the training prevalence, on these validation batches:
/// the mean over batches of (slice loss + study loss) / 2, as in validation.
///
/// `batches`: slice targets [B·T] of each. Prevalences are clamped to 1e-4..=1 - 1e-4.
pub fn constant_guess(
    batches: impl Iterator<Item = Vec<f32>>,
    images_per_study: usize,
    (slice_prevalence, study_prevalence): (f64, f64),
    positive: f64,
) -> f64 {
    let logit = |p: f64| {
        let p = p.clamp(1e-4, 1.0 - 1e-4);
        (p / (1.0 - p)).ln() as f32
    };
    let (mut sum, mut n) = (0.0, 0);
    for targets in batches {
        let studies = study_targets(&targets, images_per_study);
        let guess = |targets: &[f32], p: f64| {
            criterion(&vec![logit(p); targets.len()], targets, positive).loss
        };
        sum += (guess(&targets, slice_prevalence) + guess(&studies, study_prevalence)) / 2.0;
        n += 1;
    }
    sum / n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_the_difference_quotient() {
        let slices = [0.3f32, -1.2, 2.0, 0.1, -0.4, 1.5];
        let studies = [0.7f32, -0.2];
        let targets = [1.0f32, 0.0, 0.0, 0.0, 0.0, 0.0];
        let partner = [0.0f32, 0.0, 0.0, 1.0, 0.0, 1.0];
        let w = Weights { slice: 15.0, study: 1.0, positive: 2.0 };
        for mixed in [None, Some((&partner[..], 0.3))] {
            let at = train_loss(&slices, &studies, &targets, mixed, w);
            for i in 0..slices.len() {
                let f = |d: f32| {
                    let mut s = slices;
                    s[i] += d;
                    train_loss(&s, &studies, &targets, mixed, w).loss
                };
                let h = 1e-2f32;
                let numeric = (f(h) - f(-h)) / f64::from(2.0 * h);
                assert!((numeric - f64::from(at.grad_slices[i])).abs() < 1e-4);
            }
            for i in 0..studies.len() {
                let f = |d: f32| {
                    let mut s = studies;
                    s[i] += d;
                    train_loss(&slices, &s, &targets, mixed, w).loss
                };
                let h = 1e-2f32;
                let numeric = (f(h) - f(-h)) / f64::from(2.0 * h);
                assert!((numeric - f64::from(at.grad_studies[i])).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn a_constant_guess_scores_the_entropy() {
        // Half the slices positive, weights 1: ln 2 for both heads.
        let batch = vec![1.0, 0.0, 0.0, 0.0];
        let guess = constant_guess([batch].into_iter(), 2, (0.5, 0.5), 1.0);
        assert!((guess - std::f64::consts::LN_2).abs() < 1e-7);
    }
}
