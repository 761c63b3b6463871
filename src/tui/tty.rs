//! The terminal as a file. Nothing here waits for a terminal that does not read.

#[cfg(not(unix))]
use super::backend::Device;
#[cfg(unix)]
pub use unix::{Tty, controlling, duplicate, reopened};

#[cfg(unix)]
mod unix {
    use crate::print::Watched;
    use crate::tui::backend::Device;
    use crate::tui::wait::wait_for;
    use ratatui::layout::Size;
    use rustix::event::{PollFd, PollFlags};
    use rustix::fs::{Mode, OFlags, open};
    use rustix::termios::{QueueSelector, tcflush, tcgetpgrp, ttyname};
    use std::ffi::CStr;
    use std::fs::File;
    use std::io::{self, Write};
    use std::os::fd::{AsFd, BorrowedFd};
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
    use std::time::{Duration, Instant};

    /// A terminal that does not know its size, as a serial line, has this one.
    const USUAL: Size = Size { width: 80, height: 24 };
    /// A terminal that has taken nothing for so long gets no more when it is left.
    const GRACE: Duration = Duration::from_millis(300);
    /// Leaving takes no longer, however slowly the terminal reads.
    const LONGEST_LEAVE: Duration = Duration::from_secs(2);
    const TICK: Duration = Duration::from_millis(10);
    /// Ends whatever sequence was cut off.
    const STRING_TERMINATOR: &[u8] = b"\x1b\\";

    /// The terminal that `fd` is, opened once more: its reads and writes do not wait, and those of
    /// other programs that were given the same file (the shell's) go on doing so.
    ///
    /// Errors: it has no name here, or is another user's.
    pub fn reopened(fd: impl AsFd) -> io::Result<File> {
        ttyname(&fd, Vec::new()).and_then(|name| open_terminal(&name)).or_else(|error| {
            // Only the controlling terminal has a foreground group that one may ask for.
            match tcgetpgrp(&fd) {
                Ok(_) => controlling(),
                Err(_) => Err(error.into()),
            }
        })
    }

    /// The controlling terminal, opened as by [`reopened`].
    ///
    /// Errors: there is none.
    pub fn controlling() -> io::Result<File> {
        Ok(open_terminal(c"/dev/tty")?)
    }

