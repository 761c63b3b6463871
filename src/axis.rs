//! The axes of a chart, on the terminal or in a file: how values map to lengths, and the round values along
//! them with their labels.

/// Limit of coordinates; larger ones are clamped to it. Near the largest floats a range's width would
/// overflow, and a line on the terminal would have 2⁶⁴ points.
pub const HIGHEST: f64 = 1e100;
/// Limit above which an axis uses powers of ten.
const LARGE: f64 = 1e9;
/// Limit below which, if all its values are, an axis uses powers of ten.
const SMALL: f64 = 1e-2;

/// Distances of round values in a file, times a power of ten.
pub const STEPS: &[f64] = &[1.0, 2.0, 5.0];
/// Those on the terminal, where a short axis would otherwise have a single value.
pub const CLOSE_STEPS: &[f64] = &[1.0, 2.0, 2.5, 5.0];

/// How values map to lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scale {
    /// Equal differences have equal lengths.
    #[default]
    Linear,
    /// Equal ratios have equal lengths; values ≤ 0 are not shown.
    Log,
}

/// The part of an axis that is shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// Left or lower end, finite; above 0 on a logarithmic scale.
    pub low: f64,
    /// Right or upper end, finite and above the other one.
    pub high: f64,
    /// How values map to lengths.
    pub scale: Scale,
}

impl Span {
    /// Returns the position of `value` between the ends, 0 to 1; outside of that if it lies beyond them.
    pub fn share(&self, value: f64) -> f64 {
        let Self { low, high, .. } = *self;
        match self.scale {
            Scale::Linear => (value.clamp(-HIGHEST, HIGHEST) - low) / (high - low),
            Scale::Log => (value.clamp(1.0 / HIGHEST, HIGHEST) / low).ln() / (high / low).ln(),
        }
    }

    /// Like [`Self::share`], from the upper end: `1 - share` would be rounded once more, which moves values
    /// on the border of two rows of a terminal.
    pub fn share_from_top(&self, value: f64) -> f64 {
        Self { low: self.high, high: self.low, ..*self }.share(value)
    }

    /// Whether `value` lies between the ends.
    pub fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// Returns round values between the ends, ascending, at most about `most`, one of `steps` apart.
    pub fn ticks(&self, most: usize, steps: &[f64]) -> Vec<f64> {
        match self.scale {
            Scale::Linear => linear(self.low, self.high, most, steps),
            Scale::Log => log(self.low, self.high, most, steps),
        }
    }

    /// Formats these [`Self::ticks`], all in the same style.
    pub fn labels(&self, ticks: &[f64]) -> Vec<String> {
        match self.scale {
            Scale::Linear => linear_labels(ticks),
            Scale::Log => log_labels(ticks),
        }
    }
}

/// Returns the lowest and the highest of the finite values; `None` without any.
pub fn ends(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let finite = values.filter(|value| value.is_finite()).map(|value| (value, value));
    finite.reduce(|(low, high), (value, _)| (low.min(value), high.max(value)))
}

/// Returns multiples of one of `steps` times a power of ten from `low` to `high`, at most about `most`.
///
/// `low < high`, both finite.
fn linear(low: f64, high: f64, most: usize, steps: &[f64]) -> Vec<f64> {
    let rough = (high - low) / most.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = steps.iter().map(|n| n * power).find(|&step| step >= rough);
    let step = step.unwrap_or(10.0 * power);
    let (first, last) = ((low / step - 1e-9).ceil(), (high / step + 1e-9).floor());
    // Near the smallest floats a step may round to 0.
    if !(step > 0.0 && first.is_finite() && last.is_finite()) {
        return vec![low, high];
    }
    let count = (last - first).clamp(0.0, 2.0 * most as f64) as usize;
    // Adding 0 turns −0 into 0.
    (0..=count).map(|i| (first + i as f64) * step + 0.0).collect()
}

/// Returns powers of ten from `low` to `high`, with 2 and 5 times them if there is room, at most about
/// `most`. If the range contains fewer than two of these, returns the ticks of [`linear`].
///
/// `0 < low < high`, both finite.
fn log(low: f64, high: f64, most: usize, steps: &[f64]) -> Vec<f64> {
    let powers = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let within = |x: &f64| (low * (1.0 - 1e-9)..=high * (1.0 + 1e-9)).contains(x);
    let of = |each: i32, times: &[f64]| -> Vec<f64> {
        let powers = powers.clone().filter(|power| power % each == 0);
        powers.flat_map(|p| times.iter().map(move |n| n * 10f64.powi(p))).filter(within).collect()
    };
    let fine = of(1, &[1.0, 2.0, 5.0]);
    if fine.len() < 2 {
        return linear(low, high, most, steps);
    }
    if fine.len() <= most.max(2) {
        return fine;
    }
    let every = |each| of(each, &[1.0]);
    let coarse = (1..1000).map(every).find(|ticks| ticks.len() <= most).unwrap_or_default();
    if coarse.len() < 2 { fine } else { coarse }
}

