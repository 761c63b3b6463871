//! The results, once the run is over.

use super::{help, theme};
use crate::view::{State, format, text};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;

/// Draws the results in the middle of `area`.
pub fn draw(frame: &mut Frame, area: Rect, state: &State) {
    let width = area.width.saturating_sub(6).into();
    let mut all = lines(state, width, true);
    if all.len() + 2 > area.height.into() {
        // The folder alone tells where the checkpoints are.
        all = lines(state, width, false);
    }
    help::popup(frame, area, "results", all);
}

fn lines(state: &State, width: usize, with_paths: bool) -> Vec<Line<'static>> {
    let good = if state.ended_well() { theme::GOOD } else { theme::ALARM };
    let outcome = match &state.finished {
        Some(finished) => text::outcome(finished.outcome).to_string(),
        None => "the trainer ended without a word; the log has its last lines".into(),
    };
    let mut lines = vec![Line::from(outcome).style(good.bold()), Line::default()];
    let best = state.finished.as_ref().map_or(&[][..], |f| &f.best);
    if best.is_empty() {
        lines.push(Line::from("no epoch was finished"));
    } else {
        lines.push(Line::from(text::RESULTS).style(theme::TITLE));
    }
    for b in best {
        let better = b.metric < b.baseline;
        lines.push(
            Line::from(format!("{}{}", text::result(b), if better { "" } else { "  no better" }))
                .style(if better { Style::new() } else { theme::WARN }),
        );
    }
    let saved = state.folds.iter().filter_map(|f| f.best_path.as_ref().or(f.last_path.as_ref()));
    let paths: Vec<Line> =
        saved.map(|path| Line::from(format::study(path, width)).style(theme::KEY)).collect();
    if with_paths && !paths.is_empty() {
        lines.push(Line::default());
        lines.push(Line::from("checkpoints"));
        lines.extend(paths);
    }
    if let Some(plan) = &state.plan {
        lines.push(Line::default());
        lines.push(Line::from(format::study(&format!("everything is in {}", plan.folder), width)));
    }
    lines.push(Line::default());
    lines.push(Line::from("Esc closes this, Enter shows it again, q quits").style(theme::FAINT));
    lines
}
