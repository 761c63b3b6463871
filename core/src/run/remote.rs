//! Lets other hosts see a file that grows: a network file system may keep what is written here for half a
//! minute before its server has it.

use crate::bounded;
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Time between two flushes of what nobody waits for.
const EVERY: Duration = Duration::from_secs(1);

/// A file that this process appends to.
#[derive(Debug)]
pub(super) struct Shared {
    /// `None`: the file is on no network file system.
    path: Option<PathBuf>,
    /// Length that the server knows.
    flushed: u64,
    at: Instant,
}

impl Shared {
    pub(super) fn new(path: &Path) -> Self {
        let path = path.parent().is_some_and(is_remote).then(|| path.to_path_buf());
        Self { path, flushed: 0, at: Instant::now() }
    }

    /// Sends what was added to the server, once a second, or at once if somebody `waits` for it. Who writes
    /// the file does not wait meanwhile: it is flushed through another handle.
    pub(super) fn flush(&mut self, waits: bool) {
        let Some(path) = &self.path else { return };
        if !waits && self.at.elapsed() < EVERY {
            return;
        }
        let Ok(length) = fs::metadata(path).map(|found| found.len()) else { return };
        if length != self.flushed && bounded::open(path).and_then(|file| file.sync_data()).is_ok() {
            (self.flushed, self.at) = (length, Instant::now());
        }
    }
}

#[cfg(target_os = "linux")]
fn is_remote(path: &Path) -> bool {
    /// NFS, SMB, CIFS, FUSE, Lustre, GPFS, Ceph, BeeGFS, AFS, 9P, as in statfs(2).
    const KINDS: [u32; 10] = [
        0x6969,
        0xFE53_4D42,
        0xFF53_4D42,
        0x6573_5546,
        0x0BD0_0BD0,
        0x4750_4653,
        0x00C3_6400,
        0x1983_0326,
        0x5346_414F,
        0x0102_1997,
    ];
    rustix::fs::statfs(path).is_ok_and(|found| KINDS.contains(&(found.f_type as u32)))
}

#[cfg(not(target_os = "linux"))]
fn is_remote(_: &Path) -> bool {
    true
}
