//! Tests that a run stays with the data it was trained on: every command that uses it again refuses
//! other labels, folds, studies or crops, and names the first difference.

use crate::tiny::{rsna_tui, said, tensors};
use std::{fs, path::Path, process::Output};

const RUN: &[&str] = &[
    "--no-tui",
    "--run",
    "a",
    "--folds",
    "0,1",
    "--set",
    "data.dir=made/crops",
    "--set",
    "data.table=made/train_seg.csv",
    "--set",
    "data.image_size=32",
    "--set",
    "train.batch_size=2",
    "--set",
    "train.epochs=2",
    "--set",
    "model.backbone=convnext_micro",
    "--set",
    "model.lstm_hidden=16",
    "--set",
    "model.head_hidden=16",
    "--set",
    "data.workers=1",
    "--set",
    "train.threads=1",
    "--set",
    "run.kernel_type=k",
];

fn done(dir: &Path, args: &[&str]) -> Output {
    let out = rsna_tui(dir, args);
    assert!(out.status.success(), "{args:?}: {}", said(&out));
    out
}

/// Makes a trained run of two epochs of two folds on eight studies on disk.
fn trained() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    done(dir.path(), &["phantom", "made", "--studies", "8", "--folds", "2", "--size", "32"]);
    done(dir.path(), RUN);
    dir
}

/// All commands that depend on the data that the run was trained on.
const COMMANDS: &[&[&str]] = &[
    &["resume", "a", "--no-tui", "--epochs", "3"],
    &["evaluate", "a"],
    &["predict", "--run", "a", "--of-fold", "0", "--folds", "0", "--out", "p.csv"],
];

/// Expects each to refuse with one sentence with these words, and to leave the run unchanged.
fn all_refuse(dir: &Path, words: &[&str]) {
    let last = dir.join("runs/a/fold0_last.safetensors");
    let before = fs::read(&last).unwrap();
    for args in COMMANDS {
        let out = rsna_tui(dir, args);
        let stderr = String::from_utf8(out.stderr.clone()).unwrap();
        assert_eq!(out.status.code(), Some(2), "{args:?}: {}", said(&out));
        assert_eq!(stderr.trim().lines().count(), 1, "{args:?}: {stderr}");
        for word in words {
            assert!(stderr.contains(word), "{args:?}: {stderr:?} lacks {word:?}");
        }
        assert!(!dir.join("p.csv").exists() && !dir.join("runs/a/evaluation").exists());
    }
    assert!(fs::read(last).unwrap() == before);
}

/// Returns `table` with the cells of a row changed.
fn with_row(table: &str, row: usize, change: impl Fn(&mut Vec<String>)) -> String {
    let lines = table.lines().enumerate().map(|(i, line)| {
        let mut cells: Vec<String> = line.split(',').map(String::from).collect();
        if i == row {
            change(&mut cells);
        }
        cells.join(",") + "\n"
    });
    lines.collect()
}

