//! Text in a chart.

use crate::{axis::trimmed, bounded::excerpt};

/// Most characters of a text that are drawn.
const LONGEST: usize = 120;

/// Escapes text for XML or HTML: at most 4096 characters, on one line, and without tags or characters
/// that end an attribute.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in excerpt(text, 4096).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // XML does not allow these.
            '\u{fffe}' | '\u{ffff}' => {}
            c => escaped.push(c),
        }
    }
    escaped
}

/// Like [`escape`], but shortened to fit into a chart.
pub fn short(text: &str) -> String {
    escape(&excerpt(text, LONGEST))
}

/// Estimates the width of a text, in pixels.
pub fn wide(text: &str) -> f64 {
    6.4 * text.chars().count().min(LONGEST + 1) as f64
}

/// Formats a number with four significant digits, without trailing zeros.
pub fn figure_of(x: f64) -> String {
    match x.abs() {
        0.0 => "0".into(),
        a if (1e-3..1e5).contains(&a) => trimmed(&format!("{x:.4}")).into(),
        _ => format!("{x:.2e}"),
    }
}
