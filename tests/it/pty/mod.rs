//! The dashboard in a real terminal (a PTY), used as by a person.

mod emulator;
mod keys;
mod plain;
pub mod session;
mod stalled;

use session::{STEP, Session, wait_until};
use std::time::Duration;

#[test]
fn pause_resume_help_paste_resize_and_quit() {
    for (cols, rows) in [(80, 24), (200, 60)] {
        let mut s = Session::start(cols, rows, &[]);
        s.wait("training fold 0");
        s.press("p");
        s.wait("paused at fold 0 epoch");
        let held = s.journal(STEP);
        s.press("?");
        s.wait("keys · Overview");
        s.press("\x1b");
        s.wait_until("no help", |t| !t.contains("keys · Overview"));
        assert_eq!(s.journal(STEP), held, "it went on");
        // A paste is not a sequence of keys: it must not skip, stop or quit.
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
    // Back and forth, faster than frames are drawn.
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
    let before = s.journal(STEP);
    s.signal("-HUP");
    s.wait_until("the shell's screen", |_| !s.is_up());
    // A run paused by the user stays paused and remains reachable.
    assert!(s.command(&["pause", "demo"]).contains("paused"));
    assert_eq!(s.journal(STEP), before, "it went on by itself");
    s.command(&["unpause", "demo"]);
    s.train_on(2);
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
    // Redrawn from scratch, the screen is the same except for the clock.
    let rest = |text: &str| -> Vec<String> { text.lines().skip(1).map(String::from).collect() };
    // A pause also saves, which is reported a moment later.
    s.wait("saved last of fold 0");
    let mut before = rest(&s.text());
    wait_until("a screen that stands still", || {
        std::thread::sleep(Duration::from_millis(700));
        let now = rest(&s.text());
        std::mem::replace(&mut before, now) == before
    });
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
    // The second signal does not wait for the trainer.
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
        // Only a stopped process can be continued.
        wait_until("a process that is stopped", || s.stat(3).is_none_or(|state| state == "T"));
        s.signal("-CONT");
        s.wait_until("the dashboard", |text| s.is_up() && text.contains("training fold 0"));
    }
    s.press("q");
    s.press("y");
    s.end(130);
}

#[test]
fn a_signal_that_ends_it_at_once_leaves_the_terminal_as_it_was() {
    let s = Session::start(80, 24, &[]);
    s.wait("training fold 0");
    let attach = ["attach", "demo"];
    let size = (100, 30);
    for signal in ["-USR1", "-USR2", "-QUIT", "-ALRM", "-XCPU"] {
        let attached = Session::run(s.dir.clone(), size, Some("xterm-256color"), &attach);
        attached.wait_until("the dashboard", |text| attached.is_up() && text.contains("fold 0"));
        attached.signal(signal);
        attached.wait_until("the shell's screen", |_| !attached.is_up());
        attached.restored();
    }
    s.signal("-QUIT");
    s.wait_until("the shell's screen", |_| !s.is_up());
    s.restored();
}

/// In a shell, where the key stops the whole job: every thread of it, and none after another has
/// drawn on the shell's screen.
#[test]
fn control_z_gives_the_shell_its_screen_however_busy_training_is() {
    let dir = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let shell = ["--norc", "--noprofile", "-i"];
    let mut s = Session::program("bash", dir, (120, 36), Some("xterm-256color"), &shell);
    s.press(format!("{} {}\n", env!("CARGO_BIN_EXE_rsna-tui"), session::DEMO));
    for _ in 0..8 {
        s.wait_until("the dashboard", |text| s.is_up() && text.contains("training fold 0"));
        s.press("\x1a");
        s.wait_until("the shell", |text| !s.is_up() && text.contains("Stopped"));
        // The shell's answer comes after everything that the job has drawn.
        s.press("printf '\\e[2J\\e[H'; echo answer$((40 + 2))\n");
        s.wait("answer42");
        assert!(!s.is_up() && !s.text().contains("training fold 0"), "{}", s.text());
        s.press("printf '\\e[2J\\e[H'; fg\n");
    }
    s.wait_until("the dashboard", |_| s.is_up());
    s.press("q");
    s.press("y");
    s.wait_until("the shell", |_| !s.is_up());
    s.press("exit\n");
    s.exit(130);
}

#[test]
fn it_is_quiet_when_nothing_changes() {
    let mut s = Session::start(120, 36, &[]);
    s.wait("training fold 0");
    s.wait("augmented crops");
    let training = s.rate(5);
    assert!(training <= 20_000.0, "{training} bytes a second while training");
    s.press("p");
    s.wait("paused at fold 0 epoch");
    // Work caused by the pause itself (a checkpoint, a last frame) takes as long as the machine
    // needs.
    wait_until("rest: no bytes and hardly any processor time", || {
        let ticks = s.ticks();
        let rest = s.rate(4);
        let ticks = ticks.zip(s.ticks()).map_or(0, |(before, after)| after - before);
        println!("{rest} bytes a second and {ticks} ticks in 4 s at rest");
        // At 100 ticks per second: 1 % of a processor.
        rest <= 200.0 && ticks <= 4
    });
    s.press("q");
    s.press("y");
    s.end(130);
}
