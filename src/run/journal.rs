//! `journal.jsonl`: every event of a run except pictures, one JSON object per line.
//!
//! A line is the event under its `type`, with `elapsed` (seconds of the run, without the gaps between
//! its processes) and `time` (wall clock, Unix). The first line is
//! `{"type":"journal","version":1,…}`. Non-finite numbers are `"nan"`, `"inf"` or `"-inf"`. Readers
//! skip lines that they do not know.

use super::{
    event::{Event, Gpu, Position, Stamped, Step, System},
    unfinished::Unfinished,
};
use crate::bounded;
use lines::{LONGEST_LINE, Lines};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

mod fit;
mod for_each;
mod lines;
mod scan;
#[cfg(test)]
mod tests;
mod trim;

pub use for_each::{for_each, highlights};
pub use trim::{Known, trim};

/// Version that this program writes, and the newest that it reads.
pub const VERSION: u32 = 1;
/// Most bytes of a line between processes. Previews are the longest: six crops of 1024 × 1024 pixels,
/// each as two pictures with a mask, in base64.
pub const LONGEST_EVENT: usize = 64 << 20;
/// Number of newest steps of each fold that are read completely; of earlier ones only the loss. The
/// smoothed values forget 2 % per step, so earlier steps weigh less than a float's last bit.
const RECENT: usize = 2000;
/// Number of newest validation batches that are read; speeds are measured over fewer.
const RECENT_VALID: usize = 64;

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
}

#[derive(Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    event: &'a Event,
    elapsed: f64,
    time: f64,
}

#[derive(Deserialize)]
struct Read {
    #[serde(flatten)]
    event: Event,
    elapsed: f64,
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
        let mut journal =
            Self { path: path.into(), file, written, pending: Vec::new(), failed: false };
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

    /// Writes an event. Lines that do not fit on a full disk wait for [`Self::flush`].
    pub fn append(&mut self, stamped: &Stamped) -> io::Result<()> {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = time.as_millis() as f64 / 1e3;
        let elapsed = (stamped.at * 1e6).round() / 1e6;
        self.pending.extend(fit::line(&stamped.event, elapsed, time, LONGEST_LINE));
        self.flush()
    }

    /// Writes the pending lines.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
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

/// The values of a [`Step`] that curves show.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Brief {
    /// Training loss.
    pub loss: f64,
    /// Loss of the slice head.
    pub slice_loss: f64,
    /// Loss of the study head.
    pub study_loss: f64,
    /// L2 norm of all gradients.
    pub grad_norm: f64,
    /// Learning rate.
    pub learning_rate: f64,
}

impl Brief {
    /// Extracts the values of `step`.
    pub fn of(step: &Step) -> Self {
        Self {
            loss: step.loss,
            slice_loss: step.slice_loss,
            study_loss: step.study_loss,
            grad_norm: step.grad_norm,
            learning_rate: step.learning_rate,
        }
    }
}

/// The speed of a [`Step`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Images in the step.
    pub images: usize,
    /// Seconds spent waiting for the batch.
    pub data_seconds: f64,
    /// Seconds spent computing.
    pub compute_seconds: f64,
}

impl Pace {
    /// Extracts the speed of `step`.
    pub fn of(step: &Step) -> Self {
        let Step { images, data_seconds, compute_seconds, .. } = *step;
        Self { images, data_seconds, compute_seconds }
    }
}

/// A receiver of a journal's earlier events.
pub trait Past {
    /// Receives any event except a step or a validation batch.
    fn event(&mut self, stamped: &Stamped);
    /// Receives the time and speed of a step, before its values.
    fn pace(&mut self, at: f64, pace: Pace);
    /// Receives the values of a step.
    fn step(&mut self, at: Position, step: &Brief);
    /// Receives the newest steps and validation batches completely, after everything else; their values
    /// were passed before.
    fn recent(&mut self, stamped: &Stamped);
}

