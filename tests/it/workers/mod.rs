//! Folds trained side by side by several processes: each fold's result is that of a run of one process, and no
//! two processes ever hold a fold.

mod begun_alone;
mod killed;
mod supervised;

use crate::tiny::{self, create, figures, log, rsna_tui, said, tensors};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Starts a worker.
fn worker(dir: &Path, run: &str, more: &[&str], env: &[(&str, &str)]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_rsna-tui"))
        .current_dir(dir)
        .args(["work", run, "--device", "cpu"])
        .args(more)
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn fold(dir: &Path, run: &str, fold: usize) -> PathBuf {
    dir.join("runs").join(run).join("folds").join(fold.to_string())
}

/// The claims of a fold, by number.
fn claims(fold: &Path) -> Vec<Value> {
    let read = |number: usize| {
        let bytes = fs::read(fold.join(format!("claims/{number}.json"))).ok()?;
        serde_json::from_slice(&bytes).ok()
    };
    (1..).map_while(read).collect()
}

/// Waits until `is` holds.
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed().as_secs() < 120, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Asserts that the folds of the shared run have the results of `whole`, a run of one process.
fn same(dir: &Path, whole: &str, shared: &str) {
    let whole = dir.join("runs").join(whole);
    let (mut lines, mut events) = (Vec::new(), Vec::new());
    for k in 0..2 {
        let of_fold = fold(dir, shared, k);
        for name in ["best", "last"] {
            let name = format!("fold{k}_{name}.safetensors");
            assert!(tensors(&whole.join(&name)) == tensors(&of_fold.join(&name)), "{name}");
        }
        lines.extend(log(&of_fold));
        events.extend(figures(&of_fold));
    }
    assert_eq!(log(&whole), lines);
    assert_eq!(figures(&whole), events);
}

/// Asserts that whoever claimed the fold after another found that one's claim released, or its process gone.
fn never_held_by_two(fold: &Path) {
    let claims = claims(fold);
    assert!(!claims.is_empty());
    for pair in claims.windows(2) {
        let released = pair[0]["released"].as_f64();
        let (claimed, took_over) = (pair[1]["claimed"].as_f64().unwrap(), &pair[1]["took_over"]);
        match released {
            Some(released) => assert!(released <= claimed && took_over.is_null(), "{pair:?}"),
            None => {
                let pid = pair[0]["holder"]["pid"].to_string();
                assert!(
                    took_over.as_str().unwrap().contains(&format!("process {pid} ")),
                    "{pair:?}"
                );
            }
        }
    }
}

#[test]
fn two_workers_at_once_give_what_one_process_gives() {
    let dir = tempfile::tempdir().unwrap();
    assert!(rsna_tui(dir.path(), &tiny::train("whole", 3)).status.success());
    create(dir.path(), "both", 3);
    let mut workers = [(); 2].map(|()| worker(dir.path(), "both", &[], &[]));
    for worker in &mut workers {
        assert!(worker.wait().unwrap().success());
    }
    same(dir.path(), "whole", "both");
    for k in 0..2 {
        assert_eq!(claims(&fold(dir.path(), "both", k)).len(), 1);
        never_held_by_two(&fold(dir.path(), "both", k));
    }
    // Nothing is left: said, and no failure.
    let out = rsna_tui(dir.path(), &["work", "both"]);
    assert!(
        out.status.success() && said(&out).contains("nothing is left to train"),
        "{}",
        said(&out)
    );
    let out = rsna_tui(dir.path(), &["work", "both", "--fold", "1"]);
    assert!(out.status.success() && said(&out).contains("fold 1 is done"), "{}", said(&out));
    let out = rsna_tui(dir.path(), &["work", "both", "--fold", "7"]);
    assert!(said(&out).contains("there is no fold 7 in both; it has 0, 1"), "{}", said(&out));
    assert_eq!(out.status.code(), Some(2));
    let out = rsna_tui(dir.path(), &["runs"]);
    assert!(said(&out).contains("2 of 2 done"), "{}", said(&out));
}

#[test]
fn a_fold_that_is_trained_is_refused_to_another_worker() {
    let dir = tempfile::tempdir().unwrap();
    create(dir.path(), "run", 200);
    let mut first = worker(dir.path(), "run", &["--fold", "1"], &[]);
    until("a claim", || !claims(&fold(dir.path(), "run", 1)).is_empty());
    let out = rsna_tui(dir.path(), &["work", "run", "--fold", "1", "--device", "cpu"]);
    let words = format!("fold 1 of run is being trained by process {}", first.id());
    assert!(out.status.code() == Some(2) && said(&out).contains(&words), "{}", said(&out));
    // Saved and left at each signal, with its exit code; the claim is released.
    for (signal, code) in [("-USR1", 75), ("-TERM", 143), ("-INT", 130)] {
        let journal = fold(dir.path(), "run", 1).join("journal.jsonl");
        let steps = || fs::read_to_string(&journal).unwrap_or_default().matches("\"step\"").count();
        let before = steps();
        until("a step", || steps() > before);
        Command::new("kill").args([signal, &first.id().to_string()]).status().unwrap();
        assert_eq!(first.wait().unwrap().code(), Some(code), "{signal}");
        let claims = claims(&fold(dir.path(), "run", 1));
        assert!(claims.last().unwrap()["released"].is_f64(), "{signal}");
        first = worker(dir.path(), "run", &["--fold", "1"], &[]);
        until("a claim", || self::claims(&fold(dir.path(), "run", 1)).len() > claims.len());
    }
    first.kill().unwrap();
    first.wait().unwrap();
    never_held_by_two(&fold(dir.path(), "run", 1));
}
