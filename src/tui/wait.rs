//! Waits for file descriptors.

use rustix::event::{PollFd, Timespec, poll};
use std::{io, time::Duration};

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

/// Whether `fd` becomes readable within `timeout`.
#[cfg(test)]
pub fn is_readable(fd: std::os::fd::BorrowedFd<'_>, timeout: Duration) -> io::Result<bool> {
    use rustix::event::PollFlags;
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    wait_for(&mut fds, Some(timeout))?;
    Ok(fds[0].revents().contains(PollFlags::IN))
}
