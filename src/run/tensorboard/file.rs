//! A TensorBoard event file: TFRecords of the protobuf message `Event`.
//!
//! A record is its length (u64), the length's checksum (u32), the message and the message's checksum
//! (u32), all little-endian. For the messages and their field numbers see `event.proto` and
//! `summary.proto` in tensorboard/compat/proto. Only a handful of their fields is needed, so this module
//! encodes them by hand.

use crc::{CRC_32_ISCSI, Crc};
use std::{
    fs::{self, File},
    io::{self, Seek, SeekFrom, Write},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Prefix of an event file's name.
const PREFIX: &str = "events.out.tfevents.";

/// CRC-32C.
static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// A value with its tag.
pub type Scalar = (String, f64);

/// An event file open for writing. Each record is in the file when the call returns, so that
/// TensorBoard can read it during the run.
#[derive(Debug)]
pub struct EventFile {
    file: File,
    /// Length of the file's complete records, in bytes.
    written: u64,
}

impl EventFile {
    /// Creates a file in `dir`, which is created if missing. The new name sorts after the existing ones,
    /// because TensorBoard reads the files of a folder in order.
    ///
    /// Errors: when the folder or the file cannot be created or written.
    pub fn create(dir: &Path, now: SystemTime) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let mut seconds = unix(now).as_secs();
        for entry in fs::read_dir(dir)? {
            if let Some(taken) = entry?.file_name().to_str().and_then(begun) {
                seconds = seconds.max(taken.saturating_add(1));
            }
        }
        let path = dir.join(format!("{PREFIX}{seconds:010}.{}.{}", host(), std::process::id()));
        let file = File::options().write(true).create_new(true).open(&path)?;
        let mut events = Self { file, written: 0 };
        let mut event = Message::event(now, 0);
        event.bytes(3, b"brain.Event:2");
        events.record(&event).inspect_err(|_| {
            // Repeated tries on a full disk would leave many empty files.
            let _ = fs::remove_file(&path);
        })?;
        Ok(events)
    }

    /// Records that training continues with `step`: values of it and of later steps in this folder's
    /// files are void.
    ///
    /// Errors: when the file cannot be written.
    pub fn restart(&mut self, now: SystemTime, step: usize) -> io::Result<()> {
        const START: u64 = 1;
        let mut log = Message::default();
        log.varint(1, START);
        let mut event = Message::event(now, step);
        event.bytes(7, &log.0);
        self.record(&event)
    }

    /// Writes the values of a step. NaN and infinities are written unchanged.
    ///
    /// Errors: when the file cannot be written; it then holds no part of them.
    pub fn scalars(&mut self, now: SystemTime, step: usize, scalars: &[Scalar]) -> io::Result<()> {
        let mut summary = Message::default();
        for (tag, figure) in scalars {
            let mut value = Message::default();
            value.bytes(1, tag.as_bytes());
            value.float(2, *figure as f32);
            summary.bytes(1, &value.0);
        }
        let mut event = Message::event(now, step);
        event.bytes(5, &summary.0);
        self.record(&event)
    }

    fn record(&mut self, Message(message): &Message) -> io::Result<()> {
        let length = (message.len() as u64).to_le_bytes();
        let record = [
            &length[..],
            &checksum(&length).to_le_bytes(),
            message,
            &checksum(message).to_le_bytes(),
        ]
        .concat();
        // A failed write may have moved the file's position.
        let written = self
            .file
            .seek(SeekFrom::Start(self.written))
            .and_then(|_| self.file.write_all(&record))
            .inspect_err(|_| {
                // Leave no partial record to concurrent readers.
                let _ = self.file.set_len(self.written);
            });
        written.map(|()| self.written += record.len() as u64)
    }
}

/// Returns the seconds in the name of an event file.
fn begun(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.split('.').next()?.parse().ok()
}

/// Returns the host name, as a part of a file's name.
fn host() -> String {
    let name = sysinfo::System::host_name().filter(|name| !name.is_empty());
    let name = name.unwrap_or_else(|| "rsna-tui".into());
    name.chars().map(|c| if c.is_alphanumeric() || c == '.' { c } else { '-' }).collect()
}

