//! Follows a journal that another process writes, perhaps on another host.

use super::{Error, Head, LONGEST_LINE, Lines};
use crate::run::event::Event;
use std::{
    fs::Metadata,
    hash::{DefaultHasher, Hasher},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// Bytes at a line's end that tell it from others: they hold its times.
const TOLD_BY: usize = 64;
/// Estimated bytes of a line.
const LINE: u64 = 300;
/// Bytes at the journal's end of which no line is left out.
const NEWEST: u64 = 128 << 10;
/// Kinds of lines of which some may be left out: each is replaced by the next.
const FREQUENT: [&[u8]; 4] = [
    br#"{"type":"step","#,
    br#"{"type":"valid_step","#,
    br#"{"type":"gpu","#,
    br#"{"type":"system","#,
];
/// Lines of which each replaces the one before.
const WORST: &[u8] = br#"{"type":"worst","#;
/// A line after which the fold begins anew.
const AGAIN: &[u8] = br#"{"type":"again","#;
/// How often a line with zero bytes is read again: over NFS, the length of a file may be known before its
/// contents.
const PATIENCE: u32 = 40;

/// A journal, and how much of it was read. The file may grow, appear late, or be replaced by one that
/// [`trim`](super::trim) has cut back: then the lines that were read before are passed over, and those
/// that follow them are new.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    /// Bytes of the lines that were read.
    read: u64,
    /// Which file it was.
    file: Option<(u64, u64)>,
    /// A hash of each line that was read.
    lines: Vec<u32>,
    /// How often the next line was found to be incomplete.
    tries: u32,
    /// The journal's Unix time so far.
    time: f64,
}

impl Tail {
    /// Begins at the start of the journal `path`, which need not exist yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.into(), read: 0, file: None, lines: Vec::new(), tries: 0, time: 0.0 }
    }

    /// Begins after the last complete line of the journal `path`, or at its start if it cannot be read now.
    pub fn from_end(path: &Path) -> Self {
        let mut tail = Self::new(path);
        let Ok(mut file) = crate::bounded::open(path) else { return tail };
        let Ok(found) = file.metadata() else { return tail };
        let from = found.len().saturating_sub(LONGEST_LINE as u64);
        let mut bytes = Vec::new();
        let read = file
            .seek(SeekFrom::Start(from))
            .and_then(|_| file.take(LONGEST_LINE as u64).read_to_end(&mut bytes));
        if let (Ok(_), Some(end)) = (read, memchr::memrchr(b'\n', &bytes)) {
            (tail.read, tail.file) = (from + end as u64 + 1, Some(id(&found)));
        }
        tail
    }

    /// Passes the events that were added since the last call to `take`, with their Unix time, which never
    /// falls. Leaves out some steps and readings of the machine if there are more than about `most` lines.
    /// Returns the number of damaged lines.
    ///
    /// Errors: when it cannot be read, is no journal, or is of a newer version. It is no error if it is
    /// missing.
    pub fn read(&mut self, most: usize, mut take: impl FnMut(Event, f64)) -> Result<usize, Error> {
        let failed = |source| Error::Io { path: self.path.clone(), source };
        // Open it each time: that is when NFS asks the server for the file's length.
        let file = match crate::bounded::open(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            file => file.map_err(failed)?,
        };
        let found = file.metadata().map_err(failed)?;
        let length = found.len();
        let id = id(&found);
        let same = self.file == Some(id) && length >= self.read;
        if same && length == self.read || length == 0 {
            return Ok(0);
        }
        let from = if same { self.read } else { 0 };
        let mut lines = Lines::of_file(&self.path, file, length, from)?;
        // Lines of the file before that this one may still have.
        let known = if same { Vec::new() } else { std::mem::take(&mut self.lines) };
        let mut known = known.into_iter();
        if !same {
            (self.file, self.read) = (Some(id), lines.next_start());
        }
        let every = (length - from).div_ceil(LINE.saturating_mul(most.max(1) as u64)).max(1);
        let (mut frequent, mut damaged) = (0u64, 0);
        // The newest studies with a high loss, whose lines are the longest by far.
        let mut worst: Option<Vec<u8>> = None;
        let mut pass = |line: &[u8], newest: &mut f64, damaged: &mut usize| match Head::of(line)
            .and_then(|head| Some((head.event(line)?, head.time)))
        {
            Some((event, time)) => {
                if time.is_finite() {
                    *newest = newest.max(time);
                }
                if event != Event::Unknown {
                    take(event, *newest);
                }
            }
            None => *damaged += 1,
        };
        while let Some((start, line)) = lines.next().map_err(failed)? {
            if line.contains(&0) && self.tries < PATIENCE {
                self.tries += 1;
                break;
            }
            self.tries = 0;
            self.read = start + line.len() as u64 + 1;
            let told_by = hash(line);
            self.lines.push(told_by);
            // `trim` keeps the order.
            if known.as_slice().contains(&told_by) {
                known.by_ref().find(|line| *line == told_by);
                continue;
            }
            known = Vec::new().into_iter();
            if every > 1 && start + NEWEST < length {
                if line.starts_with(WORST) {
                    worst = Some(line.to_vec());
                    continue;
                }
                if FREQUENT.iter().any(|kind| line.starts_with(kind)) {
                    frequent += 1;
                    if !frequent.is_multiple_of(every) {
                        continue;
                    }
                }
            }
            if line.starts_with(WORST) || line.starts_with(AGAIN) {
                worst = None;
            }
            pass(line, &mut self.time, &mut damaged);
        }
        if let Some(line) = worst {
            pass(&line, &mut self.time, &mut damaged);
        }
        Ok(damaged)
    }
}

