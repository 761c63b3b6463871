//! Ends the main loop's wait on signals, events of the run and captured output.

use crate::run::event::Stamped;
use crossbeam_channel::{Receiver, Select, Sender, bounded};
use std::io;
#[cfg(unix)]
use std::{
    io::{Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::Arc,
};

/// Ends the main loop's wait from any thread. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Waker {
    #[cfg(unix)]
    ends: Arc<(UnixStream, UnixStream)>,
}

#[cfg(unix)]
impl Waker {
    /// Errors: when there are no file descriptors left.
    pub fn new() -> io::Result<Self> {
        let ends = UnixStream::pair()?;
        ends.0.set_nonblocking(true)?;
        ends.1.set_nonblocking(true)?;
        Ok(Self { ends: Arc::new(ends) })
    }

    /// Ends the current wait, or the next one.
    pub fn wake(&self) {
        // If the socket is full, it wakes the loop as well.
        let _ = (&self.ends.0).write(&[0]);
    }

    /// Discards the wake-ups so far.
    pub(super) fn settle(&self) {
        let mut bytes = [0; 64];
        while matches!((&self.ends.1).read(&mut bytes), Ok(1..)) {}
    }

    /// File descriptor that is readable after a wake-up.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.ends.1.as_fd()
    }
}

/// On other platforms the loop polls.
#[cfg(not(unix))]
impl Waker {
    /// Creates a waker; never fails.
    pub fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Does nothing, because the loop polls.
    pub fn wake(&self) {}
}

/// Wakes the loop when events arrive, without receiving them, so that events left over when the
/// loop ends remain for the code that continues with the run.
pub struct Watch {
    ask: Sender<()>,
}

impl Watch {
    /// Watches `events` on a thread that ends when this is dropped.
    ///
    /// Errors: when the thread cannot be started.
    pub fn over(events: Receiver<Stamped>, waker: Waker) -> io::Result<Self> {
        let (ask, asked) = bounded(1);
        let watch = move || {
            while asked.recv().is_ok() {
                let mut either = Select::new();
                let event = either.recv(&events);
                either.recv(&asked);
                if either.ready() == event {
                    waker.wake();
                }
            }
        };
        std::thread::Builder::new().name("watch".into()).spawn(watch)?;
        Ok(Self { ask })
    }

    /// Requests a wake-up at the next event, which may have arrived already, or at the end of the
    /// channel.
    pub fn ask(&self) {
        // If the channel is full, a wake-up was requested already.
        let _ = self.ask.try_send(());
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::run::channel::channel;
    use crate::run::event::Level;
    use crate::tui::wait::is_readable;
    use std::time::Duration;

    #[test]
    fn an_event_wakes_once_for_each_time_it_is_asked() {
        const LONG: Duration = Duration::from_secs(20);
        const SHORT: Duration = Duration::from_millis(50);
        let waker = Waker::new().unwrap();
        let (events, _commands, line) = channel(None, 0.0);
        let watch = Watch::over(line.events.clone(), waker.clone()).unwrap();
        events.log(Level::Info, "nobody asked");
        assert!(!is_readable(waker.fd(), SHORT).unwrap());
        watch.ask();
        assert!(is_readable(waker.fd(), LONG).unwrap());
        waker.settle();
        assert!(!is_readable(waker.fd(), SHORT).unwrap());
        assert_eq!(line.events.len(), 1, "it is still to be heard");
        line.events.recv().unwrap();
        watch.ask();
        watch.ask();
        assert!(!is_readable(waker.fd(), SHORT).unwrap());
        drop(events);
        assert!(is_readable(waker.fd(), LONG).unwrap(), "the end wakes too");
    }
}
