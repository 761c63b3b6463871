//! Tests that output contains nothing that controls a terminal or that a spreadsheet runs, and goes only
//! to the named destinations.

use crate::tiny::{said, train};
use rsna_tui::{run::journal::Journal, view::State};
use rsna_tui_testkit::script::Script;
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

fn rsna_tui(dir: &Path, args: &[impl AsRef<OsStr>]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rsna-tui")).current_dir(dir).args(args).output().unwrap()
}

fn done(dir: &Path, args: &[&str]) -> Output {
    let out = rsna_tui(dir, args);
    assert!(out.status.success(), "{args:?}: {}", said(&out));
    out
}

/// Expects one sentence on stderr with these words, and exit code 2.
fn refused(dir: &Path, args: &[&str], words: &[&str]) {
    let out = rsna_tui(dir, args);
    let stderr = text(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{args:?}: {stderr}");
    assert_eq!(stderr.trim().lines().count(), 1, "{args:?}: {stderr}");
    for word in words {
        assert!(stderr.contains(word), "{args:?}: {stderr:?} lacks {word:?}");
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn split(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// Hostile UIDs: they clear the screen, ring the bell, set colours by a C1 control, forge a line,
/// reverse a line, contain invisible characters, and are formulas.
const UIDS: [&str; 8] = [
    "a\u{1b}[2Jb",
    "a\u{1b}]0;title\u{7}b",
    "a\u{9b}31mb",
    "a\u{85}rsna-tui: all is well",
    "a\u{202e}b\u{2066}c",
    "a\u{8}\u{200b}\u{e0041}b",
    "=1+1",
    "@SUM(A1)",
];

/// Asserts that text is safe for a terminal: lines of visible characters.
fn is_plain(printed: &[u8], what: &str) {
    let printed = text(printed);
    for line in printed.lines() {
        let bad = |c: char| {
            c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
                || matches!(c, '\u{e0000}'..='\u{e007f}')
        };
        assert!(!line.contains(bad), "{what}: {line:?}");
        assert!(!line.starts_with("rsna-tui: all is well"), "{what}: a forged line in {printed:?}");
    }
}

/// Makes a folder with crops and a table of eight studies with these UIDs, and the flags for them.
fn studies(dir: &Path) -> Vec<&'static str> {
    done(dir, &split("phantom p --studies 8 --size 32 --folds 2"));
    let table = fs::read_to_string(dir.join("p/train_seg.csv")).unwrap();
    let mut lines: Vec<String> = table.lines().map(String::from).collect();
    for (i, uid) in UIDS.iter().enumerate() {
        let old = format!("phantom.{i:04}");
        lines[1 + i] = lines[1 + i].replace(&old, &format!("\"{uid}\""));
        for (vertebra, slice) in (1..=7).flat_map(|v| (0..15).map(move |s| (v, s))) {
            let name = |uid: &str| dir.join(format!("p/crops/{uid}_{vertebra}_{slice}.npy"));
            fs::rename(name(&old), name(uid)).unwrap();
        }
    }
    fs::write(dir.join("p/train_seg.csv"), lines.join("\n") + "\n").unwrap();
    split(
        "--set data.dir=p/crops --set data.table=p/train_seg.csv --set data.image_size=32 \
         --set train.folds=[0,1] --set train.batch_size=2 --set model.backbone=convnext_micro \
         --set model.lstm_hidden=8 --set model.head_hidden=8 --set train.epochs=1 \
         --set run.kernel_type=k --set data.workers=1",
    )
}

#[test]
#[cfg(unix)]
fn a_uid_steers_no_terminal_and_is_no_formula() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let flags = studies(dir);
    let with = |first: &[&'static str], more: &[&'static str]| {
        first.iter().chain(&flags).chain(more).copied().collect::<Vec<&str>>()
    };
    let out = done(dir, &with(&["--no-tui", "--run", "a"], &[]));
    is_plain(&out.stdout, "train");
    is_plain(&out.stderr, "train");
    let none = "--set score.bootstrap=0";
    for command in ["evaluate a", "report a --format markdown --out -", "attach a --no-tui", "runs"]
    {
        let none = if command.starts_with("evaluate") { none } else { "" };
        let out = done(dir, &split(&format!("{command} {none}")));
        is_plain(&out.stdout, command);
        is_plain(&out.stderr, command);
    }
    let said = text(&done(dir, &split(&format!("evaluate a {none}"))).stdout);
    assert!(said.contains("a [2Jb") && said.contains("=1+1"), "{said}");

    let cells = |path: &str| -> Vec<String> {
        let mut csv =
            csv::ReaderBuilder::new().has_headers(false).from_path(dir.join(path)).unwrap();
        let rows = csv.records().map(|row| row.unwrap());
        rows.flat_map(|row| row.iter().map(String::from).collect::<Vec<_>>()).collect()
    };
    let safe = |path: &str| {
        for cell in cells(path) {
            let number = cell.parse::<f64>().is_ok();
            assert!(
                number || !cell.starts_with(['=', '+', '-', '@', '\t', '\r']),
                "{path}: {cell:?}"
            );
        }
    };
    safe("runs/a/evaluation/oof.csv");
    assert!(cells("runs/a/evaluation/oof.csv").contains(&"'=1+1".to_string()));
    fs::write(dir.join("some.csv"), "StudyInstanceUID\n=1+1\n@SUM(A1)\n").unwrap();
    done(dir, &split("predict --run a --studies some.csv --out p.csv"));
    safe("p.csv");
    safe("p.wide.csv");
    assert!(cells("p.wide.csv").iter().any(|cell| cell.starts_with('-')), "logits stay numbers");

    // A line end in a UID is refused, and starts no new line in the message.
    let forged = "StudyInstanceUID\n\"a\nrsna-tui: all is well\"\n";
    fs::write(dir.join("forged.csv"), forged).unwrap();
    refused(dir, &split("predict --run a --studies forged.csv --out q.csv"), &["a line end in it"]);

    // The same in error messages.
    for uid in &UIDS[..6] {
        fs::remove_file(dir.join(format!("p/crops/{uid}_2_3.npy"))).unwrap();
    }
    let commands = [
        with(&["check"], &[]),
        with(&["--no-tui"], &[]),
        with(&["augment"], &["--out", "s"]),
        with(&["augment"], &["--out", "s", "--study", UIDS[0]]),
        with(&["augment"], &["--out", "s", "--study", "no \u{1b}[31m\u{202e}such"]),
        split("evaluate a"),
        split("predict --run a --out q.csv"),
        split("predict --run a --data p/crops --out q.csv"),
    ];
    for args in commands {
        let out = rsna_tui(dir, &args);
        assert_eq!(out.status.code(), Some(2), "{args:?}: {}", text(&out.stderr));
        is_plain(&out.stdout, &format!("{args:?}"));
        is_plain(&out.stderr, &format!("{args:?}"));
        let errors = text(&out.stderr);
        assert_eq!(errors.lines().filter(|l| l.starts_with("rsna-tui: ")).count(), 1, "{errors}");
    }
}

#[test]
#[cfg(unix)]
fn an_argument_steers_no_terminal() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let bad = "x\u{1b}[2J\u{7}\u{9b}1m\u{202e}\nrsna-tui: all is well\u{200b}";
    let bytes = OsStr::from_bytes(b"x\xff\x1b[2J\n\xc2\x9b1m");
    let before: [&[&str]; 16] = [
        &[],
        &["--config"],
        &["--set"],
        &["--run"],
        &["--folds"],
        &["--demo", "--device"],
        &["--demo", "--run"],
        &["check", "--config"],
        &["check", "--set"],
        &["evaluate"],
        &["evaluate", "--views"],
        &["report", "--format"],
        &["export", "--fold"],
        &["attach", "--runs-dir"],
        &["resume", "--runs-dir"],
        &["import", "torch", "--out", "w", "--config"],
    ];
    for before in before {
        for last in [
            OsStr::new(bad),
            bytes,
            OsStr::new(&format!("--{bad}")),
            OsStr::new(&format!("{bad}=1")),
        ] {
            let args: Vec<&OsStr> = before.iter().map(OsStr::new).chain([last]).collect();
            let out = rsna_tui(dir.path(), &args);
            assert_eq!(out.status.code(), Some(2), "{args:?}: {}", said(&out));
            is_plain(&out.stdout, &format!("{args:?}"));
            is_plain(&out.stderr, &format!("{args:?}"));
        }
    }
}

/// Returns all Rust files below a folder.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .collect()
}

