//! Moving-window mean, and mean with standard deviation.

use std::collections::VecDeque;

/// Mean of the last few values.
#[derive(Debug, Clone, PartialEq)]
pub struct Recent {
    values: VecDeque<f64>,
    capacity: usize,
}

impl Recent {
    /// Creates a window of `capacity` values.
    pub fn new(capacity: usize) -> Self {
        Self { values: VecDeque::with_capacity(capacity), capacity }
    }

    /// Adds a value; negative and non-finite values are ignored.
    pub fn add(&mut self, x: f64) {
        if x.is_finite() && x >= 0.0 {
            if self.values.len() == self.capacity {
                self.values.pop_front();
            }
            self.values.push_back(x);
        }
    }

    /// Whether the window is empty.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Sum of the values.
    pub fn sum(&self) -> f64 {
        self.values.iter().sum()
    }

    /// Mean of the values; `None` if empty.
    pub fn mean(&self) -> Option<f64> {
        (!self.values.is_empty()).then(|| self.sum() / self.values.len() as f64)
    }
}

/// Mean, and the sample standard deviation if there are at least two values.
pub type Mean = (f64, Option<f64>);

/// Mean of `values`; `None` if empty.
pub fn mean(values: &[f64]) -> Option<Mean> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    (n > 0.0).then(|| (mean, (n > 1.0).then(|| (squares / (n - 1.0)).sqrt())))
}
