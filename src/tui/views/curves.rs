//! Curves view: what changed, and when? One figure over the steps, with zoom.

mod lens;
mod marks;

use crate::export;
use crate::run::catalogue::{Chart, EPOCH, STEP, Unit as FigureUnit, View as Where};
use crate::tui::action::ChartKey;
use crate::tui::plot::{self, Data, Layer, Plot, Shape, Unit};
use crate::tui::{range, theme};
use crate::view::{Fold, Mark, Series, Smoothed, State, format};
use lens::{Lens, Window};
use marks::{appearance, marks};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::Line;
use std::collections::{HashMap, HashSet};

/// Decay factors of the moving average, and their labels.
const STRENGTHS: [(f64, &str); 5] =
    [(0.98, "0.98"), (0.995, "0.995"), (0.999, "0.999"), (0.0, "off"), (0.9, "0.9")];

/// State of the view.
#[derive(Default)]
pub struct View {
    /// Index in [`charts`].
    chart: usize,
    lens: Lens,
    log: bool,
    strength: usize,
    together: bool,
    /// Moving averages by fold and series, updated incrementally from frame to frame.
    averages: HashMap<(usize, &'static str), Smoothed>,
}

/// The chart of the losses that training and `best` go by.
const LOSS: &str = "loss";

/// The charts, by name, in the order of their first figures.
fn charts() -> Vec<&'static str> {
    let steps = STEP.iter().filter_map(|figure| figure.chart_in(Where::Curves));
    let epochs = EPOCH.iter().filter_map(|figure| figure.chart_in(Where::Curves));
    let mut seen = HashSet::new();
    steps.chain(epochs).map(|chart| chart.name).filter(|name| seen.insert(*name)).collect()
}

/// A line of the chart before drawing.
enum CurveData<'a> {
    /// A value per step, and its figure.
    Steps(&'a Series, &'static str),
    /// A value per epoch.
    Epochs(Vec<(f64, f64)>),
    /// The loss of a constant guess.
    Level(f64),
}

struct Curve<'a> {
    fold: usize,
    name: String,
    unit: FigureUnit,
    style: Style,
    mark: Option<char>,
    /// Whether single steps are drawn behind their average.
    raw: bool,
    /// Whether it is named in the chart, where there are several folds.
    labelled: bool,
    data: CurveData<'a>,
}

impl Curve<'_> {
    /// Whether single steps scatter, so that an average and a robust range tell more.
    fn is_noisy(&self) -> bool {
        matches!(self.data, CurveData::Steps(..)) && self.unit != FigureUnit::LearningRate
    }

    /// Formats a value; a score with a digit more than elsewhere, to tell epochs apart.
    fn value(&self, x: Option<f64>) -> String {
        match self.unit {
            FigureUnit::Score => format::maybe_loss(x),
            unit => format::figure(unit, x),
        }
    }
}

impl View {
    /// Handles `key`.
    pub fn act(&mut self, key: ChartKey) {
        if self.lens.act(key) {
            return;
        }
        match key {
            ChartKey::Log => self.log = !self.log,
            ChartKey::Smoothing => {
                self.strength = (self.strength + 1) % STRENGTHS.len();
                self.averages.clear();
            }
            ChartKey::Figure => {
                self.chart = (self.chart + 1) % charts().len();
                let here = |chart: &Chart| chart.name == self.name();
                let mut norms = STEP.iter().filter(|figure| figure.unit == FigureUnit::Norm);
                self.log = norms.any(|figure| figure.chart.as_ref().is_some_and(here));
            }
            ChartKey::Together => self.together = !self.together,
            _ => {}
        }
    }

    /// Removes the cursor; returns whether there was one.
    pub fn put_cursor_away(&mut self) -> bool {
        self.lens.cursor.take().is_some()
    }

    /// The visible range, for mouse input.
    pub fn lens(&mut self) -> &mut Lens {
        &mut self.lens
    }

