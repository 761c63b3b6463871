//! Time series over steps with fast range queries at any zoom level.

#[cfg(test)]
mod tests;

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
