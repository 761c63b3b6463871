//! What goes wrong on a rented machine: a full disk, a moved folder, a clock that jumps, a loss that is
//! not finite. (A checkpoint that is damaged, and a second process on a run: resume.rs.)

use crate::tiny::{figures, rsna_tui, said, same, train};
use rsna_tui::run::status::{RunState, Status};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Runs a script where it may mount a file system that nobody else sees; `None` where the system
/// allows that to nobody here.
fn with_mounts(dir: &Path, script: &str) -> Option<String> {
    let how = [&["-m"][..], &["-r", "-m"]].into_iter().find(|how| {
        let probe = "mount -t tmpfs -o size=64k tmpfs . && true";
        let out =
            Command::new("unshare").current_dir(dir).args(*how).args(["sh", "-c", probe]).output();
        out.is_ok_and(|out| out.status.success())
    })?;
    let out = Command::new("unshare")
        .current_dir(dir)
        .args(how)
        .args(["sh", "-euc", script])
        .env("PROGRAM", env!("CARGO_BIN_EXE_rsna-tui"))
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", said(&out));
    Some(said(&out))
}

/// A file system of 30 MB, all but 1 MB of it taken by another file until the run says that it holds.
#[test]
fn a_full_disk_holds_training_until_there_is_room_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    assert!(rsna_tui(dir.path(), &train("whole", 3)).status.success());
    fs::create_dir(dir.path().join("small")).unwrap();
    let args = train("full", 3).join(" ");
    let script = format!(
        r#"mount -t tmpfs -o size=30m tmpfs small
           head -c 29500000 /dev/zero > small/ballast
           "$PROGRAM" {args} --runs-dir small > out.txt 2>&1 &
           program=$!
           tries=0
           until grep -q 'cannot write' out.txt; do
               tries=$((tries + 1)); [ $tries -lt 600 ] || {{ cat out.txt; exit 1; }}
               sleep 0.1
           done
           "$PROGRAM" runs --runs-dir small
           rm small/ballast
           wait $program
           mkdir -p runs && cp -r small/full runs/full"#
    );
    let Some(out) = with_mounts(dir.path(), &script) else {
        println!("skipped: no file system can be mounted here");
        return;
    };
    assert!(out.contains("full"), "{out}");
    let output = fs::read_to_string(dir.path().join("out.txt")).unwrap();
    assert!(output.contains("it goes on when there is room"), "{output}");
    assert!(output.contains("running from"), "{output}");
    same(dir.path(), "whole", "full");
}

#[test]
fn who_stops_while_the_disk_is_full_is_let_go_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("small")).unwrap();
    let args = train("full", 3).join(" ");
    let script = format!(
        r#"mount -t tmpfs -o size=3m tmpfs small
           "$PROGRAM" {args} --runs-dir small > out.txt 2>&1 &
           program=$!
           tries=0
           until grep -q 'cannot write' out.txt; do
               tries=$((tries + 1)); [ $tries -lt 600 ] || {{ cat out.txt; exit 1; }}
               sleep 0.1
           done
           kill -INT $program
           code=0; wait $program || code=$?
           echo "left with $code""#
    );
    let Some(out) = with_mounts(dir.path(), &script) else {
        println!("skipped: no file system can be mounted here");
        return;
    };
    assert!(out.contains("left with 1"), "{out}");
    let output = fs::read_to_string(dir.path().join("out.txt")).unwrap();
    assert!(output.contains("choose another --runs-dir"), "{output}");
}

#[test]
fn a_run_goes_on_in_another_place_with_a_stale_lock_after_the_clock_jumped() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    assert!(rsna_tui(dir, &train("whole", 3)).status.success());
    let mut args = train("moved", 3);
    args.extend(["--panic-at-step", "14"]);
    assert_eq!(rsna_tui(dir, &args).status.code(), Some(1));
    fs::create_dir(dir.join("elsewhere")).unwrap();
    fs::rename(dir.join("runs/moved"), dir.join("elsewhere/moved")).unwrap();
    let run = dir.join("elsewhere/moved");
    // The process that is named there is alive, and another one.
    fs::write(run.join("lock"), format!("{}\n", std::process::id())).unwrap();
    // As if it had been written tomorrow.
    let mut status = Status::read(&run.join("state.json")).unwrap();
    status.updated += 86_400.0;
    status.state = RunState::Running;
    status.write(&run.join("state.json")).unwrap();
    let journal = fs::read_to_string(run.join("journal.jsonl")).unwrap();
    fs::write(run.join("journal.jsonl"), journal.replace("\"time\":", "\"time\":9")).unwrap();
    let listed = said(&rsna_tui(dir, &["runs", "--runs-dir", "elsewhere"]));
    assert!(listed.contains("died") && listed.contains("0s ago"), "{listed}");

    let out = rsna_tui(dir, &["resume", "moved", "--no-tui", "--runs-dir", "elsewhere"]);
    assert!(out.status.success(), "{}", said(&out));
    fs::rename(&run, dir.join("runs/moved")).unwrap();
    same(dir, "whole", "moved");
    let config = fs::read_to_string(dir.join("runs/moved/config.toml")).unwrap();
    assert!(config.contains("epochs = 3"));
}