    /// Draws the chart of the fold with index `shown`, or of all folds.
    pub fn draw(&mut self, frame: &mut Frame, area: Rect, state: &State, shown: usize) {
        let Some(fold) = state.folds.get(shown) else {
            frame.render_widget(Line::styled("waiting for the trainer's plan", theme::FAINT), area);
            return;
        };
        let [head, body, foot] = Layout::vertical([
            Constraint::Length(2),
            Constraint::Fill(1),
            Constraint::Length(if area.height >= 14 { 2 } else { 1 }),
        ])
        .areas(area);
        let curves = self.prepare(state, fold);
        self.draw_head(frame, head, state, fold, &curves);
        let plot = self.plot(&curves, fold);
        let empty = curves.iter().all(|curve| match &curve.data {
            CurveData::Steps(series, _) => series.is_empty(),
            CurveData::Epochs(points) => points.is_empty(),
            CurveData::Level(_) => true,
        });
        if empty {
            let middle = Rect { y: body.y + body.height / 2, height: 1.min(body.height), ..body };
            frame.render_widget(Line::styled("nothing of it yet", theme::FAINT).centered(), middle);
        } else {
            frame.render_widget(&plot, body);
        }
        let left = plot.left(body);
        self.draw_foot(frame, foot, fold, &curves);
        (self.lens.left, self.lens.area) = (left, body);
    }

    /// Returns the visible chart for export.
    pub fn export(&mut self, state: &State, shown: usize) -> Option<export::Chart> {
        let fold = state.folds.get(shown)?;
        let curves = self.prepare(state, fold);
        let of = match self.together {
            true => "all folds".into(),
            false => format!("fold {}", fold.plan.fold),
        };
        Some(self.plot(&curves, fold).export(&format!("{} {of}", self.name())))
    }

    /// Collects the curves of `fold` or of all folds, and updates their averages and the visible
    /// range.
    fn prepare<'a>(&mut self, state: &'a State, fold: &'a Fold) -> Vec<Curve<'a>> {
        let folds: Vec<&Fold> = match self.together {
            true => state.folds.iter().collect(),
            false => vec![fold],
        };
        let curves: Vec<Curve> = folds.iter().flat_map(|fold| self.curves(fold, state)).collect();
        self.follow(&curves);
        let last = folds.iter().filter_map(|fold| fold.curve.loss().last()).map(|p| f64::from(p.x));
        let planned = folds.iter().map(|fold| fold.x(fold.at));
        self.lens.reach(last.chain(planned).fold(0.0, f64::max));
        curves
    }

    fn plot<'a>(&'a self, curves: &'a [Curve], fold: &Fold) -> Plot<'a> {
        let y = self.y_range(curves);
        Plot {
            x: self.lens.seen,
            y,
            log: self.log && y.0 > 0.0,
            unit: Unit::Steps(fold.plan.steps.max(1) as f64),
            label: curves.first().map_or(format::short_loss, |curve| format::axis(curve.unit)),
            round: 1.0,
            layers: curves.iter().flat_map(|curve| self.layers(curve)).collect(),
            marks: if self.together { Vec::new() } else { marks(fold) },
            cursor: self.lens.cursor,
        }
    }