#[test]
fn everything_is_printed_and_opened_through_one_gate() {
    let printing = [
        "println!(",
        "print!(",
        "dbg!(",
        "writeln!(stdout",
        "writeln!(stderr",
        "write!(stdout",
        "write!(stderr",
        "writeln!(io::stderr",
        "writeln!(io::stdout",
        "&mut stdout()",
        "&mut stderr()",
    ];
    // Opening a folder is allowed, and so is a newly created file, which nobody else owns.
    let opening = [
        "File::open(path",
        "File::open(&",
        "File::create(",
        "fs::read(",
        "fs::read_to_string(",
        "from_path(",
        ".open(path)",
        ".open(&path)",
        ".open(&output)",
    ];
    // The gates themselves; the terminal that is drawn on; the stand-in for others' output in the tests;
    // and files of the system.
    let gates = [
        ("print.rs", &printing[..]),
        ("print/timeout.rs", &printing[..]),
        ("tui/", &printing[..]),
        ("train/faults.rs", &printing[..]),
        ("bounded.rs", &opening[..]),
        ("session/out.rs", &opening[..]),
        ("tui/input.rs", &opening[..]),
        ("tui/tty.rs", &opening[..]),
        ("device.rs", &opening[..]),
        ("train/cgroup.rs", &opening[..]),
        ("fuzz.rs", &opening[..]),
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let both = ["src", "core/src"].map(|src| root.join(src));
    for (src, path) in both.iter().flat_map(|src| sources(src).into_iter().map(move |p| (src, p))) {
        let name = path.strip_prefix(src).unwrap().to_str().unwrap().replace('\\', "/");
        if name.contains("tests") {
            continue;
        }
        let code = fs::read_to_string(&path).unwrap();
        let code = code.split("#[cfg(test)]").next().unwrap();
        let code = code.split("#[cfg(all(test, unix))]").next().unwrap();
        for (number, line) in (1..).zip(code.lines()) {
            let line = line.trim();
            let by_gate = |pattern: &&str| {
                gates.iter().any(|(gate, of)| name.starts_with(gate) && of.contains(pattern))
            };
            let found = printing.iter().chain(&opening).find(|p| line.contains(**p) && !by_gate(p));
            let own = line.contains("create_new(true)")
                || line.contains("EventFile::create(")
                || line.starts_with("//");
            if let Some(pattern) = found.filter(|_| !own) {
                panic!("src/{name}:{number}: {pattern} goes past print.rs or bounded.rs: {line}");
            }
        }
    }
}

/// Makes the folder of a small finished run without weights.
fn recorded_run(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("config.toml"), "seed = 42\n").unwrap();
    let script = Script { epochs: 2, steps: 4, valid_batches: 1, ..Script::default() };
    let mut journal = Journal::open(&dir.join("journal.jsonl")).unwrap();
    for stamped in script.events(None) {
        if !stamped.event.is_picture() {
            journal.append(&stamped).unwrap();
        }
    }
}

