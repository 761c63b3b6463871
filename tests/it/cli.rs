//! Tests the program's command line without a terminal: what it trains, writes and refuses.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn rsna_tui(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rsna-tui")).current_dir(dir).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Makes a folder with six phantom studies of 32² in two folds, and the flags that train on them.
fn phantoms(dir: &Path) -> Vec<String> {
    let out = rsna_tui(dir, &["phantom", "p", "--studies", "6", "--size", "32", "--folds", "2"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let flags = "--no-tui --set train.folds=[0,1] --set data.dir=p/crops --set data.table=p/train_seg.csv \
                 --set data.image_size=32 --set model.backbone=convnext_micro --set model.lstm_hidden=16 \
                 --set model.head_hidden=16 --set train.batch_size=2 --set train.epochs=2 \
                 --set run.kernel_type=k --set data.workers=1";
    flags.split_whitespace().map(String::from).collect()
}

fn with<'a>(flags: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    flags.iter().map(String::as_str).chain(more.iter().copied()).collect()
}

/// Returns the log without its times.
fn log(run: &Path) -> Vec<String> {
    let log = fs::read_to_string(run.join("logs/k.txt")).unwrap();
    log.lines().map(|l| l[l.find("Fold").unwrap()..].to_string()).collect()
}

#[test]
fn a_run_leaves_config_log_and_checkpoints_and_the_seed_decides_it() {
    let dir = tempfile::tempdir().unwrap();
    let flags = phantoms(dir.path());
    for (run, workers) in [("a", "data.workers=1"), ("b", "data.workers=3")] {
        let out = rsna_tui(dir.path(), &with(&flags, &["--run", run, "--set", workers]));
        assert!(out.status.success(), "{}{}", text(&out.stdout), text(&out.stderr));
        let said = text(&out.stdout);
        assert!(!said.contains('\x1b'), "escape codes in plain lines");
        assert!(said.contains("epoch 2/2") && said.contains("baseline"), "{said}");
    }
    let run = dir.path().join("runs/a");
    for file in ["config.toml", "fold0_best.safetensors", "fold0_last.safetensors"] {
        assert!(run.join(file).is_file(), "{file}");
    }
    let lines = log(&run);
    assert_eq!(lines.len(), 4);
    assert!(lines[0].starts_with("Fold 0, Epoch 1, lr: 0.0002300, train loss: 0."), "{lines:?}");
    assert_eq!(lines, log(&dir.path().join("runs/b")), "the same whatever the worker count");

    let other = rsna_tui(dir.path(), &with(&flags, &["--run", "c", "--seed", "5"]));
    assert!(other.status.success());
    assert_ne!(lines, log(&dir.path().join("runs/c")));

    // `last` has metadata; `best` holds nothing but the state dict.
    let bytes = fs::read(run.join("fold0_last.safetensors")).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().clone().unwrap();
    assert_eq!(metadata["epoch"], "2");
    assert_eq!(metadata["adamw_steps"], "2");
    let best = fs::read(run.join("fold0_best.safetensors")).unwrap();
    let best = safetensors::SafeTensors::deserialize(&best).unwrap();
    assert!(best.names().iter().all(|n| n.starts_with("encoder.") || !n.contains("exp_avg")));
}

#[test]
fn debug_leaves_no_last() {
    let dir = tempfile::tempdir().unwrap();
    let flags = phantoms(dir.path());
    let out = rsna_tui(dir.path(), &with(&flags, &["--run", "d", "--debug", "--folds", "1"]));
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(dir.path().join("runs/d/fold1_best.safetensors").is_file());
    assert!(!dir.path().join("runs/d/fold1_last.safetensors").exists());
}

#[test]
fn a_panic_of_the_trainer_is_one_sentence_and_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let flags = phantoms(dir.path());
    let out = rsna_tui(dir.path(), &with(&flags, &["--panic-at-step", "2"]));
    assert_eq!(out.status.code(), Some(1));
    let said = text(&out.stdout);
    assert!(said.contains("the trainer panicked: asked to panic at step 2"), "{said}");
}

