//! Line chart over steps: axes, braille dots, marks on the time axis, and a cursor.
//!
//! For each column of dots, the lowest and the highest of its points are drawn, so that a spike of
//! a single step is always visible and the cost does not grow with the number of points.

mod dots;
mod layer;
#[cfg(test)]
mod tests;

pub use layer::{Data, Layer, Shape, Unit};

use super::{range, theme};
use crate::axis::{CLOSE_STEPS, Scale, Span, trimmed};
use crate::export;
use crate::view::format;
use dots::{Dots, set};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::Widget;

/// A chart.
#[derive(Debug, Clone)]
pub struct Plot<'a> {
    /// Range of x.
    pub x: (f64, f64),
    /// Range of y; finite, ascending, and positive with `log`.
    pub y: (f64, f64),
    /// Whether y is logarithmic.
    pub log: bool,
    /// Unit of x.
    pub unit: Unit,
    /// Formats y; `round` is the unit in which ticks are round, such as GiB for bytes.
    pub label: fn(f64) -> String,
    /// See [`Self::label`].
    pub round: f64,
    /// The lines; later ones are drawn on top.
    pub layers: Vec<Layer<'a>>,
    /// Marks on the time axis, as (x, character, style).
    pub marks: Vec<(f64, char, Style)>,
    /// Position of the cursor.
    pub cursor: Option<f64>,
}

/// Geometry of the chart.
struct Frame {
    inner: Rect,
    x: Span,
    y: Span,
}

impl Frame {
    /// Column of cells that contains x.
    fn column(&self, x: f64) -> Option<u16> {
        let (share, width) = (self.x.share(x), self.inner.width);
        let column = (share * f64::from(width)) as u16;
        (0.0..=1.0).contains(&share).then(|| column.min(width.saturating_sub(1)))
    }

    /// The row of dots of a value, 0 at the top; values outside the range map to rows outside, up to a
    /// limit.
    fn dot(&self, y: f64) -> i32 {
        let dots = 4.0 * f64::from(self.inner.height);
        // Further out, the part of a line that is visible hardly changes. (NaN becomes 0 in the
        // conversion.)
        (self.y.share_from_top(y) * dots).clamp(-2.0 * dots, 3.0 * dots).floor() as i32
    }

    /// The cell of a point, if it is within the chart.
    fn cell(&self, x: f64, y: f64) -> Option<(u16, u16)> {
        let row = u16::try_from(self.dot(y)).ok()? / 4;
        let column = self.column(x).filter(|_| row < self.inner.height)?;
        Some((self.inner.x + column, self.inner.y + row))
    }
}

impl<'a> Plot<'a> {
    /// Creates a plot of losses over epochs. `lines`: points that determine the ranges; `level`: a
    /// value that is always in sight. `None` before the first epoch.
    pub fn over_epochs(
        lines: &[&[(f64, f64)]],
        level: Option<f64>,
        layers: Vec<Layer<'a>>,
    ) -> Option<Self> {
        let longest = lines.iter().filter_map(|line| line.last()).map(|p| p.0).fold(0.0, f64::max);
        let losses: Vec<f64> = lines.iter().copied().flatten().map(|p| p.1).collect();
        (longest > 0.0).then(|| Self {
            x: (1.0, longest.max(2.0) * 1.03),
            y: range::of_losses(&losses, &[], level),
            log: false,
            unit: Unit::Epochs,
            label: format::short_loss,
            round: 1.0,
            layers,
            marks: Vec::new(),
            cursor: None,
        })
    }
}

