//! Results overlay of a finished run.

use super::{help, theme};
use crate::run::event::SkippedStudy;
use crate::view::{State, format, report};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

/// Maximum number of skipped studies named.
const LEFT_OUT: usize = 4;

/// Draws the results in the middle of `area`.
pub fn draw(frame: &mut Frame, area: Rect, state: &State) {
    let width = area.width.saturating_sub(6).into();
    // If the text is too long, show only the folder of the checkpoints, and then leave the skipped
    // studies to the report.
    let mut all = lines(state, width, true, LEFT_OUT);
    for named in [LEFT_OUT, 0] {
        if all.len() + 2 > area.height.into() {
            all = lines(state, width, false, named);
        }
    }
    help::popup(frame, area, "results", all);
}

fn lines(state: &State, width: usize, with_paths: bool, named: usize) -> Vec<Line<'static>> {
    let good = if state.ended_well() { theme::GOOD } else { theme::ALARM };
    let outcome = match &state.finished {
        Some(finished) => report::outcome(finished.outcome).to_string(),
        None if state.attached => state.status(),
        None => "the trainer ended without a word; the log has its last lines".into(),
    };
    let mut lines = vec![Line::from(outcome).style(good.bold()), Line::default()];
    let best = state.finished.as_ref().map_or(&[][..], |f| &f.best);
    if best.is_empty() {
        lines.push(Line::from(report::NOTHING));
    } else {
        lines.push(Line::from(report::RESULTS).style(theme::TITLE));
    }
    lines.extend(best.iter().map(|best| match best.loss() < best.baseline {
        true => Line::from(report::result(best)),
        false => Line::styled(format!("{}  no better", report::result(best)), theme::WARN),
    }));
    let saved = state.folds.iter().filter_map(|f| f.best_path.as_ref().or(f.last_path.as_ref()));
    let paths: Vec<Line> =
        saved.map(|path| Line::from(format::study(path, width)).style(theme::KEY)).collect();
    if with_paths && !paths.is_empty() {
        lines.push(Line::default());
        lines.push(Line::from("checkpoints"));
        lines.extend(paths);
    }
    let skipped = state.finished.as_ref().map_or(&[][..], |f| &f.skipped);
    lines.extend(left_out(skipped, width, named));
    if let Some(plan) = &state.plan {
        lines.push(Line::default());
        lines.push(Line::from(format::study(&format!("everything is in {}", plan.folder), width)));
    }
    lines.push(Line::default());
    lines.push(Line::from("Esc closes this, Enter shows it again, q quits").style(theme::FAINT));
    lines
}

/// The first `named` skipped studies, and the number of others.
fn left_out(skipped: &[SkippedStudy], width: usize, named: usize) -> Vec<Line<'static>> {
    if skipped.is_empty() {
        return Vec::new();
    }
    let mut lines =
        vec![Line::default(), Line::from(report::skipped_heading(skipped)).style(theme::WARN)];
    let first = skipped.iter().take(named).map(report::skipped);
    lines.extend(first.map(|line| Line::from(format::study(&line, width))));
    if named == 0 {
        lines.push(Line::from("report.txt names them"));
    } else if skipped.len() > named {
        lines.push(Line::from(format!("and {} more, see report.txt", skipped.len() - named)));
    }
    lines
}
