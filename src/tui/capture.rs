//! Standard output and standard error while the screen is up: pipes, so that what a library or a
//! driver prints is a line of the log and not a blot on the screen. Whatever happens to the
//! screen, the pipes are read, or else whoever prints would wait.

#[cfg(unix)]
pub use unix::{begin, end, take};

#[cfg(unix)]
mod unix {
    use crate::print;
    use crate::tui::stray::Lines;
    use crate::tui::wait::wait_for;
    use crate::tui::wake::Waker;
    use rustix::event::{PollFd, PollFlags};
    use rustix::fs::{OFlags, fcntl_setfl, fstat};
    use rustix::stdio::{dup2_stderr, dup2_stdout};
    use std::io::{self, IsTerminal, PipeReader, PipeWriter, Read, Write, stderr, stdout};
    use std::os::fd::{AsFd, OwnedFd};
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use std::time::{Duration, Instant};

    /// Reads after which a stream that never falls silent is left.
    const MOST_READS: usize = 64;
    /// Until it is tried again where the system cannot wait.
    const SOON: Duration = Duration::from_millis(50);

    /// Made at the first use and kept: a program that was started meanwhile may go on printing.
    static CAPTURE: Mutex<Option<Capture>> = Mutex::new(None);

    struct Capture {
        /// Of standard output, and of standard error if that is the same terminal.
        streams: Vec<Stream>,
        /// Whether the screen is up.
        active: bool,
    }

    struct Stream {
        name: &'static str,
        pipe: PipeReader,
        /// What stands in for the terminal.
        end: PipeWriter,
        terminal: OwnedFd,
        /// Makes a file standard output, or standard error.
        put: fn(&dyn AsFd) -> rustix::io::Result<()>,
        lines: Lines,
    }

    impl Stream {
        fn new(
            name: &'static str,
            terminal: &impl AsFd,
            put: fn(&dyn AsFd) -> rustix::io::Result<()>,
        ) -> io::Result<Self> {
            let (pipe, end) = io::pipe()?;
            fcntl_setfl(&pipe, OFlags::NONBLOCK)?;
            let terminal = terminal.as_fd().try_clone_to_owned()?;
            Ok(Self { name, pipe, end, terminal, put, lines: Lines::new(Instant::now()) })
        }

        /// Takes in what is there.
        fn read(&mut self) {
            let mut bytes = [0; 1 << 16];
            for _ in 0..MOST_READS {
                match self.pipe.read(&mut bytes) {
                    Ok(n @ 1..) => self.lines.add(&bytes[..n], Instant::now()),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    _ => break,
                }
            }
        }
    }

    impl Capture {
        fn new() -> io::Result<Self> {
            let mut streams = vec![Stream::new("stdout", &stdout(), |file| dup2_stdout(file))?];
            // What the user has sent elsewhere is nobody else's business.
            if stderr().is_terminal() && fstat(stdout())?.st_rdev == fstat(stderr())?.st_rdev {
                streams.push(Stream::new("stderr", &stderr(), |file| dup2_stderr(file))?);
            }
            Ok(Self { streams, active: false })
        }

        fn is_ready(&self) -> bool {
            self.streams.iter().any(|stream| stream.lines.is_ready())
        }

        fn lines(&mut self) -> Vec<(&'static str, String)> {
            let each = self.streams.iter_mut();
            each.flat_map(|s| s.lines.take().map(|line| (s.name, line)).collect::<Vec<_>>())
                .collect()
        }
    }

    fn capture() -> MutexGuard<'static, Option<Capture>> {
        CAPTURE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on what is printed is kept for [`take`], which `waker` says when to call.
    ///
    /// Errors: there are no file descriptors or threads left.
    pub fn begin(waker: &Waker) -> io::Result<()> {
        let mut capture = capture();
        let capture = match &mut *capture {
            Some(capture) => capture,
            none => {
                let new = Capture::new()?;
                let pipes = new.streams.iter().map(|s| s.pipe.try_clone());
                let pipes = pipes.collect::<io::Result<Vec<_>>>()?;
                let waker = waker.clone();
                let read = move || read(&pipes, &waker);
                std::thread::Builder::new().name("printed".into()).spawn(read)?;
                none.insert(new)
            }
        };
        capture.active = true;
        for stream in &capture.streams {
            (stream.put)(&stream.end)?;
        }
        Ok(())
    }

    /// Standard output and standard error are the terminal again, and what was not taken is
    /// printed there.
    pub fn end() {
        // Before the lock is taken, under which the pipe is read.
        let _ = stdout().flush();
        let mut capture = capture();
        let Some(capture) = capture.as_mut().filter(|capture| capture.active) else { return };
        capture.active = false;
        for stream in &mut capture.streams {
            // It was so before: there is no reason why it could not be so again.
            let _ = (stream.put)(&stream.terminal);
            stream.read();
            stream.lines.close(Instant::now());
        }
        print(capture.lines());
    }

    /// What was printed since the last call: the stream's name, and a line without its end.
    pub fn take() -> Vec<(&'static str, String)> {
        capture().as_mut().map(Capture::lines).unwrap_or_default()
    }

    fn print(lines: Vec<(&str, String)>) {
        let text: String = lines.into_iter().map(|(_, line)| line + "\n").collect();
        if !text.is_empty() {
            print::lines_aside(&text);
        }
    }

    /// Reads `pipes` for as long as the process lives.
    fn read(pipes: &[PipeReader], waker: &Waker) {
        let mut due: Option<Instant> = None;
        loop {
            let mut fds: Vec<PollFd> =
                pipes.iter().map(|pipe| PollFd::new(pipe, PollFlags::IN)).collect();
            let timeout = due.map(|due| due.saturating_duration_since(Instant::now()));
            if wait_for(&mut fds, timeout).is_err() {
                // There is no memory for it; a moment later there may be.
                std::thread::sleep(SOON);
            }
            let mut capture = capture();
            let Some(capture) = &mut *capture else { continue };
            let known = capture.is_ready();
            let now = Instant::now();
            for stream in &mut capture.streams {
                stream.read();
                stream.lines.tick(now);
            }
            due = capture.streams.iter().filter_map(|s| s.lines.due()).min();
            match capture.active {
                true if capture.is_ready() && !known => waker.wake(),
                true => {}
                // Printed by a program that outlived the screen.
                false => print(capture.lines()),
            }
        }
    }
}

/// Elsewhere what is printed goes to the console.
#[cfg(not(unix))]
pub fn begin(_: &super::wake::Waker) -> std::io::Result<()> {
    Ok(())
}

/// Nothing was begun.
#[cfg(not(unix))]
pub fn end() {}

/// Nothing is kept.
#[cfg(not(unix))]
pub fn take() -> Vec<(&'static str, String)> {
    Vec::new()
}
