//! Record of the studies that a run was trained on, kept in its folder: labels, folds and a
//! fingerprint of each study's slices. Without it, an edit of the table during a run would change
//! the data of its folds unnoticed.
//!
//! The file is a CSV in the columns of the run's table, with two more columns, below a line with a
//! checksum of the rest:
//!
//! ```csv
//! # rsna-tui studies 1 crc32=0c9a51d3
//! StudyInstanceUID,patient_overall,C1,C2,C3,C4,C5,C6,C7,fold,slices
//! 1.2.826.0.1.3680043.10001,0,0,0,0,0,0,0,0,1,5f0e2a91
//! ```

use super::{Error, SliceSource, Study, Table, table::LABELS};
use crate::bounded::{self, excerpt};
use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Start of the first line of a record.
const FORMAT: &str = "# rsna-tui studies 1";
/// Marks in the first line that the studies are a sample of the table: `--debug`.
const SAMPLE_OF_TABLE: &str = " sample";
/// Maximum size of a record in bytes.
const LONGEST: u64 = 512 << 20;
/// Maximum length of a study's name in a message, in characters.
const NAMED: usize = 80;
/// Column of the fingerprints.
const SLICES: &str = "slices";

/// Reasons why a record cannot be used or does not match; one sentence.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file cannot be read or is damaged.
    #[error("cannot use the run's record of its studies {}: {why}; restore this file", path.display())]
    Unusable {
        /// The record.
        path: PathBuf,
        /// The problem.
        why: String,
    },
    /// The table differs from the one that the run was trained on.
    #[error(
        "{} is not the table that this run was trained on ({}): {first}{}; restore the table, or \
         train another run on this one", table.display(), record.display(), others(*count))]
    Table {
        /// `data.table`.
        table: PathBuf,
        /// The record.
        record: PathBuf,
        /// The first difference.
        first: String,
        /// Number of studies that differ.
        count: usize,
    },
    /// The slices of a study differ from those that the run was trained on.
    #[error(
        "the crops of study {} are not those that this run was trained on ({}): their files have \
         other pixels, or data.slices_per_vertebra or another setting of [data] takes others{}; \
         restore both, or train another run",
        excerpt(study, NAMED), record.display(), others(*count)
    )]
    Slices {
        /// The record.
        record: PathBuf,
        /// The first study with different slices.
        study: Arc<str>,
        /// Number of studies that differ.
        count: usize,
    },
}

fn others(count: usize) -> String {
    match count {
        0 | 1 => String::new(),
        n => format!(" ({n} studies differ)"),
    }
}

/// The studies that a run was trained on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Path of the file, for messages.
    pub path: PathBuf,
    /// The studies in training order.
    pub table: Table,
    /// Fingerprint of each study, from [`SliceSource::check`].
    pub fingerprints: Vec<u32>,
    /// Whether the studies are a sample of the table.
    pub sample: bool,
    /// CRC-32 of the studies, their labels, folds and fingerprints.
    pub checksum: u32,
}

/// Serializes a record. `fingerprints`: one per study of `table`; `sample`: whether the studies are a
/// sample of `data.table`.
///
/// Errors: when out of memory.
pub fn to_bytes(table: &Table, fingerprints: &[u32], sample: bool) -> io::Result<Vec<u8>> {
    let mut rows = csv::Writer::from_writer(Vec::new());
    rows.write_record(Table::COLUMNS.into_iter().chain([SLICES]))?;
    for (study, fingerprint) in table.studies.iter().zip(fingerprints) {
        rows.write_record(study.row().into_iter().chain([format!("{fingerprint:08x}")]))?;
    }
    let rows = rows.into_inner().map_err(|e| e.into_error())?;
    let sample = if sample { SAMPLE_OF_TABLE } else { "" };
    let first = format!("{FORMAT}{sample} crc32={:08x}\n", crc32fast::hash(&rows));
    Ok([first.into_bytes(), rows].concat())
}

impl Record {
    /// Reads a record. Returns `None` if the file does not exist, as in the folder of a run started by an
    /// earlier version.
    ///
    /// Errors: [`RecordError::Unusable`].
    pub fn read(path: &Path) -> Result<Option<Self>, RecordError> {
        let unusable = |why: String| RecordError::Unusable { path: path.into(), why };
        match bounded::read(path, LONGEST) {
            Ok(bytes) => Self::of_bytes(&bytes, path).map(Some).map_err(unusable),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(unusable(e.to_string())),
        }
    }

