//! Cleans all text that leaves the program: to a terminal, a log or a spreadsheet.
//!
//! Study IDs, file names and messages of other programs may hold characters that control a terminal,
//! reorder a line or start another one. All output goes through this module, which removes them.

mod timeout;

pub use timeout::{Watched, bound, hangs_for};

use std::{
    borrow::Cow,
    fmt::Display,
    io::{self, IsTerminal, Write, stdout},
};

/// Makes text a single line: replaces control characters, and invisible characters that change how
/// their neighbours are shown, with spaces.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if is_harmful(c) { ' ' } else { c }).collect()
}

/// Whether it is a control character (one byte, or U+0080 to U+009F), a line separator, or one of
/// Unicode's format characters: direction overrides, zero-width marks, tags.
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

/// Cleans each line of a text.
fn clean_lines(text: &str) -> String {
    text.split('\n').map(clean).collect::<Vec<_>>().join("\n")
}

/// Output of a finished command, by lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommandOutput {
    /// The lines, without their ends.
    pub lines: Vec<String>,
    /// Whether the lines go to stderr, because stdout holds the requested data.
    pub aside: bool,
}

impl CommandOutput {
    /// Splits text made by this program, in which outside text never starts a line.
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

/// Prints a command's output.
///
/// Errors: when stdout cannot be written.
pub fn command_output(output: &CommandOutput) -> io::Result<()> {
    let text: String = output.lines.iter().map(|line| clean(line) + "\n").collect();
    if output.aside {
        timeout::err(&text);
        return Ok(());
    }
    timeout::out(&text)
}

/// Prints a line to stdout. Ignores errors: the reader has gone.
pub fn line(line: impl Display) {
    let _ = timeout::out(&(clean(&line.to_string()) + "\n"));
}

/// Prints a line to stderr, without the program's name.
pub fn note(line: impl Display) {
    timeout::err(&(clean(&line.to_string()) + "\n"));
}

/// Like [`note`], for threads that must not wait for the reader.
pub fn note_aside(line: impl Display) {
    timeout::err_aside(&(clean(&line.to_string()) + "\n"));
}

/// Prints a warning or an error to stderr, as one line.
pub fn warn(message: impl Display) {
    note(format_args!("rsna-tui: {message}"));
}

/// Prints lines made by another library to stderr: clap's usage.
pub fn lines_aside(text: &str) {
    timeout::err(&clean_lines(text));
}

/// stdout for lines written one at a time, each in one call. Another thread can see by [`hangs_for`]
/// that nobody reads them.
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

/// stdout for a file requested with `--out -`: unchanged bytes into a pipe or a file, clean lines on a
/// terminal.
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

/// Makes text safe for a CSV cell. A spreadsheet runs text that starts with `=`, `+`, `-`, `@`, a tab or
/// a line end as a formula, so this adds an apostrophe before it, which spreadsheets hide. Numbers stay
/// unchanged, and so does every name that the data's own tools produce.
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
