//! Workers that are killed, suspended, or on hosts that cannot be asked.

use super::{claims, create, fold, never_held_by_two, same, until, worker};
use crate::tiny::{self, rsna_tui};
use std::{
    process::{Child, Command},
    time::{Duration, Instant},
};

/// The environment of a process on a host of this name.
fn host(name: &str) -> [(&str, &str); 1] {
    [("SLURMD_NODENAME", name)]
}

fn signal(child: &Child, signal: &str) {
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// Two workers, of which one at a time is killed at moments drawn at random; another takes its place.
/// `RSNA_TUI_KILLS=50` for more than ten.
#[test]
fn workers_that_are_killed_anywhere_lose_nothing() {
    let kills = std::env::var("RSNA_TUI_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(10);
    let dir = tempfile::tempdir().unwrap();
    let start = Instant::now();
    assert!(rsna_tui(dir.path(), &tiny::train("whole", 3)).status.success());
    let whole = start.elapsed();
    let mut left = kills;
    while left > 0 {
        let _ = std::fs::remove_dir_all(dir.path().join("runs/killed"));
        create(dir.path(), "killed", 3);
        let start = || worker(dir.path(), "killed", &[], &[]);
        let mut workers = [start(), start()];
        // Killed often, it may not come to its end: then the last two are left alone.
        for _ in 0..10 {
            let random = std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
            std::thread::sleep(whole / 2 * (random % 1000) / 1000);
            let chosen = (random / 1000 % 2) as usize;
            workers[chosen].kill().unwrap();
            let ended = workers[chosen].wait().unwrap().code();
            assert!(matches!(ended, None | Some(0)), "{ended:?}");
            left -= usize::from(ended.is_none()).min(left);
            workers[chosen] = start();
        }
        for worker in &mut workers {
            assert!(worker.wait().unwrap().success());
        }
        // A worker that ended while the other's fold was not done yet left nothing to it.
        let done = rsna_tui(dir.path(), &["work", "killed", "--device", "cpu"]);
        assert!(done.status.success());
        same(dir.path(), "whole", "killed");
        for k in 0..2 {
            never_held_by_two(&fold(dir.path(), "killed", k));
        }
    }
}

#[test]
fn a_dead_host_is_taken_over_after_its_time_and_a_living_one_never() {
    let dir = tempfile::tempdir().unwrap();
    create(dir.path(), "run", 200);
    let of_fold = fold(dir.path(), "run", 0);
    let more = ["--fold", "0", "--claim-seconds", "6"];
    let mut far = worker(dir.path(), "run", &more, &host("far"));
    until("a step", || of_fold.join("control.sock").exists());
    let mut near = worker(dir.path(), "run", &more, &host("near"));
    // Longer than the time after which a silent one is taken over.
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(claims(&of_fold).len(), 1);
    let refused = near.try_wait().unwrap();
    assert!(refused.is_none_or(|status| status.code() == Some(2)), "{refused:?}");
    if refused.is_some() {
        near = worker(dir.path(), "run", &more, &host("near"));
    }
    far.kill().unwrap();
    far.wait().unwrap();
    let dead = Instant::now();
    until("taken over", || claims(&of_fold).len() == 2);
    assert!(dead.elapsed() >= Duration::from_secs(5), "{:?}", dead.elapsed());
    let took_over = claims(&of_fold)[1]["took_over"].to_string();
    assert!(took_over.contains("on far: not heard of for"), "{took_over}");
    near.kill().unwrap();
    near.wait().unwrap();
}

#[test]
fn a_suspended_worker_writes_nothing_once_another_has_its_fold() {
    let dir = tempfile::tempdir().unwrap();
    assert!(rsna_tui(dir.path(), &tiny::train("whole", 3)).status.success());
    create(dir.path(), "run", 3);
    let of_fold = fold(dir.path(), "run", 0);
    let more = ["--fold", "0", "--claim-seconds", "3"];
    let mut far = worker(dir.path(), "run", &more, &host("far"));
    let log = of_fold.join("logs/k.txt");
    until("an epoch", || log.exists());
    signal(&far, "-STOP");
    let mut near = worker(dir.path(), "run", &more, &host("near"));
    until("taken over", || claims(&of_fold).len() == 2);
    // While the other one trains.
    signal(&far, "-CONT");
    assert_eq!(far.wait().unwrap().code(), Some(3));
    assert!(near.wait().unwrap().success());
    let done = rsna_tui(dir.path(), &["work", "run", "--fold", "1", "--device", "cpu"]);
    assert!(done.status.success());
    same(dir.path(), "whole", "run");
    never_held_by_two(&of_fold);
}
