//! Value ranges of charts.

use crate::axis::{HIGHEST, ends};
use crate::view::Series;
use std::ops::Range;

/// Maximum number of values sampled to find a range.
const SAMPLES: usize = 2048;

/// Finite values at the indices `places` of `series`: an even sample if there are many, and always
/// the lowest.
pub fn sample(series: &Series, places: Range<usize>) -> Vec<f64> {
    let points = &series.points()[places.clone()];
    let every = points.len().div_ceil(SAMPLES).max(1);
    let lowest = series.span(places).0.map(|span| span.low);
    let some = points.iter().step_by(every).map(|point| point.y).filter(|y| y.is_finite());
    some.chain(lowest).map(f64::from).collect()
}

/// Range for losses, without a first step or spike so high that it would flatten the rest. `raw`:
/// losses of single steps; `must`: losses to keep in sight.
pub fn of_losses(raw: &[f64], must: &[f64], baseline: Option<f64>) -> (f64, f64) {
    let mut losses = raw.to_vec();
    losses.sort_by(f64::total_cmp);
    let at =
        |share: f64| losses.get((share * losses.len().saturating_sub(1) as f64) as usize).copied();
    let sure = baseline.filter(|y| y.is_finite());
    let median = at(0.5).or(sure).or(must.first().copied()).unwrap_or(0.0);
    let robust = (1.25 * at(0.98).unwrap_or(median)).max(1.5 * median);
    let top = losses.last().copied().unwrap_or(median).min(robust);
    let usual = 3.0 * median.max(sure.unwrap_or(0.0));
    let must = must.iter().copied().filter(|y| y.is_finite() && (*y <= usual || usual <= 0.0));
    let all = must.chain(sure);
    let high = all.clone().fold(top, f64::max);
    let low = all.chain(at(0.0)).fold(high, f64::min);
    widened(low, high)
}

/// Range of all `figures`.
pub fn of_all(figures: impl Iterator<Item = f64>) -> (f64, f64) {
    ends(figures).map_or((0.0, 1.0), |(low, high)| widened(low, high))
}

/// End of the x axis, which stays constant until `last` has grown by about a tenth, so that a chart
/// is not redrawn for every step.
pub fn end(last: f64) -> f64 {
    const GROWTH: f64 = 1.12;
    let steps = (last.max(1.0).ln() / GROWTH.ln()).ceil();
    GROWTH.powf(steps).max(last)
}

/// Adds a margin and rounds the ends, so that they stay constant while the values hardly change.
/// The range is never empty, and does not become negative if `low` is not.
fn widened(low: f64, high: f64) -> (f64, f64) {
    let [low, high] = [low, high].map(|y| y.clamp(-HIGHEST, HIGHEST));
    let margin = (0.05 * (high - low)).max(1e-3 * high.abs()).max(1e-9);
    let least = if low >= 0.0 { 0.0 } else { low - 2.0 * margin };
    let step = 10f64.powf((high - low + 2.0 * margin).log10().floor()) / 2.0;
    let down = ((low - margin) / step).floor() * step;
    let up = ((high + margin) / step).ceil() * step;
    let (low, high) = (down.max(least), up);
    if high > low && low.is_finite() { (low, high) } else { (low, low + margin.max(1e-9)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_huge_first_step_does_not_flatten_the_rest() {
        let (low, high) = of_losses(&[900.0, 0.9, 0.8, 0.7, 0.6, 0.6], &[0.6], Some(0.65));
        assert!(low > 0.5 && high < 2.0, "{low} {high}");
    }

    #[test]
    fn a_descent_is_shown_whole() {
        let losses: Vec<f64> = (0..400).map(|i| 0.2 + 0.8 * (-(i as f64) / 80.0).exp()).collect();
        let (low, high) = of_losses(&losses, &losses[399..], Some(0.5));
        assert!(low < 0.21 && high > 0.9, "{low} {high}");
    }

    #[test]
    fn a_range_is_never_empty() {
        for raw in [&[0.5][..], &[], &[0.0], &[f64::MAX], &[-1.0, -1.0]] {
            for baseline in [Some(0.5), Some(0.0), None, Some(f64::NAN)] {
                let (low, high) = of_losses(raw, &[f64::INFINITY], baseline);
                assert!(low < high && low.is_finite() && high.is_finite(), "{low} {high}");
            }
        }
        assert_eq!(of_all([f64::NAN].into_iter()), (0.0, 1.0));
    }

    #[test]
    fn ends_stand_still_while_little_changes() {
        assert_eq!(end(910.0), end(1000.0));
        for last in [0.0f64, 1.0, 16.0, 1e6, 4e9] {
            assert!((last..=1.13 * last.max(1.0)).contains(&end(last)), "{last}: {}", end(last));
        }
        assert_eq!(of_all([0.212, 0.914].into_iter()), of_all([0.214, 0.910].into_iter()));
    }

    #[test]
    fn a_sample_is_small_and_holds_the_lowest() {
        let mut series = Series::default();
        (0..100_000).for_each(|x| series.add(x.into(), if x == 77_777 { 0.1 } else { 0.5 }));
        let sample = sample(&series, 0..100_000);
        assert!(sample.len() <= SAMPLES + 1 && sample.contains(&f64::from(0.1f32)));
    }
}
