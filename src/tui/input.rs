//! Waiting for the keyboard.

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
}

#[cfg(unix)]
impl Input {
    /// Standard input if it is a terminal, else the controlling terminal, as crossterm does.
    pub fn open() -> io::Result<Self> {
        use std::io::IsTerminal;
        let tty = match io::stdin().is_terminal() {
            true => None,
            false => Some(std::fs::File::options().read(true).write(true).open("/dev/tty")?),
        };
        Ok(Self { tty })
    }

    /// Waits for input, at most `timeout`.
    pub fn wait(&self, timeout: Duration) -> io::Result<Waited> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        use std::os::fd::AsFd;
        let stdin = io::stdin();
        let fd = self.tty.as_ref().map_or(stdin.as_fd(), AsFd::as_fd);
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
        let timeout =
            Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
        match poll(&mut fds, Some(&timeout)) {
            // A change of the window's size comes as a signal.
            Err(rustix::io::Errno::INTR) => return Ok(Waited::Fine),
            other => other?,
        };
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
    pub fn open() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Waits for input, at most `timeout`.
    pub fn wait(&self, timeout: Duration) -> io::Result<Waited> {
        crossterm::event::poll(timeout).map(|_| Waited::Fine)
    }
}
