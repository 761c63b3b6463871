//! The job script, run by bash with a stand-in for the worker.

use super::{program, settings, wait, with};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
};

/// A task: its script with a stand-in for the worker, which exits with a code of its own at each signal.
struct Task {
    dir: tempfile::TempDir,
    script: PathBuf,
}

impl Task {
    /// `scontrol`: the text of a stand-in.
    fn new(scontrol: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let programs = dir.path().join("programs");
        fs::create_dir(&programs).unwrap();
        let args = settings(2);
        let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
        args.splice(0..0, ["submit", "it's a run", "--dry-run", "--cpus", "3"]);
        let out = with(&programs, dir.path(), &args);
        assert!(out.status.success(), "{}", crate::tiny::said(&out));
        assert!(!dir.path().join("runs").exists(), "a dry run made something");
        let worker = programs.join("worker");
        // It sleeps in the background: bash runs its traps after the command at hand.
        program(
            &worker,
            "echo \"$@\" >args; trap 'exit 75' USR1; trap 'exit 143' TERM; touch ready\n\
             while [ ! -e end ]; do command sleep 0.05 & wait $!; done; exit 7",
        );
        program(&programs.join("scontrol"), &format!("echo \"$@\" >>requeued; {scontrol}"));
        program(&programs.join("sleep"), "");
        let script = String::from_utf8(out.stdout).unwrap();
        let script = script.replace(env!("CARGO_BIN_EXE_rsna-tui"), worker.to_str().unwrap());
        let path = dir.path().join("script");
        fs::write(&path, script).unwrap();
        Self { script: path, dir }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn start(&self) -> Child {
        let path = format!("{}:{}", self.at("programs").display(), std::env::var("PATH").unwrap());
        let mut bash = Command::new("bash");
        bash.arg(&self.script).env("PATH", path).current_dir("/");
        bash.env("SLURM_ARRAY_JOB_ID", "40")
            .env("SLURM_ARRAY_TASK_ID", "1")
            .env("SLURM_JOB_ID", "41");
        let task = bash.spawn().unwrap();
        wait("a worker", 20, || self.at("ready").exists());
        task
    }

    /// What scontrol was asked.
    fn requeued(&self) -> String {
        fs::read_to_string(self.at("requeued")).unwrap_or_default()
    }

    /// The exit code after `signal`, or of a worker that ends by itself.
    fn end(&self, signal: Option<&str>) -> Option<i32> {
        let mut task = self.start();
        match signal {
            Some(signal) => kill(signal, task.id()),
            None => fs::write(self.at("end"), "").unwrap(),
        }
        task.wait().unwrap().code()
    }
}

fn kill(signal: &str, process: u32) {
    let killed = Command::new("kill").args(["-s", signal, &process.to_string()]).status();
    assert!(killed.unwrap().success());
}

#[test]
fn a_task_trains_the_fold_of_its_number() {
    let task = Task::new("");
    assert_eq!(task.end(None), Some(7), "the worker's exit code");
    let run = task.dir.path().canonicalize().unwrap().join("runs/it's a run");
    let expected = format!("work {} --fold 1 --device auto --threads 3\n", run.display());
    assert_eq!(fs::read_to_string(task.at("args")).unwrap(), expected);
    assert_eq!(task.requeued(), "");
}

#[test]
fn a_saved_task_is_requeued_once_and_alone() {
    let task = Task::new("");
    assert_eq!(task.end(Some("USR1")), Some(0));
    assert_eq!(task.requeued(), "requeue 40_1\n");
}

#[test]
fn a_requeue_that_fails_is_tried_again() {
    let task = Task::new("[ \"$(wc -l <requeued)\" -ge 3 ]");
    assert_eq!(task.end(Some("USR1")), Some(0));
    assert_eq!(task.requeued(), "requeue 40_1\n".repeat(3));
    let task = Task::new("false");
    assert_eq!(task.end(Some("USR1")), Some(75));
    assert_eq!(task.requeued().lines().count(), 20);
}

#[test]
fn a_task_that_slurm_ends_is_not_requeued_by_itself() {
    let task = Task::new("");
    assert_eq!(task.end(Some("TERM")), Some(143));
    assert_eq!(task.requeued(), "");
    // Ended while it asks to be requeued: because it is, or because it was cancelled. Slurm knows.
    let task = Task::new("kill $PPID; false");
    assert_eq!(task.end(Some("USR1")), Some(0));
    assert_eq!(task.requeued(), "requeue 40_1\n");
}

#[test]
fn what_cannot_be_in_a_script_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (args, words) in [
        (["--partition", "a\nb"], "--partition: \"a\\nb\": expected no line ends"),
        (["--sbatch", "--account=x\n#SBATCH --hold"], "--sbatch: "),
        (["--time", "2"], "--time 2: 120 s; expected more than --signal-seconds, 120"),
    ] {
        let out = with(
            Path::new("/nowhere"),
            dir.path(),
            &[&["submit", "a", "--demo", "--dry-run"], &args[..]].concat(),
        );
        assert_eq!(out.status.code(), Some(2));
        assert!(crate::tiny::said(&out).contains(words), "{}", crate::tiny::said(&out));
    }
}

#[test]
fn options_are_quoted_as_slurm_reads_them() {
    let dir = tempfile::tempdir().unwrap();
    let args = "submit 9%j --demo --dry-run --folds 0,1,2,5 --partition long --time 1-0 --gres gpu:1 --mem 8G \
                --at-most 2 --signal-seconds 60 --device cuda";
    let args: Vec<&str> =
        args.split_whitespace().chain(["--sbatch", "--comment='a b' -x n7"]).collect();
    let out = with(Path::new("/nowhere"), dir.path(), &args);
    let script = String::from_utf8(out.stdout).unwrap();
    let options: Vec<&str> =
        script.lines().filter_map(|line| line.strip_prefix("#SBATCH ")).collect();
    let output = format!(
        "--output={}/runs/9%%j/folds/%a/output.log",
        dir.path().canonicalize().unwrap().display()
    );
    let expected = [
        "--comment='a b' -x n7",
        "--partition=long",
        "--time=1-0",
        "--gres=gpu:1",
        "--mem=8G",
        "--job-name=9%j",
        "--array=0-2,5%2",
        "--requeue",
        "--open-mode=append",
        &output,
        "--signal=B:USR1@60",
    ];
    assert_eq!(options, expected);
    assert!(script.contains(" --fold \"$fold\" --device cuda &\n"), "{script}");
}