/// Commands that write one file, without `--out`, and the file's first bytes.
const WRITERS: [(&str, &[u8]); 5] = [
    ("report told", b"<!DOCTYPE html>"),
    ("report told --format markdown", b"# told"),
    ("export a --fold 0", b""),
    (
        "import torch w.safetensors --set model.backbone=convnext_micro --set model.lstm_hidden=16 \
      --set model.head_hidden=16 --set data.image_size=32",
        b"",
    ),
    ("predict --run a --set data.phantom_studies=4", b"row_id,fractured\n"),
];

/// Makes a folder with the runs `told` and `a`, and weights.
fn runs(dir: &Path) {
    recorded_run(&dir.join("runs/told"));
    let few = split("--set data.phantom_studies=8 --set train.folds=[0] --set train.epochs=1");
    done(dir, &train("a", 2).into_iter().chain(few).collect::<Vec<_>>());
    done(dir, &split("export a --fold 0 --out w.safetensors"));
}

#[test]
#[cfg(unix)]
fn out_is_written_where_it_leads_and_stays_what_it_is() {
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    runs(dir);
    let at = |name: &str| dir.join(name);
    for (n, (command, begins)) in WRITERS.iter().enumerate() {
        let run =
            |out: &str, more: &str| rsna_tui(dir, &split(&format!("{command} --out {out} {more}")));
        let ok = |out: &str, more: &str| {
            let ran = run(out, more);
            assert!(ran.status.success(), "{command} --out {out}: {}", said(&ran));
            ran
        };
        ok(&format!("plain{n}"), "");
        let length = fs::read(at(&format!("plain{n}"))).unwrap().len();
        let like = |bytes: &[u8]| bytes.starts_with(begins) && bytes.len().abs_diff(length) < 100;

        // stdout holds only the file.
        for out in ["-", "/dev/stdout"] {
            let ran = ok(out, "");
            assert!(like(&ran.stdout), "{command} --out {out}");
            assert!(text(&ran.stderr).contains("wrote stdout"), "{}", text(&ran.stderr));
        }
        assert!(!at("-").exists());

        // A link's target is overwritten and keeps its permissions.
        let (link, target) = (format!("link{n}"), at(&format!("far/target{n}")));
        fs::create_dir_all(at("far")).unwrap();
        fs::write(&target, "before").unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&target, at("hop")).unwrap();
        symlink("hop", at(&link)).unwrap();
        refused(dir, &split(&format!("{command} --out {link}")), &[&link, "is already there"]);
        ok(&link, "--force");
        assert!(at(&link).is_symlink() && at("hop").is_symlink());
        assert!(like(&fs::read(&target).unwrap()), "{command}");
        assert_eq!(target.metadata().unwrap().mode() & 0o777, 0o640);
        fs::remove_file(at("hop")).unwrap();
        symlink(format!("far/new{n}"), at("hop")).unwrap();
        ok(&link, "--force");
        assert!(at(&link).is_symlink() && like(&fs::read(at(&format!("far/new{n}"))).unwrap()));
        fs::remove_file(at("hop")).unwrap();
        symlink(&link, at("hop")).unwrap();
        assert_eq!(run(&link, "--force").status.code(), Some(2), "a circle");
        fs::remove_file(at("hop")).unwrap();

        // A device, through a link, so that a failure damages none of the machine's.
        symlink("/dev/null", at("null")).unwrap();
        ok("null", "--force");
        assert!(
            at("null").is_symlink() && at("null").metadata().unwrap().file_type().is_char_device()
        );
        fs::remove_file(at("null")).unwrap();

        // A pipe is written to if it has a reader.
        assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        refused(dir, &split(&format!("{command} --out pipe")), &["pipe", "nobody reads"]);
        let mut options = fs::File::options();
        let pipe = options.read(true).write(true).open(at("pipe")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_rsna-tui"))
            .current_dir(dir)
            .args(split(&format!("{command} --out pipe --force")))
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut got = vec![0; length - 100];
        std::io::Read::read_exact(&mut &pipe, &mut got).unwrap();
        assert!(got.starts_with(begins), "{command}");
        // The rest fits into the pipe.
        assert!(child.wait_with_output().unwrap().status.success());
        assert!(at("pipe").symlink_metadata().unwrap().file_type().is_fifo());
        fs::remove_file(at("pipe")).unwrap();

        drop(std::os::unix::net::UnixListener::bind(at("socket")).unwrap());
        for (out, words) in
            [("socket", "a socket, expected a regular file"), ("far", "far is a folder")]
        {
            for force in ["", "--force"] {
                refused(dir, &split(&format!("{command} --out {out} {force}")), &[words]);
            }
        }
        fs::remove_file(at("socket")).unwrap();
    }
    let left = |dir: &Path| -> Vec<String> {
        let names =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".tmp") || name.ends_with(".part")).collect()
    };
    assert!(left(dir).is_empty() && left(&at("far")).is_empty(), "nothing half done is left");
}