/// Reads the first `upto` bytes of a journal, or all of it, in one pass and bounded memory. Returns the
/// number of lines that could not be parsed.
///
/// Errors: when it cannot be read, is no journal, or is of a newer version.
pub fn replay(path: &Path, upto: Option<u64>, past: &mut dyn Past) -> Result<usize, Error> {
    let failed = |source| Error::Io { path: path.into(), source };
    let mut lines = Lines::open(path, upto)?;
    let mut strange = 0;
    let mut steps: BTreeMap<usize, VecDeque<u64>> = BTreeMap::new();
    let mut valid: VecDeque<u64> = VecDeque::new();
    let ring = |ring: &mut VecDeque<u64>, start: u64, most: usize| {
        if ring.len() == most {
            ring.pop_front();
        }
        ring.push_back(start);
    };
    while let Some((start, line)) = lines.next().map_err(failed)? {
        match scan::kind(line) {
            Some("step") => {
                if let Some(scan::Step { at, brief, pace }) = scan::step(line) {
                    if let Some((elapsed, pace)) = pace {
                        past.pace(elapsed, pace);
                    }
                    past.step(at, &brief);
                    if steps.len() < 1000 || steps.contains_key(&at.fold) {
                        ring(steps.entry(at.fold).or_default(), start, RECENT);
                    }
                    continue;
                }
            }
            Some("valid_step") => {
                ring(&mut valid, start, RECENT_VALID);
                continue;
            }
            // These are frequent too, and hold only numbers.
            Some("gpu") => {
                if let Some(stamped) = plain::<Gpu>(line, Event::Gpu) {
                    past.event(&stamped);
                    continue;
                }
            }
            Some("system") => {
                if let Some(stamped) = plain::<System>(line, Event::System) {
                    past.event(&stamped);
                    continue;
                }
            }
            Some("again") => {
                if let Some(at) = scan::at(line) {
                    steps.remove(&at.fold);
                }
            }
            _ => {}
        }
        match parse(line) {
            Some(stamped) => past.event(&stamped),
            None => strange += 1,
        }
    }
    let mut starts: Vec<u64> = steps.into_values().flatten().chain(valid).collect();
    starts.sort_unstable();
    for start in starts {
        lines.seek(start).map_err(failed)?;
        if let Some((_, line)) = lines.next().map_err(failed)? {
            match parse(line) {
                Some(stamped) => past.recent(&stamped),
                None => strange += 1,
            }
        }
    }
    Ok(strange)
}

/// Returns the seconds, waiting and computing, of the first `steps` steps of an epoch, in the order of
/// training; of the fold's newest training.
///
/// Errors: as for [`replay`].
pub fn step_seconds(path: &Path, fold: usize, epoch: usize, steps: usize) -> Result<f64, Error> {
    let failed = |source| Error::Io { path: path.into(), source };
    let mut lines = Lines::open(path, None)?;
    let mut seconds = 0.0;
    while let Some((_, line)) = lines.next().map_err(failed)? {
        let Some(at) = scan::at(line).filter(|at| at.fold == fold) else { continue };
        match scan::kind(line) {
            Some("again") => seconds = 0.0,
            Some("step") if at.epoch == epoch && at.step <= steps => {
                if let Some(scan::Step { pace: Some((_, pace)), .. }) = scan::step(line) {
                    seconds += pace.data_seconds + pace.compute_seconds;
                }
            }
            _ => {}
        }
    }
    Ok(seconds)
}

/// Parses a line.
pub fn parse(line: &[u8]) -> Option<Stamped> {
    let read: Read = serde_json::from_slice(line).ok()?;
    read.elapsed.is_finite().then_some(Stamped { at: read.elapsed, event: read.event })
}

/// Like [`parse`] for a line of known type, in a fraction of the time: serde need not search for the
/// type and buffer everything before it.
fn plain<T: DeserializeOwned>(line: &[u8], event: fn(T) -> Event) -> Option<Stamped> {
    let at = scan::elapsed(line)?;
    Some(Stamped { at, event: event(serde_json::from_slice(line).ok()?) })
}

/// Formats the event as a line between processes, with its end, of at most [`LONGEST_EVENT`] bytes.
pub fn line(stamped: &Stamped) -> Vec<u8> {
    fit::line(&stamped.event, stamped.at, 0.0, LONGEST_EVENT)
}