fn unix(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// TFRecord's masked CRC-32C, which is safe to take the CRC of again.
fn checksum(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes).rotate_right(15).wrapping_add(0xA282_EAD8)
}

/// A protobuf message under construction: each field is its number and wire type, then its value.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    /// Starts an `Event` with its time and step.
    fn event(now: SystemTime, step: usize) -> Self {
        let mut event = Self::default();
        event.double(1, unix(now).as_secs_f64());
        event.varint(2, step as u64);
        event
    }

    /// Appends an integer. Leaves out 0, the default.
    fn varint(&mut self, field: u8, value: u64) {
        if value != 0 {
            self.key(field, 0);
            self.number(value);
        }
    }

    fn double(&mut self, field: u8, value: f64) {
        self.key(field, 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends a string or a nested message.
    fn bytes(&mut self, field: u8, value: &[u8]) {
        self.key(field, 2);
        self.number(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    fn float(&mut self, field: u8, value: f32) {
        self.key(field, 5);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends a field's key. `field`: 1 to 15, which take one byte.
    fn key(&mut self, field: u8, kind: u8) {
        self.0.push(field << 3 | kind);
    }

    /// Appends a varint: seven bits per byte, lowest first; the eighth bit marks that more follow.
    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    const NOW: Duration = Duration::from_millis(1_700_000_000_250);

    /// Output of tensorboard 2.21 (`RecordWriter` of `Event`s) at that time: the version, a START at step
    /// 301, and its values.
    const WRITTEN: &str = "1800000000000000a37f4b22\
        0900001040fc54d9411a0d627261696e2e4576656e743a32338d2fe9\
        100000000000000095fbfe18\
        0900001040fc54d94110ad023a020801cb79b93b\
        2b00000000000000861bc34b\
        0900001040fc54d94110ad022a1d0a110a0a747261696e2f6c6f7373150000003f\
        0a080a0178150000c07f3b68f25a";

    fn files(dir: &Path) -> Vec<PathBuf> {
        let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        files
    }

    #[test]
    fn the_bytes_are_those_of_tensorboards_own_writer() {
        let dir = tempfile::tempdir().unwrap();
        let (dir, now) = (dir.path().join("a/b"), UNIX_EPOCH + NOW);
        let mut events = EventFile::create(&dir, now).unwrap();
        events.restart(now, 301).unwrap();
        events.scalars(now, 301, &[("train/loss".into(), 0.5), ("x".into(), f64::NAN)]).unwrap();
        let [file] = &files(&dir)[..] else { panic!("one file") };
        let hex: String = fs::read(file).unwrap().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, WRITTEN);
    }

    #[test]
    fn a_later_file_sorts_behind_an_earlier_one_whatever_the_clock_says() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("events.out.tfevents.strange"), "").unwrap();
        let mut before = files(dir.path());
        for seconds in [1_700_000_000, 1_700_000_000, 1_600_000_000, 1_800_000_000] {
            let now = UNIX_EPOCH + Duration::from_secs(seconds);
            EventFile::create(dir.path(), now).unwrap();
            let after = files(dir.path());
            let new: Vec<_> = after.iter().filter(|file| !before.contains(file)).collect();
            let strange = |file: &&PathBuf| file.ends_with("events.out.tfevents.strange");
            let last = after.iter().rfind(|file| !strange(file));
            assert_eq!((new.len(), Some(new[0])), (1, last));
            before = after;
        }
    }

    #[test]
    fn checksums_are_those_of_the_format() {
        // RFC 3720, B.4.
        assert_eq!(CRC.checksum(&[0; 32]), 0x8A91_36AA);
        assert_eq!(checksum(&[0; 32]), 0x0FD7_FFFA);
    }

    #[test]
    fn numbers_take_seven_bits_a_byte() {
        for (value, bytes) in [
            (0, &[0][..]),
            (127, &[0x7F]),
            (128, &[0x80, 1]),
            (300, &[0xAC, 2]),
            (u64::MAX, &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1]),
        ] {
            let mut message = Message::default();
            message.number(value);
            assert_eq!(message.0, bytes, "{value}");
        }
    }
}
