//! Captures standard output and standard error while the screen is up. Both become pipes, so that
//! output of libraries and drivers goes into the log and does not corrupt the screen. The pipes are
//! always drained, whatever happens to the screen, because a full pipe would block the writer.

#[cfg(unix)]
pub use unix::{begin, end, take};

#[cfg(unix)]
mod unix {
    use crate::print;
    use crate::tui::stray::Lines;
    use crate::tui::wait::{read_available, wait_for};
    use crate::tui::wake::Waker;
    use rustix::event::{PollFd, PollFlags};
    use rustix::fs::{OFlags, fcntl_setfl, fstat};
    use rustix::stdio::{dup2_stderr, dup2_stdout};
    use std::io::{self, IsTerminal, PipeReader, PipeWriter, Write, stderr, stdout};
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use std::time::{Duration, Instant};

    /// Maximum number of reads per turn from a stream that never falls silent.
    const MOST_READS: usize = 64;
    /// Delay before retrying when `poll` fails.
    const SOON: Duration = Duration::from_millis(50);

    /// Created at the first use and then kept, because a child process started meanwhile may
    /// continue to print.
    static CAPTURE: Mutex<Option<Capture>> = Mutex::new(None);

    struct Capture {
        /// Standard output, and standard error if it is the same terminal.
        streams: Vec<Stream>,
        /// Whether the screen is up.
        active: bool,
    }

    struct Stream {
        name: &'static str,
        pipe: PipeReader,
        /// Write end, which replaces the terminal.
        end: PipeWriter,
        terminal: OwnedFd,
        /// Makes a file standard output or standard error.
        put: Put,
        lines: Lines,
    }

    type Put = fn(BorrowedFd) -> rustix::io::Result<()>;

    impl Stream {
        fn new(name: &'static str, terminal: impl AsFd, put: Put) -> io::Result<Self> {
            let (pipe, end) = io::pipe()?;
            fcntl_setfl(&pipe, OFlags::NONBLOCK)?;
            let terminal = terminal.as_fd().try_clone_to_owned()?;
            Ok(Self { name, pipe, end, terminal, put, lines: Lines::new(Instant::now()) })
        }

        /// Reads the available bytes.
        fn read(&mut self) {
            let Self { pipe, lines, .. } = self;
            read_available(pipe, MOST_READS, |bytes| lines.add(bytes, Instant::now()));
        }
    }

    impl Capture {
        fn new() -> io::Result<Self> {
            let mut streams = vec![Stream::new("stdout", stdout(), |file| dup2_stdout(file))?];
            // Do not capture a stream that the user has redirected elsewhere.
            if stderr().is_terminal() && fstat(stdout())?.st_rdev == fstat(stderr())?.st_rdev {
                streams.push(Stream::new("stderr", stderr(), |file| dup2_stderr(file))?);
            }
            Ok(Self { streams, active: false })
        }

        fn is_ready(&self) -> bool {
            self.streams.iter().any(|stream| stream.lines.is_ready())
        }

        fn lines(&mut self) -> Vec<(&'static str, String)> {
            let mut all = Vec::new();
            for Stream { name, lines, .. } in &mut self.streams {
                all.extend(lines.take().map(|line| (*name, line)));
            }
            all
        }
    }

    fn capture() -> MutexGuard<'static, Option<Capture>> {
        CAPTURE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts capturing. `waker` wakes the dashboard when there is something for [`take`].
    ///
    /// Errors: when there are no file descriptors or threads left.
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
            (stream.put)(stream.end.as_fd())?;
        }
        Ok(())
    }

    /// Restores standard output and standard error, and prints the lines that were not taken.
    pub fn end() {
        // Flush before taking the lock, which the reading thread needs to drain the pipe.
        let _ = stdout().flush();
        let mut capture = capture();
        let Some(capture) = capture.as_mut().filter(|capture| capture.active) else { return };
        capture.active = false;
        for stream in &mut capture.streams {
            // Restoring the original file is not expected to fail.
            let _ = (stream.put)(stream.terminal.as_fd());
            stream.read();
            stream.lines.close(Instant::now());
        }
        print(capture.lines());
    }

    /// Returns the lines printed since the last call, without line ends, with their stream's name.
    pub fn take() -> Vec<(&'static str, String)> {
        capture().as_mut().map(Capture::lines).unwrap_or_default()
    }

    fn print(lines: Vec<(&str, String)>) {
        let text: String = lines.into_iter().map(|(_, line)| line + "\n").collect();
        if !text.is_empty() {
            print::lines_aside(&text);
        }
    }

    /// Reads `pipes` until the process ends.
    fn read(pipes: &[PipeReader], waker: &Waker) {
        let mut due: Option<Instant> = None;
        loop {
            let mut fds: Vec<PollFd> =
                pipes.iter().map(|pipe| PollFd::new(pipe, PollFlags::IN)).collect();
            let timeout = due.map(|due| due.saturating_duration_since(Instant::now()));
            if wait_for(&mut fds, timeout).is_err() {
                // Out of memory; retry a moment later.
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
                // Printed by a child process after the screen was left.
                false => print(capture.lines()),
            }
        }
    }
}

/// Does nothing: on other platforms, output goes to the console.
#[cfg(not(unix))]
pub fn begin(_: &super::wake::Waker) -> std::io::Result<()> {
    Ok(())
}

/// Does nothing.
#[cfg(not(unix))]
pub fn end() {}

/// Returns no lines.
#[cfg(not(unix))]
pub fn take() -> Vec<(&'static str, String)> {
    Vec::new()
}
