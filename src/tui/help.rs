//! What lies on top of the panes: the keys, and the frame that the other overlays share.

use super::{keys, theme};
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Padding, Paragraph};

/// Draws `lines` in a frame of their size in the middle of `area`; too long ones are cut.
pub fn popup(frame: &mut Frame, area: Rect, title: &str, lines: Vec<Line<'static>>) {
    let width = lines.iter().map(Line::width).max().unwrap_or(0).min(u16::MAX as usize - 4) as u16;
    let height = lines.len().min(u16::MAX as usize - 2) as u16;
    let area = area.centered(Constraint::Length(width + 4), Constraint::Length(height + 2));
    frame.render_widget(Clear, area);
    let block = theme::pane(title).border_style(theme::KEY).padding(Padding::horizontal(1));
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// Draws the keys.
pub fn draw(frame: &mut Frame, area: Rect) {
    let lines = keys::BINDINGS
        .iter()
        .map(|b| {
            Line::from(vec![Span::styled(format!("{:>7}  ", b.key), theme::KEY), b.help.into()])
        })
        .collect();
    popup(frame, area, "keys", lines);
}