#[test]
fn a_changed_setting_is_told_or_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut args = train("changed", 3);
    args.extend(["--panic-at-step", "14"]);
    rsna_tui(dir, &args);
    let config = dir.join("runs/changed/config.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("mixup = 0.5", "mixup = 0.25")).unwrap();
    assert_ne!(text, fs::read_to_string(&config).unwrap());
    let out = rsna_tui(dir, &["resume", "changed", "--no-tui"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(said(&out).contains("train.mixup: 0.5 → 0.25"), "{}", said(&out));
    fs::write(&config, text).unwrap();
    let free = ["resume", "changed", "--no-tui", "--set", "data.workers=2", "--epochs", "4"];
    let out = rsna_tui(dir, &free);
    assert!(out.status.success(), "{}", said(&out));
    assert!(said(&out).contains("changed since: data.workers: 1 → 2"), "{}", said(&out));
    assert!(said(&out).contains("changed since: train.epochs: 3 → 4"), "{}", said(&out));
}

#[test]
fn a_loss_that_is_not_finite_ends_the_fold_or_its_batch_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut args = train("stop", 2);
    args.extend(["--nan-at-batch", "3"]);
    let out = rsna_tui(dir, &args);
    assert_eq!(out.status.code(), Some(1));
    assert!(said(&out).contains("the loss is not finite in a step with the studies phantom."));

    let skipping = |run| {
        let mut args = train(run, 2);
        args.extend(["--nan-at-batch", "3", "--set", "train.on_nonfinite=\"skip\""]);
        args
    };
    let out = rsna_tui(dir, &skipping("skip"));
    assert!(out.status.success(), "{}", said(&out));
    assert!(said(&out).contains("the batch after it is left out; its studies: phantom."));
    // A step less an epoch, of two folds and epochs.
    let steps = |run: &str| {
        let figures = figures(&dir.join("runs").join(run));
        figures.iter().filter(|line| line.contains("\"type\":\"step\"")).count()
    };
    assert_eq!(steps("skip"), 4 * 8);
    // Cut and gone on with, it is the same.
    let mut cut = skipping("cut");
    cut.extend(["--panic-at-step", "14"]);
    assert_eq!(rsna_tui(dir, &cut).status.code(), Some(1));
    let resumed = ["resume", "cut", "--no-tui", "--nan-at-batch", "3"];
    let out = rsna_tui(dir, &resumed);
    assert!(out.status.success(), "{}", said(&out));
    same(dir, "skip", "cut");
}

/// Waits for what must come; a busy machine is slow.
fn until(what: &str, mut is_there: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_there() {
        assert!(start.elapsed() < Duration::from_secs(300), "{what} did not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A run in the background that goes on until it is looked at: what it prints goes to a file.
struct Running {
    child: Child,
    printed: PathBuf,
    run: PathBuf,
}

impl Running {
    /// Begins a run of that name; `limit`: a command of the shell's before it.
    fn begin(dir: &Path, run: &'static str, limit: &str) -> Self {
        let printed = dir.join(format!("{run}.txt"));
        let script = format!("{limit} exec \"$0\" \"$@\"");
        let child = Command::new("sh")
            .current_dir(dir)
            .args(["-c", &script, env!("CARGO_BIN_EXE_rsna-tui")])
            .args(train(run, 3))
            .args(["--set", "run.tensorboard=true", "--set", "ui.preview_seconds=0.001"])
            .stdout(fs::File::create(&printed).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, printed, run: dir.join("runs").join(run) }
    }

    fn says(&self, words: &str) -> bool {
        fs::read_to_string(&self.printed).unwrap().contains(words)
    }

    fn wait_for(&mut self, words: &str) {
        until(words, || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{}", fs::read_to_string(&self.printed).unwrap());
            self.says(words)
        });
    }

    fn has_journal(&self) {
        let journal = self.run.join("journal.jsonl");
        until("a step", || fs::read_to_string(&journal).is_ok_and(|t| t.contains("\"step\"")));
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    fn ends(&mut self, code: i32) {
        let ended = self.child.wait().unwrap();
        assert_eq!(ended.code(), Some(code), "{}", fs::read_to_string(&self.printed).unwrap());
    }
}

/// A limit of the process's is reached in mid-run, and raised again: too many open files.
#[cfg(target_os = "linux")]
#[test]
fn a_process_out_of_files_holds_training_until_it_may_open_more() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let dir = tempfile::tempdir().unwrap();
    assert!(rsna_tui(dir.path(), &train("whole", 3)).status.success());
    let mut run = Running::begin(dir.path(), "files", "");
    run.has_journal();
    let pid = Some(Pid::from_child(&run.child));
    let no_more = |current| Rlimit { current: Some(current), maximum: None };
    let before = prlimit(pid, Resource::Nofile, no_more(3)).or_else(|_| {
        // Without the right to raise the hard limit it stays.
        let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
        prlimit(pid, Resource::Nofile, Rlimit { current: Some(3), maximum })
    });
    let before = before.unwrap();
    run.wait_for("too many open files in this process (ulimit -n)");
    prlimit(pid, Resource::Nofile, before).unwrap();
    run.ends(0);
    assert!(!run.says("room"), "{}", fs::read_to_string(&run.printed).unwrap());
    same(dir.path(), "whole", "files");
}

/// `ulimit -f`: the signal that would end the process is not heeded, and the write that fails holds
/// training.
#[cfg(target_os = "linux")]
#[test]
fn a_limit_on_file_sizes_holds_training_until_it_is_raised() {
    use rustix::process::{Pid, Resource, getrlimit, prlimit};
    let dir = tempfile::tempdir().unwrap();
    assert!(rsna_tui(dir.path(), &train("whole", 3)).status.success());
    // Room for the journal and not for a checkpoint.
    let mut run = Running::begin(dir.path(), "limited", "ulimit -S -f 1000;");
    run.wait_for("larger than the limit on file sizes (ulimit -f)");
    let pid = Some(Pid::from_child(&run.child));
    prlimit(pid, Resource::Fsize, getrlimit(Resource::Fsize)).unwrap();
    run.ends(0);
    same(dir.path(), "whole", "limited");
}

#[test]
fn a_run_folder_that_was_renamed_is_waited_for_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    assert!(rsna_tui(dir.path(), &train("whole", 3)).status.success());
    let mut run = Running::begin(dir.path(), "moved", "");
    run.has_journal();
    let away = dir.path().join("away");
    fs::rename(&run.run, &away).unwrap();
    run.wait_for("renamed or deleted");
    assert!(run.says("it goes on when the folder is back"));
    assert!(!run.run.exists());
    fs::rename(&away, &run.run).unwrap();
    run.ends(0);
    same(dir.path(), "whole", "moved");
}

#[test]
fn a_run_folder_that_was_deleted_is_not_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = Running::begin(dir.path(), "deleted", "");
    run.has_journal();
    // Something may be written in it at this moment.
    until("no folder", || fs::remove_dir_all(&run.run).is_ok() || !run.run.exists());
    run.wait_for("renamed or deleted");
    run.signal(rustix::process::Signal::INT);
    run.ends(1);
    assert!(run.says("put the run's folder back where it was, and resume the run"));
    assert!(!run.run.exists());
    let out = rsna_tui(dir.path(), &["resume", "deleted", "--no-tui"]);
    assert!(out.status.code() == Some(2) && said(&out).contains("holds no run"), "{}", said(&out));
    assert!(!run.run.exists());
}

/// `best` of a fold, where there is one, and whether an epoch was said to be the best.
fn best_of(run: &Path, fold: usize) -> (bool, bool) {
    let journal = fs::read_to_string(run.join("journal.jsonl")).unwrap();
    let is_best = |line: &str| {
        let of_fold = line.contains(&format!("\"at\":{{\"fold\":{fold},"));
        of_fold && line.contains("\"is_best\":true")
    };
    let file = run.join(format!("fold{fold}_best.safetensors")).exists();
    (file, journal.lines().any(is_best))
}

#[test]
fn an_epoch_whose_every_batch_was_left_out_is_never_the_best() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    // Of 4 studies outside each fold, 2 batches; no loss is finite, and 10 in a row are allowed.
    let mut args = train("none", 2);
    args.extend(["--set", "data.phantom_studies=8", "--set", "train.on_nonfinite=\"skip\""]);
    args.extend(["--set", "train.slice_weight=1e308", "--set", "train.positive_weight=1e308"]);
    let out = rsna_tui(dir, &args);
    let run = dir.join("runs/none");
    let text = said(&out);
    assert!(text.contains("cannot be the best: every batch of it was left out"), "{text}");
    for fold in [0, 1] {
        assert_eq!(best_of(&run, fold), (false, false), "{text}");
    }
    assert!(Status::read(&run.join("state.json")).unwrap().folds.iter().all(|f| f.best.is_none()));
}

