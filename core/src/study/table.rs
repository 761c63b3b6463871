//! The table of studies with their labels and folds: `train_seg.csv`.

mod kind;
mod parse;
mod quotes;

use super::Error;
use crate::bounded;
use crate::config::VERTEBRAE;
use crate::rng::{Key, Purpose};
use parse::{Needed, newlines, parse};
use rand::seq::SliceRandom;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The label columns, in order.
pub(super) const LABELS: [&str; VERTEBRAE] = ["C1", "C2", "C3", "C4", "C5", "C6", "C7"];
/// Maximum size of a table in bytes: the competition's has 2019 rows.
const LONGEST: u64 = 256 << 20;

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Study {
    /// StudyInstanceUID: the start of its files' names.
    pub uid: Arc<str>,
    /// Labels of C1..C7: fracture (1) or not (0).
    pub labels: [u8; VERTEBRAE],
    /// The fold that this study validates.
    pub fold: usize,
}

/// A table, in the order of its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The studies, one per row.
    pub studies: Vec<Study>,
}

impl Table {
    /// Columns of the notebook's table.
    pub const COLUMNS: [&str; VERTEBRAE + 3] =
        ["StudyInstanceUID", "patient_overall", "C1", "C2", "C3", "C4", "C5", "C6", "C7", "fold"];

    /// Reads a CSV with the columns StudyInstanceUID, C1..C7 and fold, in any order; others are ignored.
    ///
    /// A byte-order mark and CRLF line ends are accepted; labels may be written `1` or `1.0`.
    /// Errors: when the file cannot be read; when it is not a comma-separated CSV, with its actual format;
    /// when columns or all rows are missing, a row has more or fewer cells than the header, or a cell is
    /// bad, each with line and column. The first five problems are shown, with the total.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Self::load(path, Needed::All)
    }

    /// Reads a list of studies like [`Self::read`]. It needs only the column StudyInstanceUID and may have
    /// several rows per study, of which the first counts. Labels and folds are 0.
    pub fn read_uids(path: &Path) -> Result<Self, Error> {
        Self::load(path, Needed::Uids)
    }

    /// Like [`Self::read`], from the file's bytes; `path` is for messages.
    pub fn of_bytes(bytes: &[u8], path: &Path) -> Result<Self, Error> {
        Self::parsed(bytes, path, Needed::All)
    }

    fn load(path: &Path, needed: Needed) -> Result<Self, Error> {
        let (key, in_error) = (needed.key(), path.to_path_buf());
        let bytes = bounded::read(path, LONGEST).map_err(|source| Error::TableUnreadable {
            path: in_error,
            source,
            key,
        })?;
        Self::parsed(&bytes, path, needed)
    }

    fn parsed(bytes: &[u8], path: &Path, needed: Needed) -> Result<Self, Error> {
        let (path, key) = (path.to_path_buf(), needed.key());
        if let Some(kind::Foreign { what, advice }) = kind::of_bytes(bytes) {
            return Err(Error::TableKind { path, what, advice });
        }
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text.trim_start_matches('\u{feff}'),
            Err(e) => {
                let line = 1 + newlines(&bytes[..e.valid_up_to()]);
                let why = format!("line {line} is not UTF-8; save it again as CSV UTF-8");
                return Err(Error::TableUnreadable { path, source: io::Error::other(why), key });
            }
        };
        let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        if let Some(kind::Foreign { what, advice }) =
            kind::of_first_line(first, |cell| needed.is_column(cell))
        {
            return Err(Error::TableKind { path, what, advice });
        }
        parse(text, needed).map_err(|problems| {
            let (total, shown) = (problems.total, problems.shown());
            Error::Table { path, total, shown, key }
        })
    }

    /// Writes the table with the columns [`Self::COLUMNS`].
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let failed = |e: csv::Error| Error::Write { path: path.into(), reason: e.to_string() };
        let file = std::fs::File::create_new(path).map_err(|e| failed(e.into()))?;
        let mut writer = csv::Writer::from_writer(file);
        writer.write_record(Self::COLUMNS).map_err(failed)?;
        for study in &self.studies {
            writer.write_record(study.row()).map_err(failed)?;
        }
        writer.flush().map_err(|e| failed(e.into()))
    }

    /// Returns the training studies of `fold` (those of all other folds) and its validation studies (its
    /// own), each in the table's order.
    pub fn split(&self, fold: usize) -> (Vec<Study>, Vec<Study>) {
        self.studies.iter().cloned().partition(|s| s.fold != fold)
    }

    /// Errors: when one of `folds` has no validation study or fewer than `batch_size` training studies,
    /// since a training epoch drops its last short batch.
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

    /// The notebook's DEBUG: `n` studies (or all, if there are fewer) drawn without replacement, in the
    /// order drawn.
    pub fn sample(&self, n: usize, seed: u64) -> Table {
        let mut studies = self.studies.clone();
        studies.shuffle(&mut Key::new(seed, Purpose::Debug).rng());
        studies.truncate(n);
        Table { studies }
    }
}

impl Study {
    /// Returns the study's row of a table, in the order of [`Table::COLUMNS`].
    pub fn row(&self) -> Vec<String> {
        let mut row = vec![self.uid.to_string(), u8::from(self.fractured()).to_string()];
        row.extend(self.labels.iter().map(u8::to_string));
        row.push(self.fold.to_string());
        row
    }

    /// Whether any vertebra is fractured: the table's `patient_overall`.
    pub fn fractured(&self) -> bool {
        self.labels.contains(&1)
    }
}

/// Returns the shares of positive slices (every slice has its vertebra's label) and of studies with a
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

#[cfg(test)]
mod tests;
