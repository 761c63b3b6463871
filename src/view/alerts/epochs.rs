//! Rules about a fold's epochs.

use super::gate::{Gate, Reading};
use crate::run::event::Epoch;
use crate::view::format;
use std::collections::VecDeque;

/// Epochs a loss is averaged over.
const AVERAGED: usize = 3;
/// Epoch-to-epoch changes used for the typical change, and the minimum number needed.
const CHANGES: usize = 20;
const FEWEST_CHANGES: usize = 5;
/// Overfitting: excess over the lowest validation loss, as a fraction of it.
const EXCESS: f64 = 0.1;
/// Overfitting: excess in multiples of the typical change.
const BEYOND_NOISE: f64 = 4.0;
/// Overfitting: consecutive epochs.
const IN_A_ROW: u32 = 3;
/// Plateau: minimum number of epochs without a new best, and the divisor of the planned epochs.
const PATIENCE: usize = 10;
const PATIENT_SHARE: usize = 5;

/// State of the rules for one fold.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Epochs {
    /// Number of the newest epoch.
    last: usize,
    /// Lowest metric, its epoch, and the validation loss there.
    best: Option<(f64, usize, f64)>,
    /// Validation and training loss of the newest epochs.
    recent: VecDeque<(f64, f64)>,
    /// Absolute changes of the validation loss.
    changes: VecDeque<f64>,
    /// Averaged validation and training loss at the lowest averaged validation loss, and that
    /// epoch.
    lowest: Option<(f64, f64, usize)>,
    overfitting: Gate,
}

impl Epochs {
    /// Takes in an epoch of a fold with `planned` epochs. Returns the conditions for overfitting
    /// and plateau.
    pub(super) fn add(
        &mut self,
        epoch: &Epoch,
        planned: usize,
    ) -> (Option<String>, Option<String>) {
        let number = epoch.at.epoch;
        if number <= self.last {
            // A repeated epoch invalidates everything after it.
            *self = Self::default();
        }
        self.last = number;
        (self.overfitting(epoch), self.plateau(epoch, planned))
    }

    fn plateau(&mut self, epoch: &Epoch, planned: usize) -> Option<String> {
        let (fold, number) = (epoch.at.fold, epoch.at.epoch);
        let better = self.best.is_none_or(|(best, ..)| epoch.metric < best);
        if better && epoch.metric.is_finite() {
            self.best = Some((epoch.metric, number, epoch.valid_loss));
        }
        let (_, at, loss) = self.best?;
        let since = number.saturating_sub(at);
        if since < PATIENCE.max(planned / PATIENT_SHARE) {
            return None;
        }
        let loss = format::loss(loss);
        Some(format!(
            "no new best of fold {fold} in {since} epochs: the best is epoch {at}, valid loss {loss}"
        ))
    }

    /// Compares like with like: the plain mean of both heads for validation and for training, with
    /// the training losses taken against unmixed targets.
    fn overfitting(&mut self, epoch: &Epoch) -> Option<String> {
        let valid = 0.5 * (epoch.valid_slice_loss + epoch.valid_study_loss);
        let train = 0.5 * (epoch.train_slice_loss + epoch.train_study_loss);
        if !(valid.is_finite() && train.is_finite()) {
            return None;
        }
        if let Some((before, _)) = self.recent.back() {
            push(&mut self.changes, (valid - before).abs(), CHANGES);
        }
        push(&mut self.recent, (valid, train), AVERAGED);
        if self.recent.len() < AVERAGED {
            return None;
        }
        let n = self.recent.len() as f64;
        let (valid, train) = self.recent.iter().fold((0.0, 0.0), |s, x| (s.0 + x.0, s.1 + x.1));
        let (valid, train) = (valid / n, train / n);
        let (lowest, train_then, place) = match self.lowest {
            Some(lowest) if lowest.0 <= valid => lowest,
            _ => *self.lowest.insert((valid, train, epoch.at.epoch)),
        };
        let usual = self.usual_change()?;
        let limit = (EXCESS * lowest).max(BEYOND_NOISE * usual);
        let reading = match Reading::of(valid - lowest, limit, 0.5 * limit) {
            Reading::Bad if train >= train_then => Reading::Between,
            reading => reading,
        };
        if !self.overfitting.read(reading, IN_A_ROW, 1) {
            return None;
        }
        let figures = [valid, lowest, train, train_then].map(format::loss);
        let [valid, lowest, train, train_then] = figures;
        Some(format!(
            "fold {} overfits: since epoch {place} validation went from {lowest} to {valid}, \
             training from {train_then} to {train} (both heads' mean, unmixed, of {AVERAGED} epochs)",
            epoch.at.fold
        ))
    }

    /// Median of the newest changes.
    fn usual_change(&self) -> Option<f64> {
        if self.changes.len() < FEWEST_CHANGES {
            return None;
        }
        let mut sorted: Vec<f64> = self.changes.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        Some(sorted[sorted.len() / 2])
    }
}

/// Appends `new`, keeping at most `most` values.
fn push<T>(ring: &mut VecDeque<T>, new: T, most: usize) {
    if ring.len() == most {
        ring.pop_front();
    }
    ring.push_back(new);
}