/// AdamW with an epsilon that is 0 in f32 divides 0 by 0 where a gradient is 0.
#[test]
fn weights_that_are_no_longer_finite_end_the_fold_and_are_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    for (run, on_nonfinite) in [("skip", "skip"), ("stop", "stop")] {
        let on_nonfinite = format!("train.on_nonfinite=\"{on_nonfinite}\"");
        let mut args = train(run, 2);
        args.extend(["--set", "train.eps=1e-60", "--set", &on_nonfinite]);
        let out = rsna_tui(dir, &args);
        let text = said(&out);
        assert_eq!(out.status.code(), Some(1), "{text}");
        assert!(
            text.contains("failed: the weight ") && text.contains("is no longer finite"),
            "{text}"
        );
        let run = dir.join("runs").join(run);
        for fold in [0, 1] {
            assert_eq!(best_of(&run, fold), (false, false), "{text}");
            assert!(!run.join(format!("fold{fold}_last.safetensors")).exists());
        }
    }
}

#[test]
fn an_epoch_without_a_figure_to_choose_by_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut args = train("one_class", 2);
    // Of 2 studies a fold, and one of both folds has one class only.
    args.extend(["--set", "data.phantom_studies=4", "--set", "select.metric=\"patient_auc\""]);
    let out = rsna_tui(dir.path(), &args);
    let text = said(&out);
    assert!(out.status.success(), "{text}");
    let run = dir.path().join("runs/one_class");
    let undefined = (0..2).filter(|&fold| best_of(&run, fold) == (false, false)).count();
    assert!(undefined > 0, "{text}");
    let warnings = text.matches("cannot be the best: its patient AUC is not defined").count();
    assert_eq!(warnings, 2 * undefined, "{text}");
}