impl Plot<'_> {
    /// Converts the visible part to a chart for export, with every point.
    pub fn export(&self, title: &str) -> export::Chart {
        let (divisor, label) = match self.unit {
            Unit::Steps(steps) => (steps, "epoch"),
            Unit::Epochs => (1.0, "epoch"),
            Unit::Seconds => (1.0, "seconds"),
        };
        let range = (self.x.0 / divisor, self.x.1 / divisor);
        let series = self.layers.iter().enumerate().map(|(i, layer)| {
            let weight = match layer.shape {
                Shape::Dots => export::Weight::Faint,
                _ => export::Weight::Normal,
            };
            let marker = (layer.shape == Shape::Beads).then_some(i);
            let dash = usize::from(layer.shape == Shape::Dashes);
            let style = export::Style { color: i, dash, marker, weight };
            let mut points: Vec<(f64, f64)> = match layer.data {
                Data::Steps(series) => {
                    series.points().iter().map(|p| (p.x.into(), p.y.into())).collect()
                }
                Data::Points(points) => points.to_vec(),
                Data::Level(y) => vec![(self.x.0, y), (self.x.1, y)],
            };
            points.retain(|(x, _)| (self.x.0..=self.x.1).contains(x));
            points.iter_mut().for_each(|(x, _)| *x /= divisor);
            export::Series::line(layer.title.clone(), points, style)
        });
        let scale = if self.log { Scale::Log } else { Scale::Linear };
        export::Chart {
            title: title.into(),
            x: export::Axis { range: Some(range), ..export::Axis::new(label) },
            y: export::Axis { range: Some(self.y), scale, ..export::Axis::default() },
            series: series.collect(),
            ..export::Chart::default()
        }
    }

    /// Column where the lines begin if the chart is drawn in `area`.
    pub fn left(&self, area: Rect) -> u16 {
        self.inner(area).x
    }

    /// The range of y in units of `round`.
    fn y_span(&self, round: f64) -> Span {
        let scale = if self.log && self.y.0 > 0.0 { Scale::Log } else { Scale::Linear };
        Span { low: self.y.0 / round, high: self.y.1 / round, scale }
    }

    fn ticks(&self, count: usize) -> Vec<f64> {
        let ticks = self.y_span(self.round).ticks(count, CLOSE_STEPS);
        ticks.into_iter().map(|y| y * self.round).collect()
    }

    /// The part of `area` for the lines, beside the labels of y and above those of x.
    fn inner(&self, area: Rect) -> Rect {
        let widths = self.ticks(3).into_iter().map(|y| (self.label)(y).chars().count() as u16);
        let left = (widths.max().unwrap_or(0).clamp(4, 9) + 2).min(area.width);
        let low = 2.min(area.height);
        Rect { x: area.x + left, width: area.width - left, height: area.height - low, ..area }
    }

    /// Draws the chart, if there is room for one.
    pub fn draw(&self, buffer: &mut Buffer, area: Rect) {
        let inner = self.inner(area);
        let sound = self.x.1 > self.x.0 && self.y.1 > self.y.0 && self.y.1.is_finite();
        if inner.width < 4 || inner.height < 2 || !sound || !self.y.0.is_finite() {
            return;
        }
        let x = Span { low: self.x.0, high: self.x.1, scale: Scale::Linear };
        let frame = Frame { inner, x, y: self.y_span(1.0) };
        self.draw_axes(buffer, area, &frame);
        let mut dots = Dots::new(inner.width, inner.height);
        let mut beyond = vec![None; inner.width.into()];
        for layer in &self.layers {
            self.draw_layer(&mut dots, &mut beyond, layer, &frame);
        }
        dots.draw(buffer, inner);
        for (column, mark) in beyond.into_iter().enumerate() {
            if let Some(mark) = mark {
                let y = if mark == '▲' { inner.y } else { inner.bottom() - 1 };
                set(buffer, inner.x + column as u16, y, mark, theme::ALARM);
            }
        }
        for layer in &self.layers {
            self.draw_beads(buffer, layer, &frame);
        }
        for &(x, mark, style) in &self.marks {
            if let Some(column) = frame.column(x) {
                set(buffer, inner.x + column, inner.bottom(), mark, style);
            }
        }
        if let Some(column) = self.cursor.and_then(|x| frame.column(x)) {
            let x = inner.x + column;
            for y in inner.y..inner.bottom() {
                if buffer[(x, y)].symbol() == " " {
                    set(buffer, x, y, '┊', theme::KEY);
                }
            }
            set(buffer, x, inner.bottom(), '┴', theme::KEY);
        }
    }

    fn draw_axes(&self, buffer: &mut Buffer, area: Rect, frame: &Frame) {
        let inner = frame.inner;
        let left = inner.x - 1;
        for y in inner.y..inner.bottom() {
            set(buffer, left, y, '│', theme::FAINT);
        }
        set(buffer, left, inner.bottom(), '╰', theme::FAINT);
        for x in inner.x..inner.right() {
            set(buffer, x, inner.bottom(), '─', theme::FAINT);
        }
        let width = left - area.x - 1;
        let mut free = inner.bottom();
        for y in self.ticks(usize::from(inner.height / 4).clamp(2, 8)) {
            let row = inner.y + frame.dot(y).clamp(0, 4 * i32::from(inner.height) - 1) as u16 / 4;
            if row >= free {
                continue;
            }
            free = row;
            set(buffer, left, row, '┤', theme::FAINT);
            let text = format!("{:>1$}", (self.label)(y), usize::from(width));
            buffer.set_stringn(area.x, row, text, width.into(), theme::FAINT);
        }
        self.draw_x_axis(buffer, area, frame);
    }

    fn draw_x_axis(&self, buffer: &mut Buffer, area: Rect, frame: &Frame) {
        let inner = frame.inner;
        let y = inner.bottom() + 1;
        let Span { low, high, scale } = frame.x;
        let (divisor, word) = match self.unit {
            Unit::Steps(steps) if high - low >= 2.0 * steps => (steps, "epoch"),
            Unit::Steps(_) => (1.0, "step"),
            Unit::Epochs => (1.0, "epoch"),
            Unit::Seconds if high - low >= 7200.0 => (3600.0, "h"),
            Unit::Seconds if high - low >= 120.0 => (60.0, "min"),
            Unit::Seconds => (1.0, "s"),
        };
        let room = inner.right().saturating_sub(word.len() as u16 + 1);
        buffer.set_stringn(room + 1, y, word, word.len(), theme::FAINT);
        let span = Span { low: low / divisor, high: high / divisor, scale };
        let mut ticks = span.ticks(usize::from(inner.width / 12).clamp(2, 12), CLOSE_STEPS);
        ticks.retain(|x| self.unit != Unit::Epochs || x.fract() == 0.0);
        let mut free = area.x;
        for (at, text) in ticks.iter().zip(span.labels(&ticks)) {
            let column = inner.x + frame.column(at * divisor).unwrap_or(0);
            let text = trimmed(&text);
            let width = text.chars().count() as u16;
            let start = column.saturating_sub(width / 2).max(area.x);
            if start < free || start + width > room {
                continue;
            }
            set(buffer, column, inner.bottom(), '┬', theme::FAINT);
            buffer.set_stringn(start, y, text, width.into(), theme::FAINT);
            free = start + width + 1;
        }
    }

    fn draw_layer(
        &self,
        dots: &mut Dots,
        beyond: &mut [Option<char>],
        layer: &Layer,
        frame: &Frame,
    ) {
        let columns = 2 * usize::from(frame.inner.width);
        match layer.data {
            Data::Level(y) if frame.y.contains(y) => {
                for i in (0..columns).filter(|i| layer.shape != Shape::Dashes || i % 6 < 3) {
                    dots.set(i as i32, frame.dot(y), layer.style);
                }
            }
            Data::Level(_) => {}
            Data::Points(points) => {
                let most = columns as f64;
                let place = |&(x, y): &(f64, f64)| {
                    let column = (frame.x.share(x) * most).clamp(-most, 2.0 * most);
                    (column as i32, frame.dot(y))
                };
                // Of a very large number of epochs, draw only some.
                let every = points.len().div_ceil(8 * columns).max(1);
                // A single point is a line to itself.
                let mut before = points.first().filter(|_| points.len() == 1).map(place);
                for point in points.iter().step_by(every) {
                    let column = frame.column(point.0).filter(|_| point.1 > self.y.1);
                    if let Some(column) = column {
                        beyond[usize::from(column)] = Some('▲');
                    }
                    let here = place(point);
                    if let Some(before) = before.replace(here) {
                        dots.line(before, here, layer.style);
                    }
                }
            }
            Data::Steps(series) => {
                let x_of = |i: usize| self.x.0 + (self.x.1 - self.x.0) * i as f64 / columns as f64;
                let mut before: Option<(i32, i32)> = None;
                for i in 0..columns {
                    let (span, broken) = series.span(series.within(x_of(i), x_of(i + 1)));
                    let Some(span) = span else {
                        // Empty column: either points are sparser than columns, or the value was
                        // not finite, which breaks the line.
                        before = before.filter(|_| !broken);
                        continue;
                    };
                    let slot = &mut beyond[i / 2];
                    if f64::from(span.high) > self.y.1 {
                        *slot = Some('▲');
                    } else if f64::from(span.low) < self.y.0 {
                        *slot = slot.or(Some('▼'));
                    }
                    let column = i as i32;
                    let [first, last, low, high] =
                        [span.first, span.last, span.low, span.high].map(|y| frame.dot(y.into()));
                    if layer.shape == Shape::Dots {
                        dots.set(column, low, layer.style);
                        dots.set(column, high, layer.style);
                    } else {
                        if let Some(before) = before {
                            dots.line(before, (column, first), layer.style);
                        }
                        dots.line((column, low), (column, high), layer.style);
                    }
                    before = Some((column, last));
                }
            }
        }
    }

    /// Draws marks at the points, unless they are too dense, and the label at the line's end.
    fn draw_beads(&self, buffer: &mut Buffer, layer: &Layer, frame: &Frame) {
        if let (Shape::Beads, Data::Points(points)) = (layer.shape, layer.data) {
            let crowded = points.len() * 3 > usize::from(frame.inner.width);
            for &(x, y) in points.iter().filter(|_| !crowded || points.len() == 1) {
                if let Some((x, y)) = frame.cell(x, y) {
                    set(buffer, x, y, '•', layer.style);
                }
            }
        }
        let Some(name) = layer.name else { return };
        let end = match layer.data {
            Data::Level(y) => Some((self.x.1, y)),
            Data::Points(points) => points.iter().rfind(|p| p.0 <= self.x.1).copied(),
            Data::Steps(series) => {
                series.nearest(self.x.1).map(|p| (f64::from(p.x).min(self.x.1), p.y.into()))
            }
        };
        if let Some((x, y)) = end.and_then(|(x, y)| frame.cell(x, y)) {
            let x = (x + 1).min(frame.inner.right() - 1);
            set(buffer, x, y, name, layer.style.patch(theme::KEY));
        }
    }
}

impl Widget for &Plot<'_> {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        self.draw(buffer, area);
    }
}

/// Legend as one line of coloured marks and texts, as many as fit.
pub fn legend(parts: Vec<(String, Style)>, width: u16) -> Line<'static> {
    let mut line = Line::default();
    for (text, style) in parts {
        let span = ratatui::text::Span::styled(text, style);
        if line.width() + span.width() + 2 <= width.into() {
            if line.width() > 0 {
                line.push_span("  ");
            }
            line.push_span(span);
        }
    }
    line
}