    fn open_terminal(name: &CStr) -> rustix::io::Result<File> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        open(name, flags, Mode::empty()).map(File::from)
    }

    /// Another descriptor of the same file, which waits if that does.
    pub fn duplicate(fd: impl AsFd) -> io::Result<File> {
        Ok(fd.as_fd().try_clone_to_owned()?.into())
    }

    /// The terminal to draw on, whatever standard output is meanwhile. What it does not take at
    /// once is kept until [`Tty::push`].
    #[derive(Debug, Clone)]
    pub struct Tty {
        file: Arc<File>,
        unsent: Arc<Mutex<Unsent>>,
    }

    #[derive(Debug, Default)]
    struct Unsent {
        bytes: Vec<u8>,
        /// Bytes of these that are out.
        sent: usize,
        /// Since when the terminal has taken nothing.
        since: Option<Instant>,
    }

    impl Unsent {
        /// Writes what the terminal takes.
        fn push(&mut self, file: &File) -> io::Result<()> {
            while self.sent < self.bytes.len() {
                match Watched(file).write(&self.bytes[self.sent..]) {
                    Ok(n) => (self.sent, self.since) = (self.sent + n, None),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.since.get_or_insert_with(Instant::now);
                        return Ok(());
                    }
                    Err(error) => return Err(error),
                }
            }
            *self = Self::default();
            Ok(())
        }

        fn silence(&self) -> Duration {
            self.since.map_or(Duration::ZERO, |since| since.elapsed())
        }
    }

    impl Tty {
        /// The terminal that standard output is.
        ///
        /// Errors: there are no file descriptors left.
        pub fn open() -> io::Result<Self> {
            // One that cannot be opened anew waits in its writes; whoever waits for this process
            // sees that by `print::hangs_for`.
            let file = reopened(io::stdout()).or_else(|_| duplicate(io::stdout()))?;
            Ok(Self { file: Arc::new(file), unsent: Arc::default() })
        }

        /// Whether there is more to send: a frame drawn now would only wait.
        pub fn is_behind(&self) -> bool {
            !self.unsent().bytes.is_empty()
        }

        /// How long the terminal has taken nothing of what there is to send.
        pub fn silence(&self) -> Duration {
            self.unsent().silence()
        }

        /// Sends what the terminal takes now.
        ///
        /// Errors: it is gone.
        pub fn push(&self) -> io::Result<()> {
            self.unsent().push(&self.file)
        }

        /// Sends the rest and then `last`, if the terminal reads. If it does not, what it has not
        /// read is thrown away to make room for `last`.
        pub fn leave(&self, last: &[u8]) {
            let begun = Instant::now();
            let Some(mut unsent) = self.unsent_within(GRACE) else {
                // Another thread waits in a write.
                let _ = tcflush(&self.file, QueueSelector::OFlush);
                return;
            };
            unsent.bytes.extend_from_slice(last);
            while unsent.push(&self.file).is_ok() && !unsent.bytes.is_empty() {
                if unsent.silence() >= GRACE || begun.elapsed() >= LONGEST_LEAVE {
                    let _ = tcflush(&self.file, QueueSelector::OFlush);
                    let bytes = [STRING_TERMINATOR, last].concat();
                    *unsent = Unsent { bytes, ..Unsent::default() };
                    let _ = unsent.push(&self.file);
                    break;
                }
                let mut room = [PollFd::new(&self.file, PollFlags::OUT)];
                if wait_for(&mut room, Some(TICK)).is_err() {
                    break;
                }
            }
            *unsent = Unsent::default();
        }

        fn unsent(&self) -> MutexGuard<'_, Unsent> {
            self.unsent.lock().unwrap_or_else(PoisonError::into_inner)
        }

        fn unsent_within(&self, patience: Duration) -> Option<MutexGuard<'_, Unsent>> {
            let begun = Instant::now();
            loop {
                match self.unsent.try_lock() {
                    Ok(unsent) => return Some(unsent),
                    Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                    Err(TryLockError::WouldBlock) if begun.elapsed() >= patience => return None,
                    Err(TryLockError::WouldBlock) => std::thread::sleep(TICK),
                }
            }
        }
    }

    impl AsFd for Tty {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.file.as_fd()
        }
    }

    impl Write for Tty {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.unsent().bytes.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            self.push()
        }
    }

    impl Device for Tty {
        /// Asked of the terminal's own file: crossterm asks standard output where there is no
        /// /dev/tty, and that is a pipe now.
        fn size(&self) -> io::Result<Size> {
            let size = rustix::termios::tcgetwinsize(&self.file)?;
            Ok(match (size.ws_col, size.ws_row) {
                (0, _) | (_, 0) => USUAL,
                (width, height) => Size { width, height },
            })
        }
    }
}

/// The console.
#[cfg(not(unix))]
#[derive(Debug, Clone)]
pub struct Tty {}

#[cfg(not(unix))]
impl Tty {
    /// Never an error.
    pub fn open() -> std::io::Result<Self> {
        Ok(Self {})
    }

    /// Its writes wait.
    pub fn is_behind(&self) -> bool {
        false
    }

    /// Its writes wait.
    pub fn silence(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }

    /// Its writes wait.
    pub fn push(&self) -> std::io::Result<()> {
        Ok(())
    }

    /// Sends `last`.
    pub fn leave(&self, last: &[u8]) {
        use std::io::Write;
        let _ = std::io::stdout().write_all(last).and_then(|()| std::io::stdout().flush());
    }
}

#[cfg(not(unix))]
impl std::io::Write for Tty {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        std::io::stdout().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stdout().flush()
    }
}

#[cfg(not(unix))]
impl Device for Tty {
    fn size(&self) -> std::io::Result<ratatui::layout::Size> {
        crossterm::terminal::size().map(ratatui::layout::Size::from)
    }
}
