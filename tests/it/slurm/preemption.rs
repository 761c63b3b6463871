//! Folds that Slurm takes from their nodes equal those that nobody disturbed.

use super::{cluster::Cluster, settings, wait};
use crate::tiny::{figures, log};
use std::{fs, path::Path, process::Command, time::Duration};

/// Trains `whole` in one process, and submits `parted` with `options`; returns the job's id.
fn begin(cluster: &Cluster, dir: &Path, sets: &[&str], options: &[&str]) -> String {
    let args = settings(2);
    let args: Vec<&str> = args.iter().map(String::as_str).chain(sets.iter().copied()).collect();
    let all = |first: &[&'static str], last: &[&str]| -> String {
        let all: Vec<&str> = first.iter().chain(&args).chain(last).copied().collect();
        cluster.rsna_tui(dir, &all)
    };
    all(&["--no-tui", "--run", "whole"], &[]);
    // A worker a node, although it computes with one thread.
    let said = all(&["submit", "parted", "--time=30", "--sbatch=--cpus-per-task=2"], options);
    let job = said.lines().next().unwrap().split(" as job ").nth(1).unwrap();
    job.split(',').next().unwrap().into()
}

/// Asserts that a fold is the same in both runs, and was held so often, never by two.
fn same(dir: &Path, fold: usize, claims: usize) {
    let whole = dir.join("runs/whole");
    let parted = dir.join("runs/parted/folds").join(fold.to_string());
    for kind in ["best", "last"] {
        let name = format!("fold{fold}_{kind}.safetensors");
        assert!(
            fs::read(whole.join(&name)).unwrap() == fs::read(parted.join(&name)).unwrap(),
            "{name}"
        );
    }
    let of = |lines: Vec<String>, mark: String| -> Vec<String> {
        lines.into_iter().filter(|line| line.contains(&mark)).collect()
    };
    assert_eq!(of(log(&whole), format!("Fold {fold},")), log(&parted));
    assert_eq!(of(figures(&whole), format!("\"fold\":{fold},")), figures(&parted));
    let claim = |n: usize| -> serde_json::Value {
        let text = fs::read_to_string(parted.join(format!("claims/{n}.json"))).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let made = fs::read_dir(parted.join("claims")).unwrap().count();
    let all: Vec<_> = (1..=made).map(claim).collect();
    assert_eq!(made, claims, "fold {fold}: {all:#?}");
    for pair in all.windows(2) {
        match pair[0]["released"].as_f64() {
            Some(released) => assert!(
                released <= pair[1]["claimed"].as_f64().unwrap(),
                "fold {fold} was held by two: {all:#?}"
            ),
            // Its node was cut off.
            None => assert!(
                pair[1]["took_over"].as_str().unwrap().ends_with("its job was started again"),
                "{all:#?}"
            ),
        }
    }
}

/// Prints what the tasks said, should the test fail.
struct Said<'a>(&'a Path);

impl Drop for Said<'_> {
    fn drop(&mut self) {
        let folds = fs::read_dir(self.0.join("runs/parted/folds")).into_iter().flatten().flatten();
        for fold in folds.filter(|_| std::thread::panicking()) {
            let path = fold.path().join("output.log");
            let text = fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let last = &lines[lines.len().saturating_sub(40)..];
            println!("{}:\n{}", path.display(), last.join("\n"));
        }
    }
}

/// The run's folds that are done.
fn done(dir: &Path) -> usize {
    let states = fs::read_dir(dir.join("runs/parted/folds")).unwrap();
    let state =
        |path: std::path::PathBuf| fs::read_to_string(path.join("state.json")).unwrap_or_default();
    states
        .filter(|fold| state(fold.as_ref().unwrap().path()).contains("\"state\": \"completed\""))
        .count()
}

fn wait_for_last(dir: &Path, fold: usize) {
    let last = dir.join(format!("runs/parted/folds/{fold}/fold{fold}_last.safetensors"));
    wait("a checkpoint", 60, || last.exists());
}

#[test]
fn a_preempted_fold_and_one_at_its_time_limit_go_on_as_if_they_had_not_been() {
    let Some(cluster) = Cluster::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let _said = Said(dir);
    let job = begin(&cluster, dir, &["--set", "train.epochs=12"], &["--partition=low"]);
    let (first, second) = (format!("{job}_0"), format!("{job}_1"));
    wait_for_last(dir, 0);
    let (state, node, _) = cluster.task(&first);
    assert_eq!(state, "RUNNING", "the fold must be longer");
    cluster.preempt(&node);
    // As the time limit's signal comes.
    wait_for_last(dir, 1);
    cluster.slurm(&format!("scancel --batch --signal=USR1 {second}"));
    cluster.release(&second, 1);
    cluster.release(&first, 1);
    wait("both folds are done", 240, || done(dir) == 2);
    wait("no task is left", 30, || {
        [&first, &second].iter().all(|task| cluster.task(task).0 == "COMPLETED")
    });
    for (fold, task) in [&first, &second].into_iter().enumerate() {
        assert_eq!(cluster.task(task).2, 1, "requeued once");
        same(dir, fold, 2);
    }
    let said = cluster.rsna_tui(dir, &["submit", "parted"]);
    assert!(said.contains("nothing is missing"), "{said}");
}

