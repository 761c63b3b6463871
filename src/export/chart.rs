//! A chart as data, independent of how it is drawn.

use crate::axis::{HIGHEST, STEPS, Scale, Span, ends};

/// Minimum width of a range, as a share of its ends, so that its ticks are different numbers.
const NARROWEST: f64 = 1e-9;
/// Empty room above and below the points, as a share of the range.
const MARGIN: f64 = 0.05;

/// A chart.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Chart {
    /// Title, a few words.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The curves, from back to front.
    pub series: Vec<Series>,
    /// Events along x.
    pub marks: Vec<Mark>,
}

/// An axis.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Axis {
    /// Name of the quantity.
    pub label: String,
    /// How values map to lengths.
    pub scale: Scale,
    /// Lowest and highest value shown; `None`: from the points.
    pub range: Option<(f64, f64)>,
    /// Whether it shows a count: its ticks are then whole numbers.
    pub counts: bool,
}

/// A curve.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// Its name in the legend; an empty one is not listed.
    pub name: String,
    /// (x, y), sorted by x. A y that is not finite leaves a gap.
    pub points: Vec<(f64, f64)>,
    /// Whether each value holds until the next one; otherwise straight lines join them.
    pub held: bool,
    /// Colour, dashes, markers and weight.
    pub style: Style,
}

/// A curve's look. Curves differ in more than their colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    /// Index of a palette colour, wrapping around: see [`Style::INK`].
    pub color: usize,
    /// Index of a dash pattern, wrapping around; 0: a solid line.
    pub dash: usize,
    /// Index of the shape on its points, wrapping around; `None`: no shapes.
    pub marker: Option<usize>,
    /// Visual weight.
    pub weight: Weight,
}

/// Visual weight of a curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Weight {
    /// In the background.
    Faint,
    /// The usual weight.
    #[default]
    Normal,
    /// In the foreground.
    Strong,
}

/// An event at `x`.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// Its x value.
    pub x: f64,
    /// Its name, a word or two.
    pub label: String,
}

impl Style {
    /// The text colour, for curves that belong to no series.
    pub const INK: usize = 6;

    /// Returns the style of the `i`th of several similar curves: its own colour, dash and shape.
    pub fn nth(i: usize) -> Self {
        Self { color: i % Self::INK, dash: i, marker: Some(i), weight: Weight::Normal }
    }
}

impl Axis {
    /// Makes an axis with a label.
    pub fn new(label: &str) -> Self {
        Self { label: label.into(), ..Self::default() }
    }

    /// Returns its label, with its scale if not linear: `rate (log)`.
    pub fn heading(&self) -> String {
        match self.scale {
            Scale::Linear => self.label.clone(),
            Scale::Log => format!("{} (log)", self.label),
        }
    }

    /// Whether `value` can be shown on it.
    pub fn shows(&self, value: f64) -> bool {
        value.is_finite() && (self.scale == Scale::Linear || value > 0.0)
    }

    /// Returns the requested range, or that of `values` with a margin. Finite, never empty, and above 0 on
    /// a logarithmic scale.
    fn resolve(&self, values: impl Iterator<Item = f64>, margin: f64) -> Span {
        let shown = |&value: &f64| self.shows(value);
        let clamp = |value: f64| value.clamp(-HIGHEST, HIGHEST);
        let asked = self.range.filter(|(low, high)| shown(low) && shown(high) && low <= high);
        let margin = if asked.is_some() { 0.0 } else { margin };
        let found = asked.or_else(|| ends(values.filter(shown).map(clamp)));
        let (low, high) = match self.scale {
            Scale::Linear => {
                let (low, high) = found.unwrap_or((0.0, 1.0));
                let (low, high) = (clamp(low), clamp(high));
                let room = margin * (high - low);
                let least = (NARROWEST * low.abs().max(high.abs())).max(f64::MIN_POSITIVE);
                // Centre a single value.
                let half = if low == 0.0 { 1.0 } else { 0.1 * low.abs() };
                let room = if high - low > least { room } else { half };
                (low - room, high + room)
            }
            Scale::Log => {
                let (low, high) = found.unwrap_or((0.1, 1.0));
                let (low, high) = (low.max(1.0 / HIGHEST), high.clamp(1.0 / HIGHEST, HIGHEST));
                let room =
                    if high / low > 1.0 + NARROWEST { (high / low).powf(margin) } else { 2.0 };
                (low / room, high * room)
            }
        };
        Span { low, high, scale: self.scale }
    }

