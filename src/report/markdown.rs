//! Writes the report as Markdown: tables, and curves as rows of bars.

use super::{
    evaluated::Evaluated,
    facts, figures,
    gather::Report,
    scores,
    tables::{self, Cell, Table},
};
use crate::{
    bounded,
    view::{format, report},
};
use std::fmt::Write;

/// Most bars in a row.
const BARS: usize = 50;
/// Most characters of a text.
const LONGEST: usize = 4096;

/// Writes the report. Everything from the run's folder is escaped text.
pub fn text(report: &Report) -> String {
    let mut text = Text(String::new());
    text.head(report);
    text.heading("Results");
    text.table(&tables::folds(report));
    text.paragraph(&super::results(report));
    text.scores(report);
    text.curves(report);
    if let Some(table) = tables::vertebrae(report) {
        text.heading("Vertebrae");
        text.table(&table);
        text.paragraph("Validation loss of each vertebra's slices at the best epoch.");
    }
    let worst = tables::worst(report);
    if !worst.rows.is_empty() {
        text.heading("Worst studies");
        text.table(&worst);
        text.paragraph(super::WORST);
    }
    text.constant(report);
    text.troubles(report);
    text.settings(report);
    text.epochs(report);
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

    fn head(&mut self, report: &Report) {
        let _ = write!(self.0, "# {}\n\n", escape(&report.name));
        let (tone, outcome) = facts::outcome(report);
        let _ = write!(self.0, "**{} {}**\n\n", tone.sign(), escape(&outcome));
        self.paragraph(&facts::lead(report));
        for alarm in facts::alarms(report) {
            let _ = write!(self.0, "> {}\n\n", escape(&alarm));
        }
        for (name, fact) in facts::facts(report) {
            let _ = writeln!(self.0, "- {name}: {}", escape(&fact));
        }
        self.0.push('\n');
    }

    fn scores(&mut self, report: &Report) {
        if let Some(table) = scores::at_best(report) {
            self.heading("Scores at the best epochs");
            self.table(&table);
            self.paragraph(super::SCORES);
        }
        match &report.evaluated {
            None => {}
            Some(Err(why)) => {
                self.heading("Out of fold");
                self.paragraph(why);
            }
            Some(Ok(Evaluated { evaluation, .. })) => {
                self.heading("Out of fold");
                self.paragraph(super::OUT_OF_FOLD);
                if let Some(outdated) = scores::outdated(evaluation, &report.state.folds) {
                    self.paragraph(&format!("{outdated}."));
                }
                self.table(&scores::targets(evaluation));
                self.paragraph(&format!("{}.", scores::notes(evaluation)));
                self.table(&scores::folds(evaluation));
                self.paragraph(&format!("{}.", scores::guess(evaluation)));
            }
        }
    }

    /// Writes each fold's training and validation loss: the first, the last, and bars in between.
    fn curves(&mut self, report: &Report) {
        let folds = figures::drawn(report);
        if folds.is_empty() {
            return;
        }
        self.heading("Loss");
        self.paragraph(&super::losses(report));
        self.0.push_str("```text\n");
        for fold in folds {
            let smooth = fold.curve.smooth.series().points().iter();
            let smooth: Vec<f64> = smooth.map(|point| point.y.into()).collect();
            let valid: Vec<f64> = fold.done().map(|epoch| epoch.valid_loss).collect();
            for (what, values) in [("train", &smooth), ("valid", &valid)] {
                if let (Some(&first), Some(&last)) = (values.first(), values.last()) {
                    let (first, last) = (format::loss(first), format::loss(last));
                    let (number, bars) = (fold.plan.fold, bars(values));
                    let _ = writeln!(self.0, "fold {number:<3} {what}  {first:>7} {bars} {last}");
                }
            }
        }
        self.0.push_str("```\n\n");
    }

    fn constant(&mut self, report: &Report) {
        let constants = &report.state.constant;
        if !constants.is_empty() {
            self.heading(super::CONSTANT);
            self.table(&tables::constant(constants));
            self.paragraph(&super::constant(constants));
        }
    }

    fn troubles(&mut self, report: &Report) {
        self.heading("Warnings and errors");
        match report.past.troubles.is_empty() {
            true => self.paragraph("None."),
            false => self.table(&tables::troubles(report)),
        }
        let skipped = report.state.finished.as_ref().map_or(&[][..], |finished| &finished.skipped);
        if !skipped.is_empty() {
            self.heading("Studies left out");
            self.paragraph(&format!("{}.", report::skipped_heading(skipped)));
            self.table(&tables::left_out(skipped));
        }
    }

    fn settings(&mut self, report: &Report) {
        self.heading("Settings");
        match &report.settings {
            Err(why) => self.paragraph(why),
            Ok(settings) => {
                if !settings.changed.is_empty() {
                    self.paragraph("Those that are not the defaults, which are the notebook's:");
                    self.table(&tables::changed(settings));
                }
                self.paragraph("All of them, config.toml:");
                // No line can end an indented block.
                for line in settings.text.lines() {
                    let _ = writeln!(self.0, "    {}", bounded::excerpt(line, LONGEST));
                }
                self.0.push('\n');
            }
        }
    }

    fn epochs(&mut self, report: &Report) {
        let folds = figures::drawn(report);
        for fold in folds.iter().filter(|fold| fold.last_epoch().is_some()) {
            self.heading(&format!("Every epoch of fold {}", fold.plan.fold));
            self.table(&tables::epochs(fold));
        }
    }

    fn table(&mut self, table: &Table) {
        let row = |cells: &mut dyn Iterator<Item = String>| {
            let cells: Vec<String> = cells.collect();
            format!("| {} |\n", cells.join(" | "))
        };
        self.0 += &row(&mut table.head.iter().map(|name| (*name).to_string()));
        let aligned = |i| if i < table.words { "---" } else { "---:" };
        self.0 += &row(&mut (0..table.head.len()).map(|i| aligned(i).to_string()));
        let bold = |Cell { text, .. }: &Cell| match text.is_empty() {
            true => String::new(),
            false => format!("**{}**", escape(text)),
        };
        for cells in &table.rows {
            self.0 += &row(&mut cells.iter().map(|cell| escape(&cell.text)));
        }
        for foot in &table.foot {
            self.0 += &row(&mut foot.iter().map(bold));
        }
        self.0.push('\n');
        if table.more > 0 {
            self.paragraph(&format!("… and {} more.", table.more));
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
