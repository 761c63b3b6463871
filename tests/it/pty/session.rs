//! The program in a terminal of its own (a PTY).

use super::emulator::Emulator;
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, SlavePty, native_pty_system};
use rustix::fs::OFlags;
use std::{
    fs::File,
    io::{ErrorKind, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Generous timeout, so that no test fails because the machine is busy.
const PATIENCE: Duration = Duration::from_secs(120);
const TICK: Duration = Duration::from_millis(20);

pub struct Session {
    screen: Arc<Mutex<Emulator>>,
    bytes: Arc<AtomicUsize>,
    reader: Arc<Reader>,
    reading: Option<JoinHandle<()>>,
    open: Option<Terminal>,
    /// The terminal's modes before the program started.
    modes: Option<String>,
    pub child: Box<dyn Child + Send + Sync>,
    pub dir: Arc<tempfile::TempDir>,
}

struct Terminal {
    master: Box<dyn MasterPty + Send>,
    keys: Box<dyn Write + Send>,
    /// Kept open, because a terminal outlives the programs in it.
    _slave: Box<dyn SlavePty + Send>,
}

/// Controls whether the terminal is read, as by an SSH client.
#[derive(Default)]
struct Reader {
    state: Mutex<Reading>,
    changed: Condvar,
}

#[derive(Default, Clone, Copy, PartialEq)]
enum Reading {
    #[default]
    On,
    /// Stops before the next read.
    Stopping,
    Stopped,
    Closing,
}

impl Reader {
    fn set(&self, state: Reading) {
        *self.state.lock().unwrap() = state;
        self.changed.notify_all();
    }

    /// Waits while reading is stopped; returns `false` once the terminal closes.
    fn may_read(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        if *state == Reading::Stopping {
            *state = Reading::Stopped;
        }
        let stopped = |state: &mut Reading| *state == Reading::Stopped;
        *self.changed.wait_while(state, stopped).unwrap() == Reading::On
    }
}

fn size(cols: u16, rows: u16) -> PtySize {
    PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }
}

fn modes(master: &dyn MasterPty) -> Option<String> {
    master.get_termios().map(|modes| format!("{modes:?}"))
}

/// Waits until `done` returns true.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "waited for {what}");
        std::thread::sleep(TICK);
    }
}

/// Arguments of a small demo that takes longer than any test.
pub const DEMO: &str = "--demo --run demo --set data.image_size=32 --set data.phantom_studies=24 \
                        --set model.lstm_hidden=16 --set train.epochs=500";

impl Session {
    /// Runs [`DEMO`] on a usual terminal.
    pub fn start(cols: u16, rows: u16, more: &[&str]) -> Self {
        let args: Vec<&str> = DEMO.split_whitespace().chain(more.iter().copied()).collect();
        let dir = Arc::new(tempfile::tempdir().unwrap());
        Self::run(dir, (cols, rows), Some("xterm-256color"), &args)
    }

    /// Runs the program with these arguments in `dir`; with `None`, on a terminal whose name is not
    /// set.
    pub fn run(
        dir: Arc<tempfile::TempDir>,
        size: (u16, u16),
        term: Option<&str>,
        args: &[&str],
    ) -> Self {
        Self::program(env!("CARGO_BIN_EXE_rsna-tui"), dir, size, term, args)
    }

    /// Like [`Self::run`], for any program.
    pub fn program(
        program: &str,
        dir: Arc<tempfile::TempDir>,
        (cols, rows): (u16, u16),
        term: Option<&str>,
        args: &[&str],
    ) -> Self {
        let pair = native_pty_system().openpty(size(cols, rows)).unwrap();
        let mut command = CommandBuilder::new(program);
        command.cwd(dir.path());
        match term {
            Some(term) => command.env("TERM", term),
            None => command.env_remove("TERM"),
        }
        command.args(args);
        let modes = modes(&*pair.master);
        let child = pair.slave.spawn_command(command).unwrap();
        let mut from = pair.master.try_clone_reader().unwrap();
        let keys = pair.master.take_writer().unwrap();
        let screen = Arc::new(Mutex::new(Emulator::new(cols, rows)));
        let bytes = Arc::new(AtomicUsize::new(0));
        let reader = Arc::<Reader>::default();
        let (drawn, counted, may) = (screen.clone(), bytes.clone(), reader.clone());
        let reading = std::thread::spawn(move || {
            let mut bytes = [0; 65536];
            while may.may_read() {
                let Ok(n @ 1..) = from.read(&mut bytes) else { break };
                counted.fetch_add(n, Ordering::Relaxed);
                drawn.lock().unwrap().process(&bytes[..n]);
            }
        });
        let open = Some(Terminal { master: pair.master, keys, _slave: pair.slave });
        Self { screen, bytes, reader, reading: Some(reading), open, modes, child, dir }
    }

    fn open(&self) -> &Terminal {
        self.open.as_ref().expect("the terminal was closed")
    }

    pub fn text(&self) -> String {
        self.screen.lock().unwrap().text()
    }

    /// Waits until the screen contains `what`.
    pub fn wait(&self, what: &str) {
        self.wait_until(what, |text| text.contains(what));
    }

    pub fn wait_until(&self, what: &str, done: impl Fn(&str) -> bool) {
        let start = Instant::now();
        while !done(&self.text()) {
            assert!(start.elapsed() < PATIENCE, "waited for {what:?} on:\n{}", self.text());
            std::thread::sleep(TICK);
        }
    }

    /// Whether the program has taken over the terminal.
    pub fn is_up(&self) -> bool {
        self.screen.lock().unwrap().is_alternate()
    }

