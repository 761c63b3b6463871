//! Parses a CSV's text into studies and reports every problem with line and column.

use super::kind::normalized;
use super::{LABELS, Study, Table, quotes};
use crate::bounded::excerpt;
use crate::config::VERTEBRAE;
use csv::StringRecord;
use std::cell::Cell;
use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::Arc;

/// Maximum number of problems in a message.
const SHOWN: usize = 5;
/// Maximum length of a row in bytes.
pub(super) const LONGEST_ROW: usize = 1 << 20;
/// Maximum number of studies in a table.
const MOST_STUDIES: usize = 1_000_000;
/// Number of lines searched for a header that is not on the first line.
const HEADER_WITHIN: usize = 50;
/// Column of the studies.
const UID: &str = "StudyInstanceUID";
/// Column of the folds.
const FOLD: &str = "fold";

/// Columns that a table must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needed {
    /// Studies, labels and folds.
    All,
    /// Studies only.
    Uids,
}

impl Needed {
    /// The setting that names such a table.
    pub fn key(self) -> &'static str {
        match self {
            Self::All => "data.table",
            Self::Uids => "--studies",
        }
    }

    /// Whether a cell of the header is meant as a needed column.
    pub fn is_column(self, cell: &str) -> bool {
        let cell = normalized(cell);
        let all = [UID, FOLD].into_iter().chain(LABELS);
        let mut needed = all.take(if self == Self::All { usize::MAX } else { 1 });
        needed.any(|name| normalized(name) == cell)
    }
}

/// Counts line ends: LF, CRLF, or CR alone.
pub(super) fn newlines(bytes: &[u8]) -> usize {
    let ends = bytes
        .iter()
        .enumerate()
        .filter(|&(i, &b)| b == b'\n' || (b == b'\r' && bytes.get(i + 1) != Some(&b'\n')));
    ends.count()
}

/// Counts lines incrementally, so that the table is scanned only once.
#[derive(Default)]
struct LineCounter {
    /// Bytes counted.
    at: usize,
    newlines: usize,
}

impl LineCounter {
    /// Returns the line of the record that the reader reports at byte `at`. Blank lines and the rest of a
    /// CRLF may still come before the record, so the reader's own line number can be too low.
    fn line_of(&mut self, bytes: &[u8], at: usize) -> usize {
        let at = at.clamp(self.at, bytes.len());
        let skipped = bytes[at..].iter().take_while(|b| matches!(b, b'\n' | b'\r')).count();
        self.newlines += newlines(&bytes[self.at..at + skipped]);
        self.at = at + skipped;
        1 + self.newlines
    }
}

/// Problems of a table: their number, and the first of them.
#[derive(Default)]
pub(super) struct Problems {
    pub total: usize,
    first: Vec<String>,
}

impl Problems {
    fn add(&mut self, problem: impl FnOnce() -> String) {
        self.total += 1;
        if self.first.len() < SHOWN {
            self.first.push(problem());
        }
    }

    pub fn shown(&self) -> String {
        let mut shown = self.first.clone();
        if self.total > shown.len() {
            shown.push(format!("and {} more", self.total - shown.len()));
        }
        shown.join("; ")
    }
}

impl From<String> for Problems {
    fn from(problem: String) -> Self {
        Self { total: 1, first: vec![problem] }
    }
}

/// A reader of `text` that limits each row to [`LONGEST_ROW`] bytes, because the parser allocates nine
/// bytes for each comma.
struct Metered<'a> {
    text: &'a [u8],
    left: &'a Cell<usize>,
}

impl Read for Metered<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.left.get() == 0 && !self.text.is_empty() {
            return Err(io::Error::other(format!("a row is longer than {LONGEST_ROW} bytes")));
        }
        let most = out.len().min(self.left.get());
        let n = self.text.read(&mut out[..most])?;
        self.left.set(self.left.get() - n);
        Ok(n)
    }
}

/// Positions of the needed columns.
struct Columns {
    uid: usize,
    /// Labels and fold, if needed.
    others: Option<([usize; VERTEBRAE], usize)>,
}