/// Formats ticks of [`linear`], all in the same style: `0.25`, `20k`, `2e-4`.
fn linear_labels(ticks: &[f64]) -> Vec<String> {
    let largest = ticks.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    let steps = ticks.windows(2).map(|pair| (pair[1] - pair[0]).abs());
    let finest = steps.filter(|&step| step > 0.0).fold(f64::INFINITY, f64::min);
    let finest = if finest.is_finite() { finest } else { largest };
    let label = |&x: &f64| match x {
        0.0 => "0".into(),
        _ if !(SMALL..LARGE).contains(&largest) => power(x),
        _ if finest >= 1e6 => format!("{}M", x / 1e6),
        _ if finest >= 1e3 && largest >= 1e4 => format!("{}k", x / 1e3),
        _ => {
            // Steps of 0.05 need two decimals; the float may be slightly less than the number it stands for.
            let decimals = (-(finest * (1.0 + 1e-9)).log10().floor()).clamp(0.0, 12.0) as usize;
            // Steps of 2.5 times a power of ten need one more.
            let digits = finest * 10f64.powi(decimals as i32);
            let halves = (digits - digits.round()).abs() > 0.1;
            format!("{x:.*}", decimals + usize::from(halves))
        }
    };
    ticks.iter().map(label).collect()
}

/// Formats ticks of [`log`]: `0.5`, `100`, or all as powers of ten.
fn log_labels(ticks: &[f64]) -> Vec<String> {
    let plain = ticks.iter().all(|x| (1e-3..1e5).contains(x));
    let label = |&x: &f64| match plain {
        true => trimmed(&format!("{x:.6}")).into(),
        false => power(x),
    };
    ticks.iter().map(label).collect()
}

/// Formats a number as `2.5e-4`.
fn power(x: f64) -> String {
    let text = format!("{x:.3e}");
    match text.split_once('e') {
        Some((digits, power)) => format!("{}e{power}", trimmed(digits)),
        None => text,
    }
}

/// Removes trailing zeros of the decimals.
pub fn trimmed(digits: &str) -> &str {
    match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.'),
        false => digits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_one_two_or_five() {
        let labels = |low, high, most| linear_labels(&linear(low, high, most, STEPS)).join(" ");
        assert_eq!(labels(0.0, 10.0, 5), "0 2 4 6 8 10");
        assert_eq!(labels(0.13, 0.97, 5), "0.2 0.4 0.6 0.8");
        assert_eq!(labels(0.31, 0.62, 8), "0.35 0.40 0.45 0.50 0.55 0.60");
        assert_eq!(labels(0.0, 48_000.0, 6), "0 10k 20k 30k 40k");
        assert_eq!(labels(0.0, 3e6, 4), "0 1M 2M 3M");
        assert_eq!(labels(0.0, 2.3e-4, 5), "0 5e-5 1e-4 1.5e-4 2e-4");
        assert_eq!(labels(-1.0, 1.0, 4), "-1.0 -0.5 0 0.5 1.0");
        assert_eq!(labels(0.41235, 0.41245, 4), "0.41235 0.41240 0.41245");
        let close = |high| linear_labels(&linear(0.0, high, 4, CLOSE_STEPS)).join(" ");
        assert_eq!((&*close(1.0), &*close(9.0)), ("0 0.25 0.50 0.75 1.00", "0 2.5 5.0 7.5"));
    }

    #[test]
    fn powers_of_ten_with_two_and_five_between_where_there_is_room() {
        let labels = |low, high, most| log_labels(&log(low, high, most, STEPS)).join(" ");
        assert_eq!(labels(0.09, 1.1, 6), "0.1 0.2 0.5 1");
        assert_eq!(labels(0.5, 2e4, 6), "1 10 100 1000 10000");
        assert_eq!(labels(1e-7, 1e-3, 6), "1e-7 1e-6 1e-5 1e-4 1e-3");
        assert_eq!(labels(0.61, 0.83, 5), "0.65 0.7 0.75 0.8");
        assert!((2..=8).contains(&log(1e-90, 1e90, 6, STEPS).len()));
    }
}
