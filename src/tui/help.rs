//! Help overlay with the key bindings, and the frame shared by all overlays.

use super::action::Scroll;
use super::context::View;
use super::keys::Keymap;
use super::theme;
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Padding, Paragraph};

/// Draws `lines` in a frame in the middle of `area`; lines that are too long are cut.
pub fn popup(frame: &mut Frame, area: Rect, title: &str, lines: Vec<Line<'static>>) {
    let width = lines.iter().map(Line::width).max().unwrap_or(0).min(u16::MAX as usize - 4) as u16;
    let height = lines.len().min(u16::MAX as usize - 2) as u16;
    let area = area.centered(Constraint::Length(width + 4), Constraint::Length(height + 2));
    frame.render_widget(Clear, area);
    let block = theme::pane(title).border_style(theme::KEY).padding(Padding::horizontal(1));
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// State of the help overlay, which scrolls if there is no room for all keys.
#[derive(Debug, Default)]
pub struct Keys {
    first: usize,
}

impl Keys {
    /// Scrolls.
    pub fn scroll(&mut self, scroll: Scroll) {
        self.first = scroll.row(self.first, usize::MAX);
    }

    /// Draws the keys of `view`. `shared`: several processes train.
    pub fn draw(
        &mut self,
        frame: &mut Frame,
        area: Rect,
        map: &Keymap,
        (view, shared): (View, bool),
    ) {
        let lines = map.lines(view, shared);
        let rows = usize::from(area.height.saturating_sub(2)).max(1);
        let most = lines.len().saturating_sub(rows);
        self.first = self.first.min(most);
        let more = match (self.first, most) {
            (_, 0) => "",
            (0, _) => " · ↓ more",
            (first, most) if first == most => " · ↑ more",
            _ => " · ↑ ↓ more",
        };
        let title = format!("keys · {}{more}", view.name());
        let lines = lines.into_iter().skip(self.first).take(rows).map(|(keys, help)| {
            Line::from(vec![Span::styled(format!("{keys:>9}  "), theme::KEY), help.into()])
        });
        popup(frame, area, &title, lines.collect());
    }
}