#[test]
fn a_run_is_used_with_the_table_and_crops_that_it_was_trained_on_or_not_at_all() {
    let dir = trained();
    let dir = dir.path();
    let path = dir.join("made/train_seg.csv");
    let table = fs::read_to_string(&path).unwrap();
    let flip = |cell: &mut String| *cell = if cell == "0" { "1".into() } else { "0".into() };

    let moved = with_row(&table, 3, |cells| flip(&mut cells[9]));
    fs::write(&path, moved).unwrap();
    all_refuse(dir, &["made/train_seg.csv is not the table", "is in fold", "it was in fold"]);
    let relabelled = with_row(&table, 8, |cells| flip(&mut cells[5]));
    fs::write(&path, relabelled).unwrap();
    all_refuse(dir, &["phantom.0007 has C4 = ", "it was "]);
    fs::write(&path, table.clone() + "new,0,0,0,0,0,0,0,0,0\n").unwrap();
    all_refuse(dir, &["study new was not in it"]);
    let gone: Vec<&str> = table.lines().filter(|line| !line.contains("0004")).collect();
    fs::write(&path, gone.join("\n")).unwrap();
    all_refuse(dir, &["study phantom.0004 is missing"]);
    // Another file with the change is refused, too.
    fs::write(&path, &table).unwrap();
    fs::write(dir.join("other.csv"), with_row(&table, 1, |cells| flip(&mut cells[9]))).unwrap();
    let out = rsna_tui(dir, &["evaluate", "a", "--set", "data.table=other.csv"]);
    assert!(said(&out).contains("other.csv is not the table"), "{}", said(&out));
    assert_eq!(out.status.code(), Some(2));

    let crop = dir.join("made/crops/phantom.0002_5_7.npy");
    let pixels = fs::read(&crop).unwrap();
    let mut other = pixels.clone();
    other[128..].iter_mut().for_each(|p| *p = p.wrapping_add(1));
    fs::write(&crop, other).unwrap();
    let out = rsna_tui(dir, COMMANDS[0]);
    assert!(said(&out).contains("the crops of study phantom.0002 are not those"), "{}", said(&out));
    assert_eq!(out.status.code(), Some(2));
    fs::write(&crop, pixels).unwrap();

    let record = dir.join("runs/a/studies.csv");
    let bytes = fs::read_to_string(&record).unwrap();
    fs::write(&record, bytes.replace("phantom.0003", "phantom.0009")).unwrap();
    all_refuse(dir, &["runs/a/studies.csv", "its checksum does not fit"]);
    let report = done(dir, &["report", "a", "--format", "markdown", "--out", "bad.md"]);
    assert!(report.status.success());
    let report = fs::read_to_string(dir.join("bad.md")).unwrap();
    assert!(report.contains("its checksum does not fit"), "{report}");
    fs::write(&record, bytes).unwrap();

    // The unchanged table works; if it is gone, the run's record replaces it.
    done(dir, COMMANDS[1]);
    fs::remove_file(&path).unwrap();
    let out = done(dir, COMMANDS[2]);
    assert!(said(&out).contains("taking the run's record of it"), "{}", said(&out));
    done(dir, &["report", "a", "--format", "markdown", "--out", "good.md"]);
    let report = fs::read_to_string(dir.join("good.md")).unwrap();
    assert!(report.contains("8, studies.csv with CRC-32"), "{report}");
}

#[test]
fn rows_in_another_order_change_nothing() {
    let dir = trained();
    let dir = dir.path();
    done(dir, &["resume", "a", "--no-tui", "--epochs", "3"]);
    let last = tensors(&dir.join("runs/a/fold1_last.safetensors"));
    fs::rename(dir.join("runs/a"), dir.join("runs/ordered")).unwrap();
    done(dir, RUN);
    let path = dir.join("made/train_seg.csv");
    let table = fs::read_to_string(&path).unwrap();
    let (header, rows) = table.split_once('\n').unwrap();
    let mut rows: Vec<&str> = rows.lines().collect();
    rows.reverse();
    fs::write(&path, format!("{header}\n{}\n", rows.join("\n"))).unwrap();
    done(dir, &["resume", "a", "--no-tui", "--epochs", "3"]);
    assert!(tensors(&dir.join("runs/a/fold1_last.safetensors")) == last);
}

#[test]
fn a_run_of_an_earlier_version_goes_on_and_says_that_it_has_no_record() {
    let dir = trained();
    let dir = dir.path();
    fs::remove_file(dir.join("runs/a/studies.csv")).unwrap();
    let out = done(dir, COMMANDS[1]);
    assert!(said(&out).contains("did not record what it trains on"), "{}", said(&out));
    done(dir, COMMANDS[0]);
    assert!(dir.join("runs/a/studies.csv").is_file(), "from now on it has one");
}

