//! Colours and marks. Text uses the 16 colours that every terminal maps to its own dark or light
//! scheme, and no meaning is told by colour alone.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType};

/// The smoothed training loss.
pub const TRAIN: Style = Style::new().fg(Color::Cyan);
/// Validation.
pub const VALID: Style = Style::new().fg(Color::Magenta);
/// The constant guess.
pub const BASELINE: Style = Style::new().fg(Color::Green);
/// What is there but not looked at: raw points, borders, what is to come.
pub const FAINT: Style = Style::new().fg(Color::DarkGray);
/// What went wrong.
pub const ALARM: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
/// Worth a look.
pub const WARN: Style = Style::new().fg(Color::Yellow);
/// As it should be.
pub const GOOD: Style = Style::new().fg(Color::Green);
/// The line of one fold or run among several; each has a name at its end too.
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

/// A key on the key line.
pub const KEY: Style = Style::new().add_modifier(Modifier::BOLD);
/// A pane's title.
pub const TITLE: Style = Style::new().fg(Color::Reset).add_modifier(Modifier::BOLD);

/// What lies beyond is drawn as if it lay there: near the largest floats the chart's arithmetic
/// overflows, and it draws a line of 2⁶⁴ points.
pub const HIGHEST: f64 = 1e100;

/// A pane's frame.
pub fn pane(title: &str) -> Block<'static> {
    Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(FAINT)
        .title(Line::from(Span::styled(format!(" {title} "), TITLE)))
}

/// A bar of `width` cells, filled from the left by `share` (0 to 1) to an eighth of a cell.
pub fn bar(share: f64, width: usize) -> (String, String) {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let eighths = (share * width as f64 * 8.0).round() as usize;
    let (whole, part) = (eighths / 8, eighths % 8);
    let mut full = "█".repeat(whole.min(width));
    let mut used = whole.min(width);
    if part > 0 && used < width {
        full.push(EIGHTHS[part]);
        used += 1;
    }
    (full, "·".repeat(width - used))
}
