//! Tests files that break while a run trains on them.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// A run on twelve phantoms of 32² in two folds.
struct Run {
    dir: tempfile::TempDir,
}

impl Run {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let flags = "phantom p --studies 12 --size 32 --folds 2";
        let made = Command::new(env!("CARGO_BIN_EXE_rsna-tui"))
            .current_dir(dir.path())
            .args(flags.split(' '))
            .output()
            .unwrap();
        assert!(made.status.success());
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("runs/r").join(name)
    }

    /// Trains fold 0 for `epochs`, breaks the crops after an epoch, and returns the exit code and the
    /// output.
    fn train(&self, epochs: usize, on_error: &str, spoil: impl Fn(&Path)) -> (i32, String) {
        let flags = format!(
            "--no-tui --run r --folds 0 --set data.dir=p/crops --set data.table=p/train_seg.csv \
             --set data.image_size=32 --set model.backbone=convnext_micro --set model.lstm_hidden=8 \
             --set model.head_hidden=8 --set train.batch_size=3 --set train.epochs={epochs} \
             --set run.kernel_type=k --set data.workers=2 --set data.on_error={on_error}"
        );
        let mut child = Command::new(env!("CARGO_BIN_EXE_rsna-tui"))
            .current_dir(self.dir.path())
            .args(flags.split_whitespace())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = child.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut said = String::new();
            out.read_to_string(&mut said).unwrap();
            said
        });
        let (start, log) = (Instant::now(), self.path("logs/k.txt"));
        while !log.exists() {
            assert!(start.elapsed() < Duration::from_secs(120), "no epoch");
            std::thread::sleep(Duration::from_millis(20));
        }
        spoil(&self.dir.path().join("p/crops"));
        let code = child.wait().unwrap().code().unwrap();
        (code, reader.join().unwrap())
    }

    fn report(&self) -> String {
        fs::read_to_string(self.path("report.txt")).unwrap()
    }
}

fn delete(crops: &Path) {
    fs::remove_file(crops.join("phantom.0001_2_3.npy")).unwrap();
}

fn truncate(crops: &Path) {
    let file = fs::File::options().write(true).open(crops.join("phantom.0003_7_14.npy")).unwrap();
    file.set_len(1000).unwrap();
}

/// Replaces a file with a folder, because root can read any file.
fn make_unreadable(crops: &Path) {
    let path = crops.join("phantom.0005_1_0.npy");
    fs::remove_file(&path).unwrap();
    fs::create_dir(path).unwrap();
}

/// How to break a file, its slice, and the expected message.
type Spoilt = (fn(&Path), &'static str, &'static str);

/// Whichever of these studies fold 0 trains on, one of its two batches keeps two studies.
const SPOILT: [Spoilt; 3] = [
    (delete, "study phantom.0001 C2 slice 3", "phantom.0001_2_3.npy is missing"),
    (truncate, "study phantom.0003 C7 slice 14", "phantom.0003_7_14.npy is truncated"),
    (make_unreadable, "study phantom.0005 C1 slice 0", "phantom.0005_1_0.npy cannot be read"),
];

#[test]
fn a_spoilt_file_stops_the_fold_and_loses_nothing() {
    for (spoil, slice, reason) in SPOILT {
        let run = Run::new();
        let (code, said) = run.train(5000, "stop", spoil);
        assert_eq!(code, 1, "{said}");
        let error = said.lines().find(|l| l.contains("fold 0 failed")).unwrap();
        for words in [slice, reason, "p/crops/", "tried 5 times", "data.on_error"] {
            assert!(error.contains(words), "{error:?} lacks {words:?}");
        }
        let report = run.report();
        assert!(report.starts_with("failed") && report.contains("best checkpoint"), "{report}");
        assert!(run.path("fold0_best.safetensors").is_file());
        let last = fs::read(run.path("fold0_last.safetensors")).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&last).unwrap();
        let metadata = header.metadata().clone().unwrap();
        assert!(metadata["epoch"].parse::<usize>().unwrap() >= 1, "{metadata:?}");
    }
}

#[test]
fn spoilt_files_are_left_out_where_the_config_says_so() {
    let run = Run::new();
    let (code, said) = run.train(8, "skip", |crops| SPOILT.iter().for_each(|s| s.0(crops)));
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("epoch 8/8"), "the others were trained on: {said}");
    let report = run.report();
    let summary = said.split_once("finished\n").unwrap().1;
    assert!(summary.starts_with(report.strip_prefix("finished\n").unwrap()), "{said}\n{report}");
    assert!(report.contains("left out as unreadable: 3 studies in fold 0"), "{report}");
    for (_, slice, reason) in SPOILT {
        let names_it = |line: &&str| line.contains(slice) && line.contains(reason);
        assert!(report.lines().any(|l| names_it(&l) && l.contains(" times: ")), "{report}");
        let warnings = said.lines().filter(names_it).filter(|l| l.contains("warning: ")).count();
        // In each epoch after the first two or three, and again when the fold ends.
        assert!(warnings > 4, "{warnings} of {slice}");
    }
    assert!(said.contains("fold 0: 3 studies were left out of batches:"), "{said}");
}
