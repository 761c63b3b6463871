//! Shows a long command's progress on stderr: a bar in a terminal, occasional lines elsewhere.

use crate::print;
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

/// Time between two lines without a terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// Number of studies, or of other things, done out of all.
pub(super) struct Progress {
    bar: ProgressBar,
    /// What is counted, in the plural.
    unit: &'static str,
    /// Time of the next line, without a terminal.
    line: Option<Instant>,
    begun: Instant,
    /// Number of studies done before.
    before: usize,
    done: usize,
    all: usize,
}

impl Progress {
    /// Starts at `before` of `all` studies, those done by an earlier process; `what`: the bar's label.
    pub fn new(what: &str, before: usize, all: usize) -> Self {
        Self::of(what, "studies", before, all)
    }

    /// Like [`Self::new`], for another `unit` than studies.
    pub fn of(what: &str, unit: &'static str, before: usize, all: usize) -> Self {
        let terminal = stderr().is_terminal();
        let bar = match terminal {
            true => ProgressBar::new(all as u64),
            false => ProgressBar::hidden(),
        };
        let style =
            format!("{{msg}} {{bar:30}} {{pos}}/{{len}} {unit} · {{elapsed}} so far, {{eta}} left");
        let style = ProgressStyle::with_template(&style);
        bar.set_style(style.unwrap_or(ProgressStyle::default_bar()));
        bar.set_message(what.to_string());
        bar.set_position(before as u64);
        bar.reset_eta();
        let begun = Instant::now();
        let line = (!terminal).then(|| begun + BETWEEN_LINES);
        Self { bar, unit, line, begun, before, done: before, all }
    }

    /// Counts one more study.
    pub fn step(&mut self) {
        self.done += 1;
        self.bar.inc(1);
        let now = Instant::now();
        if self.line.is_some_and(|due| now >= due) {
            self.line = Some(now + BETWEEN_LINES);
            let each = self.begun.elapsed().as_secs_f64() / (self.done - self.before) as f64;
            let left = each * (self.all - self.done) as f64;
            let (done, all, unit) = (self.done, self.all, self.unit);
            print::warn(format_args!("{done} of {all} {unit}, {each:.2} s each, {left:.0} s left"));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
