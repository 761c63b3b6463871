//! `rsna-tui submit` and `cancel` with stand-ins for Slurm's commands.

use super::{program, settings, with};
use crate::tiny::said;
use std::{fs, path::Path};

/// Writes stand-ins that note how they are called.
fn stand_ins(dir: &Path) {
    fs::create_dir(dir).unwrap();
    let note = |name: &str| format!("echo \"{name} $*\" >>{}/called", dir.display());
    let sbatch = "[ \"$1\" = --version ] && exit; grep '^#SBATCH --array' \"$2\"; echo 40";
    program(&dir.join("sbatch"), &format!("{}; {sbatch}", note("sbatch")));
    // Longer than any wait: what it says is in a file.
    program(&dir.join("squeue"), &format!("cat {}/queue", dir.display()));
    program(&dir.join("scancel"), &note("scancel"));
    fs::write(dir.join("queue"), "").unwrap();
}

fn row(task: usize, state: &str, node: &str, reason: &str) -> String {
    format!("4{task} |40 |{task} |{state} |0 |{node} |{reason} |\n")
}

#[test]
fn only_what_is_missing_is_submitted() {
    let dir = tempfile::tempdir().unwrap();
    let programs = dir.path().join("programs");
    stand_ins(&programs);
    let run = |args: &[&str]| with(&programs, dir.path(), args);
    let args = settings(2);
    let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
    args.splice(0..0, ["submit", "five", "--folds", "0,1,2,3"]);
    let out = run(&args);
    assert!(out.status.success(), "{}", said(&out));
    assert!(said(&out).contains("submitted folds 0, 1, 2, 3 as job 40"), "{}", said(&out));
    let folder = dir.path().join("runs/five");
    let jobs = fs::read_to_string(folder.join("slurm/jobs.json")).unwrap();
    assert!(jobs.contains("\"job\": 40"), "{jobs}");
    assert!(folder.join("folds/3").is_dir(), "Slurm makes no folder for the output");

    // Settings of a new run are not silently ignored.
    let out = run(&args);
    assert_eq!(out.status.code(), Some(2));
    assert!(said(&out).contains("is there already"), "{}", said(&out));

    // One trains, one waits, one is done; one is over.
    assert!(run(&["work", "five", "--fold", "2"]).status.success());
    let queue = row(0, "RUNNING", "n1", "None") + &row(1, "PENDING", "", "Priority");
    fs::write(programs.join("queue"), queue + &row(3, "FAILED", "n1", "None")).unwrap();
    let out = run(&["submit", "five"]);
    for words in [
        "submitted fold 3 as job 40",
        "left out: fold 0: running in Slurm's queue, job 40 (n1)",
        "left out: fold 1: pending in Slurm's queue, job 40 (Priority)",
        "left out: fold 2: done",
    ] {
        assert!(said(&out).contains(words), "{}", said(&out));
    }
    assert!(
        fs::read_to_string(folder.join("slurm/five-2.sbatch")).unwrap().contains("--array=3\n")
    );

    let out = run(&["cancel", "five", "--fold", "1"]);
    assert!(said(&out).contains("fold 1: pending"), "{}", said(&out));
    assert!(run(&["cancel", "five"]).status.success());
    let called = fs::read_to_string(programs.join("called")).unwrap();
    assert!(called.contains("scancel 40_1\nscancel 40_0 40_1\n"), "{called}");
    let out = run(&["cancel", "five", "--fold", "7"]);
    assert!(said(&out).contains("--fold 7: five has the folds 0, 1, 2, 3"), "{}", said(&out));

    // All in the queue, or done.
    fs::write(
        programs.join("queue"),
        (0..4).map(|k| row(k, "PENDING", "", "")).collect::<String>(),
    )
    .unwrap();
    let out = run(&["submit", "five"]);
    assert!(out.status.success() && said(&out).contains("nothing is missing"), "{}", said(&out));
    // Slurm is away.
    program(
        &programs.join("squeue"),
        "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1",
    );
    let out = run(&["submit", "five"]);
    assert!(said(&out).contains("Unable to contact slurm controller"), "{}", said(&out));
    assert_eq!(out.status.code(), Some(2));
}

#[test]
fn what_slurm_refuses_is_said_and_leaves_no_script() {
    let dir = tempfile::tempdir().unwrap();
    let programs = dir.path().join("programs");
    stand_ins(&programs);
    program(
        &programs.join("sbatch"),
        "[ \"$1\" = --version ] && exit; printf 'sbatch: error: Batch job submission failed: Invalid job \
         array specification\\033[2J\\n' >&2; exit 1",
    );
    program(&programs.join("scontrol"), "echo 'MaxArraySize            = 1001'");
    let args = settings(2);
    let args: Vec<&str> =
        ["submit", "b"].into_iter().chain(args.iter().map(String::as_str)).collect();
    let out = with(&programs, dir.path(), &args);
    let text = said(&out);
    assert_eq!(out.status.code(), Some(2));
    assert!(text.contains("Invalid job array specification") && !text.contains('\x1b'), "{text}");
    assert!(text.contains("takes fold numbers up to 1000"), "{text}");
    assert!(text.contains("b is made: submit it again without"), "{text}");
    assert_eq!(fs::read_dir(dir.path().join("runs/b/slurm")).unwrap().count(), 0);
}

#[test]
fn without_slurm_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rsna-tui"));
    command.current_dir(dir.path()).env("PATH", dir.path()).args(["submit", "a", "--demo"]);
    let out = command.output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(said(&out).contains("there is no sbatch on this machine"), "{}", said(&out));
    assert!(!dir.path().join("runs").exists());
}
