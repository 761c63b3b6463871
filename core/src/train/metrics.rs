//! Training metrics, computed on the host.

use super::loss::{bce_with_logits, weight};
use crate::{
    config::Metric,
    run::{catalogue, event::Epoch},
};

/// The value that `best` minimises: the validation loss, or the score that `metric` names, as 1 minus
/// the score if higher is better. NaN if there is no such score, or the validation loss is not finite.
pub fn cost(metric: Metric, epoch: &Epoch) -> f64 {
    let figure = catalogue::selecting(metric);
    match (figure.read)(epoch) {
        Some(x) if epoch.valid_loss.is_finite() => figure.cost(x),
        _ => f64::NAN,
    }
}

/// Weighted slice loss of each vertebra, summed over batches.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct VertebraLoss {
    loss: [f64; 7],
    weight: [f64; 7],
}

impl VertebraLoss {
    /// Adds slices. `vertebrae`: 0..7 each; `share`: weight of each slice, 1 without mixup.
    pub fn add(
        &mut self,
        logits: &[f32],
        targets: &[f32],
        vertebrae: impl Iterator<Item = usize>,
        positive: f64,
        share: f64,
    ) {
        for ((&x, &y), v) in logits.iter().zip(targets).zip(vertebrae) {
            let w = share * weight(y, positive);
            self.loss[v] += w * bce_with_logits(f64::from(x), f64::from(y));
            self.weight[v] += w;
        }
    }

    /// Returns the mean loss of C1..C7; `None` without slices.
    pub fn means(&self) -> [Option<f64>; 7] {
        std::array::from_fn(|v| (self.weight[v] > 0.0).then(|| self.loss[v] / self.weight[v]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        score::{Scores, Study, TARGETS},
    };
    use std::sync::Arc;

    fn epoch(valid_loss: f64, scores: Option<Scores>) -> Epoch {
        Epoch {
            valid_loss,
            metric: f64::NAN,
            best_metric: f64::NAN,
            scores: scores.map(Arc::new),
            ..Epoch::default()
        }
    }

    #[test]
    fn a_better_figure_costs_less() {
        let config = Config::load(None, false, &[]).unwrap();
        let study = |labels, p| Study::new(labels, [p; TARGETS]);
        let good = [study([1, 0, 0, 0, 0, 0, 0], 0.8), study([0; 7], 0.1)];
        let bad = [study([1, 0, 0, 0, 0, 0, 0], 0.4), study([0; 7], 0.5)];
        let scores = |studies: &[Study]| Scores::of(studies, &config.score, 0);
        for metric in [
            Metric::Competition,
            Metric::PatientAuc,
            Metric::PatientAveragePrecision,
            Metric::VertebraAuc,
        ] {
            let of = |studies| cost(metric, &epoch(9.0, scores(studies)));
            assert!(of(&good) < of(&bad), "{metric:?}");
            assert!(cost(metric, &epoch(9.0, None)).is_nan());
        }
        assert_eq!(cost(Metric::Loss, &epoch(9.0, None)), 9.0);
        for loss in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for metric in [Metric::Loss, Metric::Competition, Metric::PatientAuc] {
                assert!(cost(metric, &epoch(loss, scores(&good))).is_nan());
            }
        }
        // Every patient has a fracture.
        assert!(cost(Metric::PatientAuc, &epoch(9.0, scores(&good[..1]))).is_nan());
    }

    #[test]
    fn vertebra_losses_are_weighted_means() {
        let mut v = VertebraLoss::default();
        v.add(&[0.0, 0.0, 3.0], &[1.0, 0.0, 1.0], [0, 0, 6].into_iter(), 2.0, 1.0);
        let means = v.means();
        assert!((means[0].unwrap() - std::f64::consts::LN_2).abs() < 1e-12);
        assert!((means[6].unwrap() - bce_with_logits(3.0, 1.0)).abs() < 1e-12);
        assert_eq!(means[3], None);
    }
}
