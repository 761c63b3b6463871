//! What the steps of a fold say.

use super::Condition;
use super::gate::{Gate, Reading};
use crate::run::event::Position;
use crate::view::format;
use crate::view::series::{Ema, SMOOTHING};

/// Steps that the smoothed loss is made of before it counts.
const SMOOTHED: u64 = 50;
/// By so much of its lowest value a diverging loss lies above it.
const EXCESS: f64 = 0.5;
/// And by so much of what had been gained: a loss near 0 doubles easily.
const GIVEN_BACK: f64 = 0.25;
/// A loss of so many constant guesses is nothing to measure others by.
const GUESSES: f64 = 2.0;
/// For so many steps in a row.
const IN_A_ROW: u32 = 50;
/// Steps as they should be after which losses that are not finite are past.
const QUIET: u32 = 50;
/// Steps in a row whose gradient is not finite; the scaler of f16 finds its scale in fewer.
const GRADIENTS: u32 = 8;

/// The training loss of a fold.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Steps {
    seen: u64,
    smooth: Ema,
    /// The smoothed loss once it counts.
    first: Option<f64>,
    /// Its lowest value since, and where.
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
    /// Takes in a step's loss. `baseline`: a constant guess's.
    pub(super) fn add(&mut self, at: Position, loss: f64, baseline: f64) -> Condition {
        self.seen += 1;
        self.smooth.add_robustly(1, loss);
        let Some(smooth) = self.smooth.get().filter(|_| self.seen >= SMOOTHED) else {
            return Condition::Ended;
        };
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
            return Condition::Ended;
        }
        let (now, low) = (format::loss(smooth), format::loss(low));
        Condition::Holds(match guess {
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

/// What is not finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// A training or validation loss.
    Loss,
    /// A loss or gradient of a batch that was left out.
    Batch,
    /// The gradients of some steps in a row.
    Gradients,
}

/// Losses and gradients that are not finite.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct NotFinite {
    count: u64,
    /// Steps as they should be since.
    quiet: u32,
    /// Steps in a row whose gradient is not finite.
    gradients: u32,
}

impl NotFinite {
    /// One more; in words.
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

    /// A step's gradient; whether there were too many in a row that are not finite.
    pub(super) fn gradients(&mut self, norm: f64) -> bool {
        self.gradients = if norm.is_finite() { 0 } else { self.gradients + 1 };
        self.gradients >= GRADIENTS
    }

    /// A step's loss is finite; whether that was so for long.
    pub(super) fn is_past(&mut self) -> bool {
        self.quiet += 1;
        let past = self.quiet >= QUIET;
        if past {
            (self.count, self.quiet) = (0, 0);
        }
        past
    }
}
