//! `train_seg.csv`: the studies, their labels and their folds.

use super::Error;
use crate::bounded::{self, excerpt};
use crate::config::VERTEBRAE;
use crate::rng::{Key, Purpose};
use rand::seq::SliceRandom;
use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

/// The label columns, in order.
const LABELS: [&str; VERTEBRAE] = ["C1", "C2", "C3", "C4", "C5", "C6", "C7"];
/// Problems told in one message.
const SHOWN: usize = 5;
/// A longer table is none of ours: the competition's has 2019 rows.
const LONGEST: u64 = 256 << 20;
/// Bytes that a row may have.
const LONGEST_ROW: usize = 1 << 20;
/// Studies that a table may have.
const MOST_STUDIES: usize = 1_000_000;

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Study {
    /// StudyInstanceUID: the first part of its files' names.
    pub uid: Arc<str>,
    /// Fracture (1) or not (0) of C1..C7.
    pub labels: [u8; VERTEBRAE],
    /// The fold that validates on this study.
    pub fold: usize,
}

/// The table, in the order of its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// One a row.
    pub studies: Vec<Study>,
}

impl Table {
    /// Reads a CSV with the columns StudyInstanceUID, C1..C7 and fold, in any order, among others.
    ///
    /// A byte-order mark and CRLF line ends are fine; labels may be written `1` or `1.0`.
    /// Errors: an unreadable file, missing columns, no rows, and each bad cell with its line and
    /// column; the first five are shown, with the total.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let unreadable = |source| Error::TableUnreadable { path: path.into(), source };
        let bytes = bounded::read(path, LONGEST).map_err(unreadable)?;
        Self::of_bytes(&bytes, path)
    }

    /// As [`Self::read`] of a CSV that needs no other column than StudyInstanceUID: what it says
    /// of labels and folds is passed over, all are 0.
    pub fn read_uids(path: &Path) -> Result<Self, Error> {
        let unreadable = |source| Error::TableUnreadable { path: path.into(), source };
        let bytes = bounded::read(path, LONGEST).map_err(unreadable)?;
        Self::parsed(&bytes, path, Needed::Uids)
    }

    /// As [`Self::read`], from the file's bytes; `path` is named in errors.
    pub fn of_bytes(bytes: &[u8], path: &Path) -> Result<Self, Error> {
        Self::parsed(bytes, path, Needed::All)
    }

    fn parsed(bytes: &[u8], path: &Path, needed: Needed) -> Result<Self, Error> {
        let text = std::str::from_utf8(bytes).map_err(|e| {
            let line = 1 + newlines(&bytes[..e.valid_up_to()]);
            let source = io::Error::other(format!("line {line} is not UTF-8"));
            Error::TableUnreadable { path: path.into(), source }
        })?;
        parse(text.trim_start_matches('\u{feff}'), needed).map_err(|problems| Error::Table {
            path: path.into(),
            total: problems.total,
            shown: problems.shown(),
        })
    }

    /// Writes the columns StudyInstanceUID, patient_overall, C1..C7, fold, as the notebook's table
    /// has them.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let failed = |e: csv::Error| Error::Write { path: path.into(), reason: e.to_string() };
        let file = std::fs::File::create_new(path).map_err(|e| failed(e.into()))?;
        let mut writer = csv::Writer::from_writer(file);
        let mut header = vec!["StudyInstanceUID", "patient_overall"];
        header.extend(LABELS);
        header.push("fold");
        writer.write_record(header).map_err(failed)?;
        for study in &self.studies {
            let mut row = vec![study.uid.to_string(), u8::from(study.fractured()).to_string()];
            row.extend(study.labels.iter().map(u8::to_string));
            row.push(study.fold.to_string());
            writer.write_record(row).map_err(failed)?;
        }
        writer.flush().map_err(|e| failed(e.into()))
    }

    /// The studies that fold `fold` trains on (all others) and validates on (its own), each in the
    /// table's order.
    pub fn split(&self, fold: usize) -> (Vec<Study>, Vec<Study>) {
        self.studies.iter().cloned().partition(|s| s.fold != fold)
    }

    /// Errors unless each of `folds` has a study to validate on and at least `batch_size` studies
    /// to train on: a training epoch drops its short batch.
    pub fn check_folds(&self, folds: &[usize], batch_size: usize) -> Result<(), Error> {
        let present: BTreeSet<usize> = self.studies.iter().map(|s| s.fold).collect();
        for &fold in folds {
            if !present.contains(&fold) {
                let names: Vec<String> = present.iter().map(usize::to_string).collect();
                return Err(Error::FoldEmpty {
                    fold,
                    count: present.len(),
                    folds: names.join(", "),
                });
            }
            let studies = self.studies.iter().filter(|s| s.fold != fold).count();
            if studies < batch_size {
                return Err(Error::FoldSmall { fold, studies, batch_size });
            }
        }
        Ok(())
    }

    /// The notebook's DEBUG: `n` studies (all where there are fewer) drawn without replacement, in
    /// the order drawn.
    pub fn sample(&self, n: usize, seed: u64) -> Table {
        let mut studies = self.studies.clone();
        studies.shuffle(&mut Key::new(seed, Purpose::Debug).rng());
        studies.truncate(n);
        Table { studies }
    }
}