    /// Returns round values within `span`, at most about `most`, with their labels.
    pub(super) fn ticks(&self, span: &Span, most: usize) -> Vec<(f64, String)> {
        let mut ticks = span.ticks(most, STEPS);
        if self.counts && ticks.iter().any(|x| x.fract() == 0.0) {
            ticks.retain(|x| x.fract() == 0.0);
        }
        let labels = span.labels(&ticks);
        ticks.into_iter().zip(labels).collect()
    }
}

impl Series {
    /// Makes a line through `points`.
    pub fn line(name: impl Into<String>, points: Vec<(f64, f64)>, style: Style) -> Self {
        Self { name: name.into(), points, held: false, style }
    }
}

impl Chart {
    /// Returns the points of all curves.
    pub fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.series.iter().flat_map(|series| &series.points).copied()
    }

    /// Returns the ranges of x and y shown, each finite and not empty.
    pub fn bounds(&self) -> (Span, Span) {
        let x = self.x.resolve(self.points().map(|p| p.0), 0.0);
        let y = self.y.resolve(self.points().filter(|p| x.contains(p.0)).map(|p| p.1), MARGIN);
        (x, y)
    }

    /// Whether there is nothing to draw.
    pub fn is_empty(&self) -> bool {
        !self.points().any(|(x, y)| self.x.shows(x) && self.y.shows(y))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: &[(f64, f64)], scale: Scale) -> Chart {
        Chart {
            y: Axis { scale, ..Axis::new("loss") },
            series: vec![Series::line("a", points.to_vec(), Style::nth(0))],
            ..Chart::default()
        }
    }

    #[test]
    fn a_range_is_finite_and_never_empty_whatever_the_points() {
        let cases: [&[(f64, f64)]; 7] = [
            &[],
            &[(1.0, 0.5)],
            &[(0.0, 0.0), (0.0, 0.0)],
            &[(1.0, f64::NAN), (f64::INFINITY, 1.0)],
            &[(-f64::MAX, -f64::MAX), (f64::MAX, f64::MAX)],
            &[(1e15, 1e-320), (1e15, 2e-320)],
            &[(1.0, -3.0), (2.0, 0.0)],
        ];
        for points in cases {
            for scale in [Scale::Linear, Scale::Log] {
                let (across, up) = chart(points, scale).bounds();
                for span in [across, up] {
                    let width = span.high - span.low;
                    assert!(width > 0.0 && width.is_finite(), "{points:?}: {span:?}");
                    assert!((1..=17).contains(&span.ticks(8, STEPS).len()), "{points:?}: {span:?}");
                }
                for &(x, y) in points.iter().filter(|p| p.0.is_finite() && p.1.is_finite()) {
                    let shares = [across.share(x), up.share(y)];
                    assert!(shares.iter().all(|share| share.is_finite()), "{points:?}");
                }
            }
        }
    }

    #[test]
    fn the_range_asked_for_is_kept_and_else_has_some_room() {
        let mut chart = chart(&[(0.0, 1.0), (10.0, 3.0)], Scale::Linear);
        let ends = |chart: &Chart| {
            let (x, y) = chart.bounds();
            ((x.low, x.high), (y.low, y.high))
        };
        assert_eq!(ends(&chart), ((0.0, 10.0), (0.9, 3.1)));
        chart.x.range = Some((2.0, 4.0));
        chart.y.range = Some((0.0, 2.0));
        assert_eq!(ends(&chart), ((2.0, 4.0), (0.0, 2.0)));
        let (across, up) = chart.bounds();
        assert_eq!((across.share(3.0), up.share(3.0)), (0.5, 1.5));
        assert_eq!(chart.x.ticks(&across, 4).len(), 5);
        chart.x.counts = true;
        let labels: Vec<String> = chart.x.ticks(&across, 4).into_iter().map(|t| t.1).collect();
        assert_eq!(labels, ["2", "3", "4"]);
    }

    #[test]
    fn an_axis_says_its_scale() {
        assert_eq!(Axis::new("rate").heading(), "rate");
        assert_eq!(Axis { scale: Scale::Log, ..Axis::new("rate") }.heading(), "rate (log)");
    }
}
