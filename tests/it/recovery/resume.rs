//! A run that is cut and goes on is the run that was never cut: the same weights, moments, log and
//! journal.

use crate::tiny::{rsna_tui, said, same};
use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

fn train(run: &'static str) -> Vec<&'static str> {
    crate::tiny::train(run, 3)
}

#[test]
fn a_run_that_died_goes_on_from_its_last_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let whole = rsna_tui(dir.path(), &train("whole"));
    assert!(whole.status.success(), "{}", said(&whole));
    let mut args = train("cut");
    // In the second epoch of fold 0, before any checkpoint of it.
    args.extend(["--panic-at-step", "11", "--set", "checkpoint.every_steps=0"]);
    assert_eq!(rsna_tui(dir.path(), &args).status.code(), Some(1));
    // As if it had died between the log's line and `last`.
    let log = dir.path().join("runs/cut/logs/k.txt");
    let line = "now Fold 0, Epoch 2, lr: 0, train loss: 9, valid loss: 9, metric: 9.\n";
    fs::write(&log, fs::read_to_string(&log).unwrap() + line).unwrap();
    let out = rsna_tui(dir.path(), &["resume", "cut", "--no-tui"]);
    assert!(out.status.success(), "{}", said(&out));
    assert!(said(&out).contains("going on with fold 0 epoch 2"), "{}", said(&out));
    same(dir.path(), "whole", "cut");

    // Once more there is nothing left to do, and longer there is.
    let out = rsna_tui(dir.path(), &["resume", "cut", "--no-tui"]);
    assert!(out.status.success() && said(&out).contains("its 3 epochs are done"), "{}", said(&out));
    same(dir.path(), "whole", "cut");
    let out = rsna_tui(dir.path(), &["resume", "cut", "--no-tui", "--epochs", "4"]);
    assert!(out.status.success(), "{}", said(&out));
    assert_eq!(crate::tiny::log(&dir.path().join("runs/cut")).len(), 8);
}

#[cfg(unix)]
#[test]
fn a_run_that_was_stopped_in_mid_epoch_goes_on_there() {
    let dir = tempfile::tempdir().unwrap();
    assert!(rsna_tui(dir.path(), &train("whole")).status.success());
    let mut args = train("stopped");
    args.extend(["--set", "run.log_every_steps=1"]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_rsna-tui"))
        .current_dir(dir.path())
        .args(&args)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stopped = dir.path().join("runs/stopped");
    let start = Instant::now();
    while !stopped.join("logs/k.txt").exists() {
        assert!(start.elapsed().as_secs() < 120, "no epoch");
        std::thread::sleep(Duration::from_millis(2));
    }
    let kill = |signal: &str| {
        let kill = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(kill.success());
    };
    // It must not come to its end meanwhile.
    kill("-STOP");
    // Another one on the same run is refused meanwhile.
    let refused = rsna_tui(dir.path(), &["resume", "stopped", "--no-tui"]);
    assert_eq!(refused.status.code(), Some(2));
    let words = format!("in use by another rsna-tui (process {})", child.id());
    assert!(said(&refused).contains(&words), "{}", said(&refused));
    kill("-INT");
    kill("-CONT");
    std::io::copy(&mut child.stdout.take().unwrap(), &mut std::io::sink()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    // The newest run where none is named.
    let out = rsna_tui(dir.path(), &["resume", "--no-tui"]);
    assert!(out.status.success(), "{}", said(&out));
    same(dir.path(), "whole", "stopped");
}

/// Killed at moments drawn at random, again and again: `RSNA_TUI_KILLS=100` for more than ten.
#[cfg(unix)]
#[test]
fn a_run_that_is_killed_anywhere_goes_on_as_if_it_had_not_been() {
    let kills = std::env::var("RSNA_TUI_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(10);
    let dir = tempfile::tempdir().unwrap();
    let start = Instant::now();
    assert!(rsna_tui(dir.path(), &train("whole")).status.success());
    let whole = start.elapsed();
    let run = dir.path().join("runs/killed");
    let begin = || -> Vec<&str> {
        if run.join("config.toml").is_file() {
            return vec!["resume", "killed", "--no-tui"];
        }
        // Killed before there was anything to go on from.
        let _ = fs::remove_dir_all(&run);
        train("killed")
    };
    let mut moments = Vec::new();
    for _ in 0..kills {
        let random = std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos() % 1000;
        let wait = whole * random / 1000;
        let mut child = Command::new(env!("CARGO_BIN_EXE_rsna-tui"))
            .current_dir(dir.path())
            .args(begin())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(wait);
        child.kill().unwrap();
        let ended = child.wait().unwrap();
        moments.push((wait, ended.code()));
        assert_ne!(ended.code(), Some(1), "failed after {moments:?}");
        if ended.success() {
            // It came to its end: another one.
            same(dir.path(), "whole", "killed");
            fs::remove_dir_all(&run).unwrap();
        }
    }
    println!("killed after {moments:?}");
    let out = rsna_tui(dir.path(), &begin());
    assert!(out.status.success(), "{moments:?}: {}", said(&out));
    same(dir.path(), "whole", "killed");
}

#[test]
fn what_cannot_go_on_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let out = rsna_tui(dir.path(), &["resume", "--no-tui"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(said(&out).contains("holds no run"), "{}", said(&out));
    let out = rsna_tui(dir.path(), &["resume", "nobody", "--no-tui"]);
    assert!(said(&out).contains("nobody holds no run"), "{}", said(&out));

    let mut args = train("bad");
    args.extend(["--panic-at-step", "11"]);
    rsna_tui(dir.path(), &args);
    let last = dir.path().join("runs/bad/fold0_last.safetensors");
    let bytes = fs::read(&last).unwrap();
    fs::write(&last, &bytes[..bytes.len() / 2]).unwrap();
    let resume = || rsna_tui(dir.path(), &["resume", "bad", "--no-tui"]);
    // The one before is whole.
    let out = resume();
    assert!(out.status.success(), "{}", said(&out));
    assert!(said(&out).contains("fold0_last.safetensors: its checksum is wrong"), "{}", said(&out));
    assert!(said(&out).contains("going on from runs/bad/fold0_last-1"), "{}", said(&out));
    assert!(rsna_tui(dir.path(), &train("whole")).status.success());
    same(dir.path(), "whole", "bad");

    // A flipped bit in both.
    for file in ["fold1_last", "fold1_last-1"] {
        let path = dir.path().join(format!("runs/bad/{file}.safetensors"));
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    fs::remove_file(dir.path().join("runs/bad/state.json")).unwrap();
    let out = resume();
    assert_eq!(out.status.code(), Some(1));
    assert!(
        said(&out).contains("cannot go on from runs/bad/fold1_last.safetensors"),
        "{}",
        said(&out)
    );
}
