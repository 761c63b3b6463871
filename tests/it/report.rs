//! Tests `rsna-tui report` as a program: what it writes, where, and what it leaves unchanged.

use rsna_tui::run::journal::Journal;
use rsna_tui_testkit::script::Script;
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn report(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rsna-tui"));
    command.current_dir(dir).arg("report").args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a successful command and returns its output.
fn written(dir: &Path, args: &[&str]) -> String {
    let out = report(dir, args);
    assert!(out.status.success(), "{args:?}: {}", text(&out.stderr));
    text(&out.stdout)
}

/// Expects one sentence with these words, and exit code 2.
fn refused(dir: &Path, args: &[&str], words: &[&str]) {
    let out = report(dir, args);
    let said = text(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{args:?}: {said}");
    assert_eq!(said.trim().lines().count(), 1, "{args:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{args:?}: {said:?} lacks {word:?}");
    }
}

/// Makes the folder of a small finished run.
fn run(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("config.toml"), "seed = 42\n").unwrap();
    let script = Script { epochs: 2, steps: 4, valid_batches: 1, ..Script::default() };
    let mut journal = Journal::open(&dir.join("journal.jsonl")).unwrap();
    for stamped in script.events(None) {
        if !matches!(stamped.event, rsna_tui::run::Event::Preview(_)) {
            journal.append(&stamped).unwrap();
        }
    }
}

#[test]
fn a_report_goes_into_the_runs_folder_and_is_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    run(&dir.join("runs/a"));
    for _ in 0..2 {
        let said = written(dir, &[]);
        assert!(said.contains("wrote runs/a/report.html"), "{said}");
    }
    let page = fs::read_to_string(dir.join("runs/a/report.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
    assert!(page.contains("CUDA 0: NVIDIA H100") && page.contains("2 of 2 folds done"));
    let said = written(dir, &["a", "--format", "markdown"]);
    assert!(said.contains("wrote runs/a/report.md"), "{said}");
    assert!(fs::read_to_string(dir.join("runs/a/report.md")).unwrap().starts_with("# a\n"));
    let said = written(dir, &["--format", "csv"]);
    assert!(said.contains("steps.csv (16 steps)") && said.contains("epochs.csv (4 epochs)"));
    let steps = fs::read_to_string(dir.join("runs/a/steps.csv")).unwrap();
    assert_eq!(steps.lines().count(), 17);
    let names: Vec<String> = fs::read_dir(dir.join("runs/a"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names.len(), 6, "nothing half done is left: {names:?}");
}

#[test]
fn a_folder_that_was_moved_is_given_by_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    run(&dir.join("elsewhere/a"));
    let said = written(dir, &["elsewhere/a", "--out", "mine.html"]);
    assert!(said.contains("wrote mine.html"), "{said}");
    assert!(!dir.join("elsewhere/a/report.html").exists());
    assert!(written(dir, &["a", "--runs-dir", "elsewhere"]).contains("elsewhere/a/report.html"));
    assert!(written(&dir.join("elsewhere/a"), &["."]).contains("report.html"));
}

#[test]
fn a_file_that_is_somebodys_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    run(&dir.join("runs/a"));
    fs::write(dir.join("mine.html"), "mine").unwrap();
    refused(dir, &["--out", "mine.html"], &["mine.html is already there", "--force"]);
    assert_eq!(fs::read_to_string(dir.join("mine.html")).unwrap(), "mine");
    written(dir, &["--out", "mine.html", "--force"]);
    assert!(fs::read_to_string(dir.join("mine.html")).unwrap().starts_with("<!DOCTYPE"));

    fs::create_dir(dir.join("figures")).unwrap();
    fs::write(dir.join("figures/epochs.csv"), "mine").unwrap();
    refused(dir, &["--format", "csv", "--out", "figures"], &["figures/epochs.csv", "--force"]);
    assert!(!dir.join("figures/steps.csv").exists());
    refused(dir, &["--out", "figures"], &["figures is a folder"]);
    refused(dir, &["--out", "no/where.html"], &["no/where.html", "folder"]);
    refused(dir, &["--format", "csv", "--out", "mine.html"], &["mine.html", "--out"]);
    refused(dir, &["b"], &["runs/b holds no run"]);
    refused(dir, &["no/where"], &["no/where", "path"]);
    fs::remove_file(dir.join("runs/a/journal.jsonl")).unwrap();
    refused(dir, &["a"], &["cannot use the journal"]);
    fs::write(dir.join("runs/a/journal.jsonl"), "no journal\n").unwrap();
    refused(dir, &["a", "--format", "csv"], &["no journal of rsna-tui"]);
    assert!(!dir.join("runs/a/steps.csv").exists());
}

#[cfg(unix)]
#[test]
fn a_link_in_a_runs_folder_leads_no_report_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    run(&dir.join("runs/a"));
    fs::write(dir.join("mine"), "mine").unwrap();
    std::os::unix::fs::symlink(dir.join("mine"), dir.join("runs/a/report.html")).unwrap();
    written(dir, &[]);
    assert_eq!(fs::read_to_string(dir.join("mine")).unwrap(), "mine");
    assert!(!dir.join("runs/a/report.html").is_symlink());
}
