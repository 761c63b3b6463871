//! Thins a curve to as many points as can be told apart.

use crate::axis::Span;

/// Number of strips along the axis, of which the lowest and highest point and a gap are kept.
const STRIPS: usize = 500;
/// Most points of a curve after thinning.
pub const MOST: usize = 3 * STRIPS + 2;

/// Returns the points of a curve within `x`, and the next one on either side so that lines leave the
/// chart in the right direction. Above [`MOST`] points, keeps the lowest and the highest of each strip,
/// sorted by x: a spike of one point stays visible. A y that is not finite is a gap, returned as NaN.
pub fn thin(points: &[(f64, f64)], x: &Span) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = points.iter().copied().filter(|p| p.0.is_finite()).collect();
    if !points.is_sorted_by(|a, b| a.0 <= b.0) {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    let first = points.partition_point(|p| p.0 < x.low).saturating_sub(1);
    let last = (points.partition_point(|p| p.0 <= x.high) + 1).min(points.len());
    let shown = points.get(first..last).unwrap_or_default();
    if shown.len() <= MOST {
        let gap = |y: f64| if y.is_finite() { y } else { f64::NAN };
        return shown.iter().map(|&(at, y)| (at, gap(y))).collect();
    }
    let strip = |at: f64| (x.share(at).clamp(0.0, 1.0) * STRIPS as f64).min(STRIPS as f64 - 1.0);
    let mut thinned = Vec::with_capacity(MOST);
    for strip in shown.chunk_by(|a, b| strip(a.0) as usize == strip(b.0) as usize) {
        let finite = || strip.iter().copied().filter(|p| p.1.is_finite());
        let low = finite().min_by(|a, b| a.1.total_cmp(&b.1));
        let high = finite().max_by(|a, b| a.1.total_cmp(&b.1));
        let gap = strip.iter().find(|p| !p.1.is_finite()).map(|p| (p.0, f64::NAN));
        let mut kept: Vec<(f64, f64)> = [low, high, gap].into_iter().flatten().collect();
        kept.sort_by(|a, b| a.0.total_cmp(&b.0));
        kept.dedup_by(|a, b| a.0 == b.0 && a.1 == b.1);
        thinned.extend(kept);
    }
    thinned
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::chart::{Chart, Series, Style};

    fn span(points: &[(f64, f64)]) -> Span {
        let series = vec![Series::line("", points.to_vec(), Style::default())];
        Chart { series, ..Chart::default() }.bounds().0
    }

    #[test]
    fn no_spike_and_no_gap_is_lost() {
        let value = |i: usize| match i {
            123_457 => 40.0,
            500_000 => -7.0,
            700_001 => f64::NAN,
            _ => 0.5 + 1e-3 * (i % 7) as f64,
        };
        let points: Vec<(f64, f64)> = (0..1_000_000).map(|i| (i as f64, value(i))).collect();
        let thinned = thin(&points, &span(&points));
        assert!(thinned.len() <= MOST, "{}", thinned.len());
        assert!(thinned.contains(&(123_457.0, 40.0)) && thinned.contains(&(500_000.0, -7.0)));
        assert!(thinned.iter().any(|p| p.0 == 700_001.0 && p.1.is_nan()));
        assert!(thinned.is_sorted_by(|a, b| a.0 <= b.0));
    }

    #[test]
    fn few_points_stay_as_they_are() {
        let points = [(0.0, 1.0), (1.0, f64::INFINITY), (f64::NAN, 1.0), (2.0, 3.0)];
        let thinned = thin(&points, &span(&points));
        assert_eq!(thinned.len(), 3);
        assert!(thinned[1].1.is_nan() && thinned[2] == (2.0, 3.0));
        assert!(thin(&[], &span(&[])).is_empty());
    }

    #[test]
    fn beyond_the_range_the_nearest_point_is_kept() {
        let points: Vec<(f64, f64)> = (0..10).map(|i| (i as f64, 0.0)).collect();
        let span = span(&points[4..6]);
        let x: Vec<f64> = thin(&points, &span).iter().map(|p| p.0).collect();
        assert_eq!(x, [3.0, 4.0, 5.0, 6.0]);
    }
}
