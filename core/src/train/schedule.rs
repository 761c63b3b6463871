//! The learning rate: one cosine over the epochs.

use crate::config::Train;
use std::f64::consts::PI;

/// Returns the learning rate of `epoch` (from 1):
/// η_min + (η_max - η_min) · (1 + cos(π·(epoch-1)/epochs)) / 2,
/// PyTorch's `CosineAnnealingWarmRestarts(T_0 = epochs)` stepped with epoch-1
/// (Loshchilov & Hutter 2017, <https://arxiv.org/abs/1608.03983>).
pub fn learning_rate(train: &Train, epoch: usize) -> f64 {
    let t = (epoch - 1) as f64 / train.epochs as f64;
    let (max, min) = (train.learning_rate, train.min_learning_rate);
    min + (max - min) * (1.0 + (PI * t).cos()) / 2.0
}

/// Returns the learning rates of all epochs.
pub fn learning_rates(train: &Train) -> Vec<f64> {
    (1..=train.epochs).map(|e| learning_rate(train, e)).collect()
}
