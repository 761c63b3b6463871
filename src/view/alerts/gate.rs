//! Hysteresis: conditions that begin and end at different thresholds.

/// A figure relative to the thresholds of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Beyond the threshold where the condition begins.
    Bad,
    /// Between the thresholds.
    Between,
    /// Beyond the threshold where the condition ends.
    Good,
}

impl Reading {
    /// Classifies `x` for a condition that begins above `begins` and ends below `ends`.
    pub(super) fn of(x: f64, begins: f64, ends: f64) -> Self {
        match x {
            x if x > begins => Self::Bad,
            x if x < ends => Self::Good,
            _ => Self::Between,
        }
    }
}

/// A condition that begins after a number of consecutive bad readings and ends after a number of
/// good ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Gate {
    holds: bool,
    /// Consecutive readings that contradict the current state.
    others: u32,
}

impl Gate {
    /// Takes in a reading and returns whether the condition holds now.
    pub(super) fn read(&mut self, reading: Reading, begins: u32, ends: u32) -> bool {
        let (other, needed) = match self.holds {
            true => (Reading::Good, ends),
            false => (Reading::Bad, begins),
        };
        self.others = if reading == other { self.others + 1 } else { 0 };
        if self.others >= needed {
            (self.holds, self.others) = (!self.holds, 0);
        }
        self.holds
    }
}

#[cfg(test)]
mod tests {
    use super::Reading::{Bad, Between, Good};
    use super::*;

    #[test]
    fn a_figure_that_wavers_begins_nothing_and_ends_nothing() {
        let mut gate = Gate::default();
        assert!(![Bad, Bad, Between, Bad, Bad, Good].map(|r| gate.read(r, 3, 2)).contains(&true));
        assert_eq!([Bad, Bad, Bad].map(|r| gate.read(r, 3, 2)), [false, false, true]);
        assert!(![Good, Between, Good, Bad].map(|r| gate.read(r, 3, 2)).contains(&false));
        assert_eq!([Good, Good, Good].map(|r| gate.read(r, 3, 2)), [true, false, false]);
    }
}
