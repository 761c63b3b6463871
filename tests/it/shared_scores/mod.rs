//! Tests that a run whose folds several processes trained is scored, predicted with and reported as a run of
//! one process is, that several runs score and predict together, and that several devices write one file.

mod together;

use crate::tiny::{rsna_tui, said};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// Runs a successful command and returns its output.
fn done(dir: &Path, args: &[&str]) -> String {
    let out = rsna_tui(dir, args);
    assert!(out.status.success(), "{args:?}: {}", said(&out));
    said(&out)
}

/// Expects one sentence with these words, and exit code 2.
fn refused(dir: &Path, args: &[&str], words: &[&str]) {
    let out = rsna_tui(dir, args);
    let text = String::from_utf8(out.stderr.clone()).unwrap();
    assert_eq!(out.status.code(), Some(2), "{args:?}: {}", said(&out));
    assert_eq!(text.trim().lines().count(), 1, "{args:?}: {text}");
    for word in words {
        assert!(text.contains(word), "{args:?}: {text:?} lacks {word:?}");
    }
}

/// Arguments of a run of three folds of two epochs on studies in made/.
fn training(seed: &str) -> Vec<&str> {
    let flags = "--folds 0,1,2 --set data.dir=made/crops --set data.table=made/train_seg.csv \
                 --set data.image_size=32 --set train.batch_size=2 --set train.epochs=2 \
                 --set model.backbone=convnext_micro --set model.lstm_hidden=16 \
                 --set model.head_hidden=16 --set data.workers=1 --set train.threads=1 \
                 --set run.kernel_type=k --seed";
    flags.split_whitespace().chain([seed]).collect()
}

/// A folder with the run `a` in `one`, trained by one process, and in `many`, by three; and the run `b` in
/// `one`, with another seed. Made once for all tests, which copy it.
fn trained() -> tempfile::TempDir {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shared_scores");
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        done(&dir, &["phantom", "made", "--studies", "12", "--folds", "3", "--size", "32"]);
        let a = training("7");
        done(&dir, &[&["--no-tui", "--run", "a", "--runs-dir", "one"], &a[..]].concat());
        done(&dir, &[&["create", "a", "--runs-dir", "many"], &a[..]].concat());
        for fold in ["2", "0", "1"] {
            done(&dir, &["work", "a", "--runs-dir", "many", "--fold", fold, "--device", "cpu"]);
        }
        let b = training("8");
        done(&dir, &[&["--no-tui", "--run", "b", "--runs-dir", "one"], &b[..]].concat());
        dir
    });
    let dir = tempfile::tempdir().unwrap();
    copy(made, dir.path());
    dir
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy(&path, &to);
        } else if kind.is_file() {
            fs::copy(path, to).unwrap();
        }
    }
}

/// Reads a text file.
fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Asserts that two folders hold these files with equal bytes.
fn equal_files(a: &Path, b: &Path, names: &[&str]) {
    for name in names {
        let (a, b) = (fs::read(a.join(name)).unwrap(), fs::read(b.join(name)).unwrap());
        assert!(!a.is_empty() && a == b, "{name}");
    }
}

/// Returns the scores without the time at which they were made.
fn scores(dir: &Path) -> String {
    let text = text(&dir.join("scores.json"));
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("\"made\""));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn folds_of_three_processes_are_scored_as_those_of_one() {
    let dir = trained();
    let dir = dir.path();
    let (one, many) = (dir.join("one/a"), dir.join("many/a"));
    let said_one = done(dir, &["evaluate", "one/a"]);
    let said_many = done(dir, &["evaluate", "many/a"]);
    assert_eq!(said_one.replace("one/a", ""), said_many.replace("many/a", ""));
    let (a, b) = (one.join("evaluation"), many.join("evaluation"));
    let names =
        ["oof.csv", "roc.csv", "roc.svg", "reliability.csv", "reliability.svg", "worst.json"];
    equal_files(&a, &b, &names);
    assert_eq!(scores(&a), scores(&b));
    done(dir, &["evaluate", "many/a", "--folds", "1", "--out", "of-1"]);
    done(dir, &["evaluate", "one/a", "--folds", "1", "--out", "of-1-too"]);
    equal_files(&dir.join("of-1"), &dir.join("of-1-too"), &["oof.csv"]);

    for (run, out) in [("one/a", "p1.csv"), ("many/a", "p2.csv")] {
        done(dir, &["predict", run, "--unseen", "--out", out]);
        let fold = ["predict", "--run", run, "--folds", "2", "--of-fold", "2", "--out"];
        done(dir, &[&fold[..], &[&format!("f{out}")]].concat());
        done(dir, &["export", run, "--fold", "1", "--out", &format!("{out}.safetensors")]);
    }
    for end in ["p1.csv p2.csv", "p1.wide.csv p2.wide.csv", "fp1.csv fp2.csv"] {
        let (a, b) = end.split_once(' ').unwrap();
        assert_eq!(text(&dir.join(a)), text(&dir.join(b)));
    }
    let bytes = |name: &str| fs::read(dir.join(name)).unwrap();
    assert_eq!(bytes("p1.csv.safetensors"), bytes("p2.csv.safetensors"));
    refused(dir, &["export", "many/a", "--fold", "3"], &["--fold 3: a has the folds 0, 1, 2"]);
    refused(dir, &["evaluate", "many/a", "--folds", "3"], &["fold 3", "its folds are 0, 1, 2"]);
}

