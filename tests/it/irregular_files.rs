//! Tests pipes, folders, devices and dangling links in place of files: every command must end, with one
//! sentence about what it found.

use crate::tiny::{rsna_tui, said, train};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::mpsc,
    time::Duration,
};

/// Time limit. No command here takes seconds, but one that waits for a pipe or reads a device never ends.
const LIMIT: Duration = Duration::from_secs(240);

/// Runs a command to its end; panics if it does not end.
fn ended(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rsna-tui"));
    command.current_dir(dir).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let id = child.id();
    let (send, ended) = mpsc::channel();
    std::thread::spawn(move || send.send(child.wait_with_output().unwrap()));
    ended.recv_timeout(LIMIT).unwrap_or_else(|_| {
        let _ = Command::new("kill").args(["-KILL", &id.to_string()]).status();
        panic!("{args:?} does not end");
    })
}

/// Expects a command to fail with one sentence with these words, and exit code 2.
fn refused(dir: &Path, args: &[&str], words: &[&str]) {
    let out = ended(dir, args);
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2), "{args:?}: {stderr}");
    assert_eq!(stderr.trim().lines().count(), 1, "{args:?}: {stderr}");
    for word in words {
        assert!(stderr.contains(word), "{args:?}: {stderr:?} lacks {word:?}");
    }
}

const KINDS: [&str; 5] = ["pipe", "folder", "device", "dangling", "socket"];

/// Replaces `path` with something of this kind.
fn put(kind: &str, path: &Path) {
    let _ = fs::remove_file(path);
    match kind {
        "pipe" => assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
        "folder" => fs::create_dir(path).unwrap(),
        "device" => symlink("/dev/zero", path).unwrap(),
        "dangling" => symlink("nowhere/at/all", path).unwrap(),
        // The socket's name remains after the listener is gone.
        _ => drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
    }
}

/// Returns the error's words for a kind.
fn words(kind: &str) -> &'static str {
    match kind {
        "pipe" => "it is a named pipe (FIFO), expected a regular file",
        "folder" => "it is a folder, expected a regular file",
        "device" => "it is a device, expected a regular file",
        "dangling" => "No such file",
        _ => "it is a socket, expected a regular file",
    }
}

/// Returns all files below a folder.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.symlink_metadata().unwrap().is_dir() {
            true => all.extend(files(&path)),
            false => all.push(path),
        }
    }
    all.sort();
    all
}

/// Copies the run `runs/a` into another folder and replaces one file with something else.
fn copy_with(from: &Path, to: &Path, kind: &str, file: &Path) {
    for path in files(&from.join("runs/a")) {
        let copy = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(&path, &copy).unwrap();
    }
    put(kind, &to.join("runs/a").join(file));
}

const COMMANDS: [&str; 12] = [
    "runs",
    "attach a --no-tui",
    "report a --format html",
    "report a --format csv",
    "stop a",
    "export a --fold 0",
    "export a --fold 0 --last --format onnx",
    "predict --run a --out p.csv",
    "predict --run a --out q.csv --force",
    "evaluate a --set score.bootstrap=0",
    "resume a --no-tui --device cpu",
    "resume a --no-tui --device cpu --epochs 2",
];

