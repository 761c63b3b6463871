//! Ranges, averages and outliers of series.

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
    // A value that comes three steps later has the weight of three values.
    let mut sparse = Ema::new(0.9);
    sparse.add(1.0);
    sparse.add_after(3, 2.0);
    let kept = 0.9f64.powi(3);
    let expected = (kept * 0.1 + (1.0 - kept) * 2.0) / (kept * 0.1 + 1.0 - kept);
    assert!((sparse.get().unwrap() - expected).abs() < 1e-12);
}

fn long(steps: u32, capacity: usize) -> Series {
    let mut series = Series::new(capacity);
    for step in 1..=steps {
        let y = if step == 123_457 { 40.0 } else { 0.5 + f64::from(step % 7) / 100.0 };
        series.add(step.into(), y);
    }
    series
}

#[test]
fn a_span_is_what_a_walk_over_its_points_gives() {
    let mut series = long(1000, usize::MAX);
    series.add(1001.0, f64::NAN);
    series.add(1002.0, 9.0);
    for (start, end) in [(0, 1002), (3, 70), (63, 65), (64, 128), (5, 5), (990, 1002), (500, 9999)]
    {
        let points = &series.points()[start..end.min(1002)];
        let finite: Vec<f32> = points.iter().map(|p| p.y).filter(|y| !y.is_nan()).collect();
        let (span, broken) = series.span(start..end);
        assert_eq!(span.is_some(), !finite.is_empty());
        if let Some(span) = span {
            assert_eq!(span.low, finite.iter().copied().fold(f32::INFINITY, f32::min));
            assert_eq!(span.high, finite.iter().copied().fold(0.0, f32::max));
            assert_eq!((span.first, span.last), (finite[0], finite[finite.len() - 1]));
        }
        assert_eq!(broken, points.iter().any(|p| p.y.is_nan()));
    }
    assert_eq!(series.span(1000..1001), (None, true));
}

#[test]
fn a_million_steps_are_all_there_and_in_less_room_the_spike_is() {
    let whole = long(1_000_000, usize::MAX);
    assert_eq!(whole.points().len(), 1_000_000);
    let small = long(1_000_000, 10_000);
    assert!(small.points().len() <= 10_000);
    assert!(small.points().contains(&Point { x: 123_457, y: 40.0 }));
    assert!(small.points().windows(2).all(|p| p[0].x < p[1].x), "by step");
    assert_eq!(small.span(0..10_000).0.unwrap().high, 40.0);
}

#[test]
fn the_nearest_point_is_found_on_either_side() {
    let mut series = Series::default();
    series.add(10.0, 1.0);
    series.add(20.0, 2.0);
    let at = |x: f64| series.nearest(x).map(|point| point.x);
    assert_eq!([at(0.0), at(14.0), at(16.0), at(99.0)], [Some(10), Some(10), Some(20), Some(20)]);
    assert_eq!(Series::default().nearest(1.0), None);
    assert_eq!(series.within(10.0, 20.0), 0..1);
}

#[test]
fn the_average_follows_its_series_also_back() {
    let mut series = long(300, usize::MAX);
    let mut smoothed = Smoothed::default();
    smoothed.follow(&series);
    series.truncate(200.0);
    series.add(201.0, 0.9);
    smoothed.follow(&series);
    let mut anew = Smoothed::default();
    anew.follow(&series);
    assert_eq!(smoothed.series().points(), anew.series().points());
    assert_eq!(smoothed.now(), anew.now());
    assert_eq!(smoothed.series().points().len(), 201);
}

#[test]
fn one_step_out_of_all_proportion_does_not_hide_the_rest() {
    let mut series = Series::default();
    series.add(1.0, 900.0);
    for step in 2..=100 {
        series.add(step.into(), if step == 50 { f64::MAX } else { 0.6 });
    }
    let mut smoothed = Smoothed::default();
    smoothed.follow(&series);
    assert!((smoothed.now().unwrap() - 0.6).abs() < 0.1);
    assert!(series.points().contains(&Point { x: 50, y: f32::MAX }), "the spike itself is kept");
}

#[test]
fn without_smoothing_it_is_the_series_itself() {
    let series = long(50, usize::MAX);
    let mut smoothed = Smoothed::new(0.0);
    smoothed.follow(&series);
    assert_eq!(smoothed.series().points(), series.points());
}

#[test]
fn what_is_not_finite_is_a_gap_and_what_is_no_step_left_out() {
    let mut series = Series::default();
    series.add(1.0, f64::INFINITY);
    series.add(-1.0, 1.0);
    series.add(f64::NAN, 1.0);
    series.add(2.0, 0.5);
    series.add(2.0, 0.75);
    series.add(1.0, 9.0);
    assert_eq!(series.points().len(), 2);
    assert!(series.points()[0].y.is_nan());
    assert_eq!(series.last(), Some(Point { x: 2, y: 0.75 }));
}