/// Equal runs leave equal files, also in mid-epoch: nothing in them depends on a clock or on the order
/// of a map.
#[test]
fn equal_runs_leave_equal_checkpoints_to_the_byte() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    for run in ["a", "b"] {
        let mut args = train(run, 2);
        args.extend(["--panic-at-step", "11", "--set", "data.phantom_studies=16", "--folds", "0"]);
        assert_eq!(rsna_tui(dir, &args).status.code(), Some(1));
        for export in [vec![], vec!["--last"]] {
            let out = format!("{run}{}.safetensors", export.len());
            let args = [&["export", run, "--fold", "0", "--out", &out][..], &export].concat();
            assert!(rsna_tui(dir, &args).status.success());
        }
        let import = ["import", "torch", "a0.safetensors", "--config", "runs/a/config.toml"];
        let out = format!("{run}_imported.safetensors");
        assert!(rsna_tui(dir, &[&import[..], &["--out", &out]].concat()).status.success());
    }
    let of = |path: String| fs::read(dir.join(path)).unwrap();
    for file in ["fold0_best", "fold0_last"] {
        let file = |run| of(format!("runs/{run}/{file}.safetensors"));
        assert!(file("a") == file("b"), "{}", String::from_utf8_lossy(&file("a")[..2000]));
    }
    assert!(of("a_imported.safetensors".into()) == of("b_imported.safetensors".into()));
    // An export says which run it is of.
    let metadata = |path: String| -> Vec<String> {
        let bytes = of(path);
        let header = String::from_utf8_lossy(&bytes[8..4000]).into_owned();
        let metadata =
            header.split_once("\"__metadata__\":{").unwrap().1.split('}').next().unwrap();
        metadata
            .split("\",\"")
            .map(|pair| pair.split("\":").next().unwrap().replace('"', ""))
            .collect()
    };
    for export in ["0", "1"] {
        let keys = metadata(format!("a{export}.safetensors"));
        let mut sorted = keys.clone();
        sorted.sort();
        assert!(keys == sorted && keys.len() > 5, "{keys:?}");
    }
}
