//! Overview for small terminals, one line per question.

use crate::run::event::{Epoch, Position};
use crate::tui::heat::Scale;
use crate::tui::theme;
use crate::view::{Fold, State, format, progress};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

/// Draws progress, remaining time and losses.
pub fn draw(frame: &mut Frame, area: Rect, state: &State, fold: Option<&Fold>) {
    let width = usize::from(area.width);
    let Some(fold) = fold else {
        return frame.render_widget(theme::no_plan(), area);
    };
    let whole = progress::run_share(&state.folds);
    let (full, rest) = theme::bar(whole, width.saturating_sub(13));
    let eta = state.seconds_left().map_or("–".into(), format::duration);
    let speed = state.progress.train.images_per_second().map_or("–".into(), format::rate);
    let last = fold.last_epoch();
    let best = fold
        .best_epoch()
        .map_or(String::new(), |e| format!("  ★ {} at {}", format::loss(e.valid_loss), e.at.epoch));
    let baseline = format!("  ┅ {}", format::short_loss(fold.plan.baseline));
    let (Position { fold: number, epoch, step }, steps) = (fold.at, fold.plan.steps);
    let epochs = fold.epochs.len();
    let auc = |f: fn(&Epoch) -> Option<f64>| format::auc(last.and_then(f));
    let label = |text: &'static str| Span::styled(format!("{text:<7}"), theme::FAINT);
    let lines = vec![
        Line::from(vec![
            label("run"),
            Span::styled(full, theme::TRAIN),
            Span::styled(rest, theme::FAINT),
            Span::from(format!("{:>5.1}%", 100.0 * whole)),
        ]),
        Line::from(vec![
            label("fold"),
            Span::from(format!("{number} · epoch {epoch}/{epochs} · step {step}/{steps}")),
        ]),
        Line::from(vec![
            label("ETA"),
            Span::styled(eta, theme::KEY),
            Span::from(format!("  {speed} img/s")),
        ]),
        Line::from(vec![
            label("train"),
            Span::styled(format::maybe_loss(fold.curve.train_now()), theme::TRAIN),
            Span::from("  "),
            Span::styled(sparkline(fold, width.saturating_sub(17)), theme::TRAIN),
        ]),
        Line::from(vec![
            label("valid"),
            Span::styled(format::maybe_loss(last.map(|e| e.valid_loss)), theme::VALID),
            Span::from(best),
            Span::styled(baseline, theme::BASELINE),
        ]),
        Line::from(vec![
            label("AUC"),
            Span::from(format!("slice {}  study {}", auc(|e| e.slice_auc), auc(|e| e.study_auc))),
        ]),
    ];
    frame.render_widget(Paragraph::new(lines), area);
}

/// Draws the smoothed training loss as a sparkline, from its lowest to its highest value.
fn sparkline(fold: &Fold, width: usize) -> String {
    let series = fold.curve.smooth.series();
    let Some((first, last)) = series.points().first().zip(series.last()) else {
        return String::new();
    };
    let (start, span) = (f64::from(first.x), f64::from(last.x - first.x).max(1.0));
    let edge = |bin: usize| start + span * bin as f64 / width as f64;
    // Use the last value of each bin, so that the line ends with the newest.
    let ends: Vec<Option<f64>> = (0..width)
        .map(|bin| series.within(edge(bin), edge(bin + 1)))
        .map(|places| series.span(places).0.map(|span| span.last.into()))
        .collect();
    let scale = Scale::of(ends.iter().flatten().copied(), f64::NAN);
    ends.into_iter().map(|end| end.map_or(' ', |y| scale.bar(y))).collect()
}
