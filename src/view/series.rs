//! Time series over steps with fast range queries at any zoom level.

/// Points per block; the minimum and maximum of each block are precomputed.
const BLOCK: usize = 64;

/// A value at a step; NaN if it was not finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Steps since the fold's start.
    pub x: u32,
    /// The value.
    pub y: f32,
}

/// Summary of consecutive points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// First value.
    pub first: f32,
    /// Last value.
    pub last: f32,
    /// Lowest value.
    pub low: f32,
    /// Highest value.
    pub high: f32,
}

/// Minimum and maximum of a block, and whether any value was not finite.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Block {
    low: f32,
    high: f32,
    broken: bool,
}

impl Block {
    const EMPTY: Self = Self { low: f32::INFINITY, high: f32::NEG_INFINITY, broken: false };

    fn add(&mut self, y: f32) {
        // `min` and `max` ignore NaN.
        self.low = self.low.min(y);
        self.high = self.high.max(y);
        self.broken |= y.is_nan();
    }
}

/// Values over steps. When the capacity is exceeded, each group of four neighbours is reduced to
/// its lowest and highest, so spikes are never lost.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    points: Vec<Point>,
    blocks: Vec<Block>,
    capacity: usize,
    /// Counts removals of points; derived series must be rebuilt when it changes.
    generation: u64,
}

impl Default for Series {
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl Series {
    /// Creates a series that keeps at most `capacity` points (at least 1024).
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1024);
        Self { points: Vec::new(), blocks: Vec::new(), capacity, generation: 0 }
    }

    /// Adds a value. A value for the newest step replaces the existing one; values for older steps
    /// are ignored.
    pub fn add(&mut self, x: f64, y: f64) {
        if !(0.0..=f64::from(u32::MAX)).contains(&x) {
            return;
        }
        let y = match y.is_finite() {
            true => y.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32,
            false => f32::NAN,
        };
        let point = Point { x: x as u32, y };
        match self.points.last() {
            Some(last) if last.x > point.x => return,
            Some(last) if last.x == point.x => self.truncate(f64::from(point.x) - 1.0),
            _ => {}
        }
        self.push(point);
        if self.points.len() > self.capacity {
            self.thin();
        }
    }

    fn push(&mut self, point: Point) {
        if self.points.len().is_multiple_of(BLOCK) {
            self.blocks.push(Block::EMPTY);
        }
        self.points.push(point);
        if let Some(block) = self.blocks.last_mut() {
            block.add(point.y);
        }
    }

    fn thin(&mut self) {
        let all = std::mem::take(&mut self.points);
        self.blocks.clear();
        self.generation += 1;
        for four in all.chunks(4) {
            let finite = || four.iter().filter(|point| !point.y.is_nan());
            let low = finite().min_by(|a, b| a.y.total_cmp(&b.y)).unwrap_or(&four[0]);
            let high = finite().max_by(|a, b| a.y.total_cmp(&b.y)).unwrap_or(&four[0]);
            let (first, second) = if low.x <= high.x { (low, high) } else { (high, low) };
            self.push(*first);
            if second.x > first.x {
                self.push(*second);
            }
        }
    }

    /// Drops points beyond `x`, before a resumed epoch records them again.
    pub fn truncate(&mut self, x: f64) {
        let keep = self.points.partition_point(|point| f64::from(point.x) <= x);
        if keep == self.points.len() {
            return;
        }
        self.points.truncate(keep);
        self.blocks.truncate(keep.div_ceil(BLOCK));
        if let Some(block) = self.blocks.last_mut() {
            *block = Block::EMPTY;
            let start = (keep - 1) / BLOCK * BLOCK;
            self.points[start..].iter().for_each(|point| block.add(point.y));
        }
        self.generation += 1;
    }

    /// The points, ordered by step.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// Whether there are no points.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The newest point.
    pub fn last(&self) -> Option<Point> {
        self.points.last().copied()
    }

    /// Indices of the points with steps in `x0..x1`.
    pub fn within(&self, x0: f64, x1: f64) -> std::ops::Range<usize> {
        let before = |x: f64| self.points.partition_point(|point| f64::from(point.x) < x);
        let start = before(x0);
        start..before(x1).max(start)
    }

    /// Summarizes the points at the indices `places`, in time nearly independent of their number,
    /// and returns whether any of them was not finite. The summary is `None` if there is no finite
    /// value.
    pub fn span(&self, places: std::ops::Range<usize>) -> (Option<Span>, bool) {
        let mut all = Block::EMPTY;
        let (start, end) = (places.start, places.end.min(self.points.len()));
        let (head, tail) = (start.next_multiple_of(BLOCK).min(end), end / BLOCK * BLOCK);
        let singly = |all: &mut Block, range: std::ops::Range<usize>| {
            self.points[range].iter().for_each(|point| all.add(point.y));
        };
        if tail > head {
            singly(&mut all, start..head);
            for block in &self.blocks[head / BLOCK..tail / BLOCK] {
                all.low = all.low.min(block.low);
                all.high = all.high.max(block.high);
                all.broken |= block.broken;
            }
            singly(&mut all, tail..end);
        } else if start < end {
            singly(&mut all, start..end);
        }
        let finite = |point: &&Point| !point.y.is_nan();
        let ends = (start < end && all.low <= all.high).then(|| {
            let points = &self.points[start..end];
            Some((points.iter().find(finite)?.y, points.iter().rfind(finite)?.y))
        });
        let span =
            ends.flatten().map(|(first, last)| Span { first, last, low: all.low, high: all.high });
        (span, all.broken)
    }

    /// The point whose step is nearest to `x`.
    pub fn nearest(&self, x: f64) -> Option<Point> {
        let after = self.points.partition_point(|point| f64::from(point.x) < x);
        let around = [after.checked_sub(1), Some(after)].into_iter().flatten();
        let far = |point: &Point| (f64::from(point.x) - x).abs();
        let near = around.filter_map(|i| self.points.get(i)).copied();
        near.min_by(|a, b| far(a).total_cmp(&far(b)))
    }
}

