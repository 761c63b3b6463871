//! A TensorBoard event file: TFRecords of the protobuf message `Event`.
//!
//! A record is its length (u64), the length's checksum (u32), the message and the message's checksum
//! (u32), all little-endian.

use super::proto::{Event, SessionLog, Summary, Value};
use crc::{CRC_32_ISCSI, Crc};
use prost::Message;
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
        let file_version = Some("brain.Event:2".into());
        events.record(&Event { file_version, ..event(now, 0) }).inspect_err(|_| {
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
        const START: i32 = 1;
        let session_log = Some(SessionLog { status: START });
        self.record(&Event { session_log, ..event(now, step) })
    }

    /// Writes the values of a step. NaN and infinities are written unchanged.
    ///
    /// Errors: when the file cannot be written; it then holds no part of them.
    pub fn scalars(&mut self, now: SystemTime, step: usize, scalars: &[Scalar]) -> io::Result<()> {
        let value =
            |(tag, figure): &Scalar| Value { tag: tag.clone(), simple_value: Some(*figure as f32) };
        let summary = Some(Summary { value: scalars.iter().map(value).collect() });
        self.record(&Event { summary, ..event(now, step) })
    }

    fn record(&mut self, event: &Event) -> io::Result<()> {
        let message = event.encode_to_vec();
        let length = (message.len() as u64).to_le_bytes();
        let record = [
            &length[..],
            &checksum(&length).to_le_bytes(),
            &message,
            &checksum(&message).to_le_bytes(),
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

fn event(now: SystemTime, step: usize) -> Event {
    Event { wall_time: unix(now).as_secs_f64(), step: step as i64, ..Event::default() }
}

fn unix(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// TFRecord's masked CRC-32C, which is safe to take the CRC of again.
fn checksum(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes).rotate_right(15).wrapping_add(0xA282_EAD8)
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
}
