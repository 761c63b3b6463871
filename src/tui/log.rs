//! The log, newest line at the bottom.

use super::keys::Scroll;
use super::theme;
use crate::run::event::Level;
use crate::view::{LogLine, State, format};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

/// What of the log is seen.
#[derive(Debug, Default)]
pub struct View {
    /// Lines ever up to the one at the bottom; `None` = follow the newest. Counted from the
    /// run's start, so that new lines don't move what is being read.
    bottom: Option<u64>,
    /// Rows at the last draw: a page.
    rows: u64,
}

impl View {
    /// Moves.
    pub fn scroll(&mut self, scroll: Scroll, state: &State) {
        let total = state.log_total;
        let oldest = total - state.log.len() as u64;
        let first = (oldest + self.rows).min(total);
        let now = self.bottom.unwrap_or(total);
        let page = self.rows.max(2) - 1;
        let next = match scroll {
            Scroll::Up => now.saturating_sub(1),
            Scroll::Down => now + 1,
            Scroll::PageUp => now.saturating_sub(page),
            Scroll::PageDown => now + page,
            Scroll::Home => first,
            Scroll::End => total,
        };
        self.bottom = Some(next.max(first)).filter(|&n| n < total);
    }

    /// Draws as many lines as fit.
    pub fn draw(&mut self, frame: &mut Frame, area: Rect, state: &State) {
        let back = self.bottom.map_or(0, |b| state.log_total.saturating_sub(b)) as usize;
        let title = match back {
            0 => "log".into(),
            n => format!("log · {n} newer below, End follows"),
        };
        let block = theme::pane(&title);
        let inner = block.inner(area);
        frame.render_widget(block, area);
        self.rows = inner.height.into();
        let (width, height) = (inner.width as usize, inner.height as usize);
        let mut rows = Vec::new();
        for line in state.log.iter().rev().skip(back) {
            if rows.len() >= height {
                break;
            }
            rows.extend(wrapped(line, width).into_iter().rev());
        }
        rows.truncate(height);
        rows.reverse();
        frame.render_widget(Paragraph::new(rows), inner);
    }
}

/// A line in rows of `width`, the later ones indented under the first one's text.
fn wrapped(line: &LogLine, width: usize) -> Vec<Line<'static>> {
    let (mark, style) = match line.level {
        Level::Info => ("", Style::new()),
        Level::Warn => ("! ", theme::WARN),
        Level::Error => ("× ", theme::ALARM),
    };
    let clock = format!("{:>7} ", format::duration(line.at));
    let room = width.saturating_sub(clock.len()).max(1);
    let text: Vec<char> = format!("{mark}{}", line.text).chars().collect();
    let mut rest = text.as_slice();
    let mut rows = Vec::new();
    while !rest.is_empty() || rows.is_empty() {
        let mut end = room.min(rest.len());
        // Break at a blank where there is one in the second half of the row.
        if end < rest.len()
            && let Some(blank) =
                rest[..end].iter().rposition(|&c| c == ' ').filter(|b| *b > end / 2)
        {
            end = blank + 1;
        }
        let head = if rows.is_empty() { clock.clone() } else { " ".repeat(clock.len()) };
        let row: String = rest[..end].iter().collect();
        rows.push(Line::from(vec![
            Span::styled(head, theme::FAINT),
            Span::styled(row.trim_end().to_string(), style),
        ]));
        rest = &rest[end..];
    }
    rows
}
