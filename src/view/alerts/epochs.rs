//! What the epochs of a fold say.

use super::Condition;
use super::gate::{Gate, Reading};
use crate::run::event::Epoch;
use crate::view::format;
use std::collections::VecDeque;

/// Epochs that a loss is averaged over.
const AVERAGED: usize = 3;
/// Changes from epoch to epoch that the usual one is measured by, and the fewest.
const CHANGES: usize = 20;
const FEWEST_CHANGES: usize = 5;
/// By so much of its lowest value an overfitting validation loss lies above it.
const EXCESS: f64 = 0.1;
/// And by so many usual changes.
const BEYOND_NOISE: f64 = 4.0;
/// For so many epochs in a row.
const IN_A_ROW: u32 = 3;
/// Epochs without a new best, at least, and as a share of those planned.
const PATIENCE: usize = 10;
const PATIENT_SHARE: usize = 5;

/// A fold's epochs, as far as the rules need them.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Epochs {
    /// The newest epoch.
    last: usize,
    /// Lowest metric, its epoch, and the validation loss there.
    best: Option<(f64, usize, f64)>,
    /// Validation and training loss of the newest epochs.
    recent: VecDeque<(f64, f64)>,
    /// Changes of the validation loss, without their signs.
    changes: VecDeque<f64>,
    /// Averaged validation and training loss where the former was lowest, and that epoch.
    lowest: Option<(f64, f64, usize)>,
    overfitting: Gate,
}

impl Epochs {
    /// Takes in an epoch of a fold that has `planned`: what the rules for overfitting and for a
    /// plateau say.
    pub(super) fn add(&mut self, epoch: &Epoch, planned: usize) -> (Condition, Condition) {
        let number = epoch.at.epoch;
        if number <= self.last {
            // It is made again, and so is all that came after it.
            *self = Self::default();
        }
        self.last = number;
        (self.overfitting(epoch), self.plateau(epoch, planned))
    }

    fn plateau(&mut self, epoch: &Epoch, planned: usize) -> Condition {
        let (fold, number) = (epoch.at.fold, epoch.at.epoch);
        let better = self.best.is_none_or(|(best, ..)| epoch.metric < best);
        if better && epoch.metric.is_finite() {
            self.best = Some((epoch.metric, number, epoch.valid_loss));
        }
        let Some((_, at, loss)) = self.best else { return Condition::Ended };
        let since = number.saturating_sub(at);
        if since < PATIENCE.max(planned / PATIENT_SHARE) {
            return Condition::Ended;
        }
        let loss = format::loss(loss);
        Condition::Holds(format!(
            "no new best of fold {fold} in {since} epochs: the best is epoch {at}, valid loss {loss}"
        ))
    }

    /// On comparable terms: of both the plain mean of the two heads, the training losses being those
    /// against unmixed targets.
    fn overfitting(&mut self, epoch: &Epoch) -> Condition {
        let valid = 0.5 * (epoch.valid_slice_loss + epoch.valid_study_loss);
        let train = 0.5 * (epoch.train_slice_loss + epoch.train_study_loss);
        if !(valid.is_finite() && train.is_finite()) {
            return Condition::Ended;
        }
        if let Some((before, _)) = self.recent.back() {
            push(&mut self.changes, (valid - before).abs(), CHANGES);
        }
        push(&mut self.recent, (valid, train), AVERAGED);
        if self.recent.len() < AVERAGED {
            return Condition::Ended;
        }
        let n = self.recent.len() as f64;
        let (valid, train) = self.recent.iter().fold((0.0, 0.0), |s, x| (s.0 + x.0, s.1 + x.1));
        let (valid, train) = (valid / n, train / n);
        let (lowest, train_then, place) = match self.lowest {
            Some(lowest) if lowest.0 <= valid => lowest,
            _ => *self.lowest.insert((valid, train, epoch.at.epoch)),
        };
        let Some(usual) = self.usual_change() else { return Condition::Ended };
        let limit = (EXCESS * lowest).max(BEYOND_NOISE * usual);
        let reading = match Reading::of(valid - lowest, limit, 0.5 * limit) {
            Reading::Bad if train >= train_then => Reading::Between,
            reading => reading,
        };
        if !self.overfitting.read(reading, IN_A_ROW, 1) {
            return Condition::Ended;
        }
        let figures = [valid, lowest, train, train_then].map(format::loss);
        let [valid, lowest, train, train_then] = figures;
        Condition::Holds(format!(
            "fold {} overfits: since epoch {place} validation went from {lowest} to {valid}, \
             training from {train_then} to {train} (both heads' mean, unmixed, of {AVERAGED} epochs)",
            epoch.at.fold
        ))
    }

    /// The median of the newest changes.
    fn usual_change(&self) -> Option<f64> {
        if self.changes.len() < FEWEST_CHANGES {
            return None;
        }
        let mut sorted: Vec<f64> = self.changes.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        Some(sorted[sorted.len() / 2])
    }
}

/// Keeps the newest `most`.
fn push<T>(ring: &mut VecDeque<T>, new: T, most: usize) {
    if ring.len() == most {
        ring.pop_front();
    }
    ring.push_back(new);
}
