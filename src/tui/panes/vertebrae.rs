//! Losses of C1..C7 and the study head: smoothed training loss against the last validation.

use crate::tui::theme;
use crate::view::{Fold, format};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

/// Width of a row without its bar.
const FIGURES: usize = 17;

/// Draws a row per vertebra, the study head's row and, if there is room, the AUCs.
pub fn draw(frame: &mut Frame, area: Rect, fold: Option<&Fold>) {
    let inner =
        theme::framed(frame, area, if area.width < 30 { "vertebrae" } else { "loss by vertebra" });
    let last = fold.and_then(Fold::last_epoch);
    let vertebra = |i: usize| {
        let train = fold.and_then(|f| f.vertebrae[i].get());
        (format!("C{}", i + 1), train, last.and_then(|e| e.valid_vertebra_loss[i]))
    };
    let mut rows: Vec<(String, Option<f64>, Option<f64>)> = (0..7).map(vertebra).collect();
    let (train, valid) = (fold.and_then(|f| f.study_head.get()), last.map(|e| e.valid_study_loss));
    rows.push(("study".into(), train, valid));
    let width = inner.width as usize;
    let room = if width >= FIGURES + 8 { width - FIGURES - 1 } else { 0 };
    let losses = rows.iter().flat_map(|r| [r.1, r.2]).flatten();
    let high = losses.filter(|x| x.is_finite()).fold(0.0, f64::max);
    let legend = if room >= 20 { "█ train ◆ valid" } else { "" };
    let mut lines = vec![Line::from(vec![
        Span::from("      "),
        Span::styled("train", theme::TRAIN),
        Span::from(" "),
        Span::styled("valid", theme::VALID),
        Span::styled(format!(" {legend}"), theme::FAINT),
    ])];
    lines.extend(rows.iter().map(|(name, train, valid)| {
        let figure = |x: &Option<f64>| x.map_or("–".into(), format::short_loss);
        let mut spans = vec![
            Span::from(format!("{name:<5} ")),
            Span::styled(format!("{:>5} ", figure(train)), theme::TRAIN),
            Span::styled(format!("{:>5} ", figure(valid)), theme::VALID),
        ];
        if room > 0 {
            spans.extend(bar(*train, *valid, high, room));
        }
        Line::from(spans)
    }));
    if let Some(e) = last {
        lines.push(Line::default());
        if width >= 34 {
            let (slice, study) = (format::auc(e.slice_auc), format::auc(e.study_auc));
            lines.push(Line::from(format!("AUC   slice {slice}  study {study}")));
        } else {
            lines.push(Line::from(format!("AUC slice {:>7}", format::auc(e.slice_auc))));
            lines.push(Line::from(format!("AUC study {:>7}", format::auc(e.study_auc))));
        }
    }
    // With only the nine rows inside the frame, there is no room for the blank line.
    if lines.len() > inner.height as usize {
        lines.retain(|l| l.width() > 0);
    }
    frame.render_widget(Paragraph::new(lines), inner);
}

/// Bar as long as the training loss, with a mark at the validation loss.
fn bar(train: Option<f64>, valid: Option<f64>, high: f64, width: usize) -> Vec<Span<'static>> {
    let share = |x: Option<f64>| match x {
        Some(x) if x.is_finite() && high > 0.0 => x / high,
        _ => 0.0,
    };
    let (full, _) = theme::bar(share(train), width);
    let full = format!("{full:<width$}");
    if valid.is_none() {
        return vec![Span::styled(full, theme::TRAIN)];
    }
    let at = ((share(valid) * width as f64) as usize).min(width - 1);
    let before: String = full.chars().take(at).collect();
    let after: String = full.chars().skip(at + 1).collect();
    vec![
        Span::styled(before, theme::TRAIN),
        Span::styled("◆", theme::VALID),
        Span::styled(after, theme::TRAIN),
    ]
}
