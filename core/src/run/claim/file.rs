//! Files of claims.

use crate::bounded;
use crate::run::holder::{Holder, Life};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// Value of [`Record::format`].
pub(super) const FORMAT: &str = "rsna-tui claim 1";
/// Maximum size of a claim in bytes.
pub(super) const LONGEST: u64 = 64 << 10;
/// Maximum number of claims of a fold.
const MOST: u64 = 1 << 20;

/// The contents of a claim's file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`FORMAT`]
    pub format: String,
    /// The process that made the claim.
    pub holder: Holder,
    /// Unix time of the claim, by the holder's clock.
    pub claimed: f64,
    /// Unix time of its release, by the holder's clock; `None` while the holder trains, or if it died.
    #[serde(default)]
    pub released: Option<f64>,
    /// Why the claim before was taken over, if it was not released.
    #[serde(default)]
    pub took_over: Option<String>,
}

/// The newest claim of a fold.
#[derive(Debug, Clone, PartialEq)]
pub struct Newest {
    /// Its number.
    pub number: u64,
    /// Its contents; `None` if they cannot be read: it is being written, or damaged.
    pub record: Option<Record>,
    /// Time of the last touch, by the file server's clock.
    pub touched: Option<SystemTime>,
}

impl Newest {
    /// Reads the newest claim in the fold's folder `dir`; `None` if there has been none.
    pub fn read(dir: &Path) -> io::Result<Option<Self>> {
        let claims = folder(dir);
        let Some(number) = newest(&claims)? else { return Ok(None) };
        let path = file(&claims, number);
        let read = bounded::read(&path, LONGEST).ok();
        let record = read.and_then(|bytes| Record::of_bytes(&bytes));
        let touched = fs::metadata(&path).and_then(|found| found.modified()).ok();
        Ok(Some(Self { number, record, touched }))
    }

    /// The record, unless it is released.
    pub fn unreleased(&self) -> Option<&Record> {
        self.record.as_ref().filter(|record| record.released.is_none())
    }

    /// Whether a process may hold the fold: the claim is not released, and its holder is not known to be gone.
    pub fn is_held(&self) -> bool {
        match &self.record {
            Some(record) => {
                record.released.is_none() && !matches!(record.holder.life(), Life::Gone(_))
            }
            None => true,
        }
    }
}

impl Record {
    /// Parses a claim's file; `None` if it is no claim.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().filter(|record: &Self| record.format == FORMAT)
    }
}

/// The folder of a fold's claims.
pub(super) fn folder(dir: &Path) -> PathBuf {
    dir.join("claims")
}

pub(super) fn file(claims: &Path, number: u64) -> PathBuf {
    claims.join(format!("{number}.json"))
}

/// Number of the newest claim. Lists the folder: the absence of a file might be cached.
pub(super) fn newest(claims: &Path) -> io::Result<Option<u64>> {
    let entries = match fs::read_dir(claims) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    let mut newest = None;
    for entry in entries {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".json")?.parse().ok());
        newest = newest.max(number.filter(|number| *number <= MOST));
    }
    Ok(newest)
}

/// Makes a claim's file; false if it exists.
pub(super) fn make(path: &Path, record: &Record, holder: &Holder) -> io::Result<bool> {
    let mut bytes = serde_json::to_vec(record)?;
    bytes.push(b'\n');
    let temporary = path.with_file_name(format!(".{}", holder.tag()));
    let _ = fs::remove_file(&temporary);
    let mut file = File::create_new(&temporary)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    let linked = fs::hard_link(&temporary, path);
    let is_linked = linked.is_ok() || links(&temporary) > 1;
    let _ = fs::remove_file(&temporary);
    match linked {
        // A file server whose answer got lost says that the link exists: it was this one.
        _ if is_linked => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        // A file system without links.
        Err(_) => match File::create_new(path) {
            Ok(mut file) => {
                file.write_all(&bytes)?;
                file.sync_all()?;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        },
        Ok(()) => Ok(true),
    }
}

fn links(path: &Path) -> u64 {
    #[cfg(unix)]
    return fs::metadata(path).map_or(0, |found| std::os::unix::fs::MetadataExt::nlink(&found));
    #[cfg(not(unix))]
    {
        let _ = path;
        0
    }
}

/// Sets a file's time to the file server's.
pub(super) fn touch(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        Ok(utimensat(CWD, path, &times, AtFlags::empty())?)
    }
    #[cfg(not(unix))]
    {
        bounded::open_with(path, File::options().write(true))?.set_modified(SystemTime::now())
    }
}

/// Time since `touched` by the file server's clock.
pub(super) fn age(
    claims: &Path,
    touched: Option<SystemTime>,
    holder: &Holder,
) -> io::Result<Duration> {
    let Some(touched) = touched else { return Ok(Duration::ZERO) };
    let probe = claims.join(format!(".{}.now", holder.tag()));
    fs::write(&probe, b"")?;
    let now = touch(&probe).and_then(|()| fs::metadata(&probe)?.modified());
    let _ = fs::remove_file(&probe);
    Ok(now?.duration_since(touched).unwrap_or_default())
}

/// Milliseconds that this machine has run, including the time that it was suspended.
pub(super) fn awake() -> u64 {
    #[cfg(target_os = "linux")]
    {
        use rustix::time::{ClockId, clock_gettime};
        let now = clock_gettime(ClockId::Boottime);
        now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
    }
    #[cfg(not(target_os = "linux"))]
    {
        use std::sync::OnceLock;
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_millis() as u64
    }
}
