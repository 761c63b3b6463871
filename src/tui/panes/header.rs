//! Top line: the run, its status, and the device.

use crate::run::Command;
use crate::run::event::TrainerState;
use crate::tui::theme;
use crate::view::{State, format};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Style, Stylize};
use ratatui::text::{Line, Span};

/// Draws the line. `now`: seconds since the run started.
pub fn draw(frame: &mut Frame, area: Rect, state: &State, now: f64) {
    let (mark, style) = mark(state, now);
    let name = state.plan.as_ref().map_or("rsna-tui", |p| p.name.as_str());
    let mut left = vec![Span::from(format!(" {name} ")).bold(), Span::styled(mark, style)];
    left.push(Span::from(" "));
    left.push(Span::styled(state.status(), style));
    let device = state.device();
    let clock = format!("elapsed {} ", format::duration(now));
    let watching = state.watching().map(|text| format!(" · {text}")).unwrap_or_default();
    let used: usize = left.iter().map(Span::width).sum();
    if used + watching.chars().count() + clock.len() + 2 <= area.width.into() {
        left.push(Span::styled(watching, theme::FAINT));
    }
    let left = Line::from(left);
    let room = (area.width as usize).saturating_sub(left.width() + 2);
    let gpu = state.gpu.as_ref().map(format::gpu).unwrap_or_default();
    // Show as much as fits; GPU readings take precedence over the device's name.
    let ways = [vec![device, &gpu, &clock], vec![&gpu, &clock], vec![device, &clock]];
    let join = |parts: Vec<&str>| {
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join(" · ")
    };
    let mut ways = ways.into_iter().map(join);
    let right = ways.find(|way| way.chars().count() <= room).unwrap_or_else(|| clock.clone());
    if right.chars().count() <= room {
        frame.render_widget(Line::styled(right, theme::FAINT).right_aligned(), area);
        let width = left.width() as u16;
        frame.render_widget(left, Rect { width: width.min(area.width), ..area });
    } else {
        frame.render_widget(left, area);
    }
}

/// Symbol of the run's state, so that the state is not shown by colour alone.
fn mark(state: &State, now: f64) -> (String, Style) {
    const SPINNER: [&str; 4] = ["◐", "◓", "◑", "◒"];
    let spin = || SPINNER[(now.max(0.0) * 4.0) as u64 as usize % 4].to_string();
    if state.is_over() {
        return match state.ended_well() {
            true => ("✓".into(), theme::GOOD.bold()),
            false => ("×".into(), theme::ALARM),
        };
    }
    let held = match state.shared {
        true => state.crew().held > 0,
        false => state.trainer == Some(TrainerState::Held),
    };
    if held && state.pending != Some(Command::StopNow) {
        return ("!".into(), theme::ALARM);
    }
    if state.pending.is_some() || state.is_stopping() {
        return (spin(), theme::WARN.bold());
    }
    if state.shared {
        return match (state.crew().training, state.is_paused()) {
            (0, true) => ("‖".into(), theme::WARN.bold()),
            (0, false) => ("○".into(), theme::FAINT),
            _ => ("●".into(), theme::GOOD),
        };
    }
    match state.trainer {
        Some(TrainerState::Paused) => ("‖".into(), theme::WARN.bold()),
        _ if !state.has_begun() => (spin(), Style::new()),
        _ => ("●".into(), theme::GOOD),
    }
}