    /// Presses keys; a program that has left ignores them.
    pub fn press(&mut self, keys: impl AsRef<[u8]>) {
        let open = self.open.as_mut().expect("the terminal was closed");
        let _ = open.keys.write_all(keys.as_ref());
    }

    pub fn resize(&self, cols: u16, rows: u16) {
        self.screen.lock().unwrap().resize(cols, rows);
        self.open().master.resize(size(cols, rows)).unwrap();
    }

    /// Stops reading the terminal, until it accepts no more output.
    pub fn stall(&self) {
        self.reader.set(Reading::Stopping);
        let mut terminal = self.other_end();
        wait_until("a terminal that is full", || {
            match terminal.write(&[0; 4096]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                written => drop(written.unwrap()),
            }
            let is_full = terminal.write(&[0]).is_err();
            is_full && *self.reader.state.lock().unwrap() == Reading::Stopped
        });
    }

    /// Reads the terminal again.
    pub fn unstall(&self) {
        self.reader.set(Reading::On);
    }

    /// Opens the programs' end of the terminal.
    fn other_end(&self) -> File {
        let name: PathBuf = self.open().master.tty_name().unwrap();
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32;
        File::options().write(true).custom_flags(flags).open(name).unwrap()
    }

    /// Closes the terminal's window.
    pub fn close(&mut self) {
        self.reader.set(Reading::Closing);
        // Write a byte, because the reader may be waiting for one.
        let _ = self.other_end().write(&[0]);
        self.reading.take().unwrap().join().unwrap();
        self.open = None;
    }

    /// Sends the program a signal, such as `-TERM`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.process_id().unwrap().to_string();
        let sent = std::process::Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// A field of the program's /proc stat file, from field 3, its state; `None` on systems other
    /// than Linux.
    pub fn stat(&self, field: usize) -> Option<String> {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", self.child.process_id()?)).ok()?;
        // The name, in brackets, may contain blanks.
        let fields = stat.rsplit_once(')')?.1;
        fields.split_whitespace().nth(field - 3).map(String::from)
    }

    /// Processor time used by the program, in hundredths of a second, if available.
    pub fn ticks(&self) -> Option<u64> {
        Some(self.stat(14)?.parse::<u64>().ok()? + self.stat(15)?.parse::<u64>().ok()?)
    }

    /// Bytes per second that the program sends to the terminal, measured over `seconds`.
    pub fn rate(&self, seconds: u64) -> f64 {
        let (start, before) = (Instant::now(), self.bytes.load(Ordering::Relaxed));
        std::thread::sleep(Duration::from_secs(seconds));
        let sent = self.bytes.load(Ordering::Relaxed) - before;
        sent as f64 / start.elapsed().as_secs_f64()
    }

    /// Runs another `rsna-tui` in the same folder to its end; returns its output.
    pub fn command(&self, args: &[&str]) -> String {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rsna-tui"));
        let out = command.current_dir(self.dir.path()).args(args).output().unwrap();
        assert!(out.status.success(), "{args:?}: {out:?}");
        String::from_utf8(out.stdout).unwrap()
    }

    /// Number of lines in the run's journal that contain `what`.
    pub fn journal(&self, what: &str) -> usize {
        let path = self.dir.path().join("runs/demo/journal.jsonl");
        let journal = std::fs::read_to_string(path).unwrap_or_default();
        journal.lines().filter(|line| line.contains(what)).count()
    }

    /// Waits until `steps` more steps are trained.
    pub fn train_on(&self, steps: usize) {
        let before = self.journal(STEP);
        wait_until("training to go on", || self.journal(STEP) >= before + steps);
    }

    /// Waits until the terminal has shown everything written so far.
    fn settle(&self) {
        let mut terminal = self.other_end();
        let start = Instant::now();
        while let Err(error) = terminal.write_all(MARK) {
            assert!(start.elapsed() < PATIENCE, "the terminal takes nothing: {error}");
            std::thread::sleep(TICK);
        }
        wait_until("the mark", || self.screen.lock().unwrap().take(MARK));
    }

    /// Asserts that the terminal is restored; returns its contents.
    pub fn restored(&self) -> String {
        self.settle();
        let left_on = || {
            let same = modes(&*self.open().master) == self.modes;
            let left = self.screen.lock().unwrap().left_on();
            left.or((!same).then_some("other modes of the line"))
        };
        // The terminal's line modes are restored last.
        let start = Instant::now();
        while let Some(left) = left_on() {
            assert!(start.elapsed() < PATIENCE, "{left}, still on:\n{}", self.text());
            std::thread::sleep(TICK);
        }
        self.text()
    }

    /// Waits for the program to end with the exit code `code`.
    pub fn exit(&mut self, code: u32) {
        let start = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if start.elapsed() > PATIENCE => {
                    let _ = self.child.kill();
                    panic!("it did not end:\n{}", self.text());
                }
                None => std::thread::sleep(TICK),
            }
        };
        assert_eq!(status.exit_code(), code, "{}", self.text());
    }

    /// Waits for the program to end, asserts that the terminal is restored, and returns its
    /// contents.
    pub fn end(mut self, code: u32) -> String {
        self.exit(code);
        self.restored()
    }
}

/// Shows nothing, and arrives after everything written before.
const MARK: &[u8] = b"\x1b]999;mark\x07";

/// Marks a step in the journal.
pub const STEP: &str = "\"type\":\"step\"";

impl Drop for Session {
    fn drop(&mut self) {
        // Do not leave a process behind.
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
        }
    }
}
