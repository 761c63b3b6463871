//! The program in a terminal of its own (a PTY).

#![allow(dead_code)] // each test binary uses its part

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, SlavePty, native_pty_system};
use std::{
    io::{Read, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

pub struct Session {
    screen: Arc<Mutex<vt100::Parser>>,
    bytes: Arc<AtomicUsize>,
    master: Box<dyn MasterPty + Send>,
    /// Kept open: a terminal lasts longer than one program.
    _slave: Box<dyn SlavePty + Send>,
    keys: Box<dyn Write + Send>,
    /// Of the terminal, before the program had it.
    modes: Option<String>,
    pub child: Box<dyn Child + Send + Sync>,
    pub dir: tempfile::TempDir,
}

fn size(cols: u16, rows: u16) -> PtySize {
    PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }
}

fn modes(master: &dyn MasterPty) -> Option<String> {
    master.get_termios().map(|modes| format!("{modes:?}"))
}

impl Session {
    /// A small demo, longer than any test.
    pub fn start(cols: u16, rows: u16, more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pair = native_pty_system().openpty(size(cols, rows)).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_rsna-tui"));
        command.cwd(dir.path());
        command.env("TERM", "xterm-256color");
        let flags = "--demo --run demo --set data.image_size=32 --set data.phantom_studies=24 \
                     --set model.lstm_hidden=16 --set train.epochs=500";
        command.args(flags.split_whitespace());
        command.args(more);
        let modes = modes(&*pair.master);
        let child = pair.slave.spawn_command(command).unwrap();
        let mut reader = pair.master.try_clone_reader().unwrap();
        let keys = pair.master.take_writer().unwrap();
        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, cols, 0)));
        let bytes = Arc::new(AtomicUsize::new(0));
        let (drawn, counted) = (screen.clone(), bytes.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 65536];
            while let Ok(n @ 1..) = reader.read(&mut bytes) {
                counted.fetch_add(n, Ordering::Relaxed);
                drawn.lock().unwrap().process(&bytes[..n]);
            }
        });
        let (master, _slave) = (pair.master, pair.slave);
        Self { screen, bytes, master, _slave, keys, modes, child, dir }
    }

    pub fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// Waits until the screen holds `what`.
    pub fn wait(&self, what: &str) {
        self.wait_until(what, |text| text.contains(what));
    }

    pub fn wait_until(&self, what: &str, done: impl Fn(&str) -> bool) {
        let start = Instant::now();
        while !done(&self.text()) {
            let waited = start.elapsed().as_secs();
            assert!(waited < 90, "waited for {what:?} on:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Whether the program has the terminal.
    pub fn is_up(&self) -> bool {
        self.screen.lock().unwrap().screen().alternate_screen()
    }

    /// Presses keys; a program that has left hears none.
    pub fn press(&mut self, keys: impl AsRef<[u8]>) {
        let _ = self.keys.write_all(keys.as_ref());
    }

    pub fn resize(&self, cols: u16, rows: u16) {
        self.screen.lock().unwrap().screen_mut().set_size(rows, cols);
        self.master.resize(size(cols, rows)).unwrap();
    }

    /// Sends the program a signal, as in `-TERM`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.process_id().unwrap().to_string();
        let sent = std::process::Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Bytes that the program sends the terminal in a second, over `seconds`.
    pub fn rate(&self, seconds: u64) -> usize {
        let before = self.bytes.load(Ordering::Relaxed);
        std::thread::sleep(Duration::from_secs(seconds));
        (self.bytes.load(Ordering::Relaxed) - before) / seconds as usize
    }

    /// The terminal is as it was; what it shows.
    pub fn restored(&self) -> String {
        // What was written last may still be on its way.
        std::thread::sleep(Duration::from_millis(200));
        let parser = self.screen.lock().unwrap();
        let screen = parser.screen();
        assert!(!screen.alternate_screen(), "still on the alternate screen");
        assert!(!screen.hide_cursor(), "the cursor is hidden");
        assert!(!screen.bracketed_paste(), "bracketed paste is on");
        assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None);
        assert_eq!(modes(&*self.master), self.modes, "the terminal's modes");
        screen.contents()
    }

    /// Waits for the program to leave; the terminal is as it was.
    pub fn end(mut self, code: u32) -> String {
        let status = self.child.wait().unwrap();
        assert_eq!(status.exit_code(), code, "{}", self.text());
        self.restored()
    }
}
