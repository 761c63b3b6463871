//! Waits for file descriptors.

use rustix::event::{PollFd, Timespec, poll};
use std::io::{self, Read};
use std::time::Duration;

/// Waits for the events requested in `fds`, for at most `timeout` if given; a signal ends the wait
/// too.
pub fn wait_for(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> io::Result<()> {
    let timeout = timeout.map(|t| Timespec {
        tv_sec: t.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: t.subsec_nanos().into(),
    });
    match poll(fds, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Reads what is there, in at most `turns` reads, so that endless input cannot starve other work.
/// Returns whether the other end is gone.
pub fn read_available(mut from: impl Read, turns: usize, mut take: impl FnMut(&[u8])) -> bool {
    let mut bytes = [0; 1 << 16];
    for _ in 0..turns {
        match from.read(&mut bytes) {
            Ok(0) => return true,
            Ok(n) => {
                take(&bytes[..n]);
                // The next read of a terminal that could not be reopened would wait.
                if n < bytes.len() {
                    return false;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
        }
    }
    false
}

/// Whether `fd` becomes readable within `timeout`.
#[cfg(test)]
pub fn is_readable(fd: std::os::fd::BorrowedFd<'_>, timeout: Duration) -> io::Result<bool> {
    use rustix::event::PollFlags;
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    wait_for(&mut fds, Some(timeout))?;
    Ok(fds[0].revents().contains(PollFlags::IN))
}