impl Study {
    /// Whether any vertebra is fractured: the table's `patient_overall`.
    pub fn fractured(&self) -> bool {
        self.labels.contains(&1)
    }
}

/// The share of positive slices (every slice carries its vertebra's label) and of studies with a
/// fracture, each 0..=1; both 0 without studies.
pub fn prevalence(studies: &[Study]) -> (f64, f64) {
    if studies.is_empty() {
        return (0.0, 0.0);
    }
    let n = studies.len() as f64;
    let vertebrae: usize = studies.iter().flat_map(|s| s.labels).map(usize::from).sum();
    let fractured = studies.iter().filter(|s| s.fractured()).count();
    (vertebrae as f64 / (n * VERTEBRAE as f64), fractured as f64 / n)
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&b| b == b'\n').count()
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
struct Problems {
    total: usize,
    first: Vec<String>,
}

impl Problems {
    fn add(&mut self, problem: impl FnOnce() -> String) {
        self.total += 1;
        if self.first.len() < SHOWN {
            self.first.push(problem());
        }
    }

    fn shown(&self) -> String {
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

/// `0`, `1`, `0.0` or `1.0`, as pandas may have written an integer column.
fn whole(cell: &str) -> Option<usize> {
    cell.strip_suffix(".0").unwrap_or(cell).parse().ok()
}

/// Which columns a table must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needed {
    /// Studies, labels and folds.
    All,
    /// The studies.
    Uids,
}

fn parse(text: &str, needed: Needed) -> Result<Table, Problems> {
    let left = Cell::new(LONGEST_ROW);
    let metered = Metered { text: text.as_bytes(), left: &left };
    let mut reader =
        csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(metered);
    let wrong = |e: csv::Error| excerpt(&e.to_string(), 200);
    let header = reader.headers().map_err(|e| Problems::from(wrong(e)))?.clone();
    let mut problems = Problems::default();
    let mut column = |name: &str| {
        let mut at = header.iter().enumerate().filter(|(_, h)| *h == name).map(|(i, _)| i);
        let first = at.next();
        match (first, at.next()) {
            (None, _) => problems.add(|| format!("line 1 has no column {name}")),
            (_, Some(_)) => problems.add(|| format!("line 1 has the column {name} twice")),
            _ => {}
        }
        first.unwrap_or(usize::MAX)
    };
    let uid_at = column("StudyInstanceUID");
    let others = (needed == Needed::All).then(|| (LABELS.map(&mut column), column("fold")));
    if problems.total > 0 {
        return Err(problems);
    }

    let mut studies = Vec::new();
    let mut seen: HashMap<Arc<str>, usize> = HashMap::new();
    let mut lines = LineCounter::default();
    let mut record = csv::StringRecord::new();
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
        let at = record.position().map_or(0, |p| p.byte() as usize);
        let line = lines.line_of(text.as_bytes(), at);
        let cell = |at: usize| record.get(at).unwrap_or_default();
        let uid: Arc<str> = cell(uid_at).into();
        if uid.is_empty() {
            problems.add(|| format!("line {line}, column StudyInstanceUID: is empty"));
        }
        let mut problem = |column: &str, cell: &str, text: &str| {
            problems
                .add(|| format!("line {line}, column {column}: {:?} {text}", excerpt(cell, 80)));
        };
        if uid.contains(['/', '\\', '\0']) {
            problem("StudyInstanceUID", &uid, "cannot be part of a file's name");
        } else if !uid.is_empty()
            && let Some(first) = seen.insert(uid.clone(), line)
        {
            problem("StudyInstanceUID", &uid, &format!("is also on line {first}"));
        }
        let mut labels = [0; VERTEBRAE];
        let mut fold = 0;
        if let Some((labels_at, fold_at)) = others {
            for ((label, &at), name) in labels.iter_mut().zip(&labels_at).zip(LABELS) {
                match whole(cell(at)) {
                    Some(x @ 0..=1) => *label = x as u8,
                    _ => problem(name, cell(at), "is not 0 or 1"),
                }
            }
            fold = whole(cell(fold_at)).unwrap_or_else(|| {
                problem("fold", cell(fold_at), "is not a whole number, 0 or more");
                0
            });
        }
        // Of a table that is wrong none is needed.
        if problems.total == 0 {
            studies.push(Study { uid, labels, fold });
        }
    }
    if studies.is_empty() && problems.total == 0 {
        return Err("it has no rows below its header".to_string().into());
    }
    if problems.total == 0 { Ok(Table { studies }) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Table, Error> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.csv");
        std::fs::write(&path, text).unwrap();
        Table::read(&path)
    }