    /// Like [`Self::read`], from the file's bytes. Errors: the problem in words.
    pub fn of_bytes(bytes: &[u8], path: &Path) -> Result<Self, String> {
        let other = || format!("expected its first line to be \"{FORMAT} crc32=…\"");
        let end = bytes.iter().position(|&b| b == b'\n').ok_or_else(other)?;
        let (first, rows) = (&bytes[..end], &bytes[end + 1..]);
        let first = std::str::from_utf8(first).map_err(|_| other())?;
        let rest = first.strip_prefix(FORMAT).ok_or_else(other)?;
        let (sample, rest) = match rest.strip_prefix(SAMPLE_OF_TABLE) {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let sum = rest.strip_prefix(" crc32=").and_then(|sum| u32::from_str_radix(sum, 16).ok());
        let checksum = crc32fast::hash(rows);
        if sum.ok_or_else(other)? != checksum {
            return Err("its checksum does not fit its contents".into());
        }
        let table = Table::of_bytes(rows, path).map_err(|e| e.to_string())?;
        let mut reader = csv::Reader::from_reader(rows);
        let column = reader.headers().ok().and_then(|h| h.iter().position(|name| name == SLICES));
        let column = column.ok_or_else(|| format!("it has no column {SLICES}"))?;
        let fingerprint = |row: csv::Result<csv::StringRecord>| {
            u32::from_str_radix(row.ok()?.get(column)?, 16).ok()
        };
        let fingerprints: Option<Vec<u32>> = reader.records().map(fingerprint).collect();
        let fingerprints = fingerprints.filter(|all| all.len() == table.studies.len());
        let fingerprints = fingerprints.ok_or_else(|| format!("its column {SLICES} is damaged"))?;
        Ok(Self { path: path.into(), table, fingerprints, sample, checksum })
    }

    /// Compares the record with the current contents of `data.table`, read from `path`. The order of the
    /// rows does not matter: a run keeps its own.
    ///
    /// Errors: [`RecordError::Table`], with the first difference in the order of `now` (studies
    /// missing there come last).
    pub fn check_table(&self, now: &Table, path: &Path) -> Result<(), RecordError> {
        let mut missing: HashMap<&str, &Study> =
            self.table.studies.iter().map(|study| (&*study.uid, study)).collect();
        let mut differences = Vec::new();
        for study in &now.studies {
            match missing.remove(&*study.uid) {
                Some(was) => {
                    let words = |(now, was)| format!("study {} {now}, it {was}", name(study));
                    differences.extend(difference(was, study).map(words));
                }
                None if self.sample => {}
                None => differences.push(format!("study {} was not in it", name(study))),
            }
        }
        let gone = self.table.studies.iter().filter(|study| missing.contains_key(&*study.uid));
        differences.extend(gone.map(|study| format!("study {} is missing", name(study))));
        let count = differences.len();
        match differences.into_iter().next() {
            None => Ok(()),
            Some(first) => Err(RecordError::Table {
                table: path.into(),
                record: self.path.clone(),
                first,
                count,
            }),
        }
    }

    /// Compares the slices of `studies` with those that the run was trained on. `fingerprints`: those of
    /// `studies` from [`SliceSource::check`]. Studies that are not in the record are ignored.
    ///
    /// Errors: [`RecordError::Slices`], with the first study that differs.
    pub fn check_slices(&self, studies: &[Study], fingerprints: &[u32]) -> Result<(), RecordError> {
        let was: HashMap<&str, u32> = self
            .table
            .studies
            .iter()
            .zip(&self.fingerprints)
            .map(|(study, &sum)| (&*study.uid, sum))
            .collect();
        let differs =
            |(study, sum): &(&Study, &u32)| was.get(&*study.uid).is_some_and(|w| w != *sum);
        let mut differ = studies.iter().zip(fingerprints).filter(differs);
        match differ.next() {
            None => Ok(()),
            Some((study, _)) => Err(RecordError::Slices {
                record: self.path.clone(),
                study: study.uid.clone(),
                count: 1 + differ.count(),
            }),
        }
    }
}

/// Checks the slices of one study and compares them like [`Record::check_slices`].
///
/// Errors: when slices cannot be used or differ; one sentence.
pub fn check_study(record: &Record, source: &dyn SliceSource, study: &Study) -> Result<(), String> {
    let studies = std::slice::from_ref(study);
    let checked = source.check(studies).map_err(|e: Error| e.to_string())?;
    record.check_slices(studies, &checked.fingerprints).map_err(|e| e.to_string())
}

/// Describes how a study differs from `was`, if it does: `has C4 = 1` and `was 0`, or `is in fold 2` and `was
/// in fold 1`.
pub fn difference(was: &Study, now: &Study) -> Option<(String, String)> {
    let labels = was.labels.iter().zip(&now.labels).zip(LABELS);
    if let Some(((before, after), level)) = labels.into_iter().find(|((a, b), _)| a != b) {
        return Some((format!("has {level} = {after}"), format!("was {before}")));
    }
    let differs = was.fold != now.fold;
    differs.then(|| (format!("is in fold {}", now.fold), format!("was in fold {}", was.fold)))
}

/// A study's name for a message.
pub fn name(study: &Study) -> String {
    excerpt(&study.uid, NAMED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::NpyFolder;

    fn study(uid: &str, fold: usize) -> Study {
        Study { uid: uid.into(), labels: [0, 0, 1, 0, 0, 0, 0], fold }
    }

    fn record(sample: bool) -> Record {
        let table = Table { studies: ["a", "b", "c"].map(|uid| study(uid, 1)).to_vec() };
        let bytes = to_bytes(&table, &[1, 2, 0xFFFF_FFFF], sample).unwrap();
        let read = Record::of_bytes(&bytes, Path::new("studies.csv")).unwrap();
        assert_eq!((&read.table, read.fingerprints.len(), read.sample), (&table, 3, sample));
        read
    }

    #[test]
    fn any_change_of_the_table_is_named_and_another_order_is_none() {
        let record = record(false);
        let differs = |change: &dyn Fn(&mut Vec<Study>)| {
            let mut now = record.table.clone();
            change(&mut now.studies);
            record.check_table(&now, Path::new("t.csv")).err().map(|e| e.to_string())
        };
        assert_eq!(differs(&|studies| studies.reverse()), None);
        let flipped = differs(&|studies| studies[1].labels[2] = 0).unwrap();
        assert!(flipped.contains("t.csv is not the table"), "{flipped}");
        assert!(flipped.contains("(studies.csv): study b has C3 = 0, it was 1;"), "{flipped}");
        let moved = differs(&|studies| studies.iter_mut().for_each(|s| s.fold = 2)).unwrap();
        assert!(moved.contains("a is in fold 2, it was in fold 1 (3 studies differ)"), "{moved}");
        let added = differs(&|studies| studies.push(study("d\x1b[2J", 0))).unwrap();
        assert!(added.contains("study d [2J was not in it;"), "{added}");
        let missing = differs(&|studies| drop(studies.remove(0))).unwrap();
        assert!(missing.contains("study a is missing;"), "{missing}");
    }

    #[test]
    fn a_sample_may_have_left_studies_out() {
        let record = record(true);
        let mut now = record.table.clone();
        now.studies.push(study("d", 0));
        record.check_table(&now, Path::new("t.csv")).unwrap();
        now.studies.remove(1);
        assert!(record.check_table(&now, Path::new("t.csv")).is_err());
    }

    #[test]
    fn a_damaged_record_is_refused_wherever_it_is_damaged() {
        let table = Table { studies: vec![study("a", 0), study("b", 1)] };
        let whole = to_bytes(&table, &[7, 8], false).unwrap();
        for i in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[i] ^= 1;
            // The checksum's hexadecimal digits may be of either case.
            let read = Record::of_bytes(&damaged, Path::new("studies.csv"));
            assert!(read.is_err(), "byte {i}");
            assert!(Record::of_bytes(&whole[..i], Path::new("studies.csv")).is_err(), "cut at {i}");
        }
    }

    #[test]
    fn a_fingerprint_changes_with_the_slices_and_not_with_their_place() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let phantom = crate::study::Phantom::new(32, 2, 0);
        let table = phantom.write(&from, 2, 2).unwrap();
        let folder = |dir: &Path| NpyFolder { dir: dir.into(), size: 32, slices_per_vertebra: 2 };
        let checked = folder(&from.join("crops")).check(&table.studies).unwrap();
        assert_eq!(checked.resized, 0);
        std::fs::rename(&from, &to).unwrap();
        let crops = folder(&to.join("crops"));
        let again = crops.check(&table.studies).unwrap().fingerprints;
        assert_eq!(again, checked.fingerprints);
        // A change of any slice must be found.
        for vertebra in 0..7 {
            for slice in 0..2 {
                let path = crops.path(&table.studies[1], vertebra, slice);
                let bytes = std::fs::read(&path).unwrap();
                let mut other = bytes.clone();
                let middle = other.len() / 2;
                other[middle] ^= 1;
                std::fs::write(&path, other).unwrap();
                let changed = crops.check(&table.studies).unwrap().fingerprints;
                assert_eq!(changed[0], checked.fingerprints[0]);
                assert_ne!(changed[1], checked.fingerprints[1], "C{} {slice}", vertebra + 1);
                std::fs::write(&path, bytes).unwrap();
            }
        }
        // So must two swapped slices.
        let [a, b] = [0, 1].map(|slice| crops.path(&table.studies[0], 3, slice));
        let (x, y) = (std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
        std::fs::write(&a, y).unwrap();
        std::fs::write(&b, x).unwrap();
        let swapped = crops.check(&table.studies).unwrap().fingerprints;
        assert_ne!(swapped[0], checked.fingerprints[0]);
    }
}
