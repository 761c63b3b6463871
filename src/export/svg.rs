//! Draws a chart as SVG: text and paths, without scripts, fonts or links.

use super::{
    chart::{Chart, Mark, Series, Style, Weight},
    palette::{self, AXIS, GRID, MUTED, PAGE, RIM, TITLE},
    text::{escape, figure_of, short, wide},
    thin::thin,
};
use crate::axis::Span;
use std::fmt::Write;

pub use super::palette::STYLE;

/// Size of a chart in pixels, and its surroundings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Width, 160 or more.
    pub width: u32,
    /// Height, 120 or more.
    pub height: u32,
    /// Whether to explain curves and axes; small multiples need not.
    pub legend: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { width: 900, height: 360, legend: true }
    }
}

/// Minimum distance of two shapes on a curve, in pixels; denser curves have no shapes.
const APART: f64 = 16.0;
/// Most marks drawn.
const MOST_MARKS: usize = 200;
/// Margins left of the text and right of the plot, in pixels.
const LEFT: f64 = 14.0;
const RIGHT: f64 = 20.0;
/// Height of a line of text.
const LINE: f64 = 18.0;
/// Width of a curve's sample in the legend.
const SAMPLE: f64 = 26.0;
/// Largest coordinate in pixels; of lines that go further only the direction remains.
const FAR: f64 = 1e4;

/// Draws a chart as a file of its own, readable on a white and on a dark page.
pub fn document(chart: &Chart, options: &Options) -> String {
    let Options { width, height, .. } = options;
    let title = escape(&chart.title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" {FONT} role=\"img\">\
         <title>{title}</title><style>{STYLE}</style>\
         <rect {PAGE} width=\"100%\" height=\"100%\"/>{}</svg>\n",
        Drawing::of(chart, options)
    )
}

/// Draws a chart for an HTML page whose style includes [`STYLE`], without a left margin, because the
/// page has its own.
pub fn figure(chart: &Chart, options: &Options) -> String {
    let Options { width, height, .. } = options;
    let title = escape(&chart.title);
    format!(
        "<svg viewBox=\"{LEFT} 0 {} {height}\" {FONT} role=\"img\" aria-label=\"{title}\">{}</svg>",
        f64::from(*width) - LEFT,
        Drawing::of(chart, options)
    )
}

const FONT: &str = "font-family=\"system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,\
                    sans-serif\" font-size=\"12\"";

/// A chart being drawn. Writing to a String cannot fail, so results are ignored.
struct Drawing<'a> {
    chart: &'a Chart,
    across: Span,
    up: Span,
    /// The curves, thinned to the points needed.
    curves: Vec<Vec<(f64, f64)>>,
    left: f64,
    top: f64,
    width: f64,
    height: f64,
    out: String,
}

/// What a legend entry shows beside its name.
enum Sample {
    Curve(Style),
    /// The sign of points outside the plot.
    Sign(&'static str),
}

impl<'a> Drawing<'a> {
    fn of(chart: &'a Chart, options: &Options) -> String {
        let (across, up) = chart.bounds();
        let (all_wide, all_high) =
            (f64::from(options.width.max(160)), f64::from(options.height.max(120)));
        let y_ticks = chart.y.ticks(&up, (all_high / 48.0) as usize);
        let left = LEFT + 6.0 + y_ticks.iter().map(|t| wide(&t.1)).fold(0.0, f64::max);
        let curves = chart.series.iter().map(|series| thin(&series.points, &across)).collect();
        let width = (all_wide - left - RIGHT).max(40.0);
        let each = if options.legend { 80.0 } else { 40.0 };
        let x_ticks = chart.x.ticks(&across, (width / each) as usize);
        let (top, height, out) = (0.0, 0.0, String::new());
        let mut drawing = Self { chart, across, up, curves, left, top, width, height, out };
        drawing.head(options.legend, all_wide);
        let below = if options.legend { 40.0 } else { 24.0 };
        drawing.height = (all_high - drawing.top - below).max(40.0);
        drawing.axes(options.legend, &x_ticks, &y_ticks);
        drawing.marks();
        drawing.lines();
        drawing.shapes();
        drawing.signs();
        if chart.is_empty() {
            let (x, y) = (drawing.left + drawing.width / 2.0, drawing.top + drawing.height / 2.0);
            drawing.text(MUTED, (x, y), "middle", "nothing to show yet");
        }
        drawing.out
    }

    fn x(&self, x: f64) -> f64 {
        self.left + (self.across.share(x) * self.width).clamp(-FAR, FAR)
    }

    fn y(&self, y: f64) -> f64 {
        self.top + ((1.0 - self.up.share(y)) * self.height).clamp(-FAR, FAR)
    }

    fn bottom(&self) -> f64 {
        self.top + self.height
    }

    fn text(&mut self, paint: &str, (x, y): (f64, f64), anchor: &str, text: &str) {
        let text = short(text);
        let _ = write!(
            self.out,
            r#"<text {paint} x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#
        );
    }