/// Five folds, three at once; two are preempted, one node is drained, one task comes to its time limit, one is
/// cancelled and submitted again, one loses its node, and the controller is restarted.
#[test]
#[ignore = "minutes: cargo test --test it slurm:: -- --ignored"]
fn five_folds_survive_what_a_cluster_does() {
    let Some(cluster) = Cluster::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let _said = Said(dir);
    let sets = ["--folds", "0,1,2,3,4", "--set", "train.epochs=25"];
    let options = ["--partition=low", "--at-most=3", "--signal-seconds=50"];
    let job = begin(&cluster, dir, &sets, &options);
    let task = |fold: usize| format!("{job}_{fold}");
    (0..3).for_each(|fold| wait_for_last(dir, fold));
    let (_, drained, _) = cluster.task(&task(2));
    cluster.slurm(&format!("scontrol update nodename={drained} state=drain reason=test"));
    // The controller looks at limits every half minute, and sends the signal, as this one is near.
    cluster.slurm(&format!("scontrol update jobid={} TimeLimit=1", task(2)));
    for fold in [0, 1] {
        cluster.preempt(&cluster.task(&task(fold)).1);
    }
    // Folds 3 and 4 take their places.
    wait_for_last(dir, 3);
    let said = cluster.rsna_tui(dir, &["cancel", "parted", "--fold", "3"]);
    assert!(said.starts_with("fold 3: running"), "{said}");
    wait("fold 3 is cancelled", 30, || cluster.task(&task(3)).0 == "CANCELLED");
    let said = cluster.rsna_tui(dir, &["submit", "parted", "--partition=low"]);
    assert!(said.contains("submitted fold 3 as job"), "{said}");
    wait_for_last(dir, 4);
    cluster.cut_off(&task(4));
    assert!(cluster.loopback(&["controller", "stop"]).status.success());
    std::thread::sleep(Duration::from_secs(3));
    assert!(cluster.loopback(&["controller", "start"]).status.success());
    wait("fold 2 is requeued", 90, || cluster.task(&task(2)).2 == 1);
    cluster.slurm(&format!("scontrol update jobid={} TimeLimit=30", task(2)));
    // The controller that was started again may have forgotten it.
    cluster.slurm_or_why(&format!("scontrol update nodename={drained} state=resume"));
    for fold in [0, 1, 2, 4] {
        cluster.release(&task(fold), 1);
    }
    wait("all folds are done", 900, || {
        for fold in 0..5 {
            if cluster.task(&task(fold)).0 == "PENDING" {
                cluster.start_now(&task(fold));
            }
        }
        std::thread::sleep(Duration::from_secs(1));
        done(dir) == 5
    });
    for fold in 0..5 {
        same(dir, fold, 2);
    }
    let restarts: Vec<u32> = (0..5).map(|fold| cluster.task(&task(fold)).2).collect();
    assert_eq!(restarts, [1, 1, 1, 0, 1], "fold 3 was submitted again instead");
}

#[test]
fn the_template_trains_a_fold() {
    let Some(cluster) = Cluster::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let args = settings(2);
    let args: Vec<&str> =
        ["create", "parted"].into_iter().chain(args.iter().map(String::as_str)).collect();
    cluster.rsna_tui(dir.path(), &args);
    let program = Path::new(env!("CARGO_BIN_EXE_rsna-tui")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/templates/rsna-tui.sbatch");
    let mut job = Command::new("sbatch");
    // Instead of what this cluster has not.
    job.args([
        "--parsable",
        "--array=1",
        "--gres=none",
        "--cpus-per-task=1",
        "--mem=100",
        "--time=30",
    ]);
    job.arg(template).arg("runs/parted").current_dir(dir.path()).env("PATH", path);
    let id = cluster.run(&mut job);
    let task = format!("{id}_1");
    wait("the fold is trained", 120, || cluster.task(&task).0 == "COMPLETED");
    let output = dir.path().join(format!("rsna-tui-{id}-fold1.log"));
    let output = fs::read_to_string(output).unwrap();
    assert!(output.contains("fold 1: done") && done(dir.path()) == 1, "{output}");
}