/// Removes what differs between two trainings of the same: dates, times, speeds and paths.
fn settled(report: &str) -> String {
    let own = ["Begun", "Ended", "Trained for", "Speed", "Report of"];
    let mut lines = Vec::new();
    let mut is_timed = false;
    for line in report.lines().filter(|line| !own.iter().any(|own| line.contains(own))) {
        // The last column of the tables of epochs.
        is_timed = line.ends_with("took |") || (is_timed && !line.is_empty());
        let line = line.replace("many", "one");
        let cut = line.trim_end_matches(" |").rfind(" |").filter(|_| is_timed);
        lines.push(line[..cut.unwrap_or(line.len())].to_string());
    }
    lines.join("\n")
}

#[test]
fn the_report_is_that_of_one_process_but_for_times_and_paths() {
    let dir = trained();
    let dir = dir.path();
    for run in ["one/a", "many/a"] {
        done(dir, &["evaluate", run]);
        for format in ["html", "markdown", "csv"] {
            done(dir, &["report", run, "--format", format]);
        }
    }
    let (one, many) = (dir.join("one/a"), dir.join("many/a"));
    let [a, b] = [&one, &many].map(|run| settled(&text(&run.join("report.md"))));
    let differ: Vec<_> = a.lines().zip(b.lines()).filter(|(a, b)| a != b).collect();
    assert!(differ.is_empty(), "{differ:#?}");
    let [a, b] = [&one, &many].map(|run| text(&run.join("report.html")));
    let pictures = |page: &str| page.matches("data:image/png").count();
    assert_eq!((pictures(&b), pictures(&a)), (3, 3));
    assert!(b.contains("3 of 3 folds done") && b.contains("CPU, 1 thread"), "{b:.3000}");
    assert!(b.contains("by the fold that took longest"));

    // Every step and epoch, with the same figures.
    let rows = |run: &Path, name: &str| -> Vec<Vec<String>> {
        let mut csv = csv::Reader::from_path(run.join(name)).unwrap();
        let header = csv.headers().unwrap().clone();
        let is_time = |name: &str| {
            name.contains("seconds")
                || name.contains("per_second")
                || name == "elapsed"
                || name == "time"
        };
        let kept: Vec<usize> = (0..header.len()).filter(|&i| !is_time(&header[i])).collect();
        csv.records()
            .map(|row| {
                let row = row.unwrap();
                kept.iter().map(|&i| row[i].to_string()).collect()
            })
            .collect()
    };
    for name in ["steps.csv", "epochs.csv"] {
        let (a, b) = (rows(&one, name), rows(&many, name));
        assert!(a.len() > 5 && a == b, "{name}: {} {}", a.len(), b.len());
    }

    // What the last worker left in the run's folder.
    let [a, b] = [&one, &many].map(|run| {
        let lines = text(&run.join("report.txt"));
        lines
            .lines()
            .filter(|line| !line.contains("checkpoint:"))
            .map(String::from)
            .collect::<Vec<_>>()
    });
    assert_eq!(a, b);
    let report = text(&many.join("report.txt"));
    assert!(report.contains("many/a/folds/2/fold2_best.safetensors"), "{report}");
    assert_eq!(crate::tiny::log(&one), crate::tiny::log(&many));
}

#[test]
fn a_shared_run_is_reported_and_listed_before_during_and_after_its_training() {
    let dir = trained();
    let dir = dir.path();
    done(dir, &[&["create", "new", "--runs-dir", "many"], &training("9")[..]].concat());
    done(dir, &["report", "many/new", "--format", "markdown"]);
    let report = text(&dir.join("many/new/report.md"));
    assert!(report.contains("waiting: no process trains it"), "{report:.600}");
    assert!(report.contains("0 of 3 folds done"), "{report:.600}");
    refused(dir, &["evaluate", "many/new"], &["no fold of the run new is done"]);
    done(dir, &["work", "new", "--runs-dir", "many", "--fold", "1", "--device", "cpu"]);
    done(dir, &["report", "many/new", "--format", "markdown"]);
    let report = text(&dir.join("many/new/report.md"));
    assert!(
        report.contains("1 of 3 folds done") && report.contains("CPU, 1 thread"),
        "{report:.600}"
    );
    assert!(!dir.join("many/new/report.txt").exists(), "two folds wait");
    let scored = done(dir, &["evaluate", "many/new"]);
    assert!(
        scored.contains("left out as not done, or without best weights: fold 0, 2 of new"),
        "{scored}"
    );
    let runs = done(dir, &["runs", "--runs-dir", "many"]);
    assert!(runs.contains("3 of 3 done") && runs.contains("1 of 3 done"), "{runs}");
    assert!(runs.contains("completed") && runs.contains("waiting"), "{runs}");

    // A fold's folder is a run by itself.
    let scored = done(dir, &["evaluate", "many/a/folds/1"]);
    assert!(scored.contains("a/folds/1: 4 studies"), "{scored}");
    done(dir, &["report", "many/a/folds/1"]);
    // A damaged fold is told, and the others are used.
    fs::write(dir.join("many/a/folds/1/fold1_best.safetensors"), "x").unwrap();
    refused(dir, &["evaluate", "many/a"], &["folds/1/fold1_best.safetensors"]);
    done(dir, &["evaluate", "many/a", "--folds", "0,2"]);
    fs::write(dir.join("many/a/queue.json"), "{}").unwrap();
    refused(dir, &["evaluate", "many/a"], &["many/a/queue.json"]);
    refused(dir, &["report", "many/a"], &["cannot use the run's queue", "many/a/queue.json"]);
}