#[cfg(unix)]
#[test]
fn control_c_saves_and_exits_130() {
    let dir = tempfile::tempdir().unwrap();
    let flags = phantoms(dir.path());
    let mut child = Command::new(env!("CARGO_BIN_EXE_rsna-tui"))
        .current_dir(dir.path())
        .args(with(&flags, &["--run", "i", "--set", "train.epochs=5000"]))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let log = dir.path().join("runs/i/logs/k.txt");
    let start = std::time::Instant::now();
    while !log.exists() {
        assert!(start.elapsed().as_secs() < 120, "no epoch");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    // Read the pipe to its end, so that the child does not block on it.
    std::io::copy(&mut child.stdout.take().unwrap(), &mut std::io::sink()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(dir.path().join("runs/i/fold0_last.safetensors").is_file());
}

/// Expects one sentence on stderr with these words, exit code 2 and no run folder.
fn refused(dir: &Path, args: &[&str], words: &[&str]) {
    let out = rsna_tui(dir, args);
    let said = text(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{args:?}: {said}");
    assert_eq!(said.trim().lines().count(), 1, "{args:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{args:?}: {said:?} lacks {word:?}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn bad_configs_and_flags() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::write(dir.join("broken.toml"), "[train\nepochs = 3").unwrap();
    fs::write(dir.join("unknown.toml"), "[train]\nepoch = 3\n").unwrap();
    fs::write(dir.join("file"), "").unwrap();
    refused(dir, &["--config", "none.toml"], &["none.toml", "--config"]);
    refused(dir, &["--config", "broken.toml"], &["broken.toml", "TOML"]);
    refused(dir, &["--config", "unknown.toml"], &["train.epoch", "unknown.toml", "epochs"]);
    refused(dir, &["--set", "train.epochs=soon"], &["train.epochs", "soon"]);
    refused(dir, &["--set", "train.batch_size=1"], &["train.batch_size", "1", "2 to"]);
    refused(dir, &["--demo", "--device", "tpu"], &["--device tpu", "auto"]);
    refused(dir, &["--demo", "--set", "train.precision=bf16"], &["train.precision", "f32"]);
    refused(dir, &["--demo", "--set", "model.pretrained=w.safetensors"], &["w.safetensors"]);
    refused(dir, &["--demo", "--run", "a/b"], &["--run", "a/b"]);
    refused(dir, &["--demo", "--runs-dir", "file"], &["file", "--runs-dir"]);
    refused(dir, &["--demo", "--folds", "0,0"], &["train.folds", "once"]);
    refused(dir, &["phantom", "p", "--size", "8"], &["size", "8", "32"]);
    refused(dir, &["--demo", "--config", "unknown.toml"], &["train.epoch", "unknown.toml"]);
    let taken = dir.join("runs/taken");
    fs::create_dir_all(&taken).unwrap();
    fs::write(taken.join("config.toml"), "").unwrap();
    refused(dir, &["--demo", "--run", "taken"], &["taken", "already holds a run"]);
    assert_eq!(fs::read_dir(dir.join("runs")).unwrap().count(), 1, "nothing else is left behind");
}

#[test]
fn bad_tables() {
    let dir = tempfile::tempdir().unwrap();
    let flags = phantoms(dir.path());
    let table = dir.path().join("p/train_seg.csv");
    let good = fs::read_to_string(&table).unwrap();
    let lines: Vec<&str> = good.lines().collect();
    let bad = |content: String, more: &[&str], words: &[&str]| {
        fs::write(&table, content).unwrap();
        refused(dir.path(), &with(&flags, more), words);
    };
    bad(good.replace("C3", "D3"), &[], &["train_seg.csv", "C3"]);
    bad(format!("{good}{}\n", lines[2]), &[], &["train_seg.csv", "line 8"]);
    let label = lines[1].replacen(",0,", ",7,", 1);
    bad(good.replacen(lines[1], &label, 1), &[], &["line 2", "7"]);
    bad(lines[0].to_string(), &[], &["train_seg.csv"]);
    bad(good.clone(), &["--folds", "4"], &["fold 4", "train.folds"]);
    bad(good.clone(), &["--set", "train.batch_size=5"], &["train.batch_size", "5"]);
    fs::remove_file(&table).unwrap();
    refused(dir.path(), &with(&flags, &[]), &["train_seg.csv", "data.table"]);
}

#[test]
fn crops_of_another_size_are_resized() {
    let dir = tempfile::tempdir().unwrap();
    let flags = phantoms(dir.path());
    let more = ["--set", "data.image_size=64", "--set", "train.epochs=1", "--folds", "0"];
    let out = rsna_tui(dir.path(), &with(&flags, &more));
    assert!(out.status.success(), "{}{}", text(&out.stdout), text(&out.stderr));
    assert!(text(&out.stdout).contains("images of 64×64"), "{}", text(&out.stdout));
}

#[test]
fn bad_slices_are_told_all_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let flags = phantoms(dir.path());
    let crops = dir.path().join("p/crops");
    let slice = |name: &str| crops.join(name);
    fs::remove_file(slice("phantom.0001_2_3.npy")).unwrap();
    let whole = fs::read(slice("phantom.0002_7_14.npy")).unwrap();
    fs::write(slice("phantom.0002_7_14.npy"), &whole[..whole.len() - 100]).unwrap();
    fs::write(slice("phantom.0003_1_0.npy"), "no array").unwrap();
    let words = ["3 of 630", "phantom.0001", "C2 slice 3", "phantom.0002", "phantom.0003"];
    refused(dir.path(), &with(&flags, &[]), &words);
    refused(dir.path(), &with(&flags, &["--set", "data.dir=q"]), &["data.dir", "q"]);
}

#[test]
fn harder_phantoms_have_the_same_labels_and_other_pixels() {
    let dir = tempfile::tempdir().unwrap();
    let read = |level: &[&str], out: &str| {
        let args = [&["phantom", out, "--studies", "2", "--size", "32"], level].concat();
        let ran = rsna_tui(dir.path(), &args);
        assert!(ran.status.success(), "{}", text(&ran.stderr));
        ["train_seg.csv", "crops/phantom.0001_3_7.npy"]
            .map(|file| fs::read(dir.path().join(out).join(file)).unwrap())
    };
    let [table, pixels] = read(&[], "a");
    assert_eq!(read(&["--difficulty", "easy"], "b"), [table.clone(), pixels.clone()]);
    let hard = read(&["--difficulty", "hard"], "c");
    assert!(hard[0] == table && hard[1] != pixels);
    // Studies made up without files are the same.
    let flags = "augment --set data.image_size=32 --study phantom.0001 --set train.folds=[0] \
                 --set data.phantom_studies=2 --set data.table=c/train_seg.csv --n 105 --fold 9";
    let sheet = |more: &[&str]| {
        let args = flags.split_whitespace().chain(more.iter().copied()).collect::<Vec<_>>();
        let ran = rsna_tui(dir.path(), &args);
        assert!(ran.status.success(), "{}", text(&ran.stderr));
        fs::read(dir.path().join(more[0].trim_start_matches("--out=")).join("phantom.0001.png"))
    };
    let written = sheet(&["--out=d", "--set", "data.dir=c/crops"]).unwrap();
    let level = ["--set", "data.dir=phantom", "--set", "data.phantom_difficulty=hard"];
    let made_up = sheet(&[&["--out=e"][..], &level].concat()).unwrap();
    assert!(written == made_up);
}

/// Returns the arguments of `augment` for the phantoms' files.
fn sheet<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let flags = "augment --set data.dir=p/crops --set data.table=p/train_seg.csv \
                 --set data.image_size=32 --out";
    flags.split_whitespace().chain([out]).chain(more.iter().copied()).collect()
}

#[test]
fn augment_draws_a_sheet_and_the_seed_decides_it() {
    let dir = tempfile::tempdir().unwrap();
    phantoms(dir.path());
    let draw = |out: &str, more: &[&str]| -> Vec<u8> {
        let args = [&sheet(out, &["--study", "phantom.0002"])[..], more].concat();
        let ran = rsna_tui(dir.path(), &args);
        let said = text(&ran.stdout);
        assert!(ran.status.success(), "{said}{}", text(&ran.stderr));
        assert!(said.contains("phantom.0002.png") && said.contains("epochs 1 to 4"), "{said}");
        fs::read(dir.path().join(out).join("phantom.0002.png")).unwrap()
    };
    // Files of other studies are not needed.
    fs::remove_file(dir.path().join("p/crops/phantom.0001_2_3.npy")).unwrap();
    let png = draw("a", &[]);
    assert!(png.starts_with(b"\x89PNG"));
    assert_eq!(png, draw("new/b", &[]));
    assert_ne!(png, draw("c", &["--seed", "1"]));
    assert_ne!(png, draw("d", &["--fold", "7"]));
    assert_ne!(png, draw("e", &["--n", "9"]));
}

#[test]
fn augment_needs_no_data_on_phantoms() {
    let dir = tempfile::tempdir().unwrap();
    let flags = "augment --set data.dir=phantom --set data.image_size=32 --set train.epochs=1 \
                 --study phantom.0063 --n 105 --out s";
    let out = rsna_tui(dir.path(), &flags.split_whitespace().collect::<Vec<_>>());
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(text(&out.stdout).contains("in epoch 1;"), "{}", text(&out.stdout));
    assert!(dir.path().join("s/phantom.0063.png").is_file());
}

#[test]
fn bad_sheets() {
    let dir = tempfile::tempdir().unwrap();
    phantoms(dir.path());
    let bad = |more: &[&str], words: &[&str]| refused(dir.path(), &sheet("s", more), words);
    let study = ["--study", "phantom.0002"];
    let with = |more: &[&'static str]| [&study[..], more].concat();
    bad(
        &[],
        &["--study", "p/train_seg.csv has 6 studies", "phantom.0000, phantom.0001, phantom.0002"],
    );
    bad(&["--study", "phantom.0009"], &["phantom.0009", "p/train_seg.csv", "phantom.0000"]);
    bad(&["--study", "0004"], &["0004", "nearest are phantom.0004"]);
    bad(&with(&["--n", "0"]), &["--n 0", "1 to 105"]);
    bad(&with(&["--n", "106"]), &["--n 106", "1 to 105"]);
    bad(&with(&["--epoch", "0"]), &["--epoch 0", "train.epochs = 50"]);
    bad(&with(&["--set", "data.table=q"]), &["the table q", "data.table"]);
    bad(&with(&["--config", "none.toml"]), &["none.toml", "--config"]);
    let table = fs::read_to_string(dir.path().join("p/train_seg.csv")).unwrap();
    let row = table.lines().find(|line| line.starts_with("phantom.0002")).unwrap();
    let own = row.rsplit(',').next().unwrap();
    bad(&[&study[..], &["--fold", own]].concat(), &[&format!("--fold {own}"), "validates"]);
    let folds = format!("train.folds=[{own}]");
    bad(&[&study[..], &["--set", &folds]].concat(), &["train.folds", "--fold"]);
    assert!(!dir.path().join("s").exists(), "nothing is left behind");

    fs::write(dir.path().join("s"), "a file").unwrap();
    bad(&study, &["--out s is no folder"]);
    fs::remove_file(dir.path().join("s")).unwrap();
    fs::create_dir(dir.path().join("s")).unwrap();
    fs::write(dir.path().join("s/phantom.0002.png"), "mine").unwrap();
    bad(&study, &["s/phantom.0002.png is already there", "--out"]);
    assert_eq!(fs::read(dir.path().join("s/phantom.0002.png")).unwrap(), b"mine");

    fs::remove_file(dir.path().join("p/crops/phantom.0003_2_3.npy")).unwrap();
    bad(&["--study", "phantom.0003"], &["1 of 105", "phantom.0003_2_3.npy is missing"]);
}

#[cfg(unix)]
#[test]
fn a_sheet_that_cannot_be_written_is_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    phantoms(dir.path());
    // A place where even root can create neither file nor folder.
    std::os::unix::fs::symlink("nowhere/at/all", dir.path().join("s")).unwrap();
    let words = ["cannot make the folder s", "--out"];
    refused(dir.path(), &sheet("s", &["--study", "phantom.0002"]), &words);
}

#[test]
fn check_tells_the_plan_and_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    phantoms(dir.path());
    let flags = "check --set data.dir=p/crops --set data.table=p/train_seg.csv \
                 --set data.image_size=32 --set train.folds=[0] --set train.batch_size=2 \
                 --set train.threads=1";
    let check = |more: &[&str]| {
        let args: Vec<&str> = flags.split_whitespace().chain(more.iter().copied()).collect();
        rsna_tui(dir.path(), &args)
    };
    let out = check(&[]);
    let said = text(&out.stdout);
    assert!(out.status.success(), "{said}{}", text(&out.stderr));
    for part in [
        "2 studies, 210 images of 32 x 32, on CPU, 1 thread",
        "all images of a step in one pass",
        "encoder's activations",
        "together, about",
        "free now",
    ] {
        assert!(said.contains(part), "no '{part}' in\n{said}");
    }
    let said = text(&check(&["--set", "train.chunk_size=10"]).stdout).to_string();
    assert!(said.contains("10 of 210 images kept, the others encoded again 10 at once"), "{said}");
    let out = check(&["--set", "train.batch_size=400"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("train.batch_size"), "{}", text(&out.stderr));
    fs::remove_file(dir.path().join("p/crops/phantom.0001_2_3.npy")).unwrap();
    let out = check(&[]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("phantom.0001"), "{}", text(&out.stderr));
}

#[test]
fn crops_without_a_picture_are_told_by_check_by_the_run_and_by_its_report() {
    let dir = tempfile::tempdir().unwrap();
    let flags = phantoms(dir.path());
    let fill = |study: &str, vertebra: usize, slices: std::ops::Range<usize>| {
        for slice in slices {
            let path = dir.path().join(format!("p/crops/{study}_{vertebra}_{slice}.npy"));
            let mut bytes = fs::read(&path).unwrap();
            bytes[128..].fill(1);
            fs::write(path, bytes).unwrap();
        }
    };
    let sets: Vec<&str> = flags.iter().skip(1).map(String::as_str).collect();
    let check = || rsna_tui(dir.path(), &[&["check"], &sets[..]].concat());
    let run = |name: &'static str| {
        // With this batch size an epoch uses all three studies of a fold.
        let more = ["--set", "train.batch_size=3", "--run", name];
        let out = rsna_tui(dir.path(), &with(&flags, &more));
        assert!(out.status.success(), "{}", text(&out.stderr));
        text(&out.stdout)
    };
    assert!(!text(&check().stdout).contains("without a picture"));
    assert!(!run("whole").contains("without a picture"));

    fill("phantom.0001", 7, 0..15);
    fill("phantom.0001", 1, 0..15);
    fill("phantom.0004", 3, 2..4);
    let heading = "crops without a picture (every pixel the same): 2 whole vertebrae and 2 single \
                   slices in 2 studies";
    let output = check();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = text(&output.stdout);
    for words in [heading, "phantom.0001 C1, C7\n", "phantom.0004 2 slices of C3\n"] {
        assert!(output.contains(words), "{output} lacks {words}");
    }
    let output = run("gone");
    // Reported once, although two folds meet them in two epochs each.
    assert_eq!(output.matches("crops without a picture").count(), 1, "{output}");
    let line = output.lines().find(|line| line.contains("crops without a picture")).unwrap();
    let named = "phantom.0001 C1, C7; phantom.0004 2 slices of C3";
    assert!(line.contains(heading) && line.contains(named), "{line}");
    assert!(line.contains("warning"), "{line}");
    for (format, file) in [("html", "report.html"), ("markdown", "report.md")] {
        let out = rsna_tui(dir.path(), &["report", "gone", "--format", format]);
        assert!(out.status.success(), "{}", text(&out.stderr));
        let report = fs::read_to_string(dir.path().join("runs/gone").join(file)).unwrap();
        for words in ["Crops without a picture", "2 whole vertebrae", "2 slices of C3"] {
            assert!(report.contains(words), "{file} lacks {words}");
        }
    }
}

#[test]
fn completions_for_every_shell_and_bash_completes() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let out = rsna_tui(dir.path(), &["completions", shell]);
        assert!(out.status.success(), "{}", text(&out.stderr));
        let script = text(&out.stdout);
        for word in ["selftest", "print-model", "version", "min-learning-rate"] {
            assert!(script.contains(word), "{shell}: no {word}");
        }
        assert!(!script.contains("nan-at-batch"), "{shell} offers a hidden flag");
        fs::write(dir.path().join(shell), script).unwrap();
    }
    let bash = |args: &[&str]| {
        let out = Command::new("bash").current_dir(dir.path()).args(args).output().unwrap();
        assert!(out.status.success(), "{}", text(&out.stderr));
        text(&out.stdout)
    };
    bash(&["-n", "bash"]);
    let press_tab = "source ./bash; COMP_WORDS=(rsna-tui pl); COMP_CWORD=1; \
                     _rsna__tui rsna-tui pl rsna-tui; echo ${COMPREPLY[@]}";
    assert_eq!(bash(&["-c", press_tab]), "plan\n");
}

#[test]
fn manual_pages_of_the_program_and_its_commands() {
    let dir = tempfile::tempdir().unwrap();
    let man = |args: &[&str]| {
        let out = rsna_tui(dir.path(), &[&["man"], args].concat());
        assert!(out.status.success(), "{}", text(&out.stderr));
        text(&out.stdout)
    };
    let page = man(&[]);
    assert!(page.lines().any(|line| line.starts_with(".TH rsna-tui 1 ")), "{page}");
    assert!(page.contains("rsna\\-tui\\-resume(1)"), "{page}");
    assert!(page.contains(".SH EXAMPLES\n.nf\n  rsna\\-tui \\-\\-demo "), "{page}");
    assert!(man(&["--out", "pages"]).contains("manual pages to pages"));
    let written = |name: &str| fs::read_to_string(dir.path().join("pages").join(name)).unwrap();
    assert_eq!(written("rsna-tui.1"), page);
    let plan = written("rsna-tui-plan.1");
    assert!(plan.contains(".TH rsna-tui-plan 1 ") && plan.contains("RATE"), "{plan}");
    refused(dir.path(), &["man", "--out", "pages"], &["already there", "--force"]);
    man(&["--out", "pages", "--force"]);
}
