//! A run that one process began, gone on with by workers.

use super::{fold, same};
use crate::tiny::{self, rsna_tui, said};

#[test]
fn a_run_begun_by_one_process_goes_on_with_workers() {
    let dir = tempfile::tempdir().unwrap();
    assert!(rsna_tui(dir.path(), &tiny::train("whole", 3)).status.success());
    let mut args = tiny::train("cut", 3);
    // In the second epoch of fold 0.
    args.extend(["--panic-at-step", "15"]);
    assert_eq!(rsna_tui(dir.path(), &args).status.code(), Some(1));
    let out = rsna_tui(dir.path(), &["work", "cut", "--device", "cpu"]);
    assert!(out.status.success(), "{}", said(&out));
    assert!(said(&out).contains("each fold has a folder of its own now"), "{}", said(&out));
    assert!(said(&out).contains("going on with fold 0 epoch 2"), "{}", said(&out));
    same(dir.path(), "whole", "cut");
    let run = dir.path().join("runs/cut");
    assert!(!run.join("journal.jsonl").exists() && !run.join("fold0_last.safetensors").exists());

    // A finished one, looked at again, is as it was.
    let out = rsna_tui(dir.path(), &["work", "whole", "--device", "cpu"]);
    assert!(
        out.status.success() && said(&out).contains("nothing is left to train"),
        "{}",
        said(&out)
    );
    for k in 0..2 {
        assert!(fold(dir.path(), "whole", k).join(format!("fold{k}_best.safetensors")).exists());
    }
    assert!(said(&rsna_tui(dir.path(), &["runs"])).contains("2 of 2 done"));
}

#[test]
fn a_run_that_one_process_trains_is_not_for_workers() {
    let dir = tempfile::tempdir().unwrap();
    let mut alone = std::process::Command::new(env!("CARGO_BIN_EXE_rsna-tui"))
        .current_dir(dir.path())
        .args(tiny::train("run", 200))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let journal = dir.path().join("runs/run/journal.jsonl");
    super::until("a journal", || journal.exists());
    let out = rsna_tui(dir.path(), &["work", "run"]);
    assert!(out.status.code() == Some(2) && said(&out).contains("in use by"), "{}", said(&out));
    alone.kill().unwrap();
    alone.wait().unwrap();
}
