//! A fold's figures over its steps, with markers for what happened.

use super::series::{Series, Smoothed};
use crate::run::catalogue::{Figure, STEP, View};
use crate::run::event::Step;

/// Maximum number of markers kept per fold.
const MOST_MARKS: usize = 4096;

/// Marker on a fold's curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// `best` was saved.
    Best,
    /// `last` was saved in mid-epoch or on request.
    Saved,
    /// Training was paused.
    Paused,
    /// Training resumed after a pause or in another process.
    Resumed,
    /// A loss or gradient was not finite.
    NonFinite,
    /// The learning rate schedule was changed.
    Rate,
}

/// A fold's figures over its steps (x = steps since the fold's start).
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// A series of each figure of a step; those that no chart shows stay empty.
    series: Vec<Series>,
    /// Moving average of the training loss.
    pub smooth: Smoothed,
    /// Markers, as (steps since the fold's start, marker).
    pub marks: Vec<(u32, Mark)>,
}

impl Default for Curve {
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl Curve {
    /// Creates empty curves that keep at most `capacity` points per figure.
    pub fn new(capacity: usize) -> Self {
        Self {
            series: STEP.iter().map(|_| Series::new(capacity)).collect(),
            smooth: Smoothed::default(),
            marks: Vec::new(),
        }
    }

    /// The figures of steps that the Curves view shows, with their values.
    pub fn figures(&self) -> impl Iterator<Item = (&'static Figure<Step>, &Series)> {
        let all = STEP.iter().zip(&self.series);
        all.filter(|(figure, _)| figure.chart_in(View::Curves).is_some())
    }

    /// Training loss of each step.
    pub fn loss(&self) -> &Series {
        &self.series[0]
    }

    /// Adds a step.
    pub fn add_step(&mut self, x: f64, step: &Step) {
        for (figure, series) in STEP.iter().zip(&mut self.series) {
            if figure.chart_in(View::Curves).is_some()
                && let Some(y) = (figure.read)(step)
            {
                series.add(x, y);
            }
        }
        self.smooth.follow(&self.series[0]);
        if !step.loss.is_finite() || !step.grad_norm.is_finite() {
            self.mark(x, Mark::NonFinite);
        }
    }

    /// Adds a marker at `x`. Above the maximum, every other marker is dropped.
    pub fn mark(&mut self, x: f64, mark: Mark) {
        let x = x.clamp(0.0, f64::from(u32::MAX)) as u32;
        if self.marks.contains(&(x, mark))
            && self.marks.iter().rev().take(8).any(|m| *m == (x, mark))
        {
            return;
        }
        self.marks.push((x, mark));
        if self.marks.len() > MOST_MARKS {
            let mut kept = 0;
            self.marks.retain(|_| {
                kept += 1;
                kept % 2 == 0
            });
        }
    }

    /// Drops everything beyond `x`.
    pub fn truncate(&mut self, x: f64) {
        self.series.iter_mut().for_each(|series| series.truncate(x));
        self.smooth.follow(&self.series[0]);
        self.marks.retain(|(at, _)| f64::from(*at) <= x);
    }

    /// Current smoothed training loss.
    pub fn train_now(&self) -> Option<f64> {
        self.smooth.now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(loss: f64) -> Step {
        Step {
            steps: 30,
            loss,
            slice_loss: loss,
            study_loss: loss,
            vertebra_loss: [loss; 7],
            grad_norm: 1.0,
            learning_rate: 0.1,
            images: 1,
            compute_seconds: 1.0,
            ..Step::default()
        }
    }

    #[test]
    fn a_resumed_epoch_is_drawn_anew() {
        let mut curve = Curve::default();
        for x in 1..=30 {
            curve.add_step(x.into(), &step(1.0));
        }
        curve.mark(20.0, Mark::Saved);
        curve.mark(25.0, Mark::Paused);
        curve.truncate(20.0);
        assert_eq!(curve.loss().last().map(|point| point.x), Some(20));
        assert_eq!(curve.smooth.series().last().map(|point| point.x), Some(20));
        assert_eq!(curve.marks, [(20, Mark::Saved)]);
    }

    #[test]
    fn a_loss_that_is_not_finite_is_marked_once() {
        let mut curve = Curve::default();
        curve.add_step(1.0, &step(1.0));
        curve.add_step(2.0, &step(f64::NAN));
        curve.add_step(2.0, &step(f64::NAN));
        assert_eq!(curve.marks, [(2, Mark::NonFinite)]);
        assert!((curve.train_now().unwrap() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn marks_are_few_however_many_there_were() {
        let mut curve = Curve::default();
        (0..100_000).for_each(|x| curve.mark(x.into(), Mark::Saved));
        assert!(curve.marks.len() <= MOST_MARKS);
    }
}
