//! Printing that does not hold the process: a terminal may stop reading at any time (a stalled SSH
//! connection, Ctrl-S), and whoever writes to it then waits for as long as that lasts.

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

/// How long a terminal may take for a text.
const PATIENCE: Duration = Duration::from_millis(400);

/// Whether a text that does not come out within [`PATIENCE`] is left to itself.
static BOUNDED: AtomicBool = AtomicBool::new(false);
/// Since when the write of [`Watched`] that is going on has not come back.
static WRITING: Mutex<Option<Instant>> = Mutex::new(None);

/// From now on a text for a terminal that does not read is left out. For a process that handles
/// SIGTERM itself: before, the signal ends whoever waits in a write.
pub fn bound() {
    BOUNDED.store(true, Ordering::Relaxed);
}

/// Prints `text` to standard output.
///
/// Errors: it cannot be written; `TimedOut` where a terminal does not read.
pub fn out(text: &str) -> io::Result<()> {
    let text = text.to_string();
    let write = move || {
        let mut out = stdout();
        out.write_all(text.as_bytes()).and_then(|()| out.flush())
    };
    match BOUNDED.load(Ordering::Relaxed) && stdout().is_terminal() {
        true => within(PATIENCE, write),
        false => write(),
    }
}

/// Prints `text` to standard error. Where that fails nobody can be told.
pub fn err(text: &str) {
    match BOUNDED.load(Ordering::Relaxed) && stderr().is_terminal() {
        true => err_within(PATIENCE, text),
        false => drop(stderr().write_all(text.as_bytes())),
    }
}

/// Prints `text` to standard error, whatever that is, and does not wait for it.
pub fn err_aside(text: &str) {
    err_within(Duration::ZERO, text);
}

fn err_within(patience: Duration, text: &str) {
    let text = text.to_string();
    let _ = within(patience, move || stderr().write_all(text.as_bytes()));
}

/// Does `write` on a thread of its own, which is left behind after `patience`.
fn within(
    patience: Duration,
    write: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<()> {
    let (done, waits) = mpsc::channel();
    let write = move || drop(done.send(write()));
    thread::Builder::new().name("printing".into()).spawn(write)?;
    waits.recv_timeout(patience).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A writer whose writes another thread can see hanging, by [`hangs_for`].
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

/// How long a write of [`Watched`] has been waiting for its reader.
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
        let error = within(Duration::from_millis(20), hangs).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(within(Duration::from_secs(60), || Ok(())).is_ok());
    }
}
