//! Axis scales and ticks.

/// Maps values to rows of dots.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    log: bool,
    dots: f64,
}

impl Scale {
    /// Creates a scale of `range` over `dots` rows.
    pub fn new((low, high): (f64, f64), log: bool, dots: u16) -> Self {
        let log = log && low > 0.0;
        let (low, high) = if log { (low.ln(), high.ln()) } else { (low, high) };
        Self { low, high, log, dots: dots.into() }
    }

    /// The row of a value, 0 at the top; values outside the range map to rows outside, up to a
    /// limit.
    pub fn dot(&self, y: f64) -> i32 {
        let y = if self.log { y.max(f64::MIN_POSITIVE).ln() } else { y };
        let share = (self.high - y) / (self.high - self.low);
        // Further out, the part of a line that is visible hardly changes. (NaN becomes 0 in the
        // conversion.)
        (share * self.dots).clamp(-2.0 * self.dots, 3.0 * self.dots).floor() as i32
    }
}

/// About `count` round values within `range`, ascending.
pub fn ticks((low, high): (f64, f64), count: usize, log: bool) -> Vec<f64> {
    let sound = low.is_finite() && high.is_finite() && high > low;
    match (sound, log && low > 0.0) {
        (false, _) => Vec::new(),
        (true, true) if high / low > 4.0 => decades(low, high, count),
        (true, _) => rounds(low, high, count),
    }
}

fn rounds(low: f64, high: f64, count: usize) -> Vec<f64> {
    let rough = (high - low) / count.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 2.5, 5.0, 10.0].map(|m| m * power).into_iter().find(|&s| s >= rough * 0.999);
    let Some(step) = step.filter(|s| s.is_normal()) else { return Vec::new() };
    let first = (low / step).ceil();
    // Bound the loop, because adding a step to a huge value may not change it.
    let most = 4 * count.max(1) + 4;
    (0..most)
        .map(|i| (first + i as f64) * step)
        .take_while(|&y| y <= high + 1e-9 * step)
        .map(|y| if y.abs() < 1e-9 * step { 0.0 } else { y })
        .collect()
}

/// Powers of ten, with 2 and 5 between them if there is room.
fn decades(low: f64, high: f64, count: usize) -> Vec<f64> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let powers = (last - first).max(1) as usize;
    let between: &[f64] = match count / powers {
        0 | 1 => &[1.0],
        2 => &[1.0, 3.0],
        _ => &[1.0, 2.0, 5.0],
    };
    let every = powers.div_ceil(count.max(1)).max(1);
    (first..=last)
        .step_by(every)
        .flat_map(|power| between.iter().map(move |m| m * 10f64.powi(power)))
        .filter(|y| (low..=high).contains(y))
        .collect()
}

/// Formats an axis value as briefly as possible: `0`, `12`, `0.5`, `20k`.
pub(super) fn plain(x: f64) -> String {
    match x {
        x if x.abs() >= 10_000.0 && x % 1000.0 == 0.0 => format!("{}k", x / 1000.0),
        x if x == x.round() => format!("{x:.0}"),
        x => {
            let text = format!("{x:.3}");
            text.trim_end_matches('0').trim_end_matches('.').into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(ticks((0.0, 1.0), 4, false), [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert_eq!(ticks((0.13, 0.92), 4, false), [0.2, 0.4, 0.6000000000000001, 0.8]);
        assert_eq!(ticks((-3.0, 12.0), 3, false), [0.0, 5.0, 10.0]);
        assert_eq!(ticks((1e-5, 1e-2), 3, true), [1e-5, 1e-4, 1e-3, 1e-2]);
        assert_eq!(ticks((0.2, 0.5), 3, true), [0.2, 0.30000000000000004, 0.4, 0.5]);
        assert!(ticks((1.0, 1.0), 3, false).is_empty());
        assert!(ticks((f64::NAN, 1.0), 3, false).is_empty());
        assert!(ticks((0.0, f64::MAX), 3, false).len() < 20);
    }

    #[test]
    fn the_ends_of_a_scale_are_its_first_and_last_row() {
        let linear = Scale::new((0.0, 1.0), false, 40);
        assert_eq!((linear.dot(1.0), linear.dot(0.51), linear.dot(0.001)), (0, 19, 39));
        assert!(linear.dot(9e9) < 0 && linear.dot(-9e9) >= 40);
        let log = Scale::new((0.01, 1.0), true, 40);
        assert_eq!((log.dot(1.0), log.dot(0.099)), (0, 20));
    }

    #[test]
    fn figures_are_short() {
        assert_eq!([0.0, 12.0, 0.5, 20_000.0].map(plain), ["0", "12", "0.5", "20k"]);
    }
}
