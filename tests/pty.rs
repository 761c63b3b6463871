//! The dashboard in a real terminal (a PTY), used as a person would.
#![cfg(unix)]

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use std::{
    io::{Read, Write},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

struct Session {
    screen: Arc<Mutex<vt100::Parser>>,
    master: Box<dyn MasterPty + Send>,
    keys: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    dir: tempfile::TempDir,
}

fn size(cols: u16, rows: u16) -> PtySize {
    PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }
}

impl Session {
    /// A small demo, longer than any test.
    fn start(cols: u16, rows: u16, more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pair = native_pty_system().openpty(size(cols, rows)).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_rsna-tui"));
        command.cwd(dir.path());
        command.env("TERM", "xterm-256color");
        let flags = "--demo --run demo --set data.image_size=32 --set data.phantom_studies=24 \
                     --set model.lstm_hidden=16 --set train.epochs=500";
        command.args(flags.split_whitespace());
        command.args(more);
        let child = pair.slave.spawn_command(command).unwrap();
        let mut reader = pair.master.try_clone_reader().unwrap();
        let keys = pair.master.take_writer().unwrap();
        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, cols, 0)));
        let drawn = screen.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 65536];
            while let Ok(n @ 1..) = reader.read(&mut bytes) {
                drawn.lock().unwrap().process(&bytes[..n]);
            }
        });
        Self { screen, master: pair.master, keys, child, dir }
    }

    fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// Waits until the screen holds `what`.
    fn wait(&self, what: &str) {
        self.wait_until(what, |text| text.contains(what));
    }

    fn wait_until(&self, what: &str, done: impl Fn(&str) -> bool) {
        let start = Instant::now();
        while !done(&self.text()) {
            let waited = start.elapsed().as_secs();
            assert!(waited < 90, "waited for {what:?} on:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    fn resize(&self, cols: u16, rows: u16) {
        self.screen.lock().unwrap().screen_mut().set_size(rows, cols);
        self.master.resize(size(cols, rows)).unwrap();
    }

    /// Waits for the program to leave; the terminal is as it was.
    fn end(mut self, code: u32) -> String {
        let status = self.child.wait().unwrap();
        assert_eq!(status.exit_code(), code);
        // What was written last may still be on its way.
        std::thread::sleep(Duration::from_millis(200));
        let parser = self.screen.lock().unwrap();
        let screen = parser.screen();
        assert!(!screen.alternate_screen(), "still on the alternate screen");
        assert!(!screen.hide_cursor(), "the cursor is hidden");
        assert!(!screen.bracketed_paste(), "bracketed paste is on");
        screen.contents()
    }
}

#[test]
fn pause_resume_help_paste_resize_and_quit() {
    for (cols, rows) in [(80, 24), (200, 60)] {
        let mut s = Session::start(cols, rows, &[]);
        s.wait("training fold 0");
        s.press("p");
        s.wait("paused at fold 0 epoch");
        let held = s.text().lines().next().unwrap().to_string();
        std::thread::sleep(Duration::from_millis(1200));
        let place = |line: &str| line.split("elapsed").next().unwrap().trim().to_string();
        assert_eq!(place(&held), place(s.text().lines().next().unwrap()), "it went on");
        s.press("?");
        s.wait("show or hide these keys");
        s.press("\x1b");
        s.wait_until("no help", |t| !t.contains("show or hide these keys"));
        // A paste is not a row of keys: it must not skip, stop or quit.
        s.press("\x1b[200~qnyspy\x1b[201~");
        s.press("p");
        s.wait("training fold 0");
        s.wait("augmented crops");
        s.press("r");
        s.wait("raw crops");
        s.press("r");
        s.wait("augmented crops");
        s.resize(100, 30);
        s.wait("folds × epochs");
        s.resize(cols, rows);
        s.press("n");
        s.wait("y");
        s.press("y");
        s.wait("training fold 1");
        s.press("q");
        s.press("y");
        let after = s.end(130);
        assert!(after.contains("training stopped: runs/demo"), "{after}");
    }
}

#[test]
fn stop_after_the_epoch_stays_open_with_the_results() {
    let mut s = Session::start(120, 36, &[]);
    s.wait("training fold 0");
    s.press("s");
    s.wait("stopped");
    s.press("q");
    let after = s.end(130);
    assert!(after.contains("training stopped"), "{after}");
}

#[test]
fn a_panic_in_the_trainer_is_an_error_on_an_intact_screen() {
    let mut s = Session::start(120, 36, &["--panic-at-step", "2"]);
    s.wait("the trainer panicked");
    s.wait("folds × epochs");
    s.wait("q quits");
    s.press("q");
    let after = s.end(1);
    assert!(after.contains("training failed"), "{after}");
}

#[test]
fn training_outlives_its_terminal_and_a_pause_is_ended_from_elsewhere() {
    let mut s = Session::start(120, 36, &[]);
    s.wait("training fold 0");
    s.press("p");
    s.wait("paused at fold 0 epoch");
    let pid = s.child.process_id().unwrap().to_string();
    let signal = |name: &str| {
        let sent = std::process::Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(sent.success());
    };
    let log = s.dir.path().join("runs/demo/logs/demo.txt");
    let lines = || std::fs::read_to_string(&log).map_or(0, |log| log.lines().count());
    let before = lines();
    signal("-HUP");
    // What the user paused stays paused, and can be reached.
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(lines(), before, "it went on by itself");
    let unpaused = std::process::Command::new(env!("CARGO_BIN_EXE_rsna-tui"))
        .current_dir(s.dir.path())
        .args(["unpause", "demo"])
        .output()
        .unwrap();
    assert!(unpaused.status.success(), "{unpaused:?}");
    let start = Instant::now();
    while lines() < before + 2 {
        assert!(start.elapsed().as_secs() < 90, "training did not go on");
        std::thread::sleep(Duration::from_millis(50));
    }
    signal("-TERM");
    s.end(143);
}
