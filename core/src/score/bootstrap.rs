//! Confidence intervals by the bootstrap: as many studies as there are, drawn with replacement
//! (Efron & Tibshirani 1993, chapter 13: percentiles).

use super::Figure;
use crate::rng::{Key, Purpose};
use rand::Rng;

/// Percentiles at the ends of an interval, as shares.
const PERCENTILES: (f64, f64) = (0.025, 0.975);

/// Resamples, as the number of times that each study was drawn.
pub(super) struct Resamples {
    /// `[resamples, studies]`
    weights: Vec<u32>,
    studies: usize,
}

impl Resamples {
    pub fn new(studies: usize, resamples: usize, seed: u64) -> Self {
        let mut weights = vec![0; studies * resamples];
        let mut rng = Key::new(seed, Purpose::Bootstrap).rng();
        for weights in weights.chunks_exact_mut(studies) {
            for _ in 0..studies {
                weights[rng.random_range(0..studies)] += 1;
            }
        }
        Self { weights, studies }
    }

    pub fn len(&self) -> usize {
        self.weights.len() / self.studies
    }

    pub fn weights(&self) -> impl Iterator<Item = &[u32]> {
        self.weights.chunks_exact(self.studies)
    }

    /// Computes the mean of a value per study.
    pub fn mean(&self, values: &[f64]) -> Figure {
        let n = values.len() as f64;
        let resampled = self.weights().map(|weights| {
            weights.iter().zip(values).map(|(&w, x)| f64::from(w) * x).sum::<f64>() / n
        });
        let interval = interval(resampled.collect(), self.len());
        Figure { value: values.iter().sum::<f64>() / n, interval }
    }
}

/// Returns the range of the middle 95 % of `values`; `None` if they are fewer than half of the
/// `resamples`, or one of them is NaN.
pub(super) fn interval(mut values: Vec<f64>, resamples: usize) -> Option<(f64, f64)> {
    let any_nan = values.iter().any(|value| value.is_nan());
    if any_nan || values.is_empty() || 2 * values.len() < resamples {
        return None;
    }
    values.sort_by(f64::total_cmp);
    // Like NumPy's `percentile`: linear between neighbours.
    let at = |share: f64| {
        let place = share * (values.len() - 1) as f64;
        let (below, rest) = (place as usize, place.fract());
        let above = values[(below + 1).min(values.len() - 1)];
        values[below] + rest * (above - values[below])
    };
    Some((at(PERCENTILES.0), at(PERCENTILES.1)))
}
