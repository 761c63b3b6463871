//! An entry of the catalogue.

use crate::config::Metric;

/// A figure of an event of type `E`.
#[derive(Debug)]
pub struct Figure<E: 'static> {
    /// Identifier, and its column in the CSV.
    pub id: &'static str,
    /// Name for display.
    pub label: &'static str,
    /// Its unit, and with it the way it is printed (`view::format::figure`).
    pub unit: Unit,
    /// Which values are better.
    pub better: Better,
    /// Lowest and highest possible value.
    pub range: (f64, f64),
    /// Reads it from its event; `None` where it is not defined or not known.
    pub read: fn(&E) -> Option<f64>,
    /// The whole that it is a part of, such as the total memory.
    pub total: Option<fn(&E) -> Option<f64>>,
    /// Whether the CSV has it. Figures that follow from other columns are left out.
    pub column: bool,
    /// Tag in TensorBoard, under `train/` or `valid/`.
    pub tag: Option<&'static str>,
    /// Its name in the plain lines.
    pub word: Option<&'static str>,
    /// Where it is drawn.
    pub chart: Option<Chart>,
    /// The value of `select.metric` that names it.
    pub selects: Option<Metric>,
}

/// Unit of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A loss.
    Loss,
    /// A norm, over orders of magnitude.
    Norm,
    /// A learning rate.
    LearningRate,
    /// A score from 0 to 1, higher is better.
    Score,
    /// A part of a whole, 0 to 1, printed as a percentage.
    Share,
    /// Percent, 0 to 100.
    Percent,
    /// A number of things.
    Count,
    /// 0 or 1.
    Flag,
    /// Seconds.
    Seconds,
    /// Per second.
    PerSecond,
    /// Bytes.
    Bytes,
    /// °C.
    Celsius,
    /// Watts.
    Watts,
    /// None of these.
    Number,
}

impl Unit {
    /// Lowest and highest value, and which are better.
    const fn range(self) -> (f64, f64, Better) {
        const MOST: f64 = f64::INFINITY;
        match self {
            Self::Loss | Self::Seconds | Self::Bytes => (0.0, MOST, Better::Lower),
            Self::PerSecond => (0.0, MOST, Better::Higher),
            Self::Norm | Self::LearningRate | Self::Count | Self::Watts => {
                (0.0, MOST, Better::Neither)
            }
            Self::Score => (0.0, 1.0, Better::Higher),
            Self::Share => (0.0, 1.0, Better::Lower),
            Self::Flag => (0.0, 1.0, Better::Neither),
            Self::Percent => (0.0, 100.0, Better::Neither),
            Self::Celsius => (-MOST, MOST, Better::Lower),
            Self::Number => (-MOST, MOST, Better::Neither),
        }
    }
}

/// Which values of a figure are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Lower ones.
    Lower,
    /// Higher ones.
    Higher,
    /// It depends.
    Neither,
}

/// A line in a chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chart {
    /// The view that has the chart.
    pub view: View,
    /// Name of the chart; figures with the same one share it.
    pub name: &'static str,
    /// Name of the line.
    pub line: &'static str,
    /// Its colour.
    pub tone: Tone,
    /// Whether the axis goes to the end of the range, or to the total.
    pub to_the_end: bool,
}

/// A view with charts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Curves, over steps.
    Curves,
    /// System, over time.
    System,
}

/// Colour of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// That of training.
    First,
    /// That of validation.
    Second,
    /// In the background.
    Faint,
}

impl<E> Figure<E> {
    pub(super) const fn new(
        id: &'static str,
        label: &'static str,
        unit: Unit,
        read: fn(&E) -> Option<f64>,
    ) -> Self {
        let (low, high, better) = unit.range();
        Self {
            id,
            label,
            unit,
            better,
            range: (low, high),
            read,
            total: None,
            column: true,
            tag: None,
            word: None,
            chart: None,
            selects: None,
        }
    }

    pub(super) const fn better(self, better: Better) -> Self {
        Self { better, ..self }
    }

    pub(super) const fn range(self, low: f64, high: f64) -> Self {
        Self { range: (low, high), ..self }
    }

    pub(super) const fn of(self, total: fn(&E) -> Option<f64>) -> Self {
        Self { total: Some(total), ..self }
    }

    pub(super) const fn derived(self) -> Self {
        Self { column: false, ..self }
    }

    pub(super) const fn tag(self, tag: &'static str) -> Self {
        Self { tag: Some(tag), ..self }
    }

    pub(super) const fn word(self, word: &'static str) -> Self {
        Self { word: Some(word), ..self }
    }

    /// In the chart `name` of the Curves view.
    pub(super) const fn curve(self, name: &'static str, line: &'static str, tone: Tone) -> Self {
        let chart = Chart { view: View::Curves, name, line, tone, to_the_end: false };
        Self { chart: Some(chart), ..self }
    }

    /// In the chart `name` of the System view.
    pub(super) const fn panel(self, name: &'static str, tone: Tone) -> Self {
        let chart = Chart { view: View::System, name, line: name, tone, to_the_end: false };
        Self { chart: Some(chart), ..self }
    }

    /// Like [`Self::panel`], with an axis to the end of the range.
    pub(super) const fn gauge(self, name: &'static str, tone: Tone) -> Self {
        let chart = Chart { view: View::System, name, line: name, tone, to_the_end: true };
        Self { chart: Some(chart), ..self }
    }

    pub(super) const fn selects(self, metric: Metric) -> Self {
        Self { selects: Some(metric), ..self }
    }

    /// Its chart, if it is in `view`.
    pub fn chart_in(&self, view: View) -> Option<&Chart> {
        self.chart.as_ref().filter(|chart| chart.view == view)
    }

    /// Converts a value to a cost (lower is better), or back: 1 minus it if higher is better.
    pub fn cost(&self, x: f64) -> f64 {
        if self.better == Better::Higher { 1.0 - x } else { x }
    }
}