    fn table(folds: &[usize]) -> Table {
        let study = |(i, &fold): (usize, &usize)| Study {
            uid: format!("s{i}").into(),
            labels: [u8::from(i % 2 == 0), 0, 0, 0, 0, 0, 0],
            fold,
        };
        Table { studies: folds.iter().enumerate().map(study).collect() }
    }

    #[test]
    fn any_column_order_bom_crlf_and_floats() {
        let t = read("\u{feff}fold,extra,C7,C6,C5,C4,C3,C2,C1,StudyInstanceUID\r\n3,x,1.0,0,0,0,0,0,1, a \r\n\r\n0.0,,0,0,0,0,0,0,0,b\r\n")
            .unwrap();
        assert_eq!(t.studies.len(), 2);
        assert_eq!(t.studies[0].uid.as_ref(), "a");
        assert_eq!(t.studies[0].labels, [1, 0, 0, 0, 0, 0, 1]);
        assert_eq!((t.studies[0].fold, t.studies[1].fold), (3, 0));
        assert_eq!(prevalence(&t.studies), (2.0 / 14.0, 0.5));
    }

    #[test]
    fn bad_cells_are_told_with_line_and_column() {
        let e = read(
            "StudyInstanceUID,C1,C2,C3,C4,C5,C6,C7,fold\r\na,0,0,0,0,0,0,2,0\r\n\r\na,0,0,0,0,0,0,0,x\r\n,0,0,0,0,0,0,0,0\r\nb/c,0,0,0,0,0,0,,0\r\nd,0\r\n",
        )
        .unwrap_err()
        .to_string();
        for words in [
            "line 2, column C7: \"2\" is not 0 or 1",
            "line 4, column StudyInstanceUID: \"a\" is also on line 2",
            "line 4, column fold: \"x\"",
            "line 5, column StudyInstanceUID: is empty",
            "line 6, column StudyInstanceUID: \"b/c\"",
            "13 problems",
            "and 8 more",
            "data.table",
        ] {
            assert!(e.contains(words), "{e:?} lacks {words:?}");
        }
        assert!(!e.contains('\n'));
    }