impl Columns {
    /// Errors: when columns are missing, misnamed or duplicated, or there is no header at all.
    fn of(
        header: &StringRecord,
        line: usize,
        text: &str,
        needed: Needed,
    ) -> Result<Self, Problems> {
        if !header.iter().any(|cell| needed.is_column(cell)) {
            return Err(no_header(header, line, text, needed).into());
        }
        let mut problems = Problems::default();
        let mut column = |name: &str| {
            let mut at = header.iter().enumerate().filter(|(_, h)| *h == name).map(|(i, _)| i);
            let first = at.next();
            match (first, at.next()) {
                (None, _) => problems.add(|| {
                    let meant = header.iter().find(|h| normalized(h) == normalized(name));
                    let meant = meant.map(|h| format!(", but {:?}: rename it", excerpt(h, 80)));
                    format!("line {line} has no column {name}{}", meant.unwrap_or_default())
                }),
                (_, Some(_)) => problems.add(|| format!("line {line} has the column {name} twice")),
                _ => {}
            }
            first.unwrap_or(usize::MAX)
        };
        let uid = column(UID);
        let others = (needed == Needed::All).then(|| (LABELS.map(&mut column), column(FOLD)));
        if problems.total == 0 { Ok(Self { uid, others }) } else { Err(problems) }
    }
}

/// Says why a first line without any needed column is not a header.
fn no_header(header: &StringRecord, line: usize, text: &str, needed: Needed) -> String {
    let wanted = match needed {
        Needed::All => format!("{UID},{},{FOLD}", LABELS.join(",")),
        Needed::Uids => UID.into(),
    };
    let is_header = |line: &str| line.split(',').any(|cell| cell.trim().trim_matches('"') == UID);
    let below = text.lines().take(HEADER_WITHIN).position(is_header).map(|above| above + 1);
    if let Some(below) = below {
        return match below == line {
            true => {
                format!("line {line} is one cell: remove the quotation marks around whole lines")
            }
            false => format!(
                "the header is on line {below}, not on line {line}: delete what is above it"
            ),
        };
    }
    let is_data = |cell: &str| {
        let is_uid =
            cell.matches('.').count() > 1 && cell.chars().all(|c| c.is_ascii_digit() || c == '.');
        is_uid || cell.parse::<f64>().is_ok()
    };
    if header.iter().any(is_data) {
        return format!("line {line} is a study, not a header: write {wanted} above it");
    }
    let cells: Vec<String> = header.iter().take(10).map(|cell| excerpt(cell, 40)).collect();
    format!("line {line} is no header with {wanted}, but has the columns {:?}", cells.join(","))
}

/// Counts rows whose number of cells differs from the header's.
#[derive(Default)]
struct Lengths {
    /// Number of all rows.
    rows: usize,
    /// Rows with one cell too many, and those of them whose last cell is empty.
    one_more: usize,
    one_empty: usize,
}

impl Lengths {
    /// Whether the row has as many cells as the header.
    fn check(
        &mut self,
        record: &StringRecord,
        (columns, header_line, line): (usize, usize, usize),
        problems: &mut Problems,
    ) -> bool {
        self.rows += 1;
        let cells = record.len();
        if cells == columns {
            return true;
        }
        if cells == columns + 1 {
            self.one_more += 1;
            self.one_empty += usize::from(record.iter().next_back() == Some(""));
        }
        problems.add(|| {
            let advice = match cells > columns {
                true => "a cell with a comma in it must be in quotation marks",
                false => "a cell is missing, or is separated by something else than a comma",
            };
            let plural = if cells == 1 { "" } else { "s" };
            format!(
                "line {line} has {cells} cell{plural} and the header, line {header_line}, has \
                 {columns}: {advice}"
            )
        });
        false
    }

    /// Returns a single problem for the case that every row has one cell more than the header.
    fn short_header(&self, columns: usize, line: usize) -> Option<String> {
        if self.rows == 0 || self.one_more < self.rows {
            return None;
        }
        let rows = columns + 1;
        let what = match self.one_empty == self.rows {
            true => "the last of them empty: delete the comma at the end of every row",
            false => {
                "as R's write.table writes row names: write it with row.names = FALSE (pandas: \
                 index=False), or name the first column"
            }
        };
        Some(format!(
            "the header, line {line}, has {columns} cells and every row has {rows}, {what}"
        ))
    }
}

/// Parses `0`, `1`, `0.0` or `1.0`, as pandas may write an integer column.
fn whole(cell: &str) -> Option<usize> {
    let (digits, zeros) = cell.split_once('.').unwrap_or((cell, ""));
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && zeros.bytes().all(|b| b == b'0');
    if plain { digits.parse().ok() } else { None }
}

/// Says what is wrong with a label.
fn bad_label(cell: &str) -> &'static str {
    match normalized(cell).as_str() {
        "" | "nan" | "na" | "none" | "null" => "is not 0 or 1: a label is missing",
        "true" | "yes" | "t" | "y" => "is not 0 or 1: write 1",
        "false" | "no" | "f" | "n" => "is not 0 or 1: write 0",
        _ => "is not 0 or 1",
    }
}

/// Maximum length of a study's name in bytes: its crops' file names have at most 255.
const LONGEST_UID: usize = 200;

