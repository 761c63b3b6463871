//! A file of the predictions so far: it grows by a row per study, and a later process can resume it.

use super::{Predicted, table};
use crate::{
    bounded::{self, excerpt},
    print::cell,
};
use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
};

/// Start of the file's first line.
const FORMAT: &str = "# rsna-tui predictions 1";
/// Message for a file of another kind.
const FOREIGN: &str = "it is no file of predictions of ours";
/// Maximum length of a row in bytes: a UID and sixteen numbers.
const LONGEST_ROW: usize = 1 << 16;

/// Reasons why predictions cannot be stored; one sentence.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("cannot write {}: {source}; give another --out", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Reason.
        source: io::Error,
    },
    /// The predictions cannot be written to the output.
    #[error("cannot write the predictions: {0}; give another --out")]
    Write(#[from] io::Error),
    /// The file contains predictions made in another way.
    #[error(
        "{} holds predictions that were begun with other weights, settings or data; start them anew with --force, or give another --out",
        .0.display()
    )]
    Other(PathBuf),
    /// The file is not a file of predictions.
    #[error("{}: {why}; remove it, or give another --out", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The problem.
        why: String,
    },
    /// Another process is writing the file.
    #[error("{} is being written by another rsna-tui", .0.display())]
    InUse(PathBuf),
}

/// An open file of predictions.
#[derive(Debug)]
pub struct Part {
    file: File,
    path: PathBuf,
    done: HashSet<String>,
    /// Whether the contents are known to be predictions, so that the file may be removed.
    ours: bool,
}

impl Part {
    /// Path of the unfinished predictions for `out`: `out` with `.part` appended.
    pub fn path(out: &Path) -> PathBuf {
        let mut name = out.as_os_str().to_owned();
        name.push(".part");
        name.into()
    }

    /// Opens the file for `out`, or creates it; with `anew`, replaces an existing one. `made_with`
    /// describes everything that the predictions depend on. An incomplete last row is dropped.
    ///
    /// Errors: see [`Error`].
    pub fn open(out: &Path, made_with: &str, anew: bool) -> Result<Self, Error> {
        let path = Self::path(out);
        let failed = |source| Error::Io { path: path.clone(), source };
        let mut options = File::options();
        let options = options.read(true).append(true).create(true);
        let file = bounded::open_with(&path, options).map_err(failed)?;
        lock(&file, &path)?;
        let mut part = Self { file, path: path.clone(), done: HashSet::new(), ours: false };
        let whole = match anew {
            true => 0,
            false => part.read(&format!("{FORMAT} {made_with}"))?,
        };
        match whole {
            0 => part.begin(made_with)?,
            whole => part.file.set_len(whole).map_err(failed)?,
        }
        part.ours = true;
        Ok(part)
    }

    fn begin(&mut self, made_with: &str) -> Result<(), Error> {
        self.done.clear();
        let written = self.file.set_len(0);
        let header = format!("{FORMAT} {made_with}\n{}\n", table::columns().join(","));
        let written = written.and_then(|()| self.file.write_all(header.as_bytes()));
        written.map_err(|source| Error::Io { path: self.path.clone(), source })
    }

    /// Reads the existing rows. Returns the number of bytes to keep, 0 if there are no usable rows.
    fn read(&mut self, first: &str) -> Result<u64, Error> {
        let (path, columns) = (self.path.clone(), table::columns());
        let damaged = |why: String| Error::Damaged { path: path.clone(), why };
        let mut whole = 0;
        let mut done = HashSet::new();
        let (mut begun, mut other) = (false, false);
        let each = |number: usize, line: &str| match number {
            0 if line == first => Ok(()),
            0 if line.starts_with(FORMAT) => {
                other = true;
                Ok(())
            }
            0 => Err(damaged(FOREIGN.into())),
            1 if line == columns.join(",") => {
                begun = true;
                Ok(())
            }
            // A file of predictions, whatever its rows contain.
            _ if other => Err(Error::Other(path.clone())),
            n => {
                let cells = cells(line).filter(|cells| cells.len() == columns.len());
                let cells = cells.ok_or_else(|| {
                    damaged(format!("line {} is no prediction: {:?}", n + 1, excerpt(line, 80)))
                })?;
                done.insert(cells[0].clone());
                Ok(())
            }
        };
        let rest = lines(&self.path, each, &mut whole)?;
        if whole == 0 && !first.as_bytes().starts_with(&rest) {
            return Err(damaged(FOREIGN.into()));
        }
        self.done = done;
        Ok(if begun && !other { whole } else { 0 })
    }

    /// Whether the file has a prediction for the study.
    pub fn has(&self, study: &str) -> bool {
        self.done.contains(study)
    }

    /// Whether the file has no predictions.
    pub fn is_empty(&self) -> bool {
        self.done.is_empty()
    }

    /// Adds a prediction; it has been written to the file when this returns.
    pub fn add(&mut self, predicted: &Predicted) -> Result<(), Error> {
        let failed = |source| Error::Io { path: self.path.clone(), source };
        let mut row = csv::Writer::from_writer(Vec::new());
        row.write_record(table::row(predicted)).map_err(|e| failed(e.into()))?;
        let row = row.into_inner().map_err(|e| failed(e.into_error()))?;
        self.file.write_all(&row).map_err(failed)?;
        self.done.insert(predicted.study.to_string());
        Ok(())
    }

