//! Prints without blocking the process: a terminal may stop reading at any time (a stalled SSH
//! connection, Ctrl-S), and a write to it then blocks until it reads again.

use std::{
    io::{self, IsTerminal, Write, stderr, stdout},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// Longest time without room for a text in the terminal.
const PATIENCE: Duration = Duration::from_millis(400);
/// Longest time for a text on a busy machine whose terminal has room.
const LONGEST: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(20);

/// Whether to abandon a text that the terminal does not take within [`PATIENCE`].
static BOUNDED: AtomicBool = AtomicBool::new(false);
/// Start of the current write of [`Watched`].
static WRITING: Mutex<Option<Instant>> = Mutex::new(None);

/// From now on, abandons text for a terminal that does not read. For a process that handles SIGTERM
/// itself: without a handler, the signal would end a process blocked in a write.
pub fn bound() {
    BOUNDED.store(true, Ordering::Relaxed);
}

/// Prints `text` to standard output.
///
/// Errors: when it cannot be written; `TimedOut` if a terminal does not read.
pub fn out(text: &str) -> io::Result<()> {
    let text = text.to_string();
    let write = move || {
        let mut out = stdout();
        out.write_all(text.as_bytes()).and_then(|()| out.flush())
    };
    match BOUNDED.load(Ordering::Relaxed) && stdout().is_terminal() {
        true => within(write, || has_room(&stdout())),
        false => write(),
    }
}

/// Prints `text` to standard error. Ignores errors, because there is nowhere to report them. Does not
/// wait for a full pipe that nobody reads either.
pub fn err(text: &str) {
    let bounded = match stderr().is_terminal() {
        true => BOUNDED.load(Ordering::Relaxed),
        false => cfg!(unix) && !has_room(&stderr()),
    };
    match bounded {
        true => drop(within(err_write(text), || has_room(&stderr()))),
        false => drop(stderr().write_all(text.as_bytes())),
    }
}

/// Prints `text` to standard error of any kind, without waiting.
pub fn err_aside(text: &str) {
    let _ = begin(err_write(text));
}

fn err_write(text: &str) -> impl FnOnce() -> io::Result<()> + Send + 'static {
    let text = text.to_string();
    move || stderr().write_all(text.as_bytes())
}

/// Runs `write` on its own thread, so that the caller need not wait forever.
fn begin(
    write: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<mpsc::Receiver<io::Result<()>>> {
    let (done, waits) = mpsc::channel();
    let write = move || drop(done.send(write()));
    thread::Builder::new().name("printing".into()).spawn(write)?;
    Ok(waits)
}

/// Runs `write`, and abandons it when there was no room for [`PATIENCE`].
fn within(
    write: impl FnOnce() -> io::Result<()> + Send + 'static,
    has_room: impl Fn() -> bool,
) -> io::Result<()> {
    let waits = begin(write)?;
    let (begun, mut room) = (Instant::now(), Instant::now());
    while room.elapsed() < PATIENCE && begun.elapsed() < LONGEST {
        match waits.recv_timeout(TICK) {
            Ok(written) => return written,
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) if has_room() => room = Instant::now(),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Whether the terminal can take more bytes now.
#[cfg(unix)]
fn has_room(terminal: &impl std::os::fd::AsFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(terminal, PollFlags::OUT)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&at_once)).is_ok() && fds[0].revents().contains(PollFlags::OUT)
}

/// Assumes no room, because it is unknown here.
#[cfg(not(unix))]
fn has_room<T>(_: &T) -> bool {
    false
}

/// A writer whose blocked writes another thread can detect by [`hangs_for`].
pub struct Watched<W>(pub W);

impl<W: Write> Write for Watched<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        watched(|| self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        watched(|| self.0.flush())
    }
}

fn watched<T>(write: impl FnOnce() -> T) -> T {
    *writing() = Some(Instant::now());
    let result = write();
    *writing() = None;
    result
}

/// Returns how long the current write of [`Watched`] has been blocked.
pub fn hangs_for() -> Duration {
    writing().map_or(Duration::ZERO, |since| since.elapsed())
}

fn writing() -> std::sync::MutexGuard<'static, Option<Instant>> {
    WRITING.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_never_ends_is_left_behind() {
        let (_never, waits) = mpsc::channel::<()>();
        let hangs = move || waits.recv().map_err(io::Error::other);
        let error = within(hangs, || false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(within(|| Ok(()), || true).is_ok());
    }
}
