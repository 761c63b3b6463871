//! `journal.jsonl`: every event of a run except pictures, one JSON object per line.
//!
//! A line is the event under its `type`, with `elapsed` (seconds of the run, without the gaps between
//! its processes) and `time` (wall clock, Unix). The first line is
//! `{"type":"journal","version":1,…}`. Non-finite numbers are `"nan"`, `"inf"` or `"-inf"`. Readers
//! pass over kinds and fields that they do not know, and name them once.

use super::claim::Guard;
use super::event::{Event, Stamped};
use crate::bounded;
use lines::{LONGEST_LINE, Lines};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

mod fit;
mod lines;
mod read;
mod tail;
#[cfg(test)]
mod tests;
mod trim;

use read::Head;
pub use read::{Passed, for_each, parse, step_seconds};
pub use tail::Tail;
pub use trim::{Known, trim};

/// Version that this program writes, and the newest that it reads.
pub const VERSION: u32 = 1;
/// Most bytes of a line between processes. Previews are the longest: six crops of 1024 × 1024 pixels,
/// each as two pictures with a mask, in base64.
pub const LONGEST_EVENT: usize = 64 << 20;

/// A journal that cannot be used; its message is one sentence.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read or written.
    #[error("cannot use the journal {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its first line is not a journal's.
    #[error(
        "{} is no journal of rsna-tui: its first line is not {{\"type\":\"journal\",\"version\":…}}", .0.display()
    )]
    Foreign(PathBuf),
    /// A newer version of the program wrote it.
    #[error("{} is of version {version}, this rsna-tui reads {VERSION} and older; use a newer one", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// The queue of a shared run, which says what its folds' journals are about, cannot be read.
    #[error("cannot use the run's queue: {0}")]
    Queue(io::Error),
}

#[derive(Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    event: &'a Event,
    elapsed: f64,
    time: f64,
}

#[derive(Serialize, Deserialize)]
struct Header {
    r#type: String,
    version: u32,
    #[serde(default)]
    program: String,
}

/// A journal open for writing.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Length of the file's complete lines, in bytes.
    written: u64,
    /// Lines that are not in the file yet, for example because the disk is full.
    pending: Vec<u8>,
    /// The last write failed: the open file may be unusable, like a stale NFS handle.
    failed: bool,
    /// Whether this process may still write.
    guard: Option<Guard>,
}

impl Journal {
    /// Opens `path` to append to it, or creates it.
    ///
    /// Errors: when it cannot be opened or created.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Io { path: path.into(), source };
        let mut options = File::options();
        let options = options.create(true).truncate(false).read(true).write(true);
        let file = bounded::open_with(path, options).map_err(failed)?;
        let written = file.metadata().map_err(failed)?.len();
        let mut journal = Self {
            path: path.into(),
            file,
            written,
            pending: Vec::new(),
            failed: false,
            guard: None,
        };
        if written == 0 {
            let program = concat!("rsna-tui ", env!("CARGO_PKG_VERSION")).into();
            let header = Header { r#type: "journal".into(), version: VERSION, program };
            // Serializing plain data into memory cannot fail.
            let _ = serde_json::to_writer(&mut journal.pending, &header);
            journal.pending.push(b'\n');
            journal.flush().map_err(failed)?;
        }
        Ok(journal)
    }

    /// Writes only while `guard` allows it.
    pub fn guarded(self, guard: Option<Guard>) -> Self {
        Self { guard, ..self }
    }

    /// Writes an event. Lines that do not fit on a full disk wait for [`Self::flush`].
    pub fn append(&mut self, stamped: &Stamped) -> io::Result<()> {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.append_at(stamped, time.as_millis() as f64 / 1e3)
    }

    /// Like [`Self::append`], for an event of an earlier Unix time.
    pub fn append_at(&mut self, stamped: &Stamped, time: f64) -> io::Result<()> {
        let elapsed = (stamped.at * 1e6).round() / 1e6;
        self.pending.extend(fit::line(&stamped.event, elapsed, time, LONGEST_LINE));
        self.flush()
    }

    /// Writes the pending lines.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.guard.as_ref().map_or(Ok(()), Guard::check_soon)?;
        self.reopen()?;
        let written = self
            .file
            .seek(SeekFrom::Start(self.written))
            .and_then(|_| self.file.write_all(&self.pending));
        self.failed = written.is_err();
        match written {
            Ok(()) => {
                self.written += self.pending.len() as u64;
                self.pending.clear();
                Ok(())
            }
            Err(error) => {
                // Leave no partial line to concurrent readers.
                let _ = self.file.set_len(self.written);
                Err(error)
            }
        }
    }

    /// Waits until everything is synced to disk.
    pub fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        self.reopen()?;
        self.file.sync_data().inspect_err(|_| self.failed = true)
    }

    /// Reopens the path if it now names another file: lines must end up in the run's folder even after it
    /// was renamed, deleted or copied back.
    ///
    /// Errors: when no file is there, or it lacks lines already written.
    #[cfg(unix)]
    fn reopen(&mut self) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt;
        let there = std::fs::metadata(&self.path)?;
        let open = self.file.metadata();
        let is_open = open.is_ok_and(|o| (o.dev(), o.ino()) == (there.dev(), there.ino()));
        if is_open && !self.failed {
            return Ok(());
        }
        if !there.is_file() || there.len() < self.written {
            let (is, was) = (there.len(), self.written);
            let why = format!("the file there has {is} bytes, and the run's journal has {was}");
            return Err(io::Error::new(io::ErrorKind::NotFound, why));
        }
        self.file = File::options().read(true).write(true).open(&self.path)?;
        self.failed = false;
        Ok(())
    }

    #[cfg(not(unix))]
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Length of the file's complete lines, in bytes.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Formats the event as a line between processes, with its end, of at most [`LONGEST_EVENT`] bytes.
pub fn line(stamped: &Stamped) -> Vec<u8> {
    fit::line(&stamped.event, stamped.at, 0.0, LONGEST_EVENT)
}
