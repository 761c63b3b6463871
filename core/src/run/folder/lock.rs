//! Locks of runs that one process trains.

use super::Error;
use crate::bounded;
use std::{fs::File, io::Write, path::Path, sync::Arc};

/// Most bytes of a PID and a line end.
const LONGEST_PID: u64 = 32;
/// Tries to take the lock: a process that only checks it holds it for a moment.
const LOCK_TRIES: usize = 5;

/// Locks a file for this process until it is closed; false if another process holds the lock at each of
/// `tries`. Does without a lock where the file system has none.
pub(crate) fn try_lock(file: &File, tries: usize) -> bool {
    #[cfg(unix)]
    return (0..tries).any(|n| {
        use rustix::fs::{FlockOperation::NonBlockingLockExclusive, flock};
        if n > 0 {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        flock(file, NonBlockingLockExclusive) != Err(rustix::io::Errno::WOULDBLOCK)
    });
    #[cfg(not(unix))]
    {
        let _ = (file, tries);
        true
    }
}

/// Locks the run for this process alone; without `take`, only tests the lock and leaves the file
/// unchanged.
pub(super) fn lock(path: &Path, take: bool) -> Result<Arc<File>, Error> {
    let file = path.join("lock");
    let failed = |source| Error::Io { path: file.clone(), source };
    let mut options = File::options();
    options.read(true).write(take).create(take).truncate(false);
    let mut lock = bounded::open_with(&file, &mut options).map_err(failed)?;
    if !try_lock(&lock, if take { LOCK_TRIES } else { 1 }) {
        let pid = bounded::read_text(&file, LONGEST_PID).ok().map(|pid| pid.trim().to_string());
        let pid = pid.filter(|pid| !pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit()));
        return Err(Error::InUse { path: path.into(), pid });
    }
    if take {
        let written = lock
            .set_len(0)
            .and_then(|()| lock.write_all(format!("{}\n", std::process::id()).as_bytes()));
        written.map_err(failed)?;
    }
    Ok(lock.into())
}