    /// Writes the predictions of `wanted` studies: to `out` in the competition's format, and to `wide` with
    /// a row per study. Returns the number of studies.
    pub fn write(
        &self,
        out: impl Write,
        wide: impl Write,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<usize, Error> {
        let mut studies = csv::Writer::from_writer(wide);
        let mut answers = table::Answers::begin(out)?;
        studies.write_record(table::columns()).map_err(io::Error::from)?;
        let mut written = 0;
        let each = |number: usize, line: &str| {
            if number > 1
                && let Some(mut cells) = cells(line)
                && cells.first().is_some_and(|study| wanted(study))
            {
                written += 1;
                answers.add(&cells)?;
                cells[0] = cell(&cells[0]).into_owned();
                studies.write_record(&cells).map_err(io::Error::from)?;
            }
            Ok(())
        };
        lines(&self.path, each, &mut 0)?;
        studies.flush()?;
        answers.finish()?;
        Ok(written)
    }

    /// Removes the file after its contents have been written elsewhere.
    pub fn remove(self) -> Result<(), Error> {
        fs::remove_file(&self.path).map_err(|source| Error::Io { path: self.path.clone(), source })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // A file without predictions is not worth keeping.
        if self.ours && self.done.is_empty() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Calls `each` with the number and text of every complete line of a file, and counts their bytes in
/// `whole`. Returns the rest after the last complete line.
fn lines(
    path: &Path,
    mut each: impl FnMut(usize, &str) -> Result<(), Error>,
    whole: &mut u64,
) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Io { path: path.into(), source };
    let mut file = BufReader::new(bounded::open(path).map_err(failed)?);
    let mut line = Vec::new();
    for number in 0.. {
        line.clear();
        let longest = LONGEST_ROW as u64 + 1;
        io::Read::take(&mut file, longest).read_until(b'\n', &mut line).map_err(failed)?;
        let text = match line.strip_suffix(b"\n") {
            None if line.len() > LONGEST_ROW => Err("has no end"),
            // An incomplete line, or the end of the file.
            None => return Ok(line),
            Some(text) => std::str::from_utf8(text).map_err(|_| "is not UTF-8"),
        };
        let text = text.map_err(|what| Error::Damaged {
            path: path.into(),
            why: format!("line {} {what}", number + 1),
        })?;
        each(number, text)?;
        *whole += line.len() as u64;
    }
    Ok(Vec::new())
}

/// Splits a row into its cells.
fn cells(line: &str) -> Option<Vec<String>> {
    let mut csv = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
    let record = csv.records().next()?.ok()?;
    Some(record.iter().map(String::from).collect())
}

/// Locks the file against other processes while it is open.
fn lock(file: &File, path: &Path) -> Result<(), Error> {
    #[cfg(unix)]
    {
        use rustix::fs::{FlockOperation, flock};
        if flock(file, FlockOperation::NonBlockingLockExclusive)
            == Err(rustix::io::Errno::WOULDBLOCK)
        {
            return Err(Error::InUse(path.into()));
        }
    }
    #[cfg(not(unix))]
    let _ = (file, path);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::TARGETS;

    fn predicted(study: &str, p: f64) -> Predicted {
        Predicted {
            study: study.into(),
            labels: [0; 7],
            slices: Vec::new(),
            logits: [p - 1.0; TARGETS],
            probabilities: [p; TARGETS],
        }
    }

    #[test]
    fn what_was_cut_is_gone_on_with() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("p.csv");
        let mut part = Part::open(&out, "a", false).unwrap();
        part.add(&predicted("x,\"1", 0.1 + 0.2)).unwrap();
        part.add(&predicted("y", 0.25)).unwrap();
        assert!(matches!(Part::open(&out, "a", false), Err(Error::InUse(_))));
        drop(part);
        // Cut the file in the middle of a row.
        let text = fs::read_to_string(Part::path(&out)).unwrap();
        fs::write(Part::path(&out), &text[..text.len() - 9]).unwrap();
        assert!(matches!(Part::open(&out, "b", false), Err(Error::Other(_))));
        let mut part = Part::open(&out, "a", false).unwrap();
        assert!(part.has("x,\"1") && !part.has("y"));
        part.add(&predicted("y", 0.25)).unwrap();
        part.add(&predicted("not asked for any more", 0.5)).unwrap();
        let (mut answers, mut wide) = (Vec::new(), Vec::new());
        assert_eq!(part.write(&mut answers, &mut wide, |study| study.len() < 9).unwrap(), 2);
        part.remove().unwrap();
        assert!(!Part::path(&out).exists());
        let answers = String::from_utf8(answers).unwrap();
        let lines: Vec<&str> = answers.lines().collect();
        assert_eq!(lines.len(), 1 + 16);
        assert_eq!(lines[..2], ["row_id,fractured", "\"x,\"\"1_C1\",0.30000000000000004"]);
        assert_eq!(lines[16], "y_patient_overall,0.25");
        let wide = String::from_utf8(wide).unwrap();
        assert_eq!(wide.lines().count(), 3);
        assert!(wide.starts_with("StudyInstanceUID,C1_prob,"), "{wide}");
    }

    #[test]
    fn what_is_none_of_ours_is_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("p.csv");
        let path = Part::path(&out);
        fs::write(&path, "important\n").unwrap();
        let error = Part::open(&out, "a", false).unwrap_err().to_string();
        assert!(
            error.contains("p.csv.part") && error.contains("no file of predictions"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "important\n");
        fs::write(&path, "important").unwrap();
        assert!(matches!(Part::open(&out, "a", false), Err(Error::Damaged { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "important");
        let part = Part::open(&out, "a", true).unwrap();
        let begun = fs::read_to_string(&path).unwrap();
        drop(part);
        assert!(!path.exists(), "nothing is lost with it");
        // A process that is killed before its first prediction leaves a file that any other may replace.
        fs::write(&path, &begun).unwrap();
        drop(Part::open(&out, "b", false).unwrap());
        fs::write(&path, begun + "x,1\n").unwrap();
        let error = Part::open(&out, "a", false).unwrap_err().to_string();
        assert!(error.contains("line 3 is no prediction"), "{error}");
    }
}
