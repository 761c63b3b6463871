//! Writes the report as Markdown: tables, and curves as rows of bars.

use super::document::{Block, Cell, Document, Table};
use crate::{bounded, view::format};
use std::fmt::Write;

/// Most bars in a row.
const BARS: usize = 50;
/// Most characters of a text.
const LONGEST: usize = 4096;

/// Writes the report. Everything from the run's folder is escaped text.
pub(super) fn text(document: &Document) -> String {
    let mut text = Text(String::new());
    text.head(document);
    for section in &document.sections {
        let mut blocks = section.blocks.iter().filter(|block| block.is_plain()).peekable();
        if blocks.peek().is_some() {
            text.heading(section.heading);
            blocks.for_each(|block| text.block(block));
        }
    }
    for (fold, table) in &document.epochs {
        text.heading(&format!("Every epoch of fold {fold}"));
        text.table(table);
    }
    let _ = write!(text.0, "---\n\nWritten by rsna-tui {}.\n", env!("CARGO_PKG_VERSION"));
    text.0
}

/// Escapes all markup in a text.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in bounded::excerpt(text, LONGEST).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' | '$' => {
                escaped.push('\\');
                escaped.push(c);
            }
            c => escaped.push(c),
        }
    }
    escaped
}

/// Draws values as bars from the lowest, `▁`, to the highest, `█`; averages neighbours if there are more
/// than [`BARS`]. A value that is not finite is a gap.
fn bars(values: &[f64]) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let each = values.len().div_ceil(BARS).max(1);
    let mean = |some: &[f64]| {
        let finite: Vec<f64> = some.iter().copied().filter(|x| x.is_finite()).collect();
        crate::view::mean(&finite).map(|(mean, _)| mean)
    };
    let means: Vec<Option<f64>> = values.chunks(each).map(mean).collect();
    let low = means.iter().flatten().copied().fold(f64::INFINITY, f64::min);
    let high = means.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
    let bar = |mean: &Option<f64>| match mean {
        None => ' ',
        Some(_) if high <= low => HEIGHTS[0],
        Some(x) => HEIGHTS[((x - low) / (high - low) * 7.0).round().clamp(0.0, 7.0) as usize],
    };
    means.iter().map(bar).collect()
}

/// The text under construction. Writing to a String cannot fail, so results are ignored.
struct Text(String);

impl Text {
    fn heading(&mut self, heading: &str) {
        let _ = write!(self.0, "## {heading}\n\n");
    }

    fn paragraph(&mut self, text: &str) {
        let _ = write!(self.0, "{}\n\n", escape(text));
    }

    fn head(&mut self, document: &Document) {
        let (tone, outcome) = &document.outcome;
        let (name, sign, outcome) = (escape(document.name), tone.sign(), escape(outcome));
        let _ = write!(self.0, "# {name}\n\n**{sign} {outcome}**\n\n");
        self.paragraph(&document.lead);
        for alarm in &document.alarms {
            let _ = write!(self.0, "> {}\n\n", escape(alarm));
        }
        for (name, fact) in &document.facts {
            let _ = writeln!(self.0, "- {name}: {}", escape(fact));
        }
        self.0.push('\n');
    }

    fn block(&mut self, block: &Block) {
        match block {
            Block::Text(text) => self.paragraph(text),
            Block::Table(table) => self.table(table),
            Block::Bars(curves) => self.curves(curves),
            Block::Config(text) => {
                self.paragraph("All of them, config.toml:");
                // No line can end an indented block.
                for line in text.lines() {
                    let _ = writeln!(self.0, "    {}", bounded::excerpt(line, LONGEST));
                }
                self.0.push('\n');
            }
            // See `Block::is_plain`.
            Block::Remark(_) | Block::Charts(..) | Block::Picture(_) => {}
        }
    }

    /// Writes each curve's first value, its last one, and bars in between.
    fn curves(&mut self, curves: &[(String, Vec<f64>)]) {
        self.0.push_str("```text\n");
        for (name, values) in curves {
            if let (Some(&first), Some(&last)) = (values.first(), values.last()) {
                let (first, last) = (format::loss(first), format::loss(last));
                let _ = writeln!(self.0, "{name}  {first:>7} {} {last}", bars(values));
            }
        }
        self.0.push_str("```\n\n");
    }

    fn row(&mut self, cells: impl Iterator<Item = String>) {
        let _ = writeln!(self.0, "| {} |", cells.collect::<Vec<_>>().join(" | "));
    }

    fn table(&mut self, table: &Table) {
        self.row(table.head.iter().map(|name| (*name).to_string()));
        let aligned = |i| if i < table.words { "---" } else { "---:" };
        self.row((0..table.head.len()).map(|i| aligned(i).to_string()));
        let bold = |Cell { text, .. }: &Cell| match text.is_empty() {
            true => String::new(),
            false => format!("**{}**", escape(text)),
        };
        for cells in &table.rows {
            self.row(cells.iter().map(|cell| escape(&cell.text)));
        }
        for cells in &table.foot {
            self.row(cells.iter().map(bold));
        }
        self.0.push('\n');
        if table.more > 0 {
            self.paragraph(&format!("… and {} more.", table.more));
        }
        if !table.caption.is_empty() {
            self.paragraph(&table.caption);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_go_from_the_lowest_to_the_highest_and_leave_gaps() {
        assert_eq!(bars(&[0.0, 7.0, f64::NAN, 3.0]), "▁█ ▄");
        assert_eq!(bars(&[0.5, 0.5]), "▁▁");
        assert_eq!(bars(&[]), "");
        let many: Vec<f64> = (0..1_000_000).map(f64::from).collect();
        assert!(bars(&many).chars().count() <= BARS);
    }

    #[test]
    fn text_is_no_markup() {
        assert_eq!(escape("a|b <b>`*_[x](y)\n# z"), r"a\|b &lt;b&gt;\`\*\_\[x\](y) \# z");
        assert_eq!(escape("0.41, C1: 3/4"), "0.41, C1: 3/4");
    }
}
