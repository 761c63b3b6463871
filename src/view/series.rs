//! Curves that stay small however long a fold is.

use std::collections::VecDeque;

/// Intervals a [`Series`] holds before it merges neighbours.
const CAPACITY: usize = 2048;

/// Exponential moving average, corrected for its start at zero as Adam's moments are: after one
/// value it is that value.
#[derive(Debug, Clone, PartialEq)]
pub struct Ema {
    beta: f64,
    value: f64,
    weight: f64,
}

impl Ema {
    /// An average that forgets with `beta` a step.
    pub fn new(beta: f64) -> Self {
        Self { beta, value: 0.0, weight: 0.0 }
    }

    /// Takes a value in; one that is not finite would spoil the average for good and is left out.
    pub fn add(&mut self, x: f64) {
        if x.is_finite() {
            self.value = self.beta * self.value + (1.0 - self.beta) * x;
            self.weight = self.beta * self.weight + (1.0 - self.beta);
        }
    }

    /// The average; `None` before the first value.
    pub fn get(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.value / self.weight)
    }
}

/// The lowest and the highest point of an interval of x.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Interval {
    index: u64,
    low: (f64, f64),
    high: (f64, f64),
}

impl Interval {
    fn merge(&mut self, other: &Interval) {
        if other.low.1 < self.low.1 {
            self.low = other.low;
        }
        if other.high.1 > self.high.1 {
            self.high = other.high;
        }
    }
}

/// Points over x, in bounded memory: once there are too many, neighbouring intervals are merged
/// and of each the lowest and the highest point are kept, so that a spike is never lost.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    intervals: Vec<Interval>,
    width: f64,
}

impl Default for Series {
    fn default() -> Self {
        Self { intervals: Vec::new(), width: 1.0 }
    }
}

impl Series {
    /// Adds a point; one that is not finite is left out. x grows, as steps do.
    pub fn add(&mut self, x: f64, y: f64) {
        if !x.is_finite() || !y.is_finite() || x < 0.0 {
            return;
        }
        let index = (x / self.width) as u64;
        let new = Interval { index, low: (x, y), high: (x, y) };
        match self.intervals.last_mut() {
            // A step back within the last interval (a resumed run) still belongs to it.
            Some(last) if last.index >= index => last.merge(&new),
            _ => self.intervals.push(new),
        }
        while self.intervals.len() > CAPACITY {
            self.halve();
        }
    }

    fn halve(&mut self) {
        self.width *= 2.0;
        let mut merged: Vec<Interval> = Vec::with_capacity(CAPACITY);
        for mut interval in self.intervals.drain(..) {
            interval.index /= 2;
            match merged.last_mut() {
                Some(last) if last.index == interval.index => last.merge(&interval),
                _ => merged.push(interval),
            }
        }
        self.intervals = merged;
    }

    /// Drops what lies beyond `x`: a resumed epoch is drawn anew.
    pub fn truncate(&mut self, x: f64) {
        self.intervals.retain(|i| i.low.0 <= x && i.high.0 <= x);
    }

    /// The points kept, by x.
    pub fn points(&self) -> Vec<(f64, f64)> {
        let mut points = Vec::with_capacity(2 * self.intervals.len());
        for i in &self.intervals {
            let (first, second) =
                if i.low.0 <= i.high.0 { (i.low, i.high) } else { (i.high, i.low) };
            points.push(first);
            if second != first {
                points.push(second);
            }
        }
        points
    }

    /// Whether there is no point yet.
    pub fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }
}

/// A fold's losses over its steps (x = steps since the fold's start).
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Training loss of each step.
    pub raw: Series,
    /// Its moving average.
    pub smooth: Series,
    /// Validation loss, at the end of its epoch.
    pub valid: Vec<(f64, f64)>,
    ema: Ema,
    steps: u64,
}

/// A loss so many times the average, or the average of the first steps so many times a loss, is
/// out of all proportion.
const OUTLIER: f64 = 10.0;

/// Forgetting of the smoothed training figures: about the last 50 steps.
pub const SMOOTHING: f64 = 0.98;

impl Default for Curve {
    fn default() -> Self {
        Self {
            raw: Series::default(),
            smooth: Series::default(),
            valid: Vec::new(),
            ema: Ema::new(SMOOTHING),
            steps: 0,
        }
    }
}

