//! The log, newest line at the bottom, as a pane of the overview and as a view with filter and
//! search.

use crate::run::event::Level;
use crate::tui::action::{LogKey, Scroll};
use crate::tui::theme;
use crate::view::{LogLine, State, format};
use crossterm::event::{KeyCode, KeyEvent};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

/// Maximum number of characters in the search term.
const LONGEST_QUERY: usize = 100;

/// State of the log's view.
#[derive(Debug, Default)]
pub struct View {
    /// Number of the line at the bottom, counted from the run's start, so that new lines do not
    /// move the text being read; `None` = follow the newest.
    bottom: Option<u64>,
    /// Rows at the last draw, the size of a page.
    rows: u64,
    /// Lowest severity shown in the view.
    level: Level,
    /// Search term, in lower case.
    query: String,
    typing: bool,
    /// Number of the line of the current match, counted from the run's start.
    found: Option<u64>,
}

impl View {
    /// Scrolls. `filtered`: through the view's filtered lines instead of all.
    pub fn scroll(&mut self, scroll: Scroll, state: &State, filtered: bool) {
        let lines = self.lines(state, filtered);
        let last = lines.len().saturating_sub(1);
        // The first line that can be at the bottom of a full page.
        let first = (self.rows.max(1) as usize - 1).min(last);
        let bottom = self.bottom.unwrap_or(u64::MAX);
        let now = lines.partition_point(|&line| line <= bottom).saturating_sub(1);
        let page = self.rows.max(2) as usize - 1;
        let next = match scroll {
            Scroll::Up => now.saturating_sub(1),
            Scroll::Down => now + 1,
            Scroll::PageUp => now.saturating_sub(page),
            Scroll::PageDown => now + page,
            Scroll::Home => first,
            Scroll::End => last,
        };
        self.bottom = Some(next.max(first)).filter(|&n| n < last).map(|n| lines[n]);
    }

    /// Handles `key`.
    pub fn act(&mut self, key: LogKey, state: &State) {
        match key {
            LogKey::Level => {
                self.level = match self.level {
                    Level::Info => Level::Warn,
                    Level::Warn => Level::Error,
                    Level::Error => Level::Info,
                };
                self.bottom = None;
            }
            LogKey::Search => {
                self.typing = true;
                self.query.clear();
                self.found = None;
            }
            LogKey::Older => self.jump(state, true),
            LogKey::Newer => self.jump(state, false),
        }
    }

    /// Whether keys are input to the search term.
    pub fn is_typing(&self) -> bool {
        self.typing
    }

    /// Handles a key while [`Self::is_typing`].
    pub fn type_key(&mut self, key: &KeyEvent, state: &State) {
        match key.code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => self.clear(),
            KeyCode::Backspace => {
                self.query.pop();
            }
            KeyCode::Char(c) if self.query.chars().count() < LONGEST_QUERY && !c.is_control() => {
                self.query.extend(c.to_lowercase());
            }
            _ => return,
        }
        self.found = None;
        self.jump(state, true);
    }

    /// Ends the search and follows the newest line.
    pub fn clear(&mut self) {
        (self.typing, self.found, self.bottom) = (false, None, None);
        self.query.clear();
    }

    /// Jumps to the next match above or below.
    fn jump(&mut self, state: &State, older: bool) {
        if self.query.is_empty() {
            return;
        }
        let lines = self.lines(state, true);
        let is_match = |line| line_at(state, line).is_some_and(|line| self.matches(line));
        let mut found = lines.iter().copied().filter(|&line| is_match(line));
        let next = match (older, self.found) {
            (true, at) => found.rfind(|&line| line < at.unwrap_or(u64::MAX)),
            (false, at) => found.find(|&line| line > at.unwrap_or(0)),
        };
        let Some(line) = next.or(self.found) else { return };
        self.found = Some(line);
        // Keep the lines after the match in sight.
        let at = lines.partition_point(|&other| other < line);
        let below = (at + self.rows as usize / 2).min(lines.len().saturating_sub(1));
        self.bottom = Some(lines[below]).filter(|_| below + 1 < lines.len());
    }

    fn matches(&self, line: &LogLine) -> bool {
        line.text.to_lowercase().contains(&self.query)
    }

    /// Numbers of the visible lines, counted from the run's start.
    fn lines(&self, state: &State, filtered: bool) -> Vec<u64> {
        let before = state.log_total - state.log.len() as u64;
        let numbered = state.log.iter().zip(before + 1..);
        let shown = numbered.filter(|(line, _)| !filtered || line.level >= self.level);
        shown.map(|(_, number)| number).collect()
    }

    /// Draws as many lines as fit, as a pane of the overview.
    pub fn draw_pane(&mut self, frame: &mut Frame, area: Rect, state: &State) {
        let title = match self.newer(state, false) {
            0 => "log".into(),
            n => format!("log · {n} newer below, End follows"),
        };
        let inner = theme::framed(frame, area, &title);
        self.draw_lines(frame, inner, state, false);
    }

    /// Draws the view, without a frame, so that text copied from the screen contains nothing else.
    pub fn draw(&mut self, frame: &mut Frame, area: Rect, state: &State) {
        let [head, body] = theme::below_heading(area);
        let shown = self.lines(state, true).len();
        let what = match self.level {
            Level::Info => format!("all lines: {shown}"),
            Level::Warn => format!("warnings and errors: {shown}"),
            Level::Error => format!("errors: {shown}"),
        };
        let mut spans = vec![Span::styled("log  ", theme::TITLE), Span::styled(what, theme::FAINT)];
        if self.typing || !self.query.is_empty() {
            let matches = state.log.iter().filter(|line| self.matches(line)).count();
            let cursor = if self.typing { "█" } else { "" };
            spans.push(Span::styled(format!("  /{}{cursor}", self.query), theme::KEY));
            spans.push(Span::styled(format!("  found in {matches}"), theme::FAINT));
        }
        let newer = self.newer(state, true);
        if newer > 0 {
            spans.push(Span::styled(format!("  {newer} newer below, End follows"), theme::WARN));
        }
        frame.render_widget(Line::from(spans), head);
        self.draw_lines(frame, body, state, true);
    }

    fn newer(&self, state: &State, filtered: bool) -> usize {
        let bottom = self.bottom.unwrap_or(u64::MAX);
        self.lines(state, filtered).iter().filter(|&&line| line > bottom).count()
    }

    fn draw_lines(&mut self, frame: &mut Frame, area: Rect, state: &State, filtered: bool) {
        self.rows = area.height.into();
        let (width, height) = (usize::from(area.width), usize::from(area.height));
        let bottom = self.bottom.unwrap_or(u64::MAX);
        let mut rows = Vec::new();
        for number in self.lines(state, filtered).into_iter().rev().filter(|&n| n <= bottom) {
            if rows.len() >= height {
                break;
            }
            let Some(line) = line_at(state, number) else { continue };
            let query = if filtered { self.query.as_str() } else { "" };
            let found = filtered && self.found == Some(number);
            rows.extend(wrapped(line, width, query, found).into_iter().rev());
        }
        rows.truncate(height);
        rows.reverse();
        frame.render_widget(Paragraph::new(rows), area);
    }
}

