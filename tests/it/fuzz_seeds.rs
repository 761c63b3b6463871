//! Runs the fuzz targets on their seeds and small changes of them: see `fuzz/README.md`. None may panic.

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use rsna_tui::{
    config::Config,
    run::{
        event::{Event, Level, Log, RunStarted, Stamped},
        journal,
        status::Status,
    },
    study::Table,
    train::checkpoint,
    view::State,
};
use rsna_tui_testkit::{fuzz, script::Script};
use std::path::Path;

/// Number of changed seeds per target.
const CHANGES: usize = 600;

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut seeds: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), std::fs::read(path).unwrap()))
        .collect();
    seeds.sort();
    assert!(seeds.len() >= 3, "{} has hardly a seed", folder.display());
    seeds
}

/// Runs a target on every seed, and on changes of them.
fn run(target: &str, function: fn(&[u8]), changes: usize) {
    let seeds = seeds(target);
    for (name, seed) in &seeds {
        println!("{name}");
        function(seed);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(2022);
    for change in 0..changes {
        let (name, seed) = seeds.choose(&mut rng).unwrap();
        println!("change {change}, of {name}");
        let mut bytes = seed.clone();
        for _ in 0..rng.random_range(1..=4) {
            let (_, other) = seeds.choose(&mut rng).unwrap();
            alter(&mut bytes, other, &mut rng);
        }
        function(&bytes);
    }
}

/// Corrupts a file: flips bits, replaces bytes, deletes or duplicates a part, inserts a part of another
/// file, or changes a number.
fn alter(bytes: &mut Vec<u8>, other: &[u8], rng: &mut ChaCha8Rng) {
    if bytes.is_empty() {
        return bytes.extend(other);
    }
    let at = rng.random_range(0..bytes.len());
    let end = (at + rng.random_range(1..64)).min(bytes.len());
    match rng.random_range(0..7) {
        0 => bytes[at] ^= 1 << rng.random_range(0..8),
        1 => bytes[at] = *b"\0\xff\"{}[](),.:-\n\r09e".choose(rng).unwrap(),
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let part = bytes[at..end].to_vec();
            bytes.splice(at..at, part);
        }
        5 if !other.is_empty() => {
            let from = rng.random_range(0..other.len());
            let to = (from + rng.random_range(1..200)).min(other.len());
            bytes.splice(at..end, other[from..to].iter().copied());
        }
        _ => {
            let digits = |b: &u8| b.is_ascii_digit();
            let Some(first) = bytes[at..].iter().position(digits) else { return };
            let first = at + first;
            let length = bytes[first..].iter().take_while(|b| digits(b)).count();
            let numbers: [&[u8]; 8] = [
                b"0",
                b"-1",
                b"18446744073709551615",
                b"1e308",
                b"4294967296",
                b"\"nan\"",
                b"7",
                b"1e-320",
            ];
            let number = numbers.choose(rng).unwrap();
            bytes.splice(first..first + length, number.iter().copied());
        }
    }
}

#[test]
fn config() {
    run("config", fuzz::config, CHANGES);
}

#[test]
fn table() {
    run("table", fuzz::table, 2 * CHANGES);
}

#[test]
fn npy() {
    run("npy", fuzz::npy, 2 * CHANGES);
}

#[test]
fn journal() {
    run("journal", fuzz::journal, CHANGES);
}

#[test]
fn message() {
    run("message", fuzz::message, CHANGES);
}

#[test]
fn checkpoint() {
    run("checkpoint", fuzz::checkpoint, CHANGES);
}

#[test]
fn weights() {
    run("weights", fuzz::weights, CHANGES);
}

#[test]
fn state() {
    run("state", fuzz::state, 2 * CHANGES);
}

#[test]
fn every_event_is_read_back_as_it_was_written() {
    let events = Script { epochs: 2, steps: 3, ..Script::default() }.events(None);
    for stamped in events.iter().filter(|s| !matches!(s.event, Event::Preview(_))) {
        let again = journal::parse(&journal::line(stamped));
        assert_eq!(again.as_ref(), Some(stamped));
    }
}

#[test]
fn files_beyond_their_bounds_are_told_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, length: u64| {
        let path = dir.path().join(name);
        std::fs::File::create(&path).unwrap().set_len(length).unwrap();
        path
    };
    let mib = 1 << 20;
    let errors = [
        Config::load(Some(&file("config.toml", mib + 1)), false, &[]).unwrap_err().to_string(),
        Status::read(&file("state.json", 16 * mib + 1)).unwrap_err().to_string(),
        Table::read(&file("train_seg.csv", 256 * mib + 1)).unwrap_err().to_string(),
    ];
    for (error, name) in errors.iter().zip(["config.toml", "state.json", "train_seg.csv"]) {
        assert!(error.contains(name) && error.contains("more than"), "{error}");
    }
    let path = dir.path().join("fold0_last.safetensors");
    std::fs::write(&path, (16 * mib + 1).to_le_bytes()).unwrap();
    let error = checkpoint::verify(&path).unwrap_err();
    assert!(error.contains("no safetensors"), "{error}");
}

#[test]
fn what_is_kept_of_a_journal_does_not_grow_with_its_lines() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let Event::RunStarted(plan) = Script::default().started() else { unreachable!() };
    let long = "x".repeat(1 << 19);
    let plan = RunStarted {
        name: long.clone(),
        model: long.clone(),
        folder: String::new(),
        epochs: usize::MAX,
        learning_rates: vec![1e-3; 1 << 16],
        folds: plan.folds.iter().cycle().take(2000).cloned().collect(),
        ..plan
    };
    let log = Log { level: Level::Info, message: long };
    let mut text = b"{\"type\":\"journal\",\"version\":1}\n".to_vec();
    for event in
        [Event::RunStarted(RunStarted { name: "n".into(), model: "m".into(), ..plan.clone() })]
            .into_iter()
            .chain(std::iter::repeat_n(Event::Log(log), 3))
    {
        text.extend(journal::line(&Stamped::new(1.0, event)));
    }
    std::fs::write(&path, text).unwrap();
    let (state, strange) = State::of_journal(&path, None).unwrap();
    assert_eq!(strange, 0);
    assert!(state.log.iter().all(|line| line.text.len() < 5000));
    let kept = state.plan.unwrap();
    assert!(state.folds.len() <= 100 && kept.folds.len() == state.folds.len());
    let epochs: usize = state.folds.iter().map(|fold| fold.epochs.len()).sum();
    assert!(epochs <= 500_000 && kept.learning_rates.len() * state.folds.len() <= 500_000);
    let mut state = State::default();
    state.apply(&Stamped::new(0.0, Event::RunStarted(plan)));
    let kept = state.plan.unwrap();
    assert!(kept.name.len() < 5000 && kept.model.len() < 5000);
}
