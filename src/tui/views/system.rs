//! System view: is the machine busy, and with what? Speed of training and use of the machine over
//! the run.

use crate::export;
use crate::tui::plot::{Data, Layer, Plot, Shape, Unit};
use crate::tui::{range, theme};
use crate::view::{Series, State, format};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// Minimum width of a chart with its axis, columns.
const WIDTH: u16 = 34;
/// Minimum height of a chart with title and axis, rows.
const HEIGHT: u16 = 7;
/// Bytes of a gibibyte.
const GIB: f64 = (1 << 30) as f64;

/// A small chart with its name, its newest value and its lines.
struct Panel<'a> {
    name: &'static str,
    now: String,
    lines: Vec<(&'a Series, Style)>,
    /// End of the y axis, if it does not follow from the values.
    high: Option<f64>,
    label: fn(f64) -> String,
    /// What the axis counts in.
    round: f64,
}

impl<'a> Panel<'a> {
    /// A panel of one series that tells its newest value as its axis does.
    fn of(name: &'static str, series: &'a Series, label: fn(f64) -> String) -> Self {
        let lines = vec![(series, theme::TRAIN)];
        let now = series.last().map(|point| label(point.y.into()));
        Self { name, now: String::new(), lines, high: None, label, round: 1.0 }.now(now)
    }

    /// A panel of bytes. `now`: those in question, and all.
    fn of_bytes(name: &'static str, series: &'a Series, now: Option<(u64, u64)>) -> Self {
        let now = now.map(|(some, all)| format!("{} of {}", gib(some as f64), gib(all as f64)));
        Self { round: GIB, ..Self::of(name, series, gib).now(now) }
    }

    fn now(self, now: Option<String>) -> Self {
        Self { now: now.unwrap_or("–".into()), ..self }
    }

    fn styled(mut self, style: Style) -> Self {
        self.lines.iter_mut().for_each(|line| line.1 = style);
        self
    }

    fn upto(self, high: Option<f64>) -> Self {
        Self { high, ..self }
    }
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
    let p = &state.progress;
    let load = state.system.as_ref().and_then(|system| system.load);
    let parts = [
        state.plan.as_ref().map(|plan| plan.device.clone()),
        p.step_seconds().map(|s| format!("a step takes {}", format::seconds(s))),
        p.data_share().map(|share| format!("{} of it waiting for data", format::share(share))),
        load.map(|load| format!("load {load:.1}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    Line::styled(parts.join(" · "), theme::TITLE)
}

/// Panels of what is measured.
fn panels(state: &State) -> Vec<Panel<'_>> {
    let (h, p) = (&state.history, &state.progress);
    let percent = |x: f64| format!("{x:.0}%");
    let newest = |series: &Series, unit: &str| Some(format!("{:.0} {unit}", series.last()?.y));
    let memory = state.system.as_ref().map(|s| (s.memory_used, s.memory_total));
    let disk = state.system.as_ref().and_then(|s| s.disk_free.zip(s.disk_total));
    let gpu_memory = state.gpu.as_ref().map(|g| (g.memory_used, g.memory_total));
    let all = |memory: Option<(u64, u64)>| memory.map(|(_, all)| all as f64);
    let mut memory_panel =
        Panel::of_bytes("memory, own and all", &h.resident, memory).upto(all(memory));
    memory_panel.lines.insert(0, (&h.memory_used, theme::FAINT));
    let mut panels = vec![
        Panel::of("training images a second", &h.images_per_second, format::rate)
            .now(p.images_per_second().map(format::rate)),
        Panel::of("waiting for data", &h.data_share, format::share)
            .now(p.data_share().map(format::share))
            .styled(theme::VALID),
        Panel::of("CPU, all cores", &h.cpu, percent).upto(Some(100.0)),
        Panel::of("CPU, this process", &h.process_cpu, percent),
        memory_panel,
        Panel::of_bytes("disk, free", &h.disk_free, disk).styled(theme::VALID),
        Panel::of("GPU", &h.gpu_utilisation, percent).upto(Some(100.0)),
        Panel::of_bytes("GPU memory", &h.gpu_memory, gpu_memory).upto(all(gpu_memory)),
        Panel::of("GPU temperature", &h.gpu_temperature, |x| format!("{x:.0}°"))
            .now(newest(&h.gpu_temperature, "°C"))
            .styled(theme::VALID),
        Panel::of("GPU power", &h.gpu_watts, |x| format!("{x:.0}W"))
            .now(newest(&h.gpu_watts, "W"))
            .styled(theme::VALID),
    ];
    panels.retain(|panel| panel.lines.iter().any(|(series, _)| !series.is_empty()));
    panels
}

/// Formats bytes in units of 1024: `12.3G`, `512M`.
fn gib(bytes: f64) -> String {
    let gib = bytes / GIB;
    match gib {
        0.0 => "0".into(),
        g if g < 1.0 => format!("{:.0}M", 1024.0 * g),
        g if g < 100.0 && g.fract() == 0.0 => format!("{g:.0}G"),
        g if g < 100.0 => format!("{g:.1}G"),
        g if g < 2048.0 => format!("{g:.0}G"),
        g => format!("{:.1}T", g / 1024.0),
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
        label: panel.label,
        round: panel.round,
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

#[cfg(test)]
mod tests {
    #[test]
    fn bytes_are_short() {
        let of = |gib: f64| super::gib(gib * super::GIB);
        assert_eq!(
            [0.0, 0.5, 12.34, 20.0, 640.0, 4096.0].map(of),
            ["0", "512M", "12.3G", "20G", "640G", "4.0T"]
        );
    }
}
