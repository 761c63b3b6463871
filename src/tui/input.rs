//! Waits for keyboard input and other work.

use super::wake::Waker;
use crossterm::event::Event;
use std::io;
use std::time::Duration;

/// Outcome of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// There may be events to take.
    Fine,
    /// The terminal is gone.
    Gone,
}

#[cfg(unix)]
pub use unix::Input;

#[cfg(unix)]
mod unix {
    use super::*;
    use crate::tui::decode::Decoder;
    use crate::tui::tty::{self, Tty};
    use crate::tui::wait::{read_available, wait_for};
    use rustix::event::{PollFd, PollFlags};
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::time::Instant;

    /// Maximum number of reads per turn, so that endless input cannot starve other work.
    const MOST_READS: usize = 16;

    /// The terminal that keys come from. Reads never block; crossterm's reader would wait for the
    /// end of every sequence, forever if it was cut off.
    pub struct Input {
        tty: File,
        decoder: Decoder,
        waker: Waker,
    }

    impl Input {
        /// Opens standard input if it is a terminal, else the controlling terminal. `waker` ends a
        /// wait.
        ///
        /// Errors: when there is no terminal to read from.
        pub fn open(waker: Waker) -> io::Result<Self> {
            use std::io::IsTerminal;
            let tty = match io::stdin().is_terminal() {
                // If it cannot be reopened, it is read only after `poll` has reported input.
                true => tty::reopened(io::stdin()).or_else(|_| tty::duplicate(io::stdin()))?,
                false => tty::controlling()?,
            };
            Ok(Self { tty, decoder: Decoder::new(Instant::now()), waker })
        }

        /// Waits for an event, a wake-up or room in `full`, for at most `timeout` if given.
        pub fn wait(
            &mut self,
            timeout: Option<Duration>,
            full: Option<&Tty>,
        ) -> io::Result<Waited> {
            let now = Instant::now();
            let due = match self.decoder.is_ready() {
                true => Some(Duration::ZERO),
                false => self.decoder.deadline().map(|due| due.saturating_duration_since(now)),
            };
            let timeout = timeout.into_iter().chain(due).min();
            let mut fds: Vec<PollFd<'_>> = [self.tty.as_fd(), self.waker.fd()]
                .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
                .into();
            fds.extend(full.map(|tty| PollFd::new(tty, PollFlags::OUT)));
            wait_for(&mut fds, timeout)?;
            let (ready, woken) = (fds[0].revents(), !fds[1].revents().is_empty());
            if woken {
                self.waker.settle();
            }
            // A terminal in raw mode has no end of file, so one that has ended is gone.
            let Self { tty, decoder, .. } = self;
            let read = |bytes: &[u8]| decoder.add(bytes, Instant::now());
            if ready.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
                || ready.contains(PollFlags::IN) && read_available(tty, MOST_READS, read)
            {
                return Ok(Waited::Gone);
            }
            self.decoder.expire(Instant::now());
            Ok(Waited::Fine)
        }

        /// Removes and returns the oldest event.
        pub fn next(&mut self) -> Option<Event> {
            self.decoder.next()
        }
    }
}

/// Input from the console.
#[cfg(not(unix))]
pub struct Input {}

#[cfg(not(unix))]
impl Input {
    /// Opens the console; never fails.
    pub fn open(_: Waker) -> io::Result<Self> {
        Ok(Self {})
    }

    /// Waits for input, for at most `timeout` and only briefly, because nothing else ends the wait.
    pub fn wait(
        &mut self,
        timeout: Option<Duration>,
        _full: Option<&super::tty::Tty>,
    ) -> io::Result<Waited> {
        const TICK: Duration = Duration::from_millis(50);
        let timeout = timeout.map_or(TICK, |timeout| timeout.min(TICK));
        crossterm::event::poll(timeout).map(|_| Waited::Fine)
    }

    /// Removes and returns the oldest event.
    pub fn next(&mut self) -> Option<Event> {
        let is_there = crossterm::event::poll(Duration::ZERO).unwrap_or(false);
        is_there.then(crossterm::event::read)?.ok()
    }
}
