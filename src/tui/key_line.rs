//! The bottom line: the keys that have a sense now, as many as there is room for, or a notice.

use super::keys::{self, Action};
use super::{fold_keys, theme};
use crate::view::{Fold, State};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph, Wrap};

/// What the line depends on.
pub struct Context<'a> {
    /// The run.
    pub state: &'a State,
    /// The fold that keys act on.
    pub fold: Option<&'a Fold>,
    /// Whether there is a pane of crops.
    pub crops: bool,
}

/// Draws the keys.
pub fn draw(frame: &mut Frame, area: Rect, context: &Context) {
    let shown: Vec<_> =
        keys::BINDINGS.iter().filter_map(|b| Some((b, label(b, context)?))).collect();
    let mut by_rank: Vec<usize> = (0..shown.len()).collect();
    by_rank.sort_by_key(|&i| shown[i].0.rank);
    let about = context.fold.map_or(String::new(), |fold| format!(" fold {}:", fold.plan.fold));
    let is_of_fold = |i: usize| matches!(shown[i].0.keys[0].2, Action::Fold(_));
    let mut chosen = vec![false; shown.len()];
    let mut room = usize::from(area.width);
    for i in by_rank {
        let (binding, label) = shown[i];
        // The word that goes before the first of them.
        let named = (0..shown.len()).any(|i| chosen[i] && is_of_fold(i));
        let word = if is_of_fold(i) && !named { about.chars().count() } else { 0 };
        let width = word + binding.key.chars().count() + label.chars().count() + 3;
        if width <= room {
            room -= width;
            chosen[i] = true;
        }
    }
    let mut spans = Vec::new();
    let mut named = false;
    for i in (0..shown.len()).filter(|&i| chosen[i]) {
        let (binding, label) = shown[i];
        if is_of_fold(i) && !std::mem::replace(&mut named, true) {
            spans.push(Span::styled(about.clone(), theme::FAINT));
        }
        spans.push(Span::from(" "));
        spans.push(Span::styled(binding.key, theme::KEY));
        spans.push(Span::styled(format!(" {label} "), theme::FAINT));
    }
    frame.render_widget(Line::from(spans), area);
}

fn label(binding: &keys::Binding, context: &Context) -> Option<&'static str> {
    let Context { state, fold, crops } = *context;
    let over = state.is_over();
    match binding.keys[0].2 {
        _ if binding.short.is_empty() => None,
        Action::Summary => over.then_some(binding.short),
        Action::Quit | Action::Help => Some(binding.short),
        Action::Acknowledge => state.alerts.can_acknowledge().then_some(binding.short),
        Action::ToggleRaw => crops.then_some(binding.short),
        Action::Detach => (state.attached && !over).then_some(binding.short),
        _ if over || state.is_stopping() => None,
        Action::TogglePause if state.lacks_a_fold() => None,
        Action::TogglePause if state.is_paused() => Some("resume"),
        Action::StopAfterEpoch if state.stops_after_epoch => None,
        Action::StopAfterEpoch | Action::Checkpoint => state.in_training().map(|_| binding.short),
        Action::Fold(key) => fold_keys::label(key, state, fold?),
        _ => Some(binding.short),
    }
}

/// Draws `text` over the line, and over the one above it where it needs two.
pub fn notice(frame: &mut Frame, area: Rect, text: &str) {
    let text = format!(" ! {text}");
    let rows = if text.chars().count() > area.width.into() { 2 } else { 1 };
    let area = Rect { y: (area.y + 1).saturating_sub(rows), height: rows, ..area };
    frame.render_widget(Clear, area);
    let text = Paragraph::new(text).style(theme::WARN).wrap(Wrap { trim: false });
    frame.render_widget(text, area);
}