/// Exponential moving average with bias correction, as for Adam's moments: after one value it
/// equals that value.
#[derive(Debug, Clone, PartialEq)]
pub struct Ema {
    beta: f64,
    value: f64,
    weight: f64,
    values: u64,
}

/// A loss this many times the average is an outlier, and so is an early average this many times the
/// loss.
const OUTLIER: f64 = 10.0;

/// Decay of the smoothed training figures: about the last 50 steps.
pub const SMOOTHING: f64 = 0.98;

impl Ema {
    /// Creates an average with decay `beta` per step.
    pub fn new(beta: f64) -> Self {
        Self { beta, value: 0.0, weight: 0.0, values: 0 }
    }

    /// Adds a value; non-finite values are ignored because they would spoil the average for good.
    pub fn add(&mut self, x: f64) {
        self.add_after(1, x);
    }

    /// Like [`Self::add`], but `steps` steps after the previous value, when those between were not
    /// recorded.
    pub fn add_after(&mut self, steps: u32, x: f64) {
        if x.is_finite() {
            let keep = if steps == 1 { self.beta } else { self.beta.powf(steps.into()) };
            self.value = keep * self.value + (1.0 - keep) * x;
            self.weight = keep * self.weight + (1.0 - keep);
            self.values += 1;
        }
    }

    /// Like [`Self::add_after`], but clips outliers: a loss of 900 would otherwise dominate the
    /// next few hundred of 0.6.
    pub fn add_robustly(&mut self, steps: u32, x: f64) {
        match self.get() {
            _ if !x.is_finite() => {}
            Some(average) if self.values <= 10 && average > OUTLIER * x && x > 0.0 => {
                *self = Self::new(self.beta);
                self.add_after(steps, x);
            }
            Some(average) if average > 0.0 => self.add_after(steps, x.min(OUTLIER * average)),
            _ => self.add_after(steps, x),
        }
    }

    /// The average; `None` before the first value.
    pub fn get(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.value / self.weight)
    }
}

/// Moving average of a series, updated incrementally.
#[derive(Debug, Clone, PartialEq)]
pub struct Smoothed {
    series: Series,
    ema: Ema,
    /// Generation of the source series.
    generation: u64,
    /// Index of the next point to take in.
    next: usize,
    /// Step of the last point taken in.
    x: Option<u32>,
}

impl Default for Smoothed {
    fn default() -> Self {
        Self::new(SMOOTHING)
    }
}

impl Smoothed {
    /// Creates an average with decay `beta` per step; 0 = no smoothing.
    pub fn new(beta: f64) -> Self {
        Self { series: Series::default(), ema: Ema::new(beta), generation: 0, next: 0, x: None }
    }

    /// Takes in the new points of `source`.
    pub fn follow(&mut self, source: &Series) {
        if self.generation != source.generation {
            // Even if only the end was removed, the average itself must be recomputed from the
            // start.
            *self = Self { generation: source.generation, ..Self::new(self.ema.beta) };
        }
        for point in &source.points[self.next.min(source.points.len())..] {
            let steps = self.x.map_or(1, |x| point.x.saturating_sub(x).max(1));
            self.ema.add_robustly(steps, point.y.into());
            if !point.y.is_nan() {
                self.x = Some(point.x);
            }
            let y = if point.y.is_nan() { None } else { self.ema.get() };
            self.series.add(point.x.into(), y.unwrap_or(f64::NAN));
        }
        self.next = source.points.len();
    }

    /// The averages over steps.
    pub fn series(&self) -> &Series {
        &self.series
    }

    /// The newest average.
    pub fn now(&self) -> Option<f64> {
        self.ema.get()
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
        for (start, end) in
            [(0, 1002), (3, 70), (63, 65), (64, 128), (5, 5), (990, 1002), (500, 9999)]
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
        assert_eq!(
            [at(0.0), at(14.0), at(16.0), at(99.0)],
            [Some(10), Some(10), Some(20), Some(20)]
        );
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
        assert!(
            series.points().contains(&Point { x: 50, y: f32::MAX }),
            "the spike itself is kept"
        );
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
}
