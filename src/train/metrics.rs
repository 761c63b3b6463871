//! Training metrics, computed on the host.

use super::loss::{bce_with_logits, weight};
use crate::{
    config::Metric,
    score::{Figure, Scores},
};

/// The value that `best` minimises: the validation loss, or the score that `metric` names, as 1 minus
/// the score if higher is better. NaN if there is no such score, or the validation loss is not finite.
pub fn cost(metric: Metric, loss: f64, scores: Option<&Scores>) -> f64 {
    if !loss.is_finite() {
        return f64::NAN;
    }
    let patient = scores.map(Scores::patient);
    let value = |figure: Option<Figure>| figure.map(|figure| figure.value);
    let figure = match metric {
        Metric::Loss => Some(loss),
        Metric::Competition => scores.map(|scores| scores.competition.value),
        Metric::PatientAuc => value(patient.and_then(|patient| patient.auc)),
        Metric::PatientAveragePrecision => {
            value(patient.and_then(|patient| patient.average_precision))
        }
        Metric::VertebraAuc => scores.and_then(Scores::vertebra_auc),
    };
    figure.map_or(f64::NAN, |figure| metric.of_cost(figure))
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
        score::{Study, TARGETS},
    };

    #[test]
    fn a_better_figure_costs_less() {
        let config = Config::load(None, false, &[]).unwrap();
        let study = |labels, p| Study::new(labels, [p; TARGETS]);
        let good = [study([1, 0, 0, 0, 0, 0, 0], 0.8), study([0; 7], 0.1)];
        let bad = [study([1, 0, 0, 0, 0, 0, 0], 0.4), study([0; 7], 0.5)];
        let scores = |studies: &[Study]| Scores::of(studies, &config.score, 0).unwrap();
        for metric in [
            Metric::Competition,
            Metric::PatientAuc,
            Metric::PatientAveragePrecision,
            Metric::VertebraAuc,
        ] {
            let of = |studies| cost(metric, 9.0, Some(&scores(studies)));
            assert!(of(&good) < of(&bad), "{metric:?}");
            assert!(cost(metric, 9.0, None).is_nan());
        }
        assert_eq!(cost(Metric::Loss, 9.0, None), 9.0);
        for loss in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for metric in [Metric::Loss, Metric::Competition, Metric::PatientAuc] {
                assert!(cost(metric, loss, Some(&scores(&good))).is_nan());
            }
        }
        // Every patient has a fracture.
        assert!(cost(Metric::PatientAuc, 9.0, Some(&scores(&good[..1]))).is_nan());
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
