//! Terminals and pipes that are no longer read, as after an SSH connection stalls.

use super::session::{DEMO, STEP, Session, wait_until};
use rustix::fs::{OFlags, fcntl_setfl};
use std::{
    io::{PipeReader, PipeWriter, Read, Write},
    process::Stdio,
    sync::Arc,
};

/// Ways to show the run on the terminal that stalls.
const SHOWN: [&[&str]; 2] = [&[], &["--no-tui", "--set", "run.log_every_steps=1"]];

fn state(s: &Session) -> String {
    std::fs::read_to_string(s.dir.path().join("runs/demo/state.json")).unwrap()
}

/// Trains a run on a terminal that is not read, long enough for a frame and a line to be waiting.
fn stalled(more: &[&str]) -> Session {
    let s = Session::start(120, 36, more);
    s.wait("fold 0");
    s.stall();
    s.train_on(20);
    s
}

#[test]
fn whoever_ends_a_run_on_a_stalled_terminal_ends_its_process() {
    type End = fn(&Session);
    let ends: [(End, u32, &str); 4] = [
        (|s| s.signal("-TERM"), 143, "stopped"),
        (|s| s.signal("-INT"), 130, "stopped"),
        (|s| s.signal("-USR1"), 75, "requeued"),
        (|s| drop(s.command(&["stop", "demo"])), 130, "stopped"),
    ];
    for shown in SHOWN {
        for (end, code, word) in ends {
            let mut s = stalled(&[shown, &["--set", "run.requeue_signal=usr1"]].concat());
            end(&s);
            s.exit(code);
            assert!(state(&s).contains(word), "{}", state(&s));
            // The user finds the terminal restored.
            s.unstall();
            s.restored();
        }
    }
}

#[test]
fn a_run_that_ends_by_itself_on_a_stalled_terminal_ends_its_process() {
    for shown in SHOWN {
        let few = ["--set", "train.epochs=4", "--folds", "0"];
        let mut s = Session::start(120, 36, &[shown, &few].concat());
        s.wait("fold 0");
        s.stall();
        s.exit(0);
        assert!(state(&s).contains("completed"), "{}", state(&s));
        s.unstall();
        s.restored();
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut s = stalled(&[]);
    // A stopped process cannot save.
    s.signal("-STOP");
    wait_until("a process that is stopped", || s.stat(3).is_none_or(|state| state == "T"));
    s.signal("-TERM");
    s.signal("-INT");
    s.signal("-CONT");
    wait_until("its end", || s.child.try_wait().unwrap().is_some());
    s.unstall();
    s.restored();
}

#[test]
fn a_terminal_that_reads_again_shows_the_run() {
    let mut s = stalled(&[]);
    s.resize(100, 30);
    s.train_on(5);
    s.unstall();
    s.wait("training fold 0");
    s.press("p");
    s.wait("paused at fold 0 epoch");
    s.press("q");
    s.press("y");
    s.end(130);
}

#[test]
fn an_attached_dashboard_leaves_its_stalled_terminal() {
    let run = Session::start(120, 36, &[]);
    run.wait("training fold 0");
    let attach = |args: &[&str]| {
        let args = [&["attach", "demo"], args].concat();
        let s = Session::run(run.dir.clone(), (120, 36), Some("xterm"), &args);
        s.wait("fold 0");
        s.stall();
        s.train_on(20);
        s
    };
    for (args, signal, code) in [
        (&[][..], "-TERM", 0),
        (&[], "-HUP", 0),
        (&["--no-tui"], "-TERM", 143),
        (&["--no-tui"], "-HUP", 129),
    ] {
        let mut s = attach(args);
        s.signal(signal);
        s.exit(code);
        s.unstall();
        s.restored();
    }
    let mut s = attach(&[]);
    s.unstall();
    s.press("d");
    s.end(0);
    run.signal("-TERM");
    run.end(143);
}

/// A full pipe, and the number of bytes in it.
fn full_pipe() -> (PipeReader, PipeWriter, usize) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    let mut filled = 0;
    while let Ok(n) = writer.write(b".") {
        filled += n;
    }
    fcntl_setfl(&writer, OFlags::empty()).unwrap();
    (reader, writer, filled)
}

#[test]
fn lines_for_a_pipe_that_nobody_reads_wait_unless_the_process_is_to_end() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let start = |run: &str, epochs: &str, out: PipeWriter| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rsna-tui"));
        let args = DEMO.replace("--run demo", &format!("--run {run}")).replace("500", epochs);
        command.current_dir(dir.path()).args(args.split_whitespace());
        command.args(["--no-tui", "--folds", "0", "--set", "run.log_every_steps=1"]);
        command.stdout(out).stderr(Stdio::null()).spawn().unwrap()
    };
    let journal = |run: &str| {
        let path = dir.path().join("runs").join(run).join("journal.jsonl");
        std::fs::read_to_string(path).unwrap_or_default()
    };
    let (_reader, writer, _) = full_pipe();
    let mut child = start("asked", "5000", writer);
    wait_until("a step", || journal("asked").contains(STEP));
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    wait_until("the end", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(143));

    let (mut reader, writer, filled) = full_pipe();
    let mut child = start("by-itself", "3", writer);
    wait_until("the run's end", || journal("by-itself").contains("run_finished"));
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let text = &text[filled..];
    assert!(text.contains("fold 0 epoch 3/3") && text.contains("everything is in"), "{text}");
}
