//! Rules about a fold's steps.

use super::gate::{Gate, Reading};
use crate::run::event::Position;
use crate::view::format;
use crate::view::series::{Ema, SMOOTHING};

/// Steps before the smoothed loss is considered meaningful.
const SMOOTHED: u64 = 50;
/// Diverging: excess over the lowest loss, as a fraction of it.
const EXCESS: f64 = 0.5;
/// Diverging: share of the improvement that is lost again. Needed because a loss near 0 doubles
/// easily.
const GIVEN_BACK: f64 = 0.25;
/// Upper bound of the reference loss, in multiples of a constant guess's loss.
const GUESSES: f64 = 2.0;
/// Diverging: consecutive steps.
const IN_A_ROW: u32 = 50;
/// Normal steps after which a non-finite alert ends.
const QUIET: u32 = 50;
/// Consecutive steps with a non-finite gradient; the f16 loss scaler finds its scale in fewer.
const GRADIENTS: u32 = 8;

/// Training loss of a fold.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Steps {
    seen: u64,
    smooth: Ema,
    /// The first meaningful smoothed loss.
    first: Option<f64>,
    /// Lowest smoothed loss, and its position.
    lowest: Option<(f64, Position)>,
    diverging: Gate,
}

impl Default for Steps {
    fn default() -> Self {
        Self {
            seen: 0,
            smooth: Ema::new(SMOOTHING),
            first: None,
            lowest: None,
            diverging: Gate::default(),
        }
    }
}

impl Steps {
    /// Takes in a step's loss. `baseline`: the loss of a constant guess.
    pub(super) fn add(&mut self, at: Position, loss: f64, baseline: f64) -> Option<String> {
        self.seen += 1;
        self.smooth.add_robustly(1, loss);
        let smooth = self.smooth.get().filter(|_| self.seen >= SMOOTHED)?;
        let first = *self.first.get_or_insert(smooth);
        let (lowest, place) = match self.lowest {
            Some(lowest) if lowest.0 <= smooth => lowest,
            _ => *self.lowest.insert((smooth, at)),
        };
        let guess = Some(GUESSES * baseline).filter(|guess| *guess > 0.0);
        let low = guess.map_or(lowest, |guess| guess.min(lowest));
        let limit = (EXCESS * low).max(GIVEN_BACK * (first - low));
        let reading = Reading::of(smooth - low, limit, 0.5 * limit);
        if !self.diverging.read(reading, IN_A_ROW, IN_A_ROW) {
            return None;
        }
        let (now, low) = (format::loss(smooth), format::loss(low));
        Some(match guess {
            Some(guess) if guess < lowest => format!(
                "the training loss of fold {} diverges: {now}, and twice a constant guess's is {low}",
                at.fold
            ),
            _ => format!(
                "the training loss of fold {} diverges: {now} after {low} at epoch {} step {}",
                at.fold, place.epoch, place.step
            ),
        })
    }
}

/// Origin of a non-finite value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// A training or validation loss.
    Loss,
    /// The loss or gradient of a skipped batch.
    Batch,
    /// The gradients of several consecutive steps.
    Gradients,
}

/// Count of non-finite losses and gradients.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct NotFinite {
    count: u64,
    /// Normal steps since the last one.
    quiet: u32,
    /// Consecutive steps with a non-finite gradient.
    gradients: u32,
}

impl NotFinite {
    /// Counts one more and returns the alert's text.
    pub(super) fn add(&mut self, at: Position, what: What) -> String {
        (self.count, self.quiet) = (self.count + 1, 0);
        let n = self.count;
        match what {
            What::Loss if n == 1 => format!("1 loss is not finite, the last at {at}"),
            What::Loss => format!("{n} losses are not finite, the last at {at}"),
            What::Batch => {
                let es = if n == 1 { "" } else { "es" };
                format!(
                    "{n} batch{es} left out: a loss or gradient is not finite, the last after {at}"
                )
            }
            What::Gradients => {
                let n = self.gradients;
                format!("the gradient of {n} steps in a row is not finite, the last at {at}")
            }
        }
    }

    /// Takes in a step's gradient norm; returns whether too many in a row were not finite.
    pub(super) fn gradients(&mut self, norm: f64) -> bool {
        self.gradients = if norm.is_finite() { 0 } else { self.gradients + 1 };
        self.gradients >= GRADIENTS
    }

    /// Takes in a step with a finite loss; returns whether enough have passed to end the alert.
    pub(super) fn is_past(&mut self) -> bool {
        self.quiet += 1;
        let past = self.quiet >= QUIET;
        if past {
            (self.count, self.quiet) = (0, 0);
        }
        past
    }
}
