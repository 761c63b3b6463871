//! Text as it leaves the program: to a terminal, to a log, to a spreadsheet.
//!
//! Study ids, file names and messages of other programs may hold characters that steer a terminal,
//! reorder a line or begin another one. All that is printed goes through this module, which leaves
//! none of them in it.

mod timeout;

pub use timeout::{Watched, bound, hangs_for};

use std::{
    borrow::Cow,
    fmt::Display,
    io::{self, IsTerminal, Write, stdout},
};

/// Text in one line: each control character, and each that is not seen but changes how its
/// neighbours are shown, is a space.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if is_harmful(c) { ' ' } else { c }).collect()
}

/// Control characters (of one byte, and U+0080 to U+009F), line separators, and Unicode's format
/// characters: overrides of the direction, marks without a width, tags.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{600}'..='\u{605}'
                | '\u{61c}'
                | '\u{6dd}'
                | '\u{70f}'
                | '\u{890}'..='\u{891}'
                | '\u{8e2}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{110bd}'
                | '\u{110cd}'
                | '\u{13430}'..='\u{1343f}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Text of several lines, each of them clean.
fn clean_lines(text: &str) -> String {
    text.split('\n').map(clean).collect::<Vec<_>>().join("\n")
}

/// What a command says once it is done, line by line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommandOutput {
    /// The lines, without their ends.
    pub lines: Vec<String>,
    /// They go to stderr, because stdout holds what was asked for.
    pub aside: bool,
}

impl CommandOutput {
    /// The lines of a text that is made here, in which nothing from outside begins a line.
    pub fn of_text(text: &str) -> Self {
        text.lines().map(String::from).collect::<Vec<_>>().into()
    }
}

impl From<Vec<String>> for CommandOutput {
    fn from(lines: Vec<String>) -> Self {
        Self { lines, aside: false }
    }
}

impl From<String> for CommandOutput {
    fn from(line: String) -> Self {
        vec![line].into()
    }
}

/// Prints what a command says.
///
/// Errors: stdout cannot be written.
pub fn command_output(output: &CommandOutput) -> io::Result<()> {
    let text: String = output.lines.iter().map(|line| clean(line) + "\n").collect();
    if output.aside {
        timeout::err(&text);
        return Ok(());
    }
    timeout::out(&text)
}

/// A line on stdout. One that cannot be printed is lost: who reads has gone.
pub fn line(line: impl Display) {
    let _ = timeout::out(&(clean(&line.to_string()) + "\n"));
}

/// A line on stderr, without the program's name.
pub fn note(line: impl Display) {
    timeout::err(&(clean(&line.to_string()) + "\n"));
}

/// As [`note`], from a thread that must not wait for whoever reads it.
pub fn note_aside(line: impl Display) {
    timeout::err_aside(&(clean(&line.to_string()) + "\n"));
}

/// A warning or an error, one line on stderr.
pub fn warn(message: impl Display) {
    note(format_args!("rsna-tui: {message}"));
}

/// Lines of another's making on stderr: clap's usage.
pub fn lines_aside(text: &str) {
    timeout::err(&clean_lines(text));
}

/// stdout for lines that are written one after the other, each in one call. Another thread can see
/// by [`hangs_for`] that nobody reads them.
pub struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = clean_lines(&String::from_utf8_lossy(bytes));
        Watched(stdout()).write_all(text.as_bytes())?;
        self.flush()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Watched(stdout()).flush()
    }
}

/// stdout for a file that was asked for with `--out -`: byte for byte into a pipe or a file, and as
/// clean lines where a terminal shows it.
pub struct Data;

impl Write for Data {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match stdout().is_terminal() {
            true => Lines.write(bytes),
            false => stdout().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        stdout().flush()
    }
}

/// Text as a cell of a CSV: a spreadsheet runs one that begins with `=`, `+`, `-`, `@`, a tab or a line
/// end as a formula, so an apostrophe goes before it, which spreadsheets do not show. A number is
/// left as it is, and so is every name that the data's own tools give.
pub fn cell(text: &str) -> Cow<'_, str> {
    const FORMULA: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];
    match text.starts_with(FORMULA) && text.parse::<f64>().is_err() {
        true => format!("'{text}").into(),
        false => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_or_reorders_is_left() {
        let harmful =
            "\x1b[2J\x07\u{9b}31m\r\n\t\0\x7f\u{202e}\u{2066}\u{2069}\u{200f}\u{feff}\u{2028}";
        let text = clean(&format!("a{harmful}b ä 中 é –"));
        assert!(!text.chars().any(is_harmful), "{text:?}");
        assert!(text.starts_with("a [2J") && text.ends_with("b ä 中 é –"), "{text:?}");
        assert_eq!(clean_lines("one\x1b\ntwo\r\n"), "one \ntwo \n");
    }

    #[test]
    fn a_cell_is_no_formula_and_a_number_stays_one() {
        for formula in
            ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1"]
        {
            assert_eq!(cell(formula), format!("'{formula}"));
        }
        for plain in ["1.2.826.0.1.3680043.10051", "-0.25", "+7", "phantom.0001", "a=b", "", "'=1"]
        {
            assert_eq!(cell(plain), plain);
        }
    }
}
