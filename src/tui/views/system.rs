//! System view: is the machine busy, and with what? Speed of training and use of the machine over
//! the run.

use crate::export;
use crate::run::catalogue::{Figure, GPU, STEP, SYSTEM, Unit as FigureUnit, View};
use crate::tui::plot::{Data, Layer, Plot, Shape, Unit};
use crate::tui::{range, theme};
use crate::view::{Series, State, format, worker};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// Minimum width of a chart with its axis, columns.
const WIDTH: u16 = 34;
/// Minimum height of a chart with title and axis, rows.
const HEIGHT: u16 = 7;

/// A small chart with its name, its newest value and its lines.
struct Panel<'a> {
    name: &'static str,
    now: String,
    lines: Vec<(&'a Series, Style)>,
    /// End of the y axis, if it does not follow from the values.
    high: Option<f64>,
    unit: FigureUnit,
}

/// Draws the view.
pub fn draw(frame: &mut Frame, area: Rect, state: &State) {
    let [head, body] = theme::below_heading(area);
    frame.render_widget(headline(state), head);
    let panels = panels(state);
    if panels.is_empty() {
        let text = Line::styled("nothing is measured yet", theme::FAINT).centered();
        return frame.render_widget(text, body);
    }
    let columns = (body.width / WIDTH).clamp(1, 3).min(panels.len() as u16);
    let most = (body.height / HEIGHT).max(1);
    let rows = (panels.len() as u16).div_ceil(columns).min(most);
    let lanes = Layout::vertical(vec![Constraint::Fill(1); rows.into()]).split(body);
    for (lane, panels) in lanes.iter().zip(panels.chunks(columns.into())) {
        let cells = vec![Constraint::Fill(1); columns.into()];
        let cells = Layout::horizontal(cells).spacing(2).split(*lane);
        cells.iter().zip(panels).for_each(|(cell, panel)| draw_panel(frame, *cell, panel));
    }
}

/// Summary of the device and its utilisation.
fn headline(state: &State) -> Line<'static> {
    let p = &state.progress.train;
    let load = state.system.as_ref().and_then(|system| system.load);
    let parts = [
        place(state),
        p.seconds().map(|s| format!("a step takes {}", format::seconds(s))),
        p.data_share().map(|share| format!("{} of it waiting for data", format::share(share))),
        load.map(|load| format!("load {load:.1}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    Line::styled(parts.join(" · "), theme::TITLE)
}

/// The device and, where several processes train, whose it is.
fn place(state: &State) -> Option<String> {
    let device = state.plan.as_ref().map(|_| state.device().to_string());
    let Some(fold) = state.fold().filter(|_| state.shared) else { return device };
    let host = fold.worker.as_ref().and_then(worker::host);
    let at = host.map(|host| format!(" on {host}")).unwrap_or_default();
    let device = device.filter(|device| !device.is_empty());
    let device = device.map(|device| format!(": {device}")).unwrap_or_default();
    Some(format!("fold {}{at}{device}", fold.plan.fold))
}

/// Panels of what is measured.
fn panels(state: &State) -> Vec<Panel<'_>> {
    let h = &state.history;
    let mut panels = Vec::new();
    add(&mut panels, STEP, &h.step, state.step.as_ref());
    for panel in &mut panels {
        // The newest step alone says little about the speed.
        let speed = &state.progress.train;
        let now = match panel.unit {
            FigureUnit::PerSecond => speed.images_per_second(),
            FigureUnit::Share => speed.data_share(),
            _ => continue,
        };
        panel.now = format::figure(panel.unit, now);
    }
    add(&mut panels, SYSTEM, &h.system, state.system.as_ref());
    add(&mut panels, GPU, &h.gpu, state.gpu.as_ref());
    panels.retain(|panel| panel.lines.iter().any(|(series, _)| !series.is_empty()));
    panels
}

/// Adds the charts of `figures`, those with the same name as one.
fn add<'a, E>(
    panels: &mut Vec<Panel<'a>>,
    figures: &[Figure<E>],
    series: &'a [Series],
    newest: Option<&E>,
) {
    for (figure, series) in figures.iter().zip(series) {
        let Some(chart) = figure.chart_in(View::System) else { continue };
        let style = theme::tone(chart.tone);
        if let Some(panel) = panels.iter_mut().find(|panel| panel.name == chart.name) {
            panel.lines.push((series, style));
            continue;
        }
        let total = figure.total.and_then(|total| total(newest?));
        let print = |x| format::figure(figure.unit, x);
        let last = series.last().map(|point| point.y.into());
        let now = match (figure.total, newest.and_then(figure.read).zip(total)) {
            (None, _) => print(last),
            (Some(_), Some((part, total))) => {
                format!("{} of {}", print(Some(part)), print(Some(total)))
            }
            (Some(_), None) => print(None),
        };
        let high = total.unwrap_or(figure.range.1);
        panels.push(Panel {
            name: chart.name,
            now,
            lines: vec![(series, style)],
            high: Some(high).filter(|high| chart.to_the_end && high.is_finite()),
            unit: figure.unit,
        });
    }
}

/// The charts for export.
pub fn export(state: &State) -> Vec<export::Chart> {
    let panels = panels(state).into_iter();
    panels.map(|panel| with_plot(&panel, |plot| plot.export(panel.name))).collect()
}

fn draw_panel(frame: &mut Frame, area: Rect, panel: &Panel) {
    let [head, body] = theme::below_heading(area);
    let room = usize::from(head.width).saturating_sub(panel.now.chars().count() + 1);
    let name: String = panel.name.chars().take(room).collect();
    let title = Line::from(vec![
        Span::styled(format!("{name:room$} "), theme::FAINT),
        Span::styled(panel.now.as_str(), theme::KEY),
    ]);
    frame.render_widget(title, head);
    with_plot(panel, |plot| frame.render_widget(plot, body));
}

fn with_plot<R>(panel: &Panel, then: impl FnOnce(&Plot) -> R) -> R {
    let figures = panel.lines.iter().flat_map(|(series, _)| {
        let span = series.span(0..series.points().len()).0;
        span.into_iter().flat_map(|span| [f64::from(span.low), f64::from(span.high)])
    });
    let y = match panel.high.filter(|high| *high > 0.0) {
        Some(high) => (0.0, high),
        None => range::of_all(figures.chain([0.0])),
    };
    let ends = panel.lines.iter().filter_map(|(series, _)| {
        Some((f64::from(series.points().first()?.x), f64::from(series.last()?.x)))
    });
    let (first, last) =
        ends.fold((f64::INFINITY, 0.0), |(a, b): (f64, f64), (x, y)| (a.min(x), b.max(y)));
    then(&Plot {
        x: (first, last.max(first + 1.0)),
        y,
        log: false,
        unit: Unit::Seconds,
        label: format::axis(panel.unit),
        round: if panel.unit == FigureUnit::Bytes { f64::from(1 << 30) } else { 1.0 },
        layers: panel
            .lines
            .iter()
            .map(|(series, style)| {
                Layer::new(Data::Steps(series), Shape::Line, *style).called(panel.name)
            })
            .collect(),
        marks: Vec::new(),
        cursor: None,
    })
}
