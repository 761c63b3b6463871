//! A chart as data: what is drawn, and nothing of how.

use super::ticks;

/// What lies beyond is taken as if it lay there: near the largest floats a range's width is no
/// number any more.
const HIGHEST: f64 = 1e100;
/// A range is at least this share of its ends wide, so that its ticks are different numbers.
const NARROWEST: f64 = 1e-9;
/// Empty room above and below the points, as a share of the range.
const MARGIN: f64 = 0.05;

/// A chart.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Chart {
    /// What it shows, in a few words.
    pub title: String,
    /// The axis to the right.
    pub x: Axis,
    /// The axis upwards.
    pub y: Axis,
    /// The curves, the first one lowest.
    pub series: Vec<Series>,
    /// What happened where.
    pub marks: Vec<Mark>,
}

/// An axis.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Axis {
    /// What is counted along it.
    pub label: String,
    /// In which unit; empty where there is none.
    pub unit: String,
    /// How values become lengths.
    pub scale: Scale,
    /// The lowest and the highest value shown; `None` = as the points need it.
    pub range: Option<(f64, f64)>,
    /// Whether it counts: its ticks are then whole numbers.
    pub counts: bool,
}

/// How values become lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scale {
    /// Equal differences are equal lengths.
    #[default]
    Linear,
    /// Equal ratios are equal lengths; what is not above 0 is not shown.
    Log,
}

/// A curve.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// Its name in the legend; one without is not listed there.
    pub name: String,
    /// (x, y), by x. Where y is not finite the curve has a gap.
    pub points: Vec<(f64, f64)>,
    /// How its points are joined.
    pub kind: Kind,
    /// What tells it from the others.
    pub style: Style,
}

/// How points are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// By straight lines.
    #[default]
    Line,
    /// Not at all.
    Scatter,
    /// A value holds until the next one.
    Step,
}

/// What tells a curve from the others: never its colour alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    /// Which of the palette's colours, counted round: see [`Style::INK`].
    pub color: usize,
    /// Which of the dash patterns, counted round; 0 = a solid line.
    pub dash: usize,
    /// Which of the shapes stands on its points, counted round; `None` = none does.
    pub marker: Option<usize>,
    /// How much it stands out.
    pub weight: Weight,
}

/// How much a curve stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Weight {
    /// In the background.
    Faint,
    /// As most do.
    #[default]
    Normal,
    /// In the foreground.
    Strong,
}

/// Something that happened at `x`.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// Where.
    pub x: f64,
    /// What, in a word or two.
    pub label: String,
}

impl Style {
    /// The colour of text, for what belongs to no series.
    pub const INK: usize = 6;

    /// The `i`th of several equals: a colour, a dash and a shape of its own.
    pub fn nth(i: usize) -> Self {
        Self { color: i % Self::INK, dash: i, marker: Some(i), weight: Weight::Normal }
    }
}

impl Axis {
    /// An axis with a label, without a unit.
    pub fn new(label: &str) -> Self {
        Self { label: label.into(), ..Self::default() }
    }

    /// Its label with its unit and, where it is not linear, its scale: `rate (1/s, log)`.
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

    /// Whether it has a place for `value`.
    pub fn shows(&self, value: f64) -> bool {
        value.is_finite() && (self.scale == Scale::Linear || value > 0.0)
    }

    /// The range asked for, or that of `values` with some room around them. Finite, never empty,
    /// and above 0 where the scale is logarithmic.
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
                    // One value stands in the middle.
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
    /// A line through `points`.
    pub fn line(name: impl Into<String>, points: Vec<(f64, f64)>, style: Style) -> Self {
        Self { name: name.into(), points, kind: Kind::Line, style }
    }
}

impl Chart {
    /// The ranges shown of x and y, each finite and not empty.
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
    /// Its left or lower end, finite.
    pub low: f64,
    /// Its right or upper end, finite and above the other one.
    pub high: f64,
    scale: Scale,
    counts: bool,
}

impl Span {
    /// Where `value` lies between the ends, 0 to 1; outside of that where it lies beyond them.
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

    /// Round values between the ends, about `most` at most, and how they are written.
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