    #[test]
    fn where_only_studies_are_needed_the_rest_may_be_anything() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.csv");
        std::fs::write(&path, "fold,StudyInstanceUID,C1\nx,a,\n,b,7\n").unwrap();
        let table = Table::read_uids(&path).unwrap();
        let uids: Vec<&str> = table.studies.iter().map(|s| &*s.uid).collect();
        assert_eq!(uids, ["a", "b"]);
        std::fs::write(&path, "fold,C1\n1,1\n").unwrap();
        let error = Table::read_uids(&path).unwrap_err().to_string();
        assert!(error.contains("no column StudyInstanceUID"), "{error}");
    }

    #[test]
    fn missing_columns_no_rows_and_no_file() {
        let e =
            read("StudyInstanceUID,C1,C2,C3,C5,C6,C7\na,0,0,0,0,0,0\n").unwrap_err().to_string();
        assert!(e.contains("no column C4") && e.contains("no column fold"), "{e}");
        let e = read("StudyInstanceUID,C1,C2,C3,C4,C5,C6,C7,fold\n").unwrap_err().to_string();
        assert!(e.contains("no rows"), "{e}");
        assert!(read("").is_err());
        let e = Table::read(Path::new("nowhere/t.csv")).unwrap_err().to_string();
        assert!(e.contains("nowhere/t.csv") && e.contains("data.table"), "{e}");
    }

    #[test]
    fn a_hostile_table_costs_one_message_and_little_memory() {
        let header = "StudyInstanceUID,C1,C2,C3,C4,C5,C6,C7,fold\n";
        let started = std::time::Instant::now();
        // Eight things are wrong with each of these rows.
        let e = read(&(header.to_string() + &"a\n".repeat(500_000))).unwrap_err().to_string();
        assert!(e.contains("4499999 problems") && e.len() < 1000, "{e}");
        // What the reader had buffered with the header comes on top.
        let commas = ",".repeat(LONGEST_ROW + (1 << 16));
        let e = read(&(header.to_string() + &commas)).unwrap_err().to_string();
        assert!(e.contains("a row is longer than 1048576 bytes"), "{e}");
        let e = read(&",".repeat(LONGEST_ROW + 2)).unwrap_err().to_string();
        assert!(e.contains("a row is longer than 1048576 bytes"), "{e}");
        let long = "x".repeat(100_000);
        let e = read(&format!("{header}\x1b[2J{long},{long}\n")).unwrap_err().to_string();
        assert!(e.len() < 2000 && !e.contains('\x1b'), "{e}");
        let rows: String = (0..200_000).map(|i| format!("s{i},0,0,0,0,0,0,1,0\n")).collect();
        let table = read(&format!("{header}{rows}")).unwrap();
        assert_eq!(table.studies.len(), 200_000);
        assert!(started.elapsed().as_secs() < 20, "it took {:?}", started.elapsed());
    }

    #[test]
    fn split_keeps_the_order_and_folds_are_checked() {
        let t = table(&[0, 1, 2, 0, 1]);
        let (train, valid) = t.split(0);
        let uids = |s: &[Study]| s.iter().map(|s| s.uid.to_string()).collect::<Vec<_>>();
        assert_eq!(uids(&train), ["s1", "s2", "s4"]);
        assert_eq!(uids(&valid), ["s0", "s3"]);
        t.check_folds(&[0, 1, 2], 3).unwrap();
        let e = t.check_folds(&[0, 3], 2).unwrap_err().to_string();
        assert!(e.contains("fold 3 has no study") && e.contains("folds 0, 1, 2"), "{e}");
        let e = t.check_folds(&[0], 4).unwrap_err().to_string();
        assert!(e.contains("3 studies") && e.contains("train.batch_size to at most 3"), "{e}");
        let e = table(&[0, 1]).check_folds(&[0], 2).unwrap_err().to_string();
        assert!(e.contains("1 study") && e.contains("add studies"), "{e}");
    }

    #[test]
    fn sample_is_a_seeded_subset_and_write_reads_back() {
        let t = table(&[0; 40]);
        let a = t.sample(16, 1);
        assert_eq!(a, t.sample(16, 1));
        assert_ne!(a, t.sample(16, 2));
        let uids: BTreeSet<_> = a.studies.iter().map(|s| s.uid.clone()).collect();
        assert_eq!(uids.len(), 16);
        assert_eq!(t.sample(99, 1).studies.len(), 40);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.csv");
        a.write(&path).unwrap();
        assert_eq!(Table::read(&path).unwrap(), a);
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("StudyInstanceUID,patient_"));
    }
}