#[test]
fn whatever_is_in_the_place_of_a_runs_file_every_command_ends() {
    let home = tempfile::tempdir().unwrap();
    let few = "--set data.phantom_studies=6 --set train.folds=[0] --set train.epochs=1";
    let flags = train("a", 2).into_iter().chain(few.split(' ')).collect::<Vec<_>>();
    let out = rsna_tui(home.path(), &flags);
    assert!(out.status.success(), "{}", said(&out));
    let run = home.path().join("runs/a");
    let own = files(&run).into_iter().map(|p| p.strip_prefix(&run).unwrap().to_owned());
    // Also files that only other runs have, or that a crashed process leaves.
    let more =
        ["output.log", "on_alert.log", "control.sock", "state.json.tmp", "journal.jsonl.tmp"];
    let more = more.into_iter().chain(["evaluation/scores.json", "report.html", "steps.csv"]);
    let all: Vec<PathBuf> = own.chain(more.map(PathBuf::from)).collect();
    assert!(all.len() > 12, "{all:?}");
    let every = all.iter().flat_map(|file| KINDS.map(|kind| (file, kind)));
    // Test every command with a pipe in place of every file. To save time, the other kinds take turns.
    let mut cases = Vec::new();
    for (i, (file, kind)) in every.enumerate() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("runs/a/evaluation")).unwrap();
        copy_with(home.path(), dir.path(), kind, file);
        for (j, command) in COMMANDS.iter().enumerate() {
            if kind != "pipe" && !(i + j).is_multiple_of(6) {
                continue;
            }
            let out = ended(dir.path(), &command.split(' ').collect::<Vec<_>>());
            let words = said(&out);
            assert!(!words.contains("panicked"), "{command} with {file:?} a {kind}: {words}");
            assert!(out.status.code().is_some(), "{command} with {file:?} a {kind}: {words}");
            if out.status.code() == Some(2) {
                let error = String::from_utf8_lossy(&out.stderr);
                let last = error.lines().last().unwrap_or_default();
                assert!(
                    last.starts_with("rsna-tui: "),
                    "{command} with {file:?} a {kind}: {error}"
                );
            }
            cases.push((*command, file.to_str().unwrap(), kind, words));
        }
    }
    // If a required file is wrong, the message names it and its kind.
    for (command, file) in [
        ("attach a --no-tui", "journal.jsonl"),
        ("report a --format html", "journal.jsonl"),
        ("report a --format csv", "journal.jsonl"),
        ("evaluate a --set score.bootstrap=0", "state.json"),
        ("evaluate a --set score.bootstrap=0", "fold0_best.safetensors"),
        ("predict --run a --out p.csv", "fold0_best.safetensors"),
        ("predict --run a --out p.csv", "config.toml"),
        ("export a --fold 0", "fold0_best.safetensors"),
        ("resume a --no-tui --device cpu", "lock"),
        ("resume a --no-tui --device cpu", "config.toml"),
        ("resume a --no-tui --device cpu", "journal.jsonl"),
    ] {
        let of = cases.iter().find(|t| t.0 == command && t.1 == file && t.2 == "pipe").unwrap();
        assert!(of.3.contains(file) && of.3.contains(words("pipe")), "{of:?}");
    }
}

#[test]
fn crops_tables_settings_and_weights_are_regular_files() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let out = rsna_tui(dir, &["phantom", "p", "--studies", "6", "--size", "32", "--folds", "2"]);
    assert!(out.status.success(), "{}", said(&out));
    let set = "--set data.dir=p/crops --set data.table=p/train_seg.csv --set data.image_size=32 \
               --set train.folds=[0] --set train.batch_size=2";
    let with = |first: &[&'static str], more: &[&'static str]| -> Vec<&'static str> {
        first.iter().copied().chain(set.split_whitespace()).chain(more.iter().copied()).collect()
    };
    let crop = dir.join("p/crops/phantom.0001_2_3.npy");
    let table = dir.join("p/train_seg.csv");
    let whole = [fs::read(&crop).unwrap(), fs::read(&table).unwrap()];
    let restore = |path: &Path, bytes: &[u8]| {
        let _ = fs::remove_file(path).or_else(|_| fs::remove_dir(path));
        fs::write(path, bytes).unwrap();
    };
    for kind in KINDS {
        put(kind, &crop);
        let found = if kind == "dangling" { "is missing" } else { words(kind) };
        let found = [found, "phantom.0001_2_3.npy"];
        refused(dir, &with(&["check"], &[]), &found);
        refused(dir, &with(&["--no-tui"], &[]), &found);
        let sheet = ["--study", "phantom.0001", "--out", "s", "--fold", "9"];
        refused(dir, &with(&["augment"], &sheet), &found);
        restore(&crop, &whole[0]);

        put(kind, &table);
        refused(dir, &with(&["check"], &[]), &[words(kind), "p/train_seg.csv", "data.table"]);
        restore(&table, &whole[1]);

        let other = dir.join("other");
        put(kind, &other);
        let found = words(kind);
        refused(dir, &["check", "--config", "other"], &[found, "--config"]);
        let found = if kind == "dangling" { "no such file" } else { found };
        refused(dir, &["import", "torch", "other", "--out", "w.safetensors"], &[found, "other"]);
        let weights = "--demo --set model.pretrained=other --no-tui";
        refused(dir, &weights.split(' ').collect::<Vec<_>>(), &[found, "other"]);
        // Without --config, ./config.toml is read, whatever its kind.
        fs::rename(&other, dir.join("config.toml")).unwrap();
        refused(dir, &["check"], &[words(kind), "config.toml"]);
        restore(&dir.join("config.toml"), b"");
        fs::remove_file(dir.join("config.toml")).unwrap();
    }
    // A shell's < gives a regular file; its <( ) does not.
    let shell =
        |line: &str| Command::new("sh").current_dir(dir).args(["-c", line]).output().unwrap();
    let check = format!("{} check {set} --config /dev/stdin", env!("CARGO_BIN_EXE_rsna-tui"));
    fs::write(dir.join("c.toml"), "seed = 3\n").unwrap();
    let out = shell(&format!("{check} < c.toml"));
    assert!(out.status.success(), "{}", said(&out));
    let out = shell(&format!("cat c.toml | {check}"));
    assert!(said(&out).contains("expected a regular file"), "{}", said(&out));
}
