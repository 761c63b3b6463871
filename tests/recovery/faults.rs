//! What goes wrong on a rented machine: a full disk, a moved folder, a clock that jumps, a loss that is
//! not finite. (A checkpoint that is damaged, and a second process on a run: resume.rs.)

use crate::tiny::{figures, rsna_tui, said, same, train};
use rsna_tui::run::status::{RunState, Status};
use std::{fs, path::Path, process::Command};

/// Runs a script where it may mount a file system that nobody else sees; `None` where the system
/// allows that to nobody here.
fn with_mounts(dir: &Path, script: &str) -> Option<String> {
    let how = [&["-m"][..], &["-r", "-m"]].into_iter().find(|how| {
        let probe = "mount -t tmpfs -o size=64k tmpfs . && true";
        let out =
            Command::new("unshare").current_dir(dir).args(*how).args(["sh", "-c", probe]).output();
        out.is_ok_and(|out| out.status.success())
    })?;
    let out = Command::new("unshare")
        .current_dir(dir)
        .args(how)
        .args(["sh", "-euc", script])
        .env("PROGRAM", env!("CARGO_BIN_EXE_rsna-tui"))
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", said(&out));
    Some(said(&out))
}

/// A file system of 30 MB, all but 1 MB of it taken by another file until the run says that it holds.
#[test]
fn a_full_disk_holds_training_until_there_is_room_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    assert!(rsna_tui(dir.path(), &train("whole", 3)).status.success());
    fs::create_dir(dir.path().join("small")).unwrap();
    let args = train("full", 3).join(" ");
    let script = format!(
        r#"mount -t tmpfs -o size=30m tmpfs small
           head -c 29500000 /dev/zero > small/ballast
           "$PROGRAM" {args} --runs-dir small > out.txt 2>&1 &
           program=$!
           tries=0
           until grep -q 'cannot write' out.txt; do
               tries=$((tries + 1)); [ $tries -lt 600 ] || {{ cat out.txt; exit 1; }}
               sleep 0.1
           done
           "$PROGRAM" runs --runs-dir small
           rm small/ballast
           wait $program
           mkdir -p runs && cp -r small/full runs/full"#
    );
    let Some(out) = with_mounts(dir.path(), &script) else {
        println!("skipped: no file system can be mounted here");
        return;
    };
    assert!(out.contains("full"), "{out}");
    let told = fs::read_to_string(dir.path().join("out.txt")).unwrap();
    assert!(told.contains("it goes on when there is room"), "{told}");
    assert!(told.contains("running from"), "{told}");
    same(dir.path(), "whole", "full");
}

#[test]
fn who_stops_while_the_disk_is_full_is_let_go_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("small")).unwrap();
    let args = train("full", 3).join(" ");
    let script = format!(
        r#"mount -t tmpfs -o size=3m tmpfs small
           "$PROGRAM" {args} --runs-dir small > out.txt 2>&1 &
           program=$!
           tries=0
           until grep -q 'cannot write' out.txt; do
               tries=$((tries + 1)); [ $tries -lt 600 ] || {{ cat out.txt; exit 1; }}
               sleep 0.1
           done
           kill -INT $program
           code=0; wait $program || code=$?
           echo "left with $code""#
    );
    let Some(out) = with_mounts(dir.path(), &script) else {
        println!("skipped: no file system can be mounted here");
        return;
    };
    assert!(out.contains("left with 1"), "{out}");
    let told = fs::read_to_string(dir.path().join("out.txt")).unwrap();
    assert!(told.contains("choose another --runs-dir"), "{told}");
}