#[test]
fn an_evaluation_goes_where_it_is_sent() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    runs(dir);
    let evaluate = |more: &str| {
        split("evaluate a --set score.bootstrap=0")
            .into_iter()
            .chain(split(more))
            .map(String::from)
            .collect::<Vec<_>>()
    };
    let out = rsna_tui(dir, &evaluate("--out e/f"));
    assert!(out.status.success(), "{}", said(&out));
    assert!(text(&out.stdout).contains("to e/f") && !text(&out.stdout).contains("attach"));
    assert!(!dir.join("runs/a/evaluation").exists());
    for file in ["oof.csv", "scores.json", "roc.svg", "roc.csv", "reliability.svg", "worst.json"] {
        assert!(dir.join("e/f").join(file).is_file(), "{file}");
    }
    let words = |more: &str, words: &[&str]| {
        let args = evaluate(more);
        refused(dir, &args.iter().map(String::as_str).collect::<Vec<_>>(), words);
    };
    words("--out e/f", &["e/f/oof.csv is already there", "--force"]);
    words("--out w.safetensors", &["w.safetensors is no folder"]);
    words("--out -", &["--out -", "give a folder"]);
    assert!(rsna_tui(dir, &evaluate("--out e/f --force")).status.success());
    refused(dir, &split("report told --format csv --out -"), &["--out -", "give a folder"]);
    let no_folder = "no/such/x.csv: its folder does not exist";
    refused(dir, &split("predict a --out no/such/x.csv"), &[no_folder]);
}

