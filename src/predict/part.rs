//! Predictions so far: a file that grows by a row a study, and that a second process goes on from.

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

/// The first words of the file.
const FORMAT: &str = "# rsna-tui predictions 1";
/// What is said of a file that is something else.
const FOREIGN: &str = "it is no file of predictions of ours";
/// A row is no longer: a UID and sixteen figures.
const LONGEST_ROW: usize = 1 << 16;

/// Why predictions cannot be kept; one sentence.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("cannot write {}: {source}; give another --out", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The predictions cannot be written where they are wanted.
    #[error("cannot write the predictions: {0}; give another --out")]
    Write(#[from] io::Error),
    /// It holds what was predicted otherwise.
    #[error(
        "{} holds predictions that were begun with other weights, settings or data; start them anew with --force, or give another --out",
        .0.display()
    )]
    Other(PathBuf),
    /// It is no such file.
    #[error("{}: {why}; remove it, or give another --out", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Another process writes it.
    #[error("{} is being written by another rsna-tui", .0.display())]
    InUse(PathBuf),
}

/// The file.
#[derive(Debug)]
pub struct Part {
    file: File,
    path: PathBuf,
    done: HashSet<String>,
    /// What is in it is known to be ours.
    ours: bool,
}

impl Part {
    /// Where the predictions for `out` are kept until all are there: `out` with `.part` behind it.
    pub fn path(out: &Path) -> PathBuf {
        let mut name = out.as_os_str().to_owned();
        name.push(".part");
        name.into()
    }

    /// Opens the file for `out`, or begins it, `anew` also where there is one. `made_with` tells what
    /// the predictions depend on. A row that was cut off is dropped.
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

    /// Reads what is there; returns how many bytes of it are to be kept, 0 where no row is there.
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
            // Whatever else it holds, these are predictions.
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

    /// Whether a study's prediction is there.
    pub fn has(&self, study: &str) -> bool {
        self.done.contains(study)
    }

    /// Whether none is there.
    pub fn is_empty(&self) -> bool {
        self.done.is_empty()
    }

    /// Adds a prediction. It is in the file when this returns.
    pub fn add(&mut self, predicted: &Predicted) -> Result<(), Error> {
        let failed = |source| Error::Io { path: self.path.clone(), source };
        let mut row = csv::Writer::from_writer(Vec::new());
        row.write_record(table::row(predicted)).map_err(|e| failed(e.into()))?;
        let row = row.into_inner().map_err(|e| failed(e.into_error()))?;
        self.file.write_all(&row).map_err(failed)?;
        self.done.insert(predicted.study.to_string());
        Ok(())
    }

    /// Writes the predictions of `wanted` studies to `out` as the competition wants them, and to `wide`
    /// a row a study. Returns how many studies there are.
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

    /// Removes the file: what it holds is written elsewhere.
    pub fn remove(self) -> Result<(), Error> {
        fs::remove_file(&self.path).map_err(|source| Error::Io { path: self.path.clone(), source })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Nothing is lost with a file without predictions.
        if self.ours && self.done.is_empty() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Calls `each` with the number and the text of every whole line of a file, and counts their bytes.
/// Returns what lies behind the last of them.
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
            // Cut off, or the end of the file.
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

/// The cells of a row.
fn cells(line: &str) -> Option<Vec<String>> {
    let mut csv = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
    let record = csv.records().next()?.ok()?;
    Some(record.iter().map(String::from).collect())
}

/// Lets no other process write the file, as long as it is open here.
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
        // In the middle of a row.
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
        // One that was killed before its first prediction is nobody's.
        fs::write(&path, &begun).unwrap();
        drop(Part::open(&out, "b", false).unwrap());
        fs::write(&path, begun + "x,1\n").unwrap();
        let error = Part::open(&out, "a", false).unwrap_err().to_string();
        assert!(error.contains("line 3 is no prediction"), "{error}");
    }
}