#[test]
fn a_run_goes_on_in_another_place_with_a_stale_lock_after_the_clock_jumped() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    assert!(rsna_tui(dir, &train("whole", 3)).status.success());
    let mut args = train("moved", 3);
    args.extend(["--panic-at-step", "14"]);
    assert_eq!(rsna_tui(dir, &args).status.code(), Some(1));
    fs::create_dir(dir.join("elsewhere")).unwrap();
    fs::rename(dir.join("runs/moved"), dir.join("elsewhere/moved")).unwrap();
    let run = dir.join("elsewhere/moved");
    // The process that is named there is alive, and another one.
    fs::write(run.join("lock"), format!("{}\n", std::process::id())).unwrap();
    // As if it had been written tomorrow.
    let mut status = Status::read(&run.join("state.json")).unwrap();
    status.updated += 86_400.0;
    status.state = RunState::Running;
    status.write(&run.join("state.json")).unwrap();
    let journal = fs::read_to_string(run.join("journal.jsonl")).unwrap();
    fs::write(run.join("journal.jsonl"), journal.replace("\"time\":", "\"time\":9")).unwrap();
    let listed = said(&rsna_tui(dir, &["runs", "--runs-dir", "elsewhere"]));
    assert!(listed.contains("died") && listed.contains("0s ago"), "{listed}");

    let out = rsna_tui(dir, &["resume", "moved", "--no-tui", "--runs-dir", "elsewhere"]);
    assert!(out.status.success(), "{}", said(&out));
    fs::rename(&run, dir.join("runs/moved")).unwrap();
    same(dir, "whole", "moved");
    let config = fs::read_to_string(dir.join("runs/moved/config.toml")).unwrap();
    assert!(config.contains("epochs = 3"));
}

#[test]
fn a_changed_setting_is_told_or_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut args = train("changed", 3);
    args.extend(["--panic-at-step", "14"]);
    rsna_tui(dir, &args);
    let config = dir.join("runs/changed/config.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("mixup = 0.5", "mixup = 0.25")).unwrap();
    assert_ne!(text, fs::read_to_string(&config).unwrap());
    let out = rsna_tui(dir, &["resume", "changed", "--no-tui"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(said(&out).contains("train.mixup: 0.5 → 0.25"), "{}", said(&out));
    fs::write(&config, text).unwrap();
    let free = ["resume", "changed", "--no-tui", "--set", "data.workers=2", "--epochs", "4"];
    let out = rsna_tui(dir, &free);
    assert!(out.status.success(), "{}", said(&out));
    assert!(said(&out).contains("changed since: data.workers: 1 → 2"), "{}", said(&out));
    assert!(said(&out).contains("changed since: train.epochs: 3 → 4"), "{}", said(&out));
}

#[test]
fn a_loss_that_is_not_finite_ends_the_fold_or_its_batch_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut args = train("stop", 2);
    args.extend(["--nan-at-batch", "3"]);
    let out = rsna_tui(dir, &args);
    assert_eq!(out.status.code(), Some(1));
    assert!(said(&out).contains("the loss is not finite in a step with the studies phantom."));

    let skipping = |run| {
        let mut args = train(run, 2);
        args.extend(["--nan-at-batch", "3", "--set", "train.on_nonfinite=\"skip\""]);
        args
    };
    let out = rsna_tui(dir, &skipping("skip"));
    assert!(out.status.success(), "{}", said(&out));
    assert!(said(&out).contains("the batch after it is left out; its studies: phantom."));
    // A step less an epoch, of two folds and epochs.
    let steps = |run: &str| {
        let figures = figures(&dir.join("runs").join(run));
        figures.iter().filter(|line| line.contains("\"type\":\"step\"")).count()
    };
    assert_eq!(steps("skip"), 4 * 8);
    // Cut and gone on with, it is the same.
    let mut cut = skipping("cut");
    cut.extend(["--panic-at-step", "14"]);
    assert_eq!(rsna_tui(dir, &cut).status.code(), Some(1));
    let resumed = ["resume", "cut", "--no-tui", "--nan-at-batch", "3"];
    let out = rsna_tui(dir, &resumed);
    assert!(out.status.success(), "{}", said(&out));
    same(dir, "skip", "cut");
}
