//! Calibration of probabilities: whether they match the observed frequencies.

use serde::{Deserialize, Serialize};

/// The predictions in a range of probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Bin {
    /// Number of predictions.
    pub count: u64,
    /// Sum of their probabilities.
    pub predicted: f64,
    /// Number of positive ones.
    pub positives: u64,
}

impl Bin {
    /// Sorts predictions, each counted `weights` times, into `bins` of equal width from 0 to 1; the last
    /// one includes 1. A NaN makes the sum of its bin NaN, and with it [`error`].
    pub fn of(labels: &[bool], probabilities: &[f64], weights: &[u32], bins: usize) -> Vec<Self> {
        let mut all = vec![Self::default(); bins];
        for ((&label, &p), &weight) in labels.iter().zip(probabilities).zip(weights) {
            let bin = &mut all[((p * bins as f64) as usize).min(bins - 1)];
            bin.count += u64::from(weight);
            bin.predicted += f64::from(weight) * p;
            bin.positives += u64::from(weight) * u64::from(label);
        }
        all
    }

    /// Returns the mean probability and the share of positives; `None` if the bin is empty.
    pub fn means(&self) -> Option<(f64, f64)> {
        let n = self.count as f64;
        (self.count > 0).then(|| (self.predicted / n, self.positives as f64 / n))
    }
}

/// Expected calibration error: the mean over predictions of the difference between the mean probability
/// of their bin and its share of positives (Guo et al. 2017, <https://arxiv.org/abs/1706.04599>).
pub fn error(bins: &[Bin]) -> f64 {
    let n: u64 = bins.iter().map(|bin| bin.count).sum();
    let off = |bin: &Bin| (bin.predicted - bin.positives as f64).abs();
    bins.iter().map(off).sum::<f64>() / n as f64
}