impl Curve {
    /// Adds a step's training loss. The average takes it in as it is, unless it is out of all
    /// proportion: one step of 900 would otherwise hide the next few hundred of 0.6.
    pub fn add_step(&mut self, x: f64, loss: f64) {
        if !loss.is_finite() {
            return;
        }
        self.raw.add(x, loss);
        self.steps += 1;
        match self.ema.get() {
            Some(average) if self.steps <= 10 && average > OUTLIER * loss => {
                self.ema = Ema::new(SMOOTHING);
                self.ema.add(loss);
            }
            Some(average) if average > 0.0 => self.ema.add(loss.min(OUTLIER * average)),
            _ => self.ema.add(loss),
        }
        if let Some(y) = self.ema.get() {
            self.smooth.add(x, y);
        }
    }

    /// Adds an epoch's validation loss at the epoch's end.
    pub fn add_valid(&mut self, x: f64, loss: f64) {
        self.valid.retain(|p| p.0 < x);
        if loss.is_finite() {
            self.valid.push((x, loss));
        }
    }

    /// Drops what lies beyond `x`.
    pub fn truncate(&mut self, x: f64) {
        self.raw.truncate(x);
        self.smooth.truncate(x);
        self.valid.retain(|p| p.0 <= x);
    }

    /// The smoothed training loss now.
    pub fn train_now(&self) -> Option<f64> {
        self.ema.get()
    }
}

/// The mean of the last few values.
#[derive(Debug, Clone, PartialEq)]
pub struct Recent {
    values: VecDeque<f64>,
    capacity: usize,
}

impl Recent {
    /// A window of `capacity` values.
    pub fn new(capacity: usize) -> Self {
        Self { values: VecDeque::with_capacity(capacity), capacity }
    }

    /// Takes a value in; one that is no duration is left out.
    pub fn add(&mut self, x: f64) {
        if x.is_finite() && x >= 0.0 {
            if self.values.len() == self.capacity {
                self.values.pop_front();
            }
            self.values.push_back(x);
        }
    }

    /// Forgets all values.
    pub fn clear(&mut self) {
        self.values.clear();
    }

    /// Values in the window.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether the window is empty.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Their sum.
    pub fn sum(&self) -> f64 {
        self.values.iter().sum()
    }

    /// Their mean; `None` before the first.
    pub fn mean(&self) -> Option<f64> {
        (!self.values.is_empty()).then(|| self.sum() / self.values.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_is_the_average_and_a_constant_stays() {
        let mut ema = Ema::new(0.98);
        assert_eq!(ema.get(), None);
        for _ in 0..3 {
            ema.add(0.7);
            assert!((ema.get().unwrap() - 0.7).abs() < 1e-12);
        }
        ema.add(f64::NAN);
        assert!((ema.get().unwrap() - 0.7).abs() < 1e-12);
    }

    #[test]
    fn two_values_weigh_as_the_formula_says() {
        let mut ema = Ema::new(0.9);
        ema.add(1.0);
        ema.add(2.0);
        // (0.9 · 0.1 · 1 + 0.1 · 2) / (1 − 0.9²)
        assert!((ema.get().unwrap() - 0.29 / 0.19).abs() < 1e-12);
    }

    #[test]
    fn a_million_steps_stay_small_and_keep_the_spike() {
        let mut series = Series::default();
        for step in 1..=1_000_000u64 {
            let y = if step == 123_457 { 40.0 } else { 0.5 };
            series.add(step as f64, y);
        }
        let points = series.points();
        assert!(points.len() <= 2 * CAPACITY);
        assert!(points.contains(&(123_457.0, 40.0)));
        assert!(points.windows(2).all(|p| p[0].0 <= p[1].0), "by x");
    }

    #[test]
    fn one_step_out_of_all_proportion_does_not_hide_the_rest() {
        let mut curve = Curve::default();
        curve.add_step(1.0, 900.0);
        for step in 2..=100 {
            curve.add_step(step as f64, if step == 50 { f64::MAX } else { 0.6 });
            curve.add_step(step as f64, f64::NAN);
        }
        assert!((curve.train_now().unwrap() - 0.6).abs() < 0.1);
        assert!(curve.raw.points().contains(&(50.0, f64::MAX)), "the spike itself is kept");
    }

    #[test]
    fn a_resumed_epoch_is_drawn_anew() {
        let mut curve = Curve::default();
        for step in 1..=30 {
            curve.add_step(step as f64, 1.0);
        }
        curve.add_valid(10.0, 0.5);
        curve.truncate(20.0);
        assert_eq!(curve.raw.points().last(), Some(&(20.0, 1.0)));
        assert_eq!(curve.valid.len(), 1);
    }

    #[test]
    fn what_is_not_finite_is_left_out() {
        let mut series = Series::default();
        series.add(1.0, f64::NAN);
        series.add(2.0, f64::INFINITY);
        assert!(series.is_empty());
    }
}