    fn curves<'a>(&self, fold: &'a Fold, state: &State) -> Vec<Curve<'a>> {
        let number = fold.plan.fold;
        let place = state.folds.iter().position(|f| f.plan.fold == number).unwrap_or(0);
        let mark = self.together.then(|| char::from_digit(number as u32 % 36, 36)).flatten();
        // A single fold's lines differ in colour and shape; with several, the colour identifies the
        // fold.
        let style = |alone: Style| if self.together { theme::series(place) } else { alone };
        let named = |name: &str| match self.together {
            true => format!("{number} {name}"),
            false => name.into(),
        };
        let curve = |line: &str, unit, alone: Style, data: CurveData<'a>| Curve {
            fold: number,
            name: named(line),
            unit,
            style: style(alone),
            mark,
            raw: !self.together,
            labelled: !matches!(data, CurveData::Steps(..)),
            data,
        };
        let of = |chart: &Chart, unit, data| {
            (chart.line, curve(chart.line, unit, theme::tone(chart.tone), data))
        };
        let name = self.name();
        let here = |chart: &&Chart| chart.name == name;
        let steps = fold.curve.figures().filter_map(|(figure, series)| {
            let chart = figure.chart_in(Where::Curves).filter(here)?;
            Some(of(chart, figure.unit, CurveData::Steps(series, figure.id)))
        });
        let epochs = EPOCH.iter().filter_map(|figure| {
            let chart = figure.chart_in(Where::Curves).filter(here)?;
            Some(of(chart, figure.unit, CurveData::Epochs(fold.at_epochs(figure.read))))
        });
        let mut curves: Vec<_> = steps.chain(epochs).collect();
        curves.sort_by_key(|(line, _)| *line);
        let mut curves: Vec<Curve> = curves.into_iter().map(|(_, curve)| curve).collect();
        // Before the first validation, the line of the steps has to tell which fold it is.
        let is_empty = |curve: &Curve| match &curve.data {
            CurveData::Steps(series, _) => series.is_empty(),
            CurveData::Epochs(points) => points.is_empty(),
            CurveData::Level(_) => false,
        };
        if !curves.iter().any(|curve| curve.labelled && !is_empty(curve)) {
            curves.iter_mut().for_each(|curve| curve.labelled = !is_empty(curve));
        }
        if name == LOSS && !self.together {
            let level = CurveData::Level(fold.plan.baseline);
            curves.push(curve("baseline", FigureUnit::Loss, theme::BASELINE, level));
        }
        curves
    }

    fn name(&self) -> &'static str {
        charts()[self.chart]
    }

    /// Updates the averages.
    fn follow(&mut self, curves: &[Curve]) {
        let beta = self.beta();
        for curve in curves {
            if let CurveData::Steps(series, which) = curve.data {
                let average = self.averages.entry((curve.fold, which));
                average.or_insert_with(|| Smoothed::new(beta)).follow(series);
            }
        }
    }

    fn beta(&self) -> f64 {
        STRENGTHS[self.strength].0
    }

    fn average(&self, curve: &Curve) -> Option<&Smoothed> {
        match curve.data {
            CurveData::Steps(_, which) => self.averages.get(&(curve.fold, which)),
            _ => None,
        }
    }

    fn layers<'a>(&'a self, curve: &'a Curve) -> Vec<Layer<'a>> {
        let named = |layer: Layer<'a>| Layer { name: curve.mark, ..layer }.called(&curve.name);
        match &curve.data {
            CurveData::Steps(series, _) if !curve.is_noisy() => {
                vec![named(Layer::new(Data::Steps(series), Shape::Line, curve.style))]
            }
            CurveData::Steps(series, _) => {
                let raw = Layer::new(Data::Steps(series), Shape::Dots, theme::FAINT)
                    .called(format!("{}, each step", curve.name));
                let smooth = self.average(curve).map(|average| {
                    // Next to validation curves, the line of the steps needs no label.
                    let line = Layer::new(Data::Steps(average.series()), Shape::Line, curve.style);
                    Layer { name: curve.mark.filter(|_| curve.labelled), ..line }
                        .called(format!("{}, smoothed", curve.name))
                });
                curve.raw.then_some(raw).into_iter().chain(smooth).collect()
            }
            CurveData::Epochs(points) => {
                vec![named(Layer::new(Data::Points(points), Shape::Beads, curve.style))]
            }
            CurveData::Level(y) => {
                let level = Layer::new(Data::Level(*y), Shape::Dashes, curve.style);
                vec![level.called(&curve.name)]
            }
        }
    }

    fn y_range(&self, curves: &[Curve]) -> (f64, f64) {
        let (x0, x1) = self.lens.seen;
        let (mut raw, mut must, mut level) = (Vec::new(), Vec::new(), None);
        for curve in curves {
            match &curve.data {
                CurveData::Steps(series, _) => {
                    let shown = match (curve.raw, self.average(curve)) {
                        (false, Some(average)) => average.series(),
                        _ => series,
                    };
                    raw.extend(range::sample(shown, shown.within(x0, x1)));
                }
                CurveData::Epochs(points) => {
                    let near = points.iter().filter(|p| (x0..=x1).contains(&p.0));
                    must.extend(near.map(|p| p.1));
                }
                CurveData::Level(y) => level = Some(*y),
            }
        }
        // When zoomed in, invisible values must not flatten the visible ones.
        let level = level.filter(|_| self.lens.window == Window::Whole);
        let (low, high) = match curves.iter().any(Curve::is_noisy) {
            true => range::of_losses(&raw, &must, level),
            false => range::of_all(raw.iter().chain(&must).copied()),
        };
        let least = raw.iter().chain(&must).copied().filter(|&y| y > 0.0).fold(high, f64::min);
        match self.log && low <= 0.0 && least > 0.0 {
            true => (0.8 * least, high),
            false => (low, high),
        }
    }

    fn draw_head(
        &self,
        frame: &mut Frame,
        area: Rect,
        state: &State,
        fold: &Fold,
        curves: &[Curve],
    ) {
        let of = match self.together {
            true if state.shared => format!("all folds · {} in training", state.crew().training),
            true => "all folds".into(),
            false => format!("fold {}", fold.plan.fold),
        };
        let (x0, x1) = self.lens.seen;
        let seen = match self.lens.window {
            Window::Whole => String::new(),
            Window::Newest(_) => format!(" · newest {:.0} steps", x1 - x0),
            Window::Fixed(..) => format!(" · steps {x0:.0} to {x1:.0}"),
        };
        let log = if self.log { " · log" } else { "" };
        let title = format!("{} · {of}{seen}{log}", self.name());
        let smooth = match curves.iter().any(Curve::is_noisy) {
            true => format!("smoothing {}", STRENGTHS[self.strength].1),
            false => String::new(),
        };
        let parts = vec![(title, theme::TITLE), (smooth, theme::FAINT)];
        let mut rows = vec![plot::legend(parts, area.width)];
        let mut legend: Vec<(String, Style)> = curves
            .iter()
            .filter(|curve| !self.together || curve.labelled)
            .map(|curve| {
                let mark = match curve.data {
                    CurveData::Steps(..) => "━",
                    CurveData::Epochs(_) => "•",
                    CurveData::Level(_) => "┅",
                };
                let value = curve.value(self.newest(curve));
                (format!("{mark} {} {value}", curve.name), curve.style)
            })
            .collect();
        if self.name() == LOSS && !self.together {
            legend.push(("(two formulas: see by head)".into(), theme::FAINT));
        }
        rows.push(plot::legend(legend, area.width));
        frame.render_widget(ratatui::widgets::Paragraph::new(rows), area);
    }

    fn newest(&self, curve: &Curve) -> Option<f64> {
        match &curve.data {
            CurveData::Steps(series, _) if !curve.is_noisy() => {
                series.last().map(|point| point.y.into())
            }
            CurveData::Steps(..) => self.average(curve)?.now(),
            CurveData::Epochs(points) => points.last().map(|p| p.1),
            CurveData::Level(y) => Some(*y),
        }
    }

    /// Draws the values at the cursor, or the legend of the marks.
    fn draw_foot(&self, frame: &mut Frame, area: Rect, fold: &Fold, curves: &[Curve]) {
        let Some(x) = self.lens.cursor else {
            let kinds =
                [Mark::Best, Mark::Saved, Mark::Paused, Mark::Resumed, Mark::Rate, Mark::NonFinite];
            let there = kinds.into_iter().filter(|kind| {
                !self.together && fold.curve.marks.iter().any(|(_, mark)| mark == kind)
            });
            let parts = there.map(|kind| {
                let (symbol, style, word) = appearance(kind);
                (format!("{symbol} {word}"), style)
            });
            frame.render_widget(plot::legend(parts.collect(), area.width), area);
            return;
        };
        let steps = fold.plan.steps.max(1) as f64;
        // Step 40 of 40 belongs to the epoch that it ends.
        let epoch = (x.round() / steps).ceil().max(1.0);
        let at = format!("┊ epoch {epoch:.0} step {:.0}", x.round() - (epoch - 1.0) * steps);
        let mut parts = vec![(at, theme::KEY)];
        for curve in curves {
            let value = match &curve.data {
                CurveData::Steps(series, _) => {
                    let print = format::axis(curve.unit);
                    let at = |series: &Series| series.nearest(x).map(|point| print(point.y.into()));
                    let raw = at(series).unwrap_or("–".into());
                    let smooth = self.average(curve).filter(|_| curve.is_noisy());
                    match smooth.and_then(|average| at(average.series())) {
                        Some(smooth) => format!("{raw} ~ {smooth}"),
                        None => raw,
                    }
                }
                CurveData::Epochs(points) => {
                    // Show the value of the epoch that contains the cursor, once it is finished.
                    let after = points.iter().find(|p| p.0 >= x - 0.5).or(points.last());
                    curve.value(after.map(|p| p.1))
                }
                CurveData::Level(y) => curve.value(Some(*y)),
            };
            parts.push((format!("{} {value}", curve.name), curve.style));
        }
        frame.render_widget(plot::legend(parts, area.width), area);
    }
}
