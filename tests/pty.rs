//! The dashboard in a real terminal (a PTY), used as a person would.
#![cfg(unix)]

#[path = "pty/session.rs"]
mod session;

use session::Session;
use std::time::{Duration, Instant};

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
        s.wait("keys · Overview");
        s.press("\x1b");
        s.wait_until("no help", |t| !t.contains("keys · Overview"));
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
fn a_paused_run_is_looked_at_slice_by_slice() {
    let mut s = Session::start(120, 36, &[]);
    s.wait("training fold 0");
    s.wait("augmented crops");
    s.press("p");
    s.wait("paused at fold 0 epoch");
    s.press("4w");
    s.wait(" of 15 · phantom.");
    let slice = |text: &str| {
        let before = text.split(" of 15 · ").next().unwrap_or_default();
        before.rsplit(' ').next().unwrap_or_default().parse::<u8>().unwrap()
    };
    let first = slice(&s.text());
    // To and fro, faster than frames are drawn.
    s.press("\x1b[C".repeat(20));
    s.wait("slice 14 of 15");
    s.press("\x1b[D".repeat(20));
    s.wait("slice 0 of 15");
    s.press("\x1b[C".repeat(first.into()));
    s.wait(&format!("slice {first} of 15"));
    assert!(s.text().contains("· held"), "{}", s.text());
    s.press("q");
    s.press("y");
    s.end(130);
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
    let log = s.dir.path().join("runs/demo/logs/demo.txt");
    let lines = || std::fs::read_to_string(&log).map_or(0, |log| log.lines().count());
    let before = lines();
    s.signal("-HUP");
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
    s.signal("-TERM");
    s.end(143);
}

#[test]
fn what_is_printed_lands_in_the_log_and_not_on_the_screen() {
    let mut s = Session::start(200, 60, &["--print-at-step", "2", "--set", "ui.mouse=true"]);
    s.wait("stdout: a stray line on stdout");
    s.wait("stderr: a stray line on stderr");
    s.wait("stderr: a stray write to fd 2");
    s.press("p");
    s.wait("paused at fold 0 epoch");
    // Drawn anew from nothing it looks the same, but for the clock.
    let rest = |text: &str| -> Vec<String> { text.lines().skip(1).map(String::from).collect() };
    // A pause is saved too, which is told a moment later.
    s.wait("saved last of fold 0");
    let mut before = rest(&s.text());
    loop {
        std::thread::sleep(Duration::from_millis(700));
        match rest(&s.text()) {
            now if now == before => break,
            now => before = now,
        }
    }
    s.resize(100, 30);
    s.wait_until("other rows", |text| rest(text) != before);
    s.resize(200, 60);
    s.wait_until("the same rows as before", |text| rest(text) == before);
    s.press("q");
    s.press("y");
    s.end(130);
}

#[test]
fn a_signal_ends_it_with_the_terminal_as_it_was() {
    let s = Session::start(80, 24, &[]);
    s.wait("training fold 0");
    s.signal("-INT");
    s.end(130);
    let mut s = Session::start(80, 24, &[]);
    s.wait("training fold 0");
    s.press("p");
    s.wait("paused at fold 0 epoch");
    // The second one does not wait for the trainer.
    s.signal("-TERM");
    s.signal("-TERM");
    s.end(143);
}

#[test]
fn stopped_it_gives_the_terminal_back_and_takes_it_again() {
    let mut s = Session::start(120, 36, &[]);
    s.wait("training fold 0");
    for stop in ["-TSTP", "-STOP"] {
        s.signal(stop);
        if stop == "-TSTP" {
            s.wait_until("the shell's screen", |_| !s.is_up());
            s.restored();
        }
        std::thread::sleep(Duration::from_millis(300));
        s.signal("-CONT");
        s.wait_until("the dashboard", |text| s.is_up() && text.contains("training fold 0"));
    }
    s.press("q");
    s.press("y");
    s.end(130);
}

#[test]
fn it_is_quiet_when_nothing_changes() {
    let mut s = Session::start(120, 36, &[]);
    s.wait("training fold 0");
    s.wait("augmented crops");
    let training = s.rate(5);
    assert!(training <= 20_000, "{training} bytes a second while training");
    s.press("p");
    s.wait("paused at fold 0 epoch");
    std::thread::sleep(Duration::from_millis(1500));
    let ticks = ticks(&s);
    let rest = s.rate(8);
    assert!(rest <= 200, "{rest} bytes a second at rest");
    // 100 ticks a second: 1 % of a processor.
    if let (Some(before), Some(after)) = (ticks, self::ticks(&s)) {
        assert!(after - before <= 8, "{} ticks in 8 s at rest", after - before);
    }
    s.press("q");
    s.press("y");
    s.end(130);
}

/// Processor time that the program has used, where the system tells.
fn ticks(s: &Session) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", s.child.process_id()?)).ok()?;
    // The name, in brackets, may hold blanks; user and system time are the 14th and 15th field.
    let fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11).take(2);
    fields.map(|field| field.parse::<u64>().ok()).sum()
}
