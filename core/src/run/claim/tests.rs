use super::*;
use std::fs::File;
use std::sync::{Barrier, Mutex};

/// A process of this host that has ended.
fn dead() -> Holder {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    Holder { pid, started: 1, ..Holder::here("") }
}

/// A process of a host that cannot be asked.
fn far() -> Holder {
    Holder { host: "far".into(), boot: "other".into(), ..dead() }
}

fn claimer(holder: Holder, quiet: u64) -> Claimer {
    let timing = Timing::of_quiet(Duration::from_millis(quiet));
    Claimer::new(holder, timing, |_| {})
}

fn held(attempt: Attempt) -> Held {
    match attempt {
        Attempt::Held(held) => held,
        Attempt::Claimed(claim) => panic!("claimed as number {}", claim.number()),
    }
}

fn claimed(attempt: Attempt) -> Claim {
    match attempt {
        Attempt::Claimed(claim) => claim,
        Attempt::Held(held) => panic!("held by {}", held.by),
    }
}

fn write(dir: &Path, number: u64, holder: Holder) {
    let record =
        Record { format: FORMAT.into(), holder, claimed: 0.0, released: None, took_over: None };
    fs::create_dir_all(folder(dir)).unwrap();
    fs::write(file(&folder(dir), number), serde_json::to_vec(&record).unwrap()).unwrap();
}

fn set_age(dir: &Path, number: u64, time: SystemTime) {
    let file = File::options().write(true).open(file(&folder(dir), number)).unwrap();
    file.set_modified(time).unwrap();
}

#[test]
fn a_fold_is_claimed_released_and_claimed_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = claimer(Holder::here("cpu"), 60_000);
    let claim = claimed(first.claim(dir.path()).unwrap());
    assert_eq!(held(first.claim(dir.path()).unwrap()).silent, None);
    assert!(Newest::read(dir.path()).unwrap().unwrap().is_held());
    drop(claim);
    let newest = Newest::read(dir.path()).unwrap().unwrap();
    assert!(!newest.is_held() && newest.unreleased().is_none());
    assert_eq!(claimed(first.claim(dir.path()).unwrap()).number(), 2);
}

#[test]
fn of_many_that_claim_at_once_one_gets_it() {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=20 {
        let (barrier, won) = (Barrier::new(8), Mutex::new(Vec::new()));
        std::thread::scope(|threads| {
            for _ in 0..8 {
                threads.spawn(|| {
                    let mut claimer = claimer(Holder::here(""), 60_000);
                    barrier.wait();
                    if let Attempt::Claimed(claim) = claimer.claim(dir.path()).unwrap() {
                        won.lock().unwrap().push(claim);
                    }
                });
            }
        });
        let won = won.into_inner().unwrap();
        assert_eq!((won.len(), won[0].number()), (1, round));
    }
}

#[test]
fn a_dead_process_of_this_host_is_taken_over_at_once() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 4, dead());
    assert!(!Newest::read(dir.path()).unwrap().unwrap().is_held());
    let claim = claimed(claimer(Holder::here(""), 60_000).claim(dir.path()).unwrap());
    assert_eq!(claim.number(), 5);
    let record = Newest::read(dir.path()).unwrap().unwrap().record.unwrap();
    assert!(record.took_over.unwrap().contains("its process has ended"));
    // The same process id, but of another start.
    let reused = Holder { started: 1, ..Holder::here("") };
    assert!(matches!(reused.life(), Life::Gone(_)));
    let before_boot = Holder { boot: "an earlier one".into(), ..Holder::here("") };
    assert!(matches!(before_boot.life(), Life::Gone(_)));
    let container = Holder { pids: 1, ..dead() };
    assert_eq!(container.life(), Life::Unknown);
}

#[test]
fn a_silent_holder_of_another_host_is_taken_over_after_its_time() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 1, far());
    let mut other = claimer(Holder::here(""), 1000);
    let start = Instant::now();
    let claim = loop {
        match other.claim(dir.path()).unwrap() {
            Attempt::Claimed(claim) => break claim,
            Attempt::Held(held) => assert!(held.silent.is_some()),
        }
        assert!(start.elapsed().as_secs() < 20);
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
    assert_eq!(claim.number(), 2);
}

/// The holder's file server stamps files with a clock that is an hour off, in either direction.
#[test]
fn a_living_holder_is_never_taken_over_whatever_the_clocks_show() {
    let hour = Duration::from_secs(3600);
    for skewed in [|now: SystemTime, by| now - by, |now: SystemTime, by| now + by] {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 1, far());
        let mut other = claimer(Holder::here(""), 600);
        let start = Instant::now();
        // 600 ms of silence are enough, and a beat is 20 ms.
        while start.elapsed() < Duration::from_millis(1500) {
            set_age(dir.path(), 1, skewed(SystemTime::now(), hour));
            held(other.claim(dir.path()).unwrap());
            std::thread::sleep(Duration::from_millis(5));
        }
        // Now it is silent.
        std::thread::sleep(Duration::from_millis(700));
        claimed(other.claim(dir.path()).unwrap());
    }
}

#[test]
fn a_holder_notices_that_it_was_taken_over_before_it_writes() {
    let dir = tempfile::tempdir().unwrap();
    let lost = Arc::new(Mutex::new(Vec::new()));
    let told = lost.clone();
    let timing = Timing::of_quiet(Duration::from_secs(60));
    let tell = move |why: &str| told.lock().unwrap().push(why.to_string());
    let mut first = Claimer::new(far(), timing, tell);
    let claim = claimed(first.claim(dir.path()).unwrap());
    let guard = claim.guard();
    assert!(guard.check().is_ok() && guard.check_soon().is_ok());
    write(dir.path(), 2, Holder::here(""));
    // What was seen a moment ago is trusted; nobody takes over such a young claim.
    assert!(guard.check_soon().is_ok());
    let error = guard.check().unwrap_err();
    assert!(error.to_string().contains("has taken it over"), "{error}");
    assert!(lost.lock().unwrap()[0].contains("process"));
    // It does not release what is no longer its own.
    drop(claim);
    assert_eq!(Newest::read(dir.path()).unwrap().unwrap().number, 2);
    assert!(Newest::read(dir.path()).unwrap().unwrap().unreleased().is_some());
}

#[test]
fn what_is_no_claim_holds_a_fold_only_for_a_time() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder(dir.path())).unwrap();
    for name in ["x.json", "99999999999.json", "1.json.tmp", ".2.json"] {
        fs::write(folder(dir.path()).join(name), "").unwrap();
    }
    fs::write(file(&folder(dir.path()), 3), "{").unwrap();
    let mut other = claimer(Holder::here(""), 300);
    assert!(held(other.claim(dir.path()).unwrap()).silent.is_some());
    std::thread::sleep(Duration::from_millis(350));
    assert_eq!(claimed(other.claim(dir.path()).unwrap()).number(), 4);
}
