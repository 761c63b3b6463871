//! Runs on a Slurm cluster: the job script by itself, with stand-ins for Slurm's commands, and on a real Slurm
//! on this machine where it is installed.

mod cluster;
mod preemption;
mod script;
mod submit;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

/// Writes an executable shell script.
fn program(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/bash\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs the program with `programs` before the machine's own.
fn with(programs: &Path, dir: &Path, args: &[&str]) -> Output {
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_rsna-tui"));
    command.current_dir(dir).args(args).env("PATH", path).output().unwrap()
}

/// Waits until `it` is true.
fn wait(what: &str, seconds: u64, mut it: impl FnMut() -> bool) {
    let start = Instant::now();
    while !it() {
        assert!(start.elapsed() < Duration::from_secs(seconds), "{seconds} s without: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Settings of two small folds for `create` and `submit`, as [`crate::tiny::train`] has them.
fn settings(epochs: usize) -> Vec<String> {
    let of_tiny = crate::tiny::train("unused", 2).into_iter().map(String::from);
    let kept: Vec<String> = of_tiny.skip(1).take_while(|arg| arg != "--run").collect();
    kept.into_iter().chain(["--set".into(), format!("train.epochs={epochs}")]).collect()
}
