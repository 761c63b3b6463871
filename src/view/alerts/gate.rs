//! Conditions that begin and end at different values.

/// What a figure says of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// It is beyond the value at which the condition begins.
    Bad,
    /// Neither.
    Between,
    /// It is back beyond the value at which the condition ends.
    Good,
}

impl Reading {
    /// Of `x`, where the condition begins above `begins` and ends below `ends`.
    pub(super) fn of(x: f64, begins: f64, ends: f64) -> Self {
        match x {
            x if x > begins => Self::Bad,
            x if x < ends => Self::Good,
            _ => Self::Between,
        }
    }
}

/// A condition that so many bad readings in a row begin, and so many good ones end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Gate {
    holds: bool,
    /// Readings in a row that speak for the other state.
    others: u32,
}

impl Gate {
    /// Takes a reading in; whether the condition holds now.
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