#[test]
fn predictions_of_studies_that_were_trained_on_are_told_or_left_to_folds_that_have_not_seen_them() {
    let dir = trained();
    let dir = dir.path();
    let predict = |more: &[&str]| {
        let args = [&["predict", "--run", "a", "--force", "--out", "p.csv"], more].concat();
        rsna_tui(dir, &args)
    };
    let wide = || fs::read_to_string(dir.join("p.wide.csv")).unwrap();
    let out = predict(&[]);
    assert!(out.status.success(), "{}", said(&out));
    assert!(said(&out).contains("8 of 8 studies were trained on"), "{}", said(&out));
    let seen = wide();
    // Each study only by its own fold, which was not trained on it.
    let out = predict(&["--unseen"]);
    assert!(out.status.success() && !said(&out).contains("trained on"), "{}", said(&out));
    let unseen = wide();
    assert_ne!(unseen, seen);
    let mut own = Vec::new();
    for fold in ["0", "1"] {
        let out = predict(&["--folds", fold, "--of-fold", fold]);
        assert!(out.status.success() && !said(&out).contains("trained on"), "{}", said(&out));
        own.extend(wide().lines().skip(1).map(String::from));
    }
    let mut rows: Vec<String> = unseen.lines().skip(1).map(String::from).collect();
    rows.sort();
    own.sort();
    assert_eq!(rows, own);
    // Studies from a folder are recognized by their names.
    let out = predict(&["--data", "made/crops", "--unseen"]);
    assert!(out.status.success(), "{}", said(&out));
    assert_eq!(wide(), unseen);
    let out = predict(&["--folds", "0", "--unseen"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(said(&out).contains("all folds at hand were trained on 4 of 8"), "{}", said(&out));
}

#[test]
fn every_command_takes_a_run_by_its_name_or_by_the_path_of_its_folder() {
    let dir = trained();
    let dir = fs::canonicalize(dir.path()).unwrap();
    let whole = dir.join("runs/a").display().to_string();
    let commands: &[(&[&str], &str)] = &[
        (&["attach", "RUN", "--no-tui"], "finished"),
        (&["resume", "RUN", "--no-tui"], "its 2 epochs are done"),
        (&["report", "RUN"], "wrote"),
        (&["evaluate", "RUN", "--set", "data.dir=DIR/made/crops"], "wrote oof.csv"),
        (&["predict", "RUN", "--out", "p.csv", "--of-fold", "7"], "--of-fold 7"),
        (&["export", "RUN", "--fold", "0"], "wrote"),
        (&["pause", "RUN"], "is not being trained"),
        (&["stop", "RUN"], "is not being trained"),
        (&["checkpoint", "RUN"], "is not being trained"),
        (&["plan", "RUN", "--epochs", "9"], "is not being trained"),
        (&["fold", "pause", "0", "RUN"], "is not being trained"),
    ];
    let ways = [
        (dir.clone(), "a"),
        (dir.clone(), "runs/a"),
        (dir.clone(), "./runs/a/"),
        (dir.join("runs"), "a"),
        (dir.join("runs"), "a/"),
        (dir.join("runs/a"), "."),
        (dir.join("made"), &whole),
    ];
    for (from, run) in ways {
        for (args, words) in commands {
            // Only commands that do not depend on the working directory.
            let data = ["evaluate", "predict", "resume"].contains(&args[0]);
            if data && from != dir {
                continue;
            }
            let args: Vec<String> = args
                .iter()
                .map(|a| a.replace("RUN", run).replace("DIR", &dir.display().to_string()))
                .collect();
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let out = rsna_tui(&from, &args);
            assert!(said(&out).contains(words), "{args:?} in {from:?}: {}", said(&out));
        }
    }
    let out = rsna_tui(&dir, &["attach", "runs/none", "--no-tui"]);
    assert!(said(&out).contains("runs/none: No such file"), "{}", said(&out));
    assert_eq!(out.status.code(), Some(2));
}
