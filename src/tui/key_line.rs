//! Bottom line: the keys that currently apply, as many as fit, or a notice.

use super::action::{Action, Watch};
use super::context::View;
use super::keys::{BINDINGS, Binding, Keymap};
use super::{fold_keys, theme};
use crate::view::{Fold, State};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph, Wrap};
use unicode_width::UnicodeWidthStr;

/// Input of the key line.
pub struct Context<'a> {
    /// The run's state.
    pub state: &'a State,
    /// The fold that keys act on.
    pub fold: Option<&'a Fold>,
    /// The current view.
    pub view: View,
    /// Key bindings.
    pub keys: &'a Keymap,
    /// Whether there is a pane of crops.
    pub crops: bool,
}

/// Draws the keys.
pub fn draw(frame: &mut Frame, area: Rect, context: &Context) {
    let bindings = BINDINGS.iter().enumerate();
    let shown: Vec<_> = bindings
        .filter_map(|(i, b)| Some((b, context.keys.label(i), label(b, context)?)))
        .collect();
    let mut by_rank: Vec<usize> = (0..shown.len()).collect();
    by_rank.sort_by_key(|&i| shown[i].0.short.0);
    // The folds' heading precedes the first of their keys.
    let about = context.fold.map_or(String::new(), |fold| format!(" fold {}:", fold.plan.fold));
    let is_of_fold = |i: usize| matches!(shown[i].0.action, Action::Fold(_));
    let mut chosen = vec![false; shown.len()];
    let mut room = usize::from(area.width);
    for i in by_rank {
        let (_, key, label) = &shown[i];
        let heads = is_of_fold(i) && !(0..shown.len()).any(|i| chosen[i] && is_of_fold(i));
        let word = if heads { about.chars().count() } else { 0 };
        let width = word + key.chars().count() + label.chars().count() + 3;
        if width <= room {
            room -= width;
            chosen[i] = true;
        }
    }
    let first_of_fold = (0..shown.len()).find(|&i| chosen[i] && is_of_fold(i));
    let mut spans = Vec::new();
    for i in (0..shown.len()).filter(|&i| chosen[i]) {
        let (_, key, label) = &shown[i];
        if first_of_fold == Some(i) {
            spans.push(Span::styled(about.as_str(), theme::FAINT));
        }
        spans.push(Span::from(" "));
        spans.push(Span::styled(key.as_str(), theme::KEY));
        spans.push(Span::styled(format!(" {label} "), theme::FAINT));
    }
    frame.render_widget(Line::from(spans), area);
}

fn label(binding: &Binding, context: &Context) -> Option<&'static str> {
    let Context { state, fold, crops, .. } = *context;
    let over = state.is_over();
    let (_, short) = binding.short;
    match binding.action {
        _ if short.is_empty() || !binding.works_in(context.view) => None,
        Action::Summary => over.then_some(short),
        Action::Acknowledge => state.alerts.can_acknowledge().then_some(short),
        Action::ToggleRaw => crops.then_some(short),
        Action::Detach => (state.attached && !over).then_some(short),
        Action::Help | Action::Quit if over => Some(short),
        _ if over || state.is_stopping() => None,
        Action::TogglePause if state.lacks_a_fold() && !state.shared => None,
        Action::TogglePause if state.is_paused() => Some("resume"),
        Action::StopAfterEpoch if state.all_stop_after_epoch() => None,
        Action::StopAfterEpoch | Action::Checkpoint => state.any_in_training().then_some(short),
        Action::Watch(Watch::Selected) => {
            let other = fold.filter(|fold| Some(fold.plan.fold) != state.watched());
            other.filter(|fold| state.shared && fold.is_at_work()).map(|_| short)
        }
        Action::Watch(_) => {
            state.trained_beside(1).filter(|_| state.shared && !short.is_empty()).map(|_| short)
        }
        Action::Fold(key) => fold_keys::label(key, state, fold?),
        _ => Some(short),
    }
}

/// Draws `text` over the line, and over the one above if it needs two. `done`: reports a completed
/// action rather than a refusal.
pub fn notice(frame: &mut Frame, area: Rect, text: &str, done: bool) {
    let (text, style) = match done {
        true => (format!(" {text}"), theme::GOOD),
        false => (format!(" ! {text}"), theme::WARN),
    };
    let rows = if text.width() > area.width.into() { 2 } else { 1 };
    let area = Rect { y: (area.y + 1).saturating_sub(rows), height: rows, ..area };
    frame.render_widget(Clear, area);
    let text = Paragraph::new(text).style(style).wrap(Wrap { trim: false });
    frame.render_widget(text, area);
}
