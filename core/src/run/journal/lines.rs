//! Iterates over a journal's lines.

use super::{Error, Header, VERSION};
use crate::bounded;
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Seek, SeekFrom},
    path::Path,
};

/// Longest line written or read, in bytes, with its end. The learning rates of 100000 epochs take half
/// of it.
pub(super) const LONGEST_LINE: usize = 4 << 20;

/// The complete lines of a journal after the first.
pub(super) struct Lines {
    file: BufReader<File>,
    /// Byte offset of the next line.
    next: u64,
    upto: u64,
    line: Vec<u8>,
    /// The first line, with its end.
    pub(super) head: Vec<u8>,
}

impl Lines {
    pub(super) fn open(path: &Path, upto: Option<u64>) -> Result<Self, Error> {
        let failed = |source| Error::Io { path: path.into(), source };
        let file = bounded::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let upto = upto.unwrap_or(length).min(length);
        Self::of_file(path, file, upto, 0)
    }

    /// The lines of `file` that start at byte `from`: that of a line, or 0, where the first line is checked.
    pub(super) fn of_file(
        path: &Path,
        mut file: File,
        upto: u64,
        from: u64,
    ) -> Result<Self, Error> {
        let failed = |source| Error::Io { path: path.into(), source };
        file.seek(SeekFrom::Start(from)).map_err(failed)?;
        let capacity = upto.saturating_sub(from).clamp(1 << 10, 1 << 20) as usize;
        let file = BufReader::with_capacity(capacity, file);
        let mut lines = Self { file, next: from, upto, line: Vec::new(), head: Vec::new() };
        if from > 0 {
            return Ok(lines);
        }
        let header: Option<Header> = match lines.next().map_err(failed)? {
            Some((_, line)) => serde_json::from_slice(line).ok(),
            None => None,
        };
        let header = header.filter(|h| h.r#type == "journal");
        let Some(Header { version, .. }) = header else { return Err(Error::Foreign(path.into())) };
        if version > VERSION {
            return Err(Error::Newer { path: path.into(), version });
        }
        lines.head.clone_from(&lines.line);
        Ok(lines)
    }

    /// Returns the byte offset of the next line.
    pub(super) fn next_start(&self) -> u64 {
        self.next
    }

    /// Returns the offset of the next line and the line without its end; empty if it is too long.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        let start = self.next;
        self.line.clear();
        let mut whole = false;
        let mut length = 0u64;
        while self.next < self.upto && !whole {
            let buffer = self.file.fill_buf()?;
            if buffer.is_empty() {
                break;
            }
            let room = (self.upto - self.next).min(buffer.len() as u64) as usize;
            let piece = &buffer[..room];
            let taken = match memchr::memchr(b'\n', piece) {
                Some(end) => {
                    whole = true;
                    end + 1
                }
                None => piece.len(),
            };
            if self.line.len() + taken <= LONGEST_LINE {
                self.line.extend_from_slice(&piece[..taken]);
            }
            self.file.consume(taken);
            self.next += taken as u64;
            length += taken as u64;
        }
        if !whole {
            return Ok(None);
        }
        if length != self.line.len() as u64 {
            self.line.clear();
            return Ok(Some((start, &[])));
        }
        Ok(Some((start, &self.line[..self.line.len() - 1])))
    }
}