fn hash(line: &[u8]) -> u32 {
    let mut hasher = DefaultHasher::new();
    hasher.write(&line[line.len().saturating_sub(TOLD_BY)..]);
    hasher.finish() as u32
}

/// What tells a file from others on its file system.
fn id(found: &Metadata) -> (u64, u64) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        (found.dev(), found.ino())
    }
    #[cfg(not(unix))]
    {
        let _ = found;
        (0, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{
        event::{Level, Log, Stamped},
        journal::Journal,
    };

    fn logged(message: &str, at: f64) -> Stamped {
        Stamped::new(at, Event::Log(Log { level: Level::Info, message: message.into() }))
    }

    fn new(tail: &mut Tail) -> Vec<String> {
        let mut all = Vec::new();
        tail.read(usize::MAX, |event, _| match event {
            Event::Log(log) => all.push(log.message),
            other => panic!("{other:?}"),
        })
        .unwrap();
        all
    }

    #[test]
    fn each_line_is_passed_once_whatever_becomes_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let mut tail = Tail::new(&path);
        assert!(new(&mut tail).is_empty(), "it is not there yet");
        let mut journal = Journal::open(&path).unwrap();
        for (at, message) in ["a", "b", "c"].into_iter().enumerate() {
            journal.append(&logged(message, at as f64)).unwrap();
        }
        assert_eq!(new(&mut tail), ["a", "b", "c"]);
        assert!(new(&mut tail).is_empty());
        journal.append(&logged("d", 3.0)).unwrap();
        drop(journal);
        // A line that is being written.
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}{{\"type\":\"log\"")).unwrap();
        assert_eq!(new(&mut tail), ["d"]);
        // Cut back by the process that goes on with it: b and d are gone.
        let kept: Vec<&str> =
            whole.lines().filter(|l| !l.contains("\"b\"") && !l.contains("\"d\"")).collect();
        let other = dir.path().join("other");
        std::fs::write(&other, kept.join("\n") + "\n").unwrap();
        std::fs::rename(&other, &path).unwrap();
        let mut journal = Journal::open(&path).unwrap();
        journal.append(&logged("e", 2.5)).unwrap();
        assert_eq!(new(&mut tail), ["e"]);
        // Cut back while nobody looked, and as long as it was.
        std::fs::write(&other, kept[..2].join("\n") + "\n").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert!(new(&mut tail).is_empty());
        let mut journal = Journal::open(&path).unwrap();
        journal.append(&logged("f", 1.5)).unwrap();
        assert_eq!(new(&mut tail), ["f"]);
        let mut late = Tail::from_end(&path);
        assert!(new(&mut late).is_empty());
        journal.append(&logged("g", 3.5)).unwrap();
        assert_eq!(new(&mut late), ["g"]);
        std::fs::remove_file(&path).unwrap();
        assert!(new(&mut tail).is_empty());
        std::fs::write(&path, "no journal\n").unwrap();
        assert!(matches!(tail.read(9, |_, _| {}), Err(Error::Foreign(_))));
    }

    #[test]
    fn bytes_that_have_not_arrived_yet_are_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let mut journal = Journal::open(&path).unwrap();
        journal.append(&logged("a", 0.0)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let mut holed = whole.clone();
        let n = holed.len();
        holed[n - 30..n - 1].fill(0);
        std::fs::write(&path, &holed).unwrap();
        let mut tail = Tail::new(&path);
        assert!(new(&mut tail).is_empty());
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(new(&mut tail), ["a"]);
    }
}
