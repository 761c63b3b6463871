//! From a CSV's text to its studies, with every problem told by line and column.

use super::kind::normalized;
use super::{LABELS, Study, Table, quotes};
use crate::bounded::excerpt;
use crate::config::VERTEBRAE;
use csv::StringRecord;
use std::cell::Cell;
use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::Arc;

/// Problems told in one message.
const SHOWN: usize = 5;
/// Bytes that a row may have.
pub(super) const LONGEST_ROW: usize = 1 << 20;
/// Studies that a table may have.
const MOST_STUDIES: usize = 1_000_000;
/// Lines among which a header is looked for that is not the first line.
const HEADER_WITHIN: usize = 50;
/// The column of the studies.
const UID: &str = "StudyInstanceUID";
/// The column of the folds.
const FOLD: &str = "fold";

/// Which columns a table must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needed {
    /// Studies, labels and folds.
    All,
    /// The studies.
    Uids,
}

impl Needed {
    /// What the user names such a table by.
    pub fn key(self) -> &'static str {
        match self {
            Self::All => "data.table",
            Self::Uids => "--studies",
        }
    }

    /// Whether a cell of the header is meant as a column that is needed.
    pub fn is_column(self, cell: &str) -> bool {
        let cell = normalized(cell);
        let all = [UID, FOLD].into_iter().chain(LABELS);
        let mut needed = all.take(if self == Self::All { usize::MAX } else { 1 });
        needed.any(|name| normalized(name) == cell)
    }
}

/// Line ends: LF, CRLF, or CR alone.
pub(super) fn newlines(bytes: &[u8]) -> usize {
    let ends = bytes
        .iter()
        .enumerate()
        .filter(|&(i, &b)| b == b'\n' || (b == b'\r' && bytes.get(i + 1) != Some(&b'\n')));
    ends.count()
}

/// Counts lines on from where it stopped: a table is gone through once.
#[derive(Default)]
struct LineCounter {
    /// Bytes counted.
    at: usize,
    newlines: usize,
}

impl LineCounter {
    /// The line of the record that the reader met at byte `at`: blank lines and the rest of a CRLF
    /// still lie between, so the reader's own line number can be too low.
    fn line_of(&mut self, bytes: &[u8], at: usize) -> usize {
        let at = at.clamp(self.at, bytes.len());
        let skipped = bytes[at..].iter().take_while(|b| matches!(b, b'\n' | b'\r')).count();
        self.newlines += newlines(&bytes[self.at..at + skipped]);
        self.at = at + skipped;
        1 + self.newlines
    }
}

/// What is wrong with a table: so many things, and the first of them.
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

/// `text`, of which each row may take no more than [`LONGEST_ROW`]: a row of nothing but commas
/// takes the parser nine bytes for each.
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

/// Where the needed columns are.
struct Columns {
    uid: usize,
    /// Labels and fold, where they are needed.
    others: Option<([usize; VERTEBRAE], usize)>,
}

impl Columns {
    /// Errors: columns that are missing, under another name, or there twice; no header at all.
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

/// What is wrong with a first line that names no column that is needed.
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
            false => {
                format!(
                    "the header is on line {below}, not on line {line}: delete what is above it"
                )
            }
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

/// Rows that have not as many cells as the header.
#[derive(Default)]
struct Lengths {
    /// Rows in all.
    rows: usize,
    /// Those with one cell more, and those of them that end in an empty one.
    one_more: usize,
    one_empty: usize,
}

impl Lengths {
    /// Whether the row is as long as the header.
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

    /// The one thing that is wrong where every row has one cell more.
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

/// `0`, `1`, `0.0` or `1.0`, as pandas may have written an integer column.
fn whole(cell: &str) -> Option<usize> {
    let (digits, zeros) = cell.split_once('.').unwrap_or((cell, ""));
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && zeros.bytes().all(|b| b == b'0');
    if plain { digits.parse().ok() } else { None }
}

/// What is wrong with a label.
fn bad_label(cell: &str) -> &'static str {
    match normalized(cell).as_str() {
        "" => "is not 0 or 1: a label is missing",
        "nan" | "na" | "none" | "null" => "is not 0 or 1: a label is missing",
        "true" | "yes" | "t" | "y" => "is not 0 or 1: write 1",
        "false" | "no" | "f" | "n" => "is not 0 or 1: write 0",
        _ => "is not 0 or 1",
    }
}

/// Bytes of a study's name: with the ending of its crops it is a file's name, of at most 255.
const LONGEST_UID: usize = 200;

/// What is wrong with a study's name, if anything is.
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

/// Reads `text`, without a byte-order mark.
pub(super) fn parse(text: &str, needed: Needed) -> Result<Table, Problems> {
    let left = Cell::new(LONGEST_ROW);
    let bytes = text.as_bytes();
    let metered = Metered { text: bytes, left: &left };
    // Rows of another length are told below, with their lines.
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
    let columns = match Columns::of(&header, header_line, text, needed) {
        Ok(columns) => columns,
        Err(problems) => {
            // The column without a name may be the one that is missed.
            let (mut lengths, mut aside) = (Lengths::default(), Problems::default());
            let mut record = StringRecord::new();
            left.set(LONGEST_ROW);
            while reader.read_record(&mut record).unwrap_or(false) {
                left.set(LONGEST_ROW);
                lengths.check(&record, (header.len(), header_line, 0), &mut aside);
            }
            let short = lengths.short_header(header.len(), header_line);
            return Err(short.map_or(problems, Problems::from));
        }
    };

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
        // Of a table that is wrong none is needed.
        if problems.total == 0 {
            studies.push(Study { uid, labels, fold });
        }
    }
    if let Some(problem) = lengths.short_header(header.len(), header_line) {
        return Err(problem.into());
    }
    if studies.is_empty() && problems.total == 0 {
        return Err("it has no rows below its header".to_string().into());
    }
    if problems.total == 0 { Ok(Table { studies }) } else { Err(problems) }
}
