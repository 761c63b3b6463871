//! Intervals by the bootstrap: studies drawn with replacement, as many as there are
//! (Efron & Tibshirani 1993, chapter 13: percentiles).

use super::Figure;
use crate::rng::{Key, Purpose};
use rand::Rng;

/// The percentiles that an interval lies between, as shares.
const PERCENTILES: (f64, f64) = (0.025, 0.975);

/// How often each study was drawn, for a number of resamples.
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

    /// The mean of a value of each study.
    pub fn mean(&self, values: &[f64]) -> Figure {
        let n = values.len() as f64;
        let resampled = self.weights().map(|weights| {
            weights.iter().zip(values).map(|(&w, x)| f64::from(w) * x).sum::<f64>() / n
        });
        let interval = interval(resampled.collect(), self.len());
        Figure { value: values.iter().sum::<f64>() / n, interval }
    }
}

/// Within which the middle 95 % of `values` lie; `None` where they are fewer than half of the
/// `resamples`, or one of them is NaN.
pub(super) fn interval(mut values: Vec<f64>, resamples: usize) -> Option<(f64, f64)> {
    let any_nan = values.iter().any(|value| value.is_nan());
    if any_nan || values.is_empty() || 2 * values.len() < resamples {
        return None;
    }
    values.sort_by(f64::total_cmp);
    // As NumPy's `percentile`: linear between neighbours.
    let at = |share: f64| {
        let place = share * (values.len() - 1) as f64;
        let (below, rest) = (place as usize, place.fract());
        let above = values[(below + 1).min(values.len() - 1)];
        values[below] + rest * (above - values[below])
    };
    Some((at(PERCENTILES.0), at(PERCENTILES.1)))
}
