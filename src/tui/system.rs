//! System view: is the machine busy, and with what? Speed of training and use of the machine over
//! the run.

use super::plot::{Data, Layer, Plot, Shape, Unit};
use super::{range, theme};
use crate::export;
use crate::view::{Series, State, format};
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
    label: fn(f64) -> String,
    /// Whether values are bytes.
    bytes: bool,
}

/// Draws the view.
pub fn draw(frame: &mut Frame, area: Rect, state: &State) {
    let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    frame.render_widget(headline(state), head);
    let panels: Vec<Panel> = panels(state).into_iter().filter(is_there).collect();
    if panels.is_empty() {
        frame.render_widget(Line::styled("nothing is measured yet", theme::FAINT).centered(), body);
        return;
    }
    let columns = (body.width / WIDTH).clamp(1, 3).min(panels.len() as u16);
    let most = (body.height / HEIGHT).max(1);
    let rows = (panels.len() as u16).div_ceil(columns).min(most);
    let lanes = Layout::vertical(vec![Constraint::Fill(1); rows.into()]).split(body);
    for (i, panel) in panels.iter().enumerate().take(usize::from(rows * columns)) {
        let cells = vec![Constraint::Fill(1); columns.into()];
        let cells = Layout::horizontal(cells).spacing(2).split(lanes[i / usize::from(columns)]);
        draw_panel(frame, cells[i % usize::from(columns)], panel);
    }
}

/// Summary of the device and its utilisation.
fn headline(state: &State) -> Line<'static> {
    let p = &state.progress;
    let mut parts = Vec::new();
    if let Some(plan) = &state.plan {
        parts.push(plan.device.clone());
    }
    if let Some(seconds) = p.step_seconds() {
        parts.push(format!("a step takes {}", format::seconds(seconds)));
    }
    if let Some(share) = p.data_share() {
        parts.push(format!("{} of it waiting for data", format::share(share)));
    }
    if let Some(load) = state.system.as_ref().and_then(|system| system.load) {
        parts.push(format!("load {load:.1}"));
    }
    Line::styled(parts.join(" · "), theme::TITLE)
}

fn panels(state: &State) -> Vec<Panel<'_>> {
    let h = &state.history;
    let system = state.system.as_ref();
    let gpu = state.gpu.as_ref();
    let dash = || "–".to_string();
    let newest = |series: &Series, text: &dyn Fn(f64) -> String| {
        series.last().map_or_else(dash, |point| text(point.y.into()))
    };
    let percent = |x: f64| format!("{x:.0}%");
    let of = |used: u64, total: u64| format!("{} of {}", gib(used as f64), gib(total as f64));
    vec![
        Panel {
            name: "training images a second",
            now: state.progress.images_per_second().map_or_else(dash, format::rate),
            lines: vec![(&h.images_per_second, theme::TRAIN)],
            high: None,
            label: format::rate,
            bytes: false,
        },
        Panel {
            name: "waiting for data",
            now: state.progress.data_share().map_or_else(dash, format::share),
            lines: vec![(&h.data_share, theme::VALID)],
            high: None,
            label: format::share,
            bytes: false,
        },
        Panel {
            name: "CPU, all cores",
            now: newest(&h.cpu, &percent),
            lines: vec![(&h.cpu, theme::TRAIN)],
            high: Some(100.0),
            label: |x| format!("{x:.0}%"),
            bytes: false,
        },
        Panel {
            name: "CPU, this process",
            now: newest(&h.process_cpu, &percent),
            lines: vec![(&h.process_cpu, theme::TRAIN)],
            high: None,
            label: |x| format!("{x:.0}%"),
            bytes: false,
        },
        Panel {
            name: "memory, own and all",
            now: system.map_or_else(dash, |s| of(s.memory_used, s.memory_total)),
            lines: vec![(&h.memory_used, theme::FAINT), (&h.resident, theme::TRAIN)],
            high: system.map(|s| s.memory_total as f64),
            label: gib,
            bytes: true,
        },
        Panel {
            name: "disk, free",
            now: match system.map(|s| (s.disk_free, s.disk_total)) {
                Some((Some(free), Some(total))) => of(free, total),
                _ => dash(),
            },
            lines: vec![(&h.disk_free, theme::VALID)],
            high: None,
            label: gib,
            bytes: true,
        },
        Panel {
            name: "GPU",
            now: newest(&h.gpu_utilisation, &percent),
            lines: vec![(&h.gpu_utilisation, theme::TRAIN)],
            high: Some(100.0),
            label: |x| format!("{x:.0}%"),
            bytes: false,
        },
        Panel {
            name: "GPU memory",
            now: gpu.map_or_else(dash, |g| of(g.memory_used, g.memory_total)),
            lines: vec![(&h.gpu_memory, theme::TRAIN)],
            high: gpu.map(|g| g.memory_total as f64),
            label: gib,
            bytes: true,
        },
        Panel {
            name: "GPU temperature",
            now: newest(&h.gpu_temperature, &|x| format!("{x:.0} °C")),
            lines: vec![(&h.gpu_temperature, theme::VALID)],
            high: None,
            label: |x| format!("{x:.0}°"),
            bytes: false,
        },
        Panel {
            name: "GPU power",
            now: newest(&h.gpu_watts, &|x| format!("{x:.0} W")),
            lines: vec![(&h.gpu_watts, theme::VALID)],
            high: None,
            label: |x| format!("{x:.0}W"),
            bytes: false,
        },
    ]
}

/// Formats bytes in units of 1024: `12.3G`, `512M`.
fn gib(bytes: f64) -> String {
    let gib = bytes / f64::from(1 << 30);
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
    let panels = panels(state).into_iter().filter(is_there);
    panels.map(|panel| with_plot(&panel, |plot| plot.export(panel.name))).collect()
}

fn is_there(panel: &Panel) -> bool {
    panel.lines.iter().any(|(series, _)| !series.is_empty())
}

fn draw_panel(frame: &mut Frame, area: Rect, panel: &Panel) {
    let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let room = usize::from(head.width).saturating_sub(panel.now.chars().count() + 1);
    let name: String = panel.name.chars().take(room).collect();
    let title = Line::from(vec![
        Span::styled(format!("{:room$} ", name), theme::FAINT),
        Span::styled(panel.now.clone(), theme::KEY),
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
        round: if panel.bytes { f64::from(1 << 30) } else { 1.0 },
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
        let of = |gib: f64| super::gib(gib * f64::from(1 << 30));
        assert_eq!(
            [0.0, 0.5, 12.34, 20.0, 640.0, 4096.0].map(of),
            ["0", "512M", "12.3G", "20G", "640G", "4.0T"]
        );
    }
}
