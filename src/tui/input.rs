//! Waiting for the keyboard, and for what else there is to do.

use super::wake::Waker;
use std::io;
use std::time::Duration;

/// What became of waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// There may be input; crossterm can be asked.
    Fine,
    /// The terminal is gone, and crossterm must not be asked any more: it reads a closed terminal
    /// in an endless loop.
    Gone,
}

/// The terminal that keys come from.
pub struct Input {
    #[cfg(unix)]
    tty: Option<std::fs::File>,
    #[cfg(unix)]
    waker: Waker,
}

#[cfg(unix)]
pub use unix::wait_for;

#[cfg(unix)]
mod unix {
    use rustix::event::{PollFd, Timespec, poll};
    use std::{io, time::Duration};

    /// Waits for what `fds` ask for, at most `timeout` if there is one; a signal ends it too.
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
}

/// Whether `fd` can be read within `timeout`.
#[cfg(all(test, unix))]
pub fn is_readable(fd: std::os::fd::BorrowedFd<'_>, timeout: Duration) -> io::Result<bool> {
    use rustix::event::{PollFd, PollFlags};
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    wait_for(&mut fds, Some(timeout))?;
    Ok(fds[0].revents().contains(PollFlags::IN))
}

#[cfg(unix)]
impl Input {
    /// Standard input if it is a terminal, else the controlling terminal, as crossterm does.
    /// `waker` ends a wait.
    pub fn open(waker: Waker) -> io::Result<Self> {
        use std::io::IsTerminal;
        let tty = match io::stdin().is_terminal() {
            true => None,
            false => Some(std::fs::File::options().read(true).write(true).open("/dev/tty")?),
        };
        Ok(Self { tty, waker })
    }

    /// Waits for input or a wake, at most `timeout` if there is one.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<Waited> {
        use rustix::event::{PollFd, PollFlags};
        use std::os::fd::AsFd;
        let stdin = io::stdin();
        let tty = self.tty.as_ref().map_or(stdin.as_fd(), AsFd::as_fd);
        let mut fds = [tty, self.waker.fd()].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        wait_for(&mut fds, timeout)?;
        if !fds[1].revents().is_empty() {
            self.waker.settle();
        }
        let closed = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        match fds[0].revents().intersects(closed) {
            true => Ok(Waited::Gone),
            false => Ok(Waited::Fine),
        }
    }
}

#[cfg(not(unix))]
impl Input {
    /// The console.
    pub fn open(_: Waker) -> io::Result<Self> {
        Ok(Self {})
    }

    /// Waits for input, at most `timeout`, and not for long: nothing else ends it.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<Waited> {
        const TICK: Duration = Duration::from_millis(50);
        let timeout = timeout.map_or(TICK, |timeout| timeout.min(TICK));
        crossterm::event::poll(timeout).map(|_| Waited::Fine)
    }
}
