//! The predictions so far: a row per study, in a file from which a later process can resume them.

use super::{Predicted, table};
use crate::{
    bounded::{self, excerpt},
    run::folder,
};
use csv::{ReaderBuilder, StringRecord, Writer};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Start of the file's first line.
const FORMAT: &str = "# rsna-tui predictions 1";
/// Maximum size of the file in bytes: more than a million studies.
const LARGEST: u64 = 512 << 20;

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

/// The predictions so far.
#[derive(Debug, Default)]
pub struct Part {
    /// Rows with the cells of [`table::row`].
    rows: Vec<StringRecord>,
    /// The file that also holds them, unless they are in memory only.
    file: Option<(File, PathBuf)>,
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
        let options = &mut File::options();
        let options = options.read(true).append(true).create(true);
        let mut file = bounded::open_with(&path, options).map_err(failed)?;
        if !folder::try_lock(&file, 1) {
            return Err(Error::InUse(path));
        }
        let header = format!("{FORMAT} {made_with}\n{}\n", table::columns().join(","));
        let text = if anew { Vec::new() } else { bounded::read(&path, LARGEST).map_err(failed)? };
        let (rows, whole) = parse(&text, &header, &path)?;
        file.set_len(whole as u64).map_err(failed)?;
        if whole == 0 {
            file.write_all(header.as_bytes()).map_err(failed)?;
        }
        Ok(Self { rows, file: Some((file, path)) })
    }

    /// Returns the rows, with the cells of [`table::row`].
    pub fn rows(&self) -> &[StringRecord] {
        &self.rows
    }

    /// Adds a prediction; it has been written to the file when this returns.
    pub fn add(&mut self, predicted: &Predicted) -> Result<(), Error> {
        let row = StringRecord::from(table::row(predicted));
        if let Some((file, path)) = &mut self.file {
            let mut line = Writer::from_writer(Vec::new());
            let written = line.write_record(&row).map_err(io::Error::from);
            let line = written.and_then(|()| line.into_inner().map_err(|e| e.into_error()));
            let written = line.and_then(|line| file.write_all(&line));
            written.map_err(|source| Error::Io { path: path.clone(), source })?;
        }
        self.rows.push(row);
        Ok(())
    }

    /// Removes the file after its contents have been written elsewhere.
    pub fn remove(self) -> Result<(), Error> {
        let Some((_, path)) = &self.file else { return Ok(()) };
        fs::remove_file(path).map_err(|source| Error::Io { path: path.clone(), source })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // A file without predictions is not worth keeping.
        if let (Some((_, path)), true) = (&self.file, self.rows.is_empty()) {
            let _ = fs::remove_file(path);
        }
    }
}

/// Returns the complete rows in a file's bytes, and the number of bytes to keep: 0 if there are no
/// predictions. `header`: its first two lines.
fn parse(text: &[u8], header: &str, path: &Path) -> Result<(Vec<StringRecord>, usize), Error> {
    let damaged = |why: String| Error::Damaged { path: path.into(), why };
    let whole = memchr::memrchr(b'\n', text).map_or(0, |end| end + 1);
    let Some(rows) = text[..whole].strip_prefix(header.as_bytes()) else {
        let columns = header.split_once('\n').map_or("", |(_, columns)| columns);
        let mut lines = text[..whole].split_inclusive(|&b| b == b'\n');
        let has_format = lines.next().map(|first| first.starts_with(FORMAT.as_bytes()));
        if !has_format.unwrap_or(header.as_bytes().starts_with(text)) {
            return Err(damaged("it is no file of predictions of ours".into()));
        }
        // Another process may have ended before its first prediction.
        let is_empty = lines.next().is_none_or(|second| second == columns.as_bytes())
            && lines.next().is_none();
        return if is_empty { Ok((Vec::new(), 0)) } else { Err(Error::Other(path.into())) };
    };
    let mut csv = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(rows);
    let columns = table::columns().len();
    let rows = csv.records().enumerate().map(|(i, row)| {
        row.ok().filter(|row| row.len() == columns).ok_or_else(|| {
            let line = rows.split(|&b| b == b'\n').nth(i).unwrap_or_default();
            let line = excerpt(&String::from_utf8_lossy(line), 80);
            damaged(format!("line {} is no prediction: {line:?}", i + 3))
        })
    });
    Ok((rows.collect::<Result<_, _>>()?, whole))
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
        assert_eq!(part.rows().iter().map(|row| &row[0]).collect::<Vec<_>>(), ["x,\"1"]);
        part.add(&predicted("y", 0.25)).unwrap();
        part.add(&predicted("not asked for any more", 0.5)).unwrap();
        let (mut answers, mut wide) = (Vec::new(), Vec::new());
        let rows: Vec<_> = part.rows().iter().filter(|row| row[0].len() < 9).collect();
        table::write_answers(&mut answers, &rows).unwrap();
        table::write_wide(&mut wide, &rows).unwrap();
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
