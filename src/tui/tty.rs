//! The terminal as a file with non-blocking output.

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

    /// Size of a terminal that does not know its own, such as a serial line.
    const USUAL: Size = Size { width: 80, height: 24 };
    /// On leaving, a terminal that has accepted nothing for this long gets no more output.
    const GRACE: Duration = Duration::from_millis(300);
    /// Maximum time for leaving, however slowly the terminal reads.
    const LONGEST_LEAVE: Duration = Duration::from_secs(2);
    const TICK: Duration = Duration::from_millis(10);
    /// Ends any sequence that was cut off.
    const STRING_TERMINATOR: &[u8] = b"\x1b\\";

    /// Opens the terminal of `fd` once more, for non-blocking reads and writes that do not affect
    /// other programs with the same file, such as the shell.
    ///
    /// Errors: when it has no name here, or belongs to another user.
    pub fn reopened(fd: impl AsFd) -> io::Result<File> {
        ttyname(&fd, Vec::new()).and_then(|name| open_terminal(&name)).or_else(|error| {
            // Only the controlling terminal can be asked for its foreground group.
            match tcgetpgrp(&fd) {
                Ok(_) => controlling(),
                Err(_) => Err(error.into()),
            }
        })
    }

    /// Opens the controlling terminal like [`reopened`].
    ///
    /// Errors: when there is none.
    pub fn controlling() -> io::Result<File> {
        Ok(open_terminal(c"/dev/tty")?)
    }

    fn open_terminal(name: &CStr) -> rustix::io::Result<File> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        open(name, flags, Mode::empty()).map(File::from)
    }

    /// Another descriptor of the same file, which blocks if that does.
    pub fn duplicate(fd: impl AsFd) -> io::Result<File> {
        Ok(fd.as_fd().try_clone_to_owned()?.into())
    }

    /// The terminal to draw on, independent of redirected standard output. Output that it does not
    /// accept immediately is kept until [`Tty::push`].
    #[derive(Debug, Clone)]
    pub struct Tty {
        file: Arc<File>,
        unsent: Arc<Mutex<Unsent>>,
    }

    #[derive(Debug, Default)]
    struct Unsent {
        bytes: Vec<u8>,
        /// Number of bytes sent.
        sent: usize,
        /// Since when the terminal has accepted nothing.
        since: Option<Instant>,
    }

    impl Unsent {
        /// Writes what the terminal accepts.
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
        /// Opens the terminal of standard output.
        ///
        /// Errors: when there are no file descriptors left.
        pub fn open() -> io::Result<Self> {
            // If it cannot be reopened, its writes block; code that waits for this process detects
            // that by `print::hangs_for`.
            let file = reopened(io::stdout()).or_else(|_| duplicate(io::stdout()))?;
            Ok(Self { file: Arc::new(file), unsent: Arc::default() })
        }

        /// Whether output is waiting, so that drawing a frame now would only queue it.
        pub fn is_behind(&self) -> bool {
            !self.unsent().bytes.is_empty()
        }

        /// How long the terminal has accepted none of the waiting output.
        pub fn silence(&self) -> Duration {
            self.unsent().silence()
        }

        /// Sends what the terminal accepts now.
        ///
        /// Errors: when it is gone.
        pub fn push(&self) -> io::Result<()> {
            self.unsent().push(&self.file)
        }

        /// Sends the waiting output and then `last`, if the terminal reads. Otherwise discards the
        /// unread output to make room for `last`.
        pub fn leave(&self, last: &[u8]) {
            let begun = Instant::now();
            let Some(mut unsent) = self.unsent_within(GRACE) else {
                // Another thread is blocked in a write.
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
        /// Uses the terminal's own file, because without /dev/tty crossterm would use standard
        /// output, which is a pipe now.
        fn size(&self) -> io::Result<Size> {
            let size = rustix::termios::tcgetwinsize(&self.file)?;
            Ok(match (size.ws_col, size.ws_row) {
                (0, _) | (_, 0) => USUAL,
                (width, height) => Size { width, height },
            })
        }
    }
}

/// Output to the console.
#[cfg(not(unix))]
#[derive(Debug, Clone)]
pub struct Tty {}

#[cfg(not(unix))]
impl Tty {
    /// Opens the console; never fails.
    pub fn open() -> std::io::Result<Self> {
        Ok(Self {})
    }

    /// Always false, because writes block.
    pub fn is_behind(&self) -> bool {
        false
    }

    /// Always zero, because writes block.
    pub fn silence(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }

    /// Does nothing, because writes block.
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
