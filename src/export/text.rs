//! Text in a chart.

use crate::bounded::excerpt;

/// Text that is drawn, in characters.
const LONGEST: usize = 120;

/// Text as a part of XML or HTML: at most 4096 characters, in one line, and nothing in it is a tag
/// or ends an attribute.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in excerpt(text, 4096).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // XML has no place for them.
            '\u{fffe}' | '\u{ffff}' => {}
            c => escaped.push(c),
        }
    }
    escaped
}

/// As [`escape`], and no longer than a chart has room for.
pub fn short(text: &str) -> String {
    escape(&excerpt(text, LONGEST))
}

/// About how wide text is, in pixels.
pub fn wide(text: &str) -> f64 {
    6.4 * text.chars().count().min(LONGEST + 1) as f64
}

/// A figure with four digits, without zeros behind them.
pub fn figure_of(x: f64) -> String {
    match x.abs() {
        0.0 => "0".into(),
        a if (1e-3..1e5).contains(&a) => {
            let text = format!("{x:.4}");
            text.trim_end_matches('0').trim_end_matches('.').into()
        }
        _ => format!("{x:.2e}"),
    }
}