    fn line(&mut self, paint: &str, (x, y): (f64, f64), (to_x, to_y): (f64, f64)) {
        let _ = write!(
            self.out,
            r#"<line {paint} x1="{x:.1}" y1="{y:.1}" x2="{to_x:.1}" y2="{to_y:.1}"/>"#
        );
    }

    /// Draws the title, the legend and the y axis's heading, and sets the plot's top below them.
    fn head(&mut self, legend: bool, all_wide: f64) {
        let mut y = 6.0;
        if !self.chart.title.is_empty() {
            y += LINE;
            let title = format!(r#"{TITLE} font-size="14" font-weight="600""#);
            self.text(&title, (LEFT, y - 4.0), "start", &self.chart.title);
        }
        if legend {
            let mut x = LEFT;
            let mut begun = false;
            let mut entries = self.entries();
            // A single curve needs no name.
            if let [(_, Sample::Curve(_))] = entries[..] {
                entries.clear();
            }
            for (name, sample) in entries {
                let room = SAMPLE + 6.0 + wide(name) + 16.0;
                if !begun || x + room > all_wide {
                    (x, y, begun) = (LEFT, y + LINE, true);
                }
                self.entry(name, sample, (x, y - 4.0));
                x += room;
            }
            let heading = self.chart.y.heading();
            if !heading.is_empty() {
                y += LINE;
                self.text(MUTED, (LEFT, y - 4.0), "start", &heading);
            }
        }
        self.top = y + 6.0;
    }

    fn entries(&self) -> Vec<(&'a str, Sample)> {
        let named = self.chart.series.iter().filter(|series| !series.name.is_empty());
        let mut entries: Vec<_> = named.map(|s| (&*s.name, Sample::Curve(s.style))).collect();
        let (beyond, gaps) = self.without_place();
        if !gaps.is_empty() {
            entries.push(("not finite", Sample::Sign("×")));
        }
        if beyond.iter().any(|&(_, above, _)| above) {
            entries.push(("beyond the axis", Sample::Sign("▲")));
        }
        entries
    }

    fn entry(&mut self, name: &str, sample: Sample, (x, y): (f64, f64)) {
        let (middle, centre) = (y - 4.0, x + SAMPLE / 2.0);
        match sample {
            Sample::Sign(sign) => self.text(MUTED, (centre, y), "middle", sign),
            Sample::Curve(style) => {
                // The sample of a faint curve must still be visible as a single line.
                let faint = style.weight == Weight::Faint;
                let weight = if faint { Weight::Normal } else { style.weight };
                self.path(Style { weight, ..style }, &format!("M{x:.1} {middle:.1}h{SAMPLE}"));
                if let Some(marker) = style.marker {
                    self.shape(style.color, marker, (centre, middle));
                }
            }
        }
        self.text(MUTED, (x + SAMPLE + 6.0, y), "start", name);
    }

    /// Draws one shape.
    fn shape(&mut self, color: usize, shape: usize, at: (f64, f64)) {
        let _ = write!(self.out, "<g {}>", palette::fill(color));
        palette::shape(&mut self.out, shape, at, "");
        self.out.push_str("</g>");
    }

    fn axes(&mut self, labelled: bool, x_ticks: &[(f64, String)], y_ticks: &[(f64, String)]) {
        let (left, right, bottom) = (self.left, self.left + self.width, self.bottom());
        for (value, label) in y_ticks {
            let y = self.y(*value);
            if (self.top - 0.5..=bottom + 0.5).contains(&y) {
                self.line(GRID, (left, y), (right, y));
                self.text(MUTED, (left - 6.0, y + 4.0), "end", label);
            }
        }
        self.line(AXIS, (left, bottom), (right, bottom));
        for (value, label) in x_ticks {
            let x = self.x(*value);
            self.line(AXIS, (x, bottom), (x, bottom + 4.0));
            self.text(MUTED, (x, bottom + 17.0), "middle", label);
        }
        if labelled {
            self.text(MUTED, (right, bottom + 34.0), "end", &self.chart.x.heading());
        }
    }

    fn marks(&mut self) {
        let mut marks: Vec<&Mark> = self.chart.marks.iter().collect();
        marks.retain(|mark| self.across.contains(mark.x));
        marks.truncate(MOST_MARKS);
        marks.sort_by(|a, b| a.x.total_cmp(&b.x));
        // Right end of each row of labels.
        let mut taken = [f64::NEG_INFINITY; 3];
        for Mark { x, label } in marks {
            let x = self.x(*x);
            let dashed = format!(r#"{AXIS} stroke-dasharray="1 3""#);
            self.line(&dashed, (x, self.top), (x, self.bottom()));
            let room = wide(label);
            let leftwards = x + 4.0 + room > self.left + self.width;
            let start = if leftwards { x - 4.0 - room } else { x };
            let Some(row) = taken.iter().position(|&end| end <= start) else { continue };
            taken[row] = start + room + 12.0;
            let y = self.top + 10.0 + 14.0 * row as f64;
            let (x, anchor) = if leftwards { (x - 4.0, "end") } else { (x + 4.0, "start") };
            self.text(MUTED, (x, y), anchor, label);
        }
    }

    fn path(&mut self, style: Style, d: &str) {
        let (width, opacity) = match style.weight {
            Weight::Faint => (1.0, r#" opacity="0.3""#),
            Weight::Normal => (1.6, ""),
            Weight::Strong => (2.4, ""),
        };
        let (stroke, dash) = (palette::stroke(style.color), palette::dash(style.dash));
        let _ = write!(
            self.out,
            "<path {stroke} fill=\"none\" stroke-width=\"{width}\"{dash}{opacity} \
             stroke-linejoin=\"round\" stroke-linecap=\"{}\" d=\"{d}\"/>",
            if dash.is_empty() { "round" } else { "butt" }
        );
    }

    /// Draws the curves, clipped at the plot's edge.
    fn lines(&mut self) {
        let (x, y, width, height) = (self.left, self.top, self.width, self.height);
        let _ = write!(
            self.out,
            "<svg x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             viewBox=\"{x:.1} {y:.1} {width:.1} {height:.1}\">"
        );
        let chart = self.chart;
        for (i, series) in chart.series.iter().enumerate() {
            let d = self.trace(series.held, &self.curves[i]);
            if !d.is_empty() {
                self.path(series.style, &d);
            }
        }
        self.out.push_str("</svg>");
    }

    fn trace(&self, held: bool, curve: &[(f64, f64)]) -> String {
        let mut d = String::new();
        let shown = |&(_, y): &(f64, f64)| self.chart.y.shows(y);
        for (i, point) in curve.iter().enumerate().filter(|(_, point)| shown(point)) {
            let (x, y) = (self.x(point.0), self.y(point.1));
            let joined = i > 0 && shown(&curve[i - 1]);
            let alone = !joined && !curve.get(i + 1).is_some_and(shown);
            let _ = match joined {
                true if held => write!(d, "H{x:.1}V{y:.1}"),
                true => write!(d, "L{x:.1} {y:.1}"),
                // A dot is a line of length 0 with round ends.
                false if alone => write!(d, "M{x:.1} {y:.1}h0"),
                false => write!(d, "M{x:.1} {y:.1}"),
            };
        }
        d
    }

    fn shapes(&mut self) {
        for Series { name, style, points, .. } in &self.chart.series {
            let Some(marker) = style.marker else { continue };
            // On a thinned curve, shapes would mark an arbitrary selection of points.
            let in_plot = |p: &&(f64, f64)| self.across.contains(p.0) && self.up.contains(p.1);
            let shown: Vec<_> = points.iter().filter(in_plot).collect();
            let most = (self.width / APART).max(1.0) as usize;
            let every = shown.len().div_ceil(most).max(1);
            let _ = write!(self.out, "<g {} stroke-width=\"1\">", palette::fill(style.color));
            let _ = write!(self.out, "<g {RIM}>");
            for &&(x, y) in shown.iter().step_by(every) {
                let at = (self.x(x), self.y(y));
                let tip = format!("{} {}: {}", self.chart.x.label, figure_of(x), figure_of(y));
                let tip = if name.is_empty() { tip } else { format!("{name}, {tip}") };
                palette::shape(&mut self.out, marker, at, &short(&tip));
            }
            self.out.push_str("</g></g>");
        }
    }

    /// Returns points above or below the range, as x, whether above, and colour; and the x of those that
    /// are not finite.
    fn without_place(&self) -> (Vec<(f64, bool, usize)>, Vec<f64>) {
        let Span { low, high, .. } = self.up;
        let (mut beyond, mut gaps) = (Vec::new(), Vec::new());
        for (series, curve) in self.chart.series.iter().zip(&self.curves) {
            for &(x, y) in curve.iter().filter(|p| self.across.contains(p.0)) {
                if y.is_nan() {
                    gaps.push(x);
                } else if y > high || (y < low && self.chart.y.shows(y)) {
                    beyond.push((x, y > high, series.style.color));
                }
            }
        }
        gaps.sort_by(f64::total_cmp);
        (beyond, gaps)
    }

    /// Draws signs at the plot's edge for points outside it; only the first of adjacent ones.
    fn signs(&mut self) {
        let (beyond, gaps) = self.without_place();
        let (top, bottom) = (self.top, self.bottom());
        let mut last = [f64::NEG_INFINITY; 3];
        for (x, above, color) in beyond {
            let x = self.x(x);
            let free = &mut last[usize::from(above)];
            if (x - *free).abs() >= 8.0 {
                *free = x;
                let (shape, y) = if above { (2, top + 4.0) } else { (4, bottom - 4.0) };
                self.shape(color, shape, (x, y));
            }
        }
        for x in gaps {
            let x = self.x(x);
            if x - last[2] >= 8.0 {
                last[2] = x;
                self.text(MUTED, (x, bottom - 2.0), "middle", "×");
            }
        }
    }
}
