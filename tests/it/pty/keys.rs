//! Keys that were cut off in transit.

use super::session::{STEP, Session, wait_until};
use std::{collections::BTreeSet, time::Duration};

/// Sequences that terminals send, one of each kind.
const SEQUENCES: [&[u8]; 13] = [
    b"\x1b[A",
    b"\x1b[1;5C",
    b"\x1b[[A",
    b"\x1bOA",
    b"\x1b[<0;10;5M",
    b"\x1b[M !!",
    b"\x1b[200~qy\x1b[201~",
    b"\x1b]11;rgb:0/0/0\x1b\\",
    b"\x1bP1$r0m\x1b\\",
    b"\x1b_Gi=1;OK\x1b\\",
    "é".as_bytes(),
    "語".as_bytes(),
    "\x1b🦴".as_bytes(),
];

fn prefixes() -> BTreeSet<&'static [u8]> {
    SEQUENCES.iter().flat_map(|sequence| (1..sequence.len()).map(|n| &sequence[..n])).collect()
}

/// Presses `key` until `done` accepts the screen. A key that follows a truncated sequence too soon
/// may be taken for its end, so it is repeated, no faster than a person would.
fn press_until(s: &mut Session, key: &str, after: &[u8], done: impl Fn(&str) -> bool) {
    let mut ticks = 0;
    wait_until(&format!("{key:?} after {:?}", String::from_utf8_lossy(after)), || {
        if ticks % 20 == 0 {
            s.press(key);
        }
        ticks += 1;
        done(&s.text())
    });
}

#[test]
fn after_any_beginning_of_a_sequence_the_dashboard_answers() {
    let mut s = Session::start(100, 30, &["--set", "ui.mouse=true", "--set", "ui.fps=60"]);
    s.wait("training fold 0");
    s.press("p");
    s.wait("paused at fold 0 epoch");
    for prefix in prefixes() {
        s.press(prefix);
        std::thread::sleep(Duration::from_millis(200));
        press_until(&mut s, "?", prefix, |text| text.contains("keys · Overview"));
        press_until(&mut s, "\x1b", prefix, |text| !text.contains("keys · Overview"));
    }
    // Pressed in quick succession, they are keys as well.
    s.press("?");
    s.wait("keys · Overview");
    s.press("\x1b[");
    s.wait_until("no help", |text| !text.contains("keys · Overview"));
    // In the middle of a sequence.
    s.press("\x1b[<");
    s.signal("-TERM");
    let dir = s.dir.clone();
    s.end(143);
    let state = std::fs::read_to_string(dir.path().join("runs/demo/state.json")).unwrap();
    assert!(state.contains("stopped"), "{state}");
}

#[test]
fn who_leaves_does_so_within_an_open_paste() {
    let mut s = Session::start(100, 30, &[]);
    s.wait("training fold 0");
    s.press("\x1b[200~pasted\x03");
    s.wait("y");
    s.wait_until("the question", |text| text.to_lowercase().contains("quit"));
    s.signal("-INT");
    s.end(130);
}

#[test]
fn a_terminal_that_closes_in_the_middle_of_a_sequence_leaves_nothing_busy() {
    for prefix in [&b"\x1b["[..], b"\x1b[200~", "é".as_bytes().split_at(1).0] {
        let mut s = Session::start(100, 30, &[]);
        s.wait("training fold 0");
        s.press("p");
        s.wait("paused at fold 0 epoch");
        s.press(prefix);
        s.close();
        wait_until("hardly any processor time", || {
            let before = s.ticks();
            std::thread::sleep(Duration::from_secs(1));
            before.zip(s.ticks()).is_none_or(|(before, after)| after - before <= 5)
        });
        // Training has continued without the dashboard and can be reached.
        let steps = s.journal(STEP);
        s.command(&["unpause", "demo"]);
        wait_until("training to go on", || s.journal(STEP) > steps);
        s.command(&["stop", "demo"]);
        s.exit(130);
    }
}