/// Says what is wrong with a study's name, if anything is.
fn bad_uid(uid: &str) -> Option<&'static str> {
    if uid.contains(['/', '\\', '\0']) {
        Some("cannot be part of a file's name")
    } else if uid.contains(['"', '\n', '\r', '\t']) {
        Some("has a quotation mark, a tab or a line end in it")
    } else if uid.len() > LONGEST_UID {
        Some("is longer than 200 bytes, too long for a part of a file's name")
    } else if uid.contains(['e', 'E']) && uid.replace(',', ".").parse::<f64>().is_ok() {
        Some(
            "is a number that a spreadsheet has rounded: take the table from before, or import the \
             column as text",
        )
    } else {
        None
    }
}

/// Parses `text`, which must have no byte-order mark.
pub(super) fn parse(text: &str, needed: Needed) -> Result<Table, Problems> {
    let left = Cell::new(LONGEST_ROW);
    let bytes = text.as_bytes();
    let metered = Metered { text: bytes, left: &left };
    // Rows of a different length are reported below, with their lines.
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(metered);
    let wrong = |e: csv::Error| excerpt(&e.to_string(), 200);
    let mut lines = LineCounter::default();
    let mut line_of = |record: &StringRecord| {
        lines.line_of(bytes, record.position().map_or(0, |p| p.byte() as usize))
    };
    let mut header = StringRecord::new();
    reader.read_record(&mut header).map_err(|e| Problems::from(wrong(e)))?;
    let header_line = line_of(&header);
    if let Some(quotes::Wrong { at, what }) = quotes::first_wrong(bytes, header.len()) {
        return Err(format!("line {} {what}", 1 + newlines(&bytes[..at])).into());
    }
    // Read on without them: every row may have a cell for a column that the header lacks.
    let columns = Columns::of(&header, header_line, text, needed);
    let mut problems = Problems::default();
    let mut lengths = Lengths::default();
    let mut studies = Vec::new();
    let mut seen: HashMap<Arc<str>, usize> = HashMap::new();
    let mut record = StringRecord::new();
    loop {
        left.set(LONGEST_ROW);
        match reader.read_record(&mut record) {
            Ok(true) => {}
            Ok(false) => break,
            Err(e) => {
                problems.add(|| wrong(e));
                break;
            }
        }
        if seen.len() == MOST_STUDIES {
            problems.add(|| format!("it has more than {MOST_STUDIES} studies"));
            break;
        }
        let line = line_of(&record);
        if !lengths.check(&record, (header.len(), header_line, line), &mut problems) {
            continue;
        }
        let Ok(columns) = &columns else { continue };
        if record.len() > 1 && record.iter().all(str::is_empty) {
            problems.add(|| format!("line {line} has nothing but commas: delete it"));
            continue;
        }
        let cell = |at: usize| record.get(at).unwrap_or_default();
        let uid: Arc<str> = cell(columns.uid).into();
        if uid.is_empty() {
            problems.add(|| format!("line {line}, column {UID}: is empty"));
        }
        let mut problem = |column: &str, cell: &str, text: &str| {
            problems
                .add(|| format!("line {line}, column {column}: {:?} {text}", excerpt(cell, 80)));
        };
        if let Some(what) = bad_uid(&uid) {
            problem(UID, &uid, what);
        } else if let Some(first) = seen.get(&uid) {
            match needed {
                Needed::All => problem(UID, &uid, &format!("is also on line {first}")),
                Needed::Uids => continue,
            }
        } else if !uid.is_empty() {
            seen.insert(uid.clone(), line);
        }
        let mut labels = [0; VERTEBRAE];
        let mut fold = 0;
        if let Some((labels_at, fold_at)) = columns.others {
            for ((label, &at), name) in labels.iter_mut().zip(&labels_at).zip(LABELS) {
                match whole(cell(at)) {
                    Some(x @ 0..=1) => *label = x as u8,
                    _ => problem(name, cell(at), bad_label(cell(at))),
                }
            }
            fold = whole(cell(fold_at)).unwrap_or_else(|| {
                problem(FOLD, cell(fold_at), "is not a whole number, 0 or more");
                0
            });
        }
        // Once a problem is found, the studies are not needed.
        if problems.total == 0 {
            studies.push(Study { uid, labels, fold });
        }
    }
    if let Some(problem) = lengths.short_header(header.len(), header_line) {
        return Err(problem.into());
    }
    columns?;
    if studies.is_empty() && problems.total == 0 {
        return Err("it has no rows below its header".to_string().into());
    }
    if problems.total == 0 { Ok(Table { studies }) } else { Err(problems) }
}
