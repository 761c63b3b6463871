//! Colours, marks and frames. Text uses the 16 colours that every terminal maps to its own dark or light
//! scheme, and no meaning is conveyed by colour alone.

use crate::run::catalogue::Tone;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType};

/// Style of a line of a chart.
pub fn tone(tone: Tone) -> Style {
    match tone {
        Tone::First => TRAIN,
        Tone::Second => VALID,
        Tone::Faint => FAINT,
    }
}

/// Smoothed training loss.
pub const TRAIN: Style = Style::new().fg(Color::Cyan);
/// Validation loss.
pub const VALID: Style = Style::new().fg(Color::Magenta);
/// Loss of a constant guess.
pub const BASELINE: Style = Style::new().fg(Color::Green);
/// Unobtrusive elements: raw points, borders, future epochs.
pub const FAINT: Style = Style::new().fg(Color::DarkGray);
/// Failures.
pub const ALARM: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
/// Warnings.
pub const WARN: Style = Style::new().fg(Color::Yellow);
/// Success.
pub const GOOD: Style = Style::new().fg(Color::Green);
/// Line of a fold or run among several; each also has a label at its end.
pub fn series(index: usize) -> Style {
    const COLORS: [Color; 7] = [
        Color::Cyan,
        Color::Magenta,
        Color::Green,
        Color::LightMagenta,
        Color::Yellow,
        Color::Blue,
        Color::Red,
    ];
    Style::new().fg(COLORS[index % COLORS.len()])
}

/// Key on the key line.
pub const KEY: Style = Style::new().add_modifier(Modifier::BOLD);
/// Title of a pane.
pub const TITLE: Style = Style::new().fg(Color::Reset).add_modifier(Modifier::BOLD);

/// Frame of a pane.
pub fn pane(title: &str) -> Block<'static> {
    Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(FAINT)
        .title(Line::from(Span::styled(format!(" {title} "), TITLE)))
}

/// Shown before the trainer has told what it will do.
pub fn no_plan() -> Line<'static> {
    Line::styled("waiting for the trainer's plan", FAINT)
}

/// Bold, if `chosen`.
pub fn bold_if(chosen: bool) -> Style {
    if chosen { KEY } else { Style::new() }
}

/// Draws the frame of a pane; returns the area within.
pub fn framed(frame: &mut Frame, area: Rect, title: &str) -> Rect {
    let block = pane(title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    inner
}

/// Splits `area` into a row for a heading and the rest.
pub fn below_heading(area: Rect) -> [Rect; 2] {
    Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area)
}

/// Draws a text in the middle of `area` that stands for what is not there yet.
pub fn middle(frame: &mut Frame, area: Rect, text: &str) {
    let row = Rect { y: area.y + area.height / 2, height: area.height.min(1), ..area };
    frame.render_widget(Line::styled(text, FAINT).centered(), row);
}

/// Bar of `width` cells, filled from the left by `share` (0 to 1) to an eighth of a cell.
pub fn bar(share: f64, width: usize) -> (String, String) {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let eighths = (share * width as f64 * 8.0).round() as usize;
    let (whole, part) = (eighths / 8, eighths % 8);
    let mut full = "█".repeat(whole);
    // All of the cells are full unless a part is left.
    if part > 0 {
        full.push(EIGHTHS[part]);
    }
    let rest = "·".repeat(width - whole - usize::from(part > 0));
    (full, rest)
}