fn line_at(state: &State, number: u64) -> Option<&LogLine> {
    let before = state.log_total - state.log.len() as u64;
    state.log.get(number.checked_sub(before + 1)? as usize)
}

/// Wraps a line into rows of `width`, indenting the later rows under the text, and highlights the
/// search term.
fn wrapped(line: &LogLine, width: usize, query: &str, found: bool) -> Vec<Line<'static>> {
    let (mark, style) = match line.level {
        Level::Info => ("", Style::new()),
        Level::Warn => ("! ", theme::WARN),
        Level::Error => ("× ", theme::ALARM),
    };
    let clock = format!("{:>7}{}", format::duration(line.at), if found { "▸" } else { " " });
    let indent = clock.chars().count();
    let room = width.saturating_sub(indent).max(1);
    let text: Vec<char> = format!("{mark}{}", line.text).chars().collect();
    let mut rest = text.as_slice();
    let mut rows = Vec::new();
    while !rest.is_empty() || rows.is_empty() {
        let mut end = room.min(rest.len());
        // Break at a blank if there is one in the second half of the row.
        let blank = rest[..end].iter().rposition(|&c| c == ' ').filter(|b| *b > end / 2);
        if let (Some(blank), true) = (blank, end < rest.len()) {
            end = blank + 1;
        }
        let head = if rows.is_empty() { clock.clone() } else { " ".repeat(indent) };
        let row: String = rest[..end].iter().collect();
        let mut spans = vec![Span::styled(head, theme::FAINT)];
        spans.extend(highlighted(row.trim_end(), query, style));
        rows.push(Line::from(spans));
        rest = &rest[end..];
    }
    rows
}

/// Styles `text`, with each match of `query` reversed.
fn highlighted(text: &str, query: &str, style: Style) -> Vec<Span<'static>> {
    let lower = text.to_lowercase();
    // If lower case changes the length, positions in it do not apply to `text`.
    if query.is_empty() || lower.len() != text.len() {
        return vec![Span::styled(text.to_string(), style)];
    }
    let mut spans = Vec::new();
    let mut end = 0;
    for (start, part) in lower.match_indices(query) {
        let stop = start + part.len();
        let (Some(before), Some(own)) = (text.get(end..start), text.get(start..stop)) else {
            break;
        };
        spans.push(Span::styled(before.to_string(), style));
        spans.push(Span::styled(own.to_string(), style.add_modifier(Modifier::REVERSED)));
        end = stop;
    }
    spans.push(Span::styled(text[end..].to_string(), style));
    spans
}
