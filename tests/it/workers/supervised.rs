//! `--devices`: one process that starts a worker a device.

use super::{claims, fold, same, until};
use crate::tiny::{self, rsna_tui, said};
use std::process::{Command, Stdio};

/// `--devices cpu:2` halves `train.threads`; one process with one thread gives the same.
#[test]
fn two_workers_of_one_command_give_what_one_process_gives() {
    let dir = tempfile::tempdir().unwrap();
    assert!(rsna_tui(dir.path(), &tiny::train("whole", 3)).status.success());
    let mut args = tiny::train("both", 3);
    args.extend(["--devices", "cpu:2", "--set", "train.threads=2"]);
    let out = rsna_tui(dir.path(), &args);
    assert!(out.status.success(), "{}", said(&out));
    same(dir.path(), "whole", "both");
    // Longer, by one worker.
    let out = rsna_tui(dir.path(), &["resume", "both", "--no-tui", "--epochs", "5"]);
    assert!(out.status.success(), "{}", said(&out));
    assert!(rsna_tui(dir.path(), &tiny::train("longer", 5)).status.success());
    assert_eq!(tiny::log(&fold(dir.path(), "both", 1)).len(), 5);
    for bad in ["cpu:0", "gpu", "cuda:0,cuda:0", "cpu,cpu"] {
        let out = rsna_tui(dir.path(), &["--demo", "--devices", bad]);
        assert!(out.status.code() == Some(2) && said(&out).contains(bad), "{}", said(&out));
    }
}

#[test]
fn a_worker_that_dies_is_replaced_and_the_third_death_fails_the_fold() {
    let dir = tempfile::tempdir().unwrap();
    let mut args = tiny::train("run", 200);
    args.extend(["--devices", "cpu", "--set", "train.folds=[0]"]);
    let child = Command::new(env!("CARGO_BIN_EXE_rsna-tui"))
        .current_dir(dir.path())
        .args(&args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let of_fold = fold(dir.path(), "run", 0);
    for death in 1..=3 {
        until("a claim", || claims(&of_fold).len() == death);
        let pid = claims(&of_fold)[death - 1]["holder"]["pid"].to_string();
        Command::new("kill").args(["-KILL", &pid]).status().unwrap();
    }
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(1), "{}", said(&out));
    let text = said(&out);
    assert!(text.matches(") died: ").count() == 3, "{text}");
    assert!(text.contains("fold 0: its worker has died 3 times"), "{text}");
    assert!(text.contains("work run --fold 0"), "{text}");
}

#[test]
fn a_stopped_run_leaves_no_worker_and_goes_on_later() {
    let dir = tempfile::tempdir().unwrap();
    let mut args = tiny::train("run", 200);
    args.extend(["--devices", "cpu:2"]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_rsna-tui"))
        .current_dir(dir.path())
        .args(&args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    for k in 0..2 {
        let journal = fold(dir.path(), "run", k).join("journal.jsonl");
        let stepped =
            || std::fs::read_to_string(&journal).is_ok_and(|text| text.contains("\"step\""));
        until("a step", stepped);
    }
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    for k in 0..2 {
        let claims = claims(&fold(dir.path(), "run", k));
        assert!(claims.last().unwrap()["released"].is_f64());
        assert!(fold(dir.path(), "run", k).join(format!("fold{k}_last.safetensors")).exists());
    }
    let out = said(&rsna_tui(dir.path(), &["runs"]));
    assert!(out.contains("stopped"), "{out}");
}
