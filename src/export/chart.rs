//! A chart as data, independent of how it is drawn.

use super::ticks;

/// Limit of coordinates; larger ones are clamped to it. Near the largest floats a range's width would
/// overflow.
const HIGHEST: f64 = 1e100;
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
    /// Its unit; empty: none.
    pub unit: String,
    /// How values map to lengths.
    pub scale: Scale,
    /// Lowest and highest value shown; `None`: from the points.
    pub range: Option<(f64, f64)>,
    /// Whether it shows a count: its ticks are then whole numbers.
    pub counts: bool,
}

/// How values map to lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scale {
    /// Equal differences have equal lengths.
    #[default]
    Linear,
    /// Equal ratios have equal lengths; values ≤ 0 are not shown.
    Log,
}

/// A curve.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// Its name in the legend; an empty one is not listed.
    pub name: String,
    /// (x, y), sorted by x. A y that is not finite leaves a gap.
    pub points: Vec<(f64, f64)>,
    /// How its points are joined.
    pub kind: Kind,
    /// Colour, dashes, markers and weight.
    pub style: Style,
}

/// How points are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// Joined by straight lines.
    #[default]
    Line,
    /// Not joined.
    Scatter,
    /// Each value holds until the next one.
    Step,
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
    /// Makes an axis with a label and no unit.
    pub fn new(label: &str) -> Self {
        Self { label: label.into(), ..Self::default() }
    }

    /// Returns its label with unit and, if not linear, scale: `rate (1/s, log)`.
    pub fn heading(&self) -> String {
        let log = match self.scale {
            Scale::Linear => "",
            Scale::Log => "log",
        };
        let notes: Vec<&str> = [&*self.unit, log].into_iter().filter(|s| !s.is_empty()).collect();
        match notes.is_empty() {
            true => self.label.clone(),
            false => format!("{} ({})", self.label, notes.join(", ")),
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
        let ends = asked.or_else(|| {
            values.filter(shown).map(clamp).fold(None, |ends, value| match ends {
                None => Some((value, value)),
                Some((low, high)) => Some((f64::min(low, value), f64::max(high, value))),
            })
        });
        let margin = if asked.is_some() { 0.0 } else { margin };
        let (low, high) = match (self.scale, ends) {
            (Scale::Linear, ends) => {
                let (low, high) = ends.unwrap_or((0.0, 1.0));
                let (low, high) = (clamp(low), clamp(high));
                let room = margin * (high - low);
                let least = (NARROWEST * low.abs().max(high.abs())).max(f64::MIN_POSITIVE);
                if high - low > least {
                    (low - room, high + room)
                } else {
                    // Centre a single value.
                    let half = if low == 0.0 { 1.0 } else { 0.1 * low.abs() };
                    (low - half, high + half)
                }
            }
            (Scale::Log, ends) => {
                let (low, high) = ends.unwrap_or((0.1, 1.0));
                let (low, high) = (low.max(1.0 / HIGHEST), high.clamp(1.0 / HIGHEST, HIGHEST));
                let room = (high / low).powf(margin);
                if high / low > 1.0 + NARROWEST {
                    (low / room, high * room)
                } else {
                    (low / 2.0, high * 2.0)
                }
            }
        };
        Span { low, high, scale: self.scale, counts: self.counts }
    }
}

impl Series {
    /// Makes a line through `points`.
    pub fn line(name: impl Into<String>, points: Vec<(f64, f64)>, style: Style) -> Self {
        Self { name: name.into(), points, kind: Kind::Line, style }
    }
}

impl Chart {
    /// Returns the ranges of x and y shown, each finite and not empty.
    pub fn bounds(&self) -> Bounds {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let x = self.x.resolve(points().map(|p| p.0), 0.0);
        let y = self.y.resolve(points().filter(|p| x.contains(p.0)).map(|p| p.1), MARGIN);
        Bounds { x, y }
    }

    /// Whether there is nothing to draw.
    pub fn is_empty(&self) -> bool {
        let shown = |&(x, y): &(f64, f64)| self.x.shows(x) && self.y.shows(y);
        !self.series.iter().any(|series| series.points.iter().any(shown))
    }
}

/// The ranges shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// Along x.
    pub x: Span,
    /// Along y.
    pub y: Span,
}

/// The part of an axis that is shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// Left or lower end, finite.
    pub low: f64,
    /// Right or upper end, finite and above the other one.
    pub high: f64,
    scale: Scale,
    counts: bool,
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

    /// Whether `value` lies between the ends.
    pub fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// Returns round values between the ends, at most about `most`, with their labels.
    pub fn ticks(&self, most: usize) -> Vec<(f64, String)> {
        let Self { low, high, .. } = *self;
        let (ticks, labels) = match self.scale {
            Scale::Linear => {
                let mut ticks = ticks::linear(low, high, most);
                if self.counts && ticks.iter().any(|x| x.fract() == 0.0) {
                    ticks.retain(|x| x.fract() == 0.0);
                }
                let labels = ticks::linear_labels(&ticks);
                (ticks, labels)
            }
            Scale::Log => {
                let ticks = ticks::log(low, high, most);
                let labels = ticks::log_labels(&ticks);
                (ticks, labels)
            }
        };
        ticks.into_iter().zip(labels).collect()
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
                let bounds = chart(points, scale).bounds();
                for span in [bounds.x, bounds.y] {
                    let width = span.high - span.low;
                    assert!(width > 0.0 && width.is_finite(), "{points:?}: {span:?}");
                    assert!((1..=17).contains(&span.ticks(8).len()), "{points:?}: {span:?}");
                }
                for &(x, y) in points.iter().filter(|p| p.0.is_finite() && p.1.is_finite()) {
                    let shares = [bounds.x.share(x), bounds.y.share(y)];
                    assert!(shares.iter().all(|share| share.is_finite()), "{points:?}");
                }
            }
        }
    }

    #[test]
    fn the_range_asked_for_is_kept_and_else_has_some_room() {
        let mut chart = chart(&[(0.0, 1.0), (10.0, 3.0)], Scale::Linear);
        let ends = |chart: &Chart| {
            let Bounds { x, y } = chart.bounds();
            ((x.low, x.high), (y.low, y.high))
        };
        assert_eq!(ends(&chart), ((0.0, 10.0), (0.9, 3.1)));
        chart.x.range = Some((2.0, 4.0));
        chart.y.range = Some((0.0, 2.0));
        assert_eq!(ends(&chart), ((2.0, 4.0), (0.0, 2.0)));
        let bounds = chart.bounds();
        assert_eq!((bounds.x.share(3.0), bounds.y.share(3.0)), (0.5, 1.5));
        assert_eq!(bounds.x.ticks(4).len(), 5);
        chart.x.counts = true;
        assert_eq!(
            chart.bounds().x.ticks(4).iter().map(|t| &*t.1).collect::<Vec<_>>(),
            ["2", "3", "4"]
        );
    }

    #[test]
    fn an_axis_says_its_unit_and_scale() {
        let axis = |unit: &str, scale| Axis { unit: unit.into(), scale, ..Axis::new("rate") };
        assert_eq!(axis("", Scale::Linear).heading(), "rate");
        assert_eq!(axis("1/s", Scale::Log).heading(), "rate (1/s, log)");
    }
}
