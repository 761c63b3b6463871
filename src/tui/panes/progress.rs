//! Progress pane: bars, speed and remaining time.

use crate::run::catalogue::Unit;
use crate::run::event::FoldState;
use crate::tui::theme;
use crate::view::{State, format, progress};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

/// Draws bars for step, epoch, fold and run, then the figures.
pub fn draw(frame: &mut Frame, area: Rect, state: &State) {
    let title = match state.watched() {
        Some(fold) => format!("progress · fold {fold}"),
        None => "progress".into(),
    };
    let inner = theme::framed(frame, area, &title);
    let width = inner.width as usize;
    let mut lines = bars(state, width);
    match state.shared {
        true => lines.extend(shared_figures(state)),
        false => lines.extend(figures(state)),
    }
    if lines.len() > inner.height as usize {
        // The figures are more useful than the innermost bar.
        lines.remove(0);
    }
    frame.render_widget(Paragraph::new(lines), inner);
}

fn bars(state: &State, width: usize) -> Vec<Line<'static>> {
    let fold = state.fold();
    let innermost = |name, done, all: usize| {
        bar(name, done as f64 / all.max(1) as f64, format!("{done}/{all}"), width)
    };
    let innermost = match fold {
        Some(f) if f.state == FoldState::Validating => {
            innermost("valid", f.valid_batch, f.plan.valid_batches)
        }
        Some(f) => innermost("step", f.at.step, f.plan.steps),
        None => bar("step", 0.0, "–".into(), width),
    };
    let (epoch, epochs) = fold.map_or((0, 0), |f| (f.at.epoch, f.epochs.len()));
    let count = |a: usize, b: usize| if b == 0 { "–".into() } else { format!("{a}/{b}") };
    let folds = state.folds.len();
    let over = state.folds.iter().filter(|f| f.is_over()).count();
    let begun = fold.is_some_and(|f| !f.is_over() && f.state != FoldState::Paused);
    let nth = if state.shared { over } else { over + usize::from(begun) };
    let behind: f64 = state.folds.iter().map(|f| f.share_behind()).sum();
    let whole = progress::run_share(&state.folds);
    vec![
        innermost,
        bar("epoch", fold.map_or(0.0, |f| f.share()), count(epoch, epochs), width),
        bar(
            if state.shared { "folds" } else { "fold" },
            behind / folds.max(1) as f64,
            count(nth, folds),
            width,
        ),
        bar("run", whole, format!("{:.1}%", 100.0 * whole), width),
    ]
}

fn bar(name: &str, share: f64, text: String, width: usize) -> Line<'static> {
    let text = format!(" {text:>7}");
    let room = width.saturating_sub(6 + text.chars().count());
    let (full, rest) = theme::bar(share, room);
    Line::from(vec![
        Span::from(format!("{name:<6}")),
        Span::styled(full, theme::TRAIN),
        Span::styled(rest, theme::FAINT),
        Span::from(text),
    ])
}

/// The run's remaining time and the speed of all processes; then those of the watched fold.
fn shared_figures(state: &State) -> Vec<Line<'static>> {
    let eta =
        |left: Option<f64>| left.map_or("–".into(), |s| format!("~{}", format::duration(s)));
    let speed = |speed| format!("  {} img/s", format::figure(Unit::PerSecond, speed));
    let fold = state.fold();
    let number = fold.map_or("fold".into(), |fold| format!("fold {}", fold.plan.fold));
    vec![
        Line::from(vec![
            Span::from("ETA   "),
            Span::styled(eta(state.seconds_left()), theme::KEY),
            Span::from(speed(state.images_per_second())),
        ]),
        Line::from(vec![
            Span::from(format!("{number:<6}")),
            Span::styled(
                format!(" {}", eta(fold.and_then(|fold| state.fold_left(fold)))),
                theme::KEY,
            ),
            Span::from(speed(fold.and_then(|fold| state.speed_of(fold)))),
        ]),
    ]
}

fn figures(state: &State) -> Vec<Line<'static>> {
    let p = &state.progress;
    let eta = state.seconds_left().map_or("–".into(), |s| format!("~{}", format::duration(s)));
    let validating = state.fold().is_some_and(|f| f.state == FoldState::Validating);
    let valid = Some(&p.valid).filter(|valid| validating && valid.seconds().is_some());
    let (name, measured) = valid.map_or(("step", &p.train), |valid| ("batch", valid));
    let speed = measured.images_per_second().or(p.train.images_per_second());
    let speed = format::figure(Unit::PerSecond, speed);
    let (seconds, share) = (measured.seconds(), measured.data_share());
    let seconds = format::figure(Unit::Seconds, seconds);
    let (mark, style) = match share {
        Some(share) if share > 0.2 => (" !", theme::WARN),
        _ => ("", Style::new()),
    };
    let wait = format!("data wait {}{mark}", format::figure(Unit::Share, share));
    vec![
        Line::from(vec![
            Span::from("ETA   "),
            Span::styled(eta, theme::KEY),
            Span::from(format!("  {speed} img/s")),
        ]),
        Line::from(vec![Span::from(format!("{name:<6}{seconds}  ")), Span::styled(wait, style)]),
    ]
}
