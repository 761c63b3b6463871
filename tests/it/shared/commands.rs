//! The command line steers real workers, of which one says that it is on another host.

use crate::tiny::{create, rsna_tui, said};
use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

fn work(dir: &Path, fold: &str, host: Option<&str>) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rsna-tui"));
    command.current_dir(dir).args(["work", "r", "--device", "cpu", "--fold", fold]);
    command.envs(host.map(|host| ("SLURMD_NODENAME", host)));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn journal(dir: &Path, fold: usize) -> String {
    fs::read_to_string(dir.join(format!("runs/r/folds/{fold}/journal.jsonl"))).unwrap_or_default()
}

fn wait_for(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < Duration::from_secs(120), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn commands_reach_all_workers_or_one() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    create(dir, "r", 200);
    let out = rsna_tui(dir, &["attach", "r", "--no-tui"]);
    assert!(said(&out).contains("nobody trains r now; 0 of 2 folds are done"), "{}", said(&out));
    let out = rsna_tui(dir, &["pause", "r"]);
    assert!(!out.status.success() && said(&out).contains("nobody trains r now"), "{}", said(&out));
    let out = rsna_tui(dir, &["fold", "earlier", "1", "r"]);
    assert!(said(&out).contains("r: folds: 1 waiting, 0 waiting"), "{}", said(&out));

    let mut here = work(dir, "0", None);
    let mut there = work(dir, "1", Some("elsewhere"));
    wait_for("both train", || (0..2).all(|fold| journal(dir, fold).contains("\"type\":\"step\"")));
    for (args, words) in [
        (&["pause", "r"][..], &["paused at fold 0", "paused at fold 1"][..]),
        (&["unpause", "r"], &["running from fold 0", "running from fold 1"]),
        (&["checkpoint", "r", "--fold", "1"], &["r: saved last of fold 1"]),
        (&["plan", "r", "--epochs", "300"], &["train.epochs: 200 → 300"]),
        (&["stop", "r", "--fold", "0"], &["r: fold 0: stopped"]),
    ] {
        let begun = Instant::now();
        let out = rsna_tui(dir, args);
        println!("{args:?} took {:?}: {}", begun.elapsed(), said(&out));
        assert!(out.status.success(), "{args:?}: {}", said(&out));
        for words in words {
            assert!(said(&out).contains(words), "{args:?}: {}", said(&out));
        }
    }
    assert_eq!(here.wait().unwrap().code(), Some(130));
    let out = rsna_tui(dir, &["unpause", "r", "--fold", "0"]);
    assert!(said(&out).contains("nobody trains fold 0 now"), "{}", said(&out));
    let out = rsna_tui(dir, &["stop", "r"]);
    assert!(out.status.success() && said(&out).contains("r: stopped"), "{}", said(&out));
    assert_eq!(there.wait().unwrap().code(), Some(130));
    let out = rsna_tui(dir, &["attach", "r", "--no-tui"]);
    assert!(said(&out).contains("stopped"), "{}", said(&out));
    let requests = fs::read_dir(dir.join("runs/r/folds/1/requests")).unwrap();
    assert_eq!(requests.count(), 0, "all were taken");
    // A fold is also a run of its own.
    let out = rsna_tui(dir, &["attach", "runs/r/folds/1", "--no-tui"]);
    assert!(out.status.success() && said(&out).contains("stopped"), "{}", said(&out));
}

#[test]
fn a_worker_that_does_not_answer_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    create(dir, "r", 200);
    let mut there = work(dir, "1", Some("elsewhere"));
    wait_for("it trains", || journal(dir, 1).contains("\"type\":\"step\""));
    let pid = there.id().to_string();
    let kill = |signal: &str| Command::new("kill").args([signal, pid.as_str()]).status().unwrap();
    assert!(kill("-STOP").success());
    let out = rsna_tui(dir, &["pause", "r", "--timeout", "2"]);
    let text = said(&out);
    assert!(!out.status.success() && text.contains("not all answered in 2 s"), "{text}");
    let named = format!("fold 1: process {pid} on elsewhere has not answered the request to pause");
    assert!(text.contains(&named), "{text}");
    assert!(kill("-CONT").success());
    wait_for("it is done all the same", || journal(dir, 1).contains("\"state\":\"paused\""));
    there.kill().unwrap();
    there.wait().unwrap();
}
