//! Waiting for the keyboard, and for what else there is to do.

use super::wake::Waker;
use crossterm::event::Event;
use std::io;
use std::time::Duration;

/// What became of waiting.
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
    use crate::tui::{
        tty::{self, Tty},
        wait::wait_for,
    };
    use rustix::event::{PollFd, PollFlags};
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::time::Instant;

    /// Reads before other things are looked at: keys that never end must not starve the rest.
    const MOST_READS: usize = 16;

    /// The terminal that keys come from. No read waits: crossterm's reader waits for the end of
    /// every sequence, and for ever for one that was cut off.
    pub struct Input {
        tty: File,
        decoder: Decoder,
        waker: Waker,
    }

    impl Input {
        /// Standard input if it is a terminal, else the controlling terminal. `waker` ends a wait.
        ///
        /// Errors: there is no terminal to read from.
        pub fn open(waker: Waker) -> io::Result<Self> {
            use std::io::IsTerminal;
            let tty = match io::stdin().is_terminal() {
                // Where it cannot be opened anew, it is read only after `poll` has seen a byte.
                true => tty::reopened(io::stdin()).or_else(|_| tty::duplicate(io::stdin()))?,
                false => tty::controlling()?,
            };
            Ok(Self { tty, decoder: Decoder::new(Instant::now()), waker })
        }

        /// Waits for an event, a wake, or for room in `full`, at most `timeout` if there is one.
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
            if ready.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
                return Ok(Waited::Gone);
            }
            if ready.contains(PollFlags::IN) && self.read() == Waited::Gone {
                return Ok(Waited::Gone);
            }
            self.decoder.expire(Instant::now());
            Ok(Waited::Fine)
        }

        /// The oldest event that was not taken yet.
        pub fn next(&mut self) -> Option<Event> {
            self.decoder.next()
        }

        /// Takes in the bytes that are there.
        fn read(&mut self) -> Waited {
            let mut bytes = [0; 4096];
            for _ in 0..MOST_READS {
                match (&self.tty).read(&mut bytes) {
                    // A terminal in raw mode has no end but its own.
                    Ok(0) => return Waited::Gone,
                    Ok(n) => {
                        self.decoder.add(&bytes[..n], Instant::now());
                        if n < bytes.len() {
                            break;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => return Waited::Gone,
                }
            }
            Waited::Fine
        }
    }
}

/// The console.
#[cfg(not(unix))]
pub struct Input {}

#[cfg(not(unix))]
impl Input {
    /// Never an error.
    pub fn open(_: Waker) -> io::Result<Self> {
        Ok(Self {})
    }

    /// Waits for input, at most `timeout`, and not for long: nothing else ends it.
    pub fn wait(
        &mut self,
        timeout: Option<Duration>,
        _full: Option<&super::tty::Tty>,
    ) -> io::Result<Waited> {
        const TICK: Duration = Duration::from_millis(50);
        let timeout = timeout.map_or(TICK, |timeout| timeout.min(TICK));
        crossterm::event::poll(timeout).map(|_| Waited::Fine)
    }

    /// The oldest event that was not taken yet.
    pub fn next(&mut self) -> Option<Event> {
        let is_there = crossterm::event::poll(Duration::ZERO).unwrap_or(false);
        is_there.then(crossterm::event::read)?.ok()
    }
}