#[test]
#[cfg(unix)]
fn a_path_that_is_not_utf_8_is_taken_as_it_is_or_refused() {
    use std::os::unix::ffi::OsStrExt;
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let strange = OsStr::from_bytes(b"r\xff");
    let args = |line: &'static str, more: &[&'static OsStr]| -> Vec<&OsStr> {
        split(line).into_iter().map(OsStr::new).chain(more.iter().copied()).collect()
    };
    let demo = "--demo --no-tui --runs-dir";
    for line in [demo, "resume a --runs-dir"] {
        let out = rsna_tui(dir, &args(line, &[strange]));
        let stderr = text(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{stderr}");
        assert!(
            stderr.lines().count() == 1
                && stderr.contains("--runs-dir r\u{fffd}: expected a path in UTF-8"),
            "{stderr}"
        );
    }
    assert_eq!(fs::read_dir(dir).unwrap().count(), 0, "no other folder is written to");

    runs(dir);
    fs::rename(dir.join("runs"), dir.join(strange)).unwrap();
    fs::rename(dir.join(strange).join("told"), dir.join(strange).join(OsStr::from_bytes(b"t\xff")))
        .unwrap();
    for line in ["runs --runs-dir", "report a --runs-dir", "attach a --no-tui --runs-dir"] {
        let out = rsna_tui(dir, &args(line, &[strange]));
        assert!(out.status.success(), "{line}: {}", said(&out));
    }
    assert!(
        text(&rsna_tui(dir, &args("runs --runs-dir", &[strange])).stdout).contains("t\u{fffd}")
    );
    let mut export = args("export a --fold 0 --runs-dir", &[strange]);
    let out = OsStr::from_bytes(b"o\xfe.safetensors");
    export.extend([OsStr::new("--out"), out]);
    assert!(rsna_tui(dir, &export).status.success());
    assert!(dir.join(out).is_file());
    let crops = OsStr::from_bytes(b"p\xff");
    done(dir, &split("phantom p --studies 2 --size 32"));
    fs::rename(dir.join("p"), dir.join(crops)).unwrap();
    fs::write(dir.join(OsStr::from_bytes(b"c\xff")), "seed = 1\n").unwrap();
    let mut data = dir.join(crops).into_os_string();
    data.push("/crops");
    let mut predict = args("predict --run a --out p.csv --runs-dir", &[strange]);
    predict.extend([OsStr::new("--data"), &data]);
    let ran = rsna_tui(dir, &predict);
    assert!(ran.status.success(), "{}", said(&ran));
    assert!(rsna_tui(dir, &args("keys", &[])).status.success());
    let mut check = args("check --demo --config", &[]);
    let config = OsStr::from_bytes(b"c\xff");
    check.push(config);
    let ran = rsna_tui(dir, &check);
    assert!(ran.status.success(), "{}", said(&ran));
}

#[test]
fn a_run_of_as_many_epochs_as_a_config_allows_can_be_looked_at() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let many =
        split("--set train.epochs=100000 --set data.phantom_studies=8 --set train.folds=[0]");
    let mut child = Command::new(env!("CARGO_BIN_EXE_rsna-tui"))
        .current_dir(dir)
        .args(train("a", 2).into_iter().chain(many))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let journal = dir.join("runs/a/journal.jsonl");
    let start = Instant::now();
    while !fs::read_to_string(&journal).is_ok_and(|text| text.contains("{\"type\":\"step\"")) {
        assert!(start.elapsed() < Duration::from_secs(300), "no step");
        std::thread::sleep(Duration::from_millis(20));
    }
    let words = text(&done(dir, &["stop", "a"]).stdout);
    assert!(words.starts_with("a: "), "{words}");
    child.wait().unwrap();
    let (state, strange) = State::of_journal(&journal, None).unwrap();
    let plan = state.plan.unwrap();
    assert_eq!((strange, plan.epochs, plan.learning_rates.len()), (0, 100_000, 100_000));
    let report = done(dir, &split("report a --format markdown --out -"));
    assert!(text(&report.stdout).contains("convnext_micro"), "{}", text(&report.stdout));
}
