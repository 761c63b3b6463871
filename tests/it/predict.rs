//! Tests `rsna-tui evaluate` and `predict` as programs: their scores agree with each other, with
//! training's, and, if there is a Python with pandas and scikit-learn (`RSNA_TUI_PYTHON`, or else
//! `python3`), with Python's.

use crate::tiny::{rsna_tui, said, train};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Runs a successful command and returns its output.
fn done(dir: &Path, args: &[&str]) -> String {
    let out = rsna_tui(dir, args);
    assert!(out.status.success(), "{args:?}: {}", said(&out));
    String::from_utf8(out.stdout).unwrap()
}

/// Expects one sentence with these words, and exit code 2.
fn refused(dir: &Path, args: &[&str], words: &[&str]) {
    let out = rsna_tui(dir, args);
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2), "{args:?}: {said}");
    assert_eq!(said.trim().lines().count(), 1, "{args:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{args:?}: {said:?} lacks {word:?}");
    }
}

/// Reads a CSV: its header, and its rows' cells by the first one.
fn rows(path: &Path) -> (Vec<String>, BTreeMap<String, Vec<String>>) {
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines().map(|l| l.split(',').map(String::from).collect::<Vec<_>>());
    let header = lines.next().unwrap();
    (header, lines.map(|cells| (cells[0].clone(), cells)).collect())
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

const SCORE: &str = r#"
import json, sys
import pandas as pd
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score
oof = pd.read_csv(sys.argv[1])
names = [f"C{c}" for c in range(1, 8)] + ["patient_overall"]
out = {"targets": []}
total = weights = 0
for name in names:
    y, p = oof[name], oof[f"{name}_prob"]
    both = y.nunique() == 2
    out["targets"].append({
        "positives": int(y.sum()),
        "log_loss": log_loss(y, p, labels=[0, 1]),
        "auc": roc_auc_score(y, p) if both else None,
        "average_precision": average_precision_score(y, p) if both else None,
    })
    import numpy as np
    w = (14 if name == "patient_overall" else 2) * y + (7 if name == "patient_overall" else 1) * (1 - y)
    total = total + w * -(y * np.log(p) + (1 - y) * np.log(1 - p))
    weights = weights + w
out["competition"] = float((total / weights).mean())
print(json.dumps(out))
"#;

/// Scores `oof.csv` with pandas and scikit-learn; `None`, with a message, if they are missing.
fn by_python(oof: &Path) -> Option<Value> {
    let python = std::env::var("RSNA_TUI_PYTHON").unwrap_or("python3".into());
    let has = Command::new(&python).args(["-c", "import pandas, sklearn"]).output();
    if !has.is_ok_and(|out| out.status.success()) {
        println!("skipped: {python} has no pandas and scikit-learn");
        return None;
    }
    let out = Command::new(&python).args(["-c", SCORE]).arg(oof).output().unwrap();
    assert!(out.status.success(), "{}", said(&out));
    Some(serde_json::from_slice(&out.stdout).unwrap())
}

#[test]
fn out_of_fold_scores_are_those_of_training_of_predict_and_of_scikit_learn() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    done(dir, &train("a", 2));
    let said = done(dir, &["evaluate"]);
    for words in ["competition metric 0.", "patient  ", "fold 1, epoch", "worst studies", "oof.csv"]
    {
        assert!(said.contains(words), "{said:?} lacks {words:?}");
    }
    let folder = dir.join("runs/a/evaluation");
    let (header, oof) = rows(&folder.join("oof.csv"));
    assert_eq!(header[..3], ["StudyInstanceUID", "fold", "C1"]);
    assert_eq!(oof.len(), 12, "the studies of the two folds, of four");
    assert!(fs::read_to_string(folder.join("roc.svg")).unwrap().contains("</svg>"));
    assert!(fs::read_to_string(folder.join("reliability.csv")).unwrap().contains("patient,"));
    let scores = json(&folder.join("scores.json"));

    // Equal to training's at the best epoch, except for the order of sums: validation passes two
    // studies through the network at once.
    let near = |a: &Value, b: &Value, far: f64, what: &str| match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => assert!((a - b).abs() <= far, "{what}: {a} {b}"),
        _ => assert!(a.is_null() && b.is_null(), "{what}: {a} {b}"),
    };
    let journal = fs::read_to_string(dir.join("runs/a/journal.jsonl")).unwrap();
    for fold in scores["folds"].as_array().unwrap() {
        let lines = journal.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let lines: Vec<Value> =
            lines.filter(|l| l["type"] == "epoch" && l["is_best"] == true).collect();
        let best = lines.iter().rfind(|l| l["at"]["fold"] == fold["fold"]).unwrap();
        assert_eq!(best["at"]["epoch"], fold["epoch"]);
        let (then, now) = (&best["scores"]["competition"], &fold["scores"]["competition"]);
        near(&then["value"], &now["value"], 1e-5, "competition");
    }

    let args = ["predict", "--folds", "0", "--of-fold", "0", "--out", "p.csv"];
    let said = done(dir, &args);
    assert!(said.contains("wrote p.csv (6 studies, 48 rows) and p.wide.csv: 1 network"), "{said}");
    let (header, wide) = rows(&dir.join("p.wide.csv"));
    assert_eq!(header[1], "C1_prob");
    let (_, answers) = rows(&dir.join("p.csv"));
    for (study, cells) in &wide {
        // Bit-identical.
        assert_eq!(cells[1..], oof[study][10..], "{study}");
        assert_eq!(answers[&format!("{study}_patient_overall")][1], cells[8]);
    }
    let in_fold_0 = oof.values().filter(|cells| cells[1] == "0").count();
    assert_eq!((wide.len(), answers.len()), (in_fold_0, 48));

    let Some(python) = by_python(&folder.join("oof.csv")) else { return };
    let all = &scores["all"];
    near(&python["competition"], &all["competition"]["value"], 1e-12, "competition");
    for t in 0..8 {
        let (theirs, ours) = (&python["targets"][t], &all["targets"][t]);
        assert_eq!(theirs["positives"], ours["positives"]);
        for key in ["log_loss", "auc", "average_precision"] {
            near(&theirs[key], &ours[key]["value"], 1e-12, key);
        }
    }
}

#[test]
fn predictions_that_were_cut_are_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    done(dir, &train("a", 2));
    done(dir, &["phantom", "new", "--studies", "40", "--size", "32", "--seed", "5"]);
    let args = |out: &'static str| ["predict", "--data", "new/crops", "--views", "8", "--out", out];
    done(dir, &args("whole.csv"));

    let part = dir.join("cut.csv.part");
    let mut child = Command::new(env!("CARGO_BIN_EXE_rsna-tui"))
        .current_dir(dir)
        .args(args("cut.csv"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while fs::read_to_string(&part).map_or(0, |text| text.lines().count()) < 7 {
        assert!(Instant::now() < deadline);
        assert!(child.try_wait().unwrap().is_none(), "it came to its end");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!dir.join("cut.csv").exists());
    let before = fs::read_to_string(&part).unwrap().matches('\n').count() - 2;
    assert!((5..40).contains(&before), "{before}");

    refused(
        dir,
        &["predict", "--data", "new/crops", "--out", "cut.csv"],
        &["cut.csv.part", "--force"],
    );
    let out = rsna_tui(dir, &args("cut.csv"));
    assert!(out.status.success(), "{}", said(&out));
    let resumed = format!("{before} of 40 studies were predicted before");
    assert!(said(&out).contains(&resumed), "{} lacks {resumed}", said(&out));
    for end in ["csv", "wide.csv"] {
        let of = |name: &str| fs::read_to_string(dir.join(format!("{name}.{end}"))).unwrap();
        assert_eq!(of("cut"), of("whole"));
    }
    assert!(!part.exists());
    refused(dir, &args("cut.csv"), &["cut.csv is already there", "--force"]);

    // A few studies, by name; the weights given as files; with errors explained.
    fs::write(dir.join("two.csv"), "StudyInstanceUID\nphantom.0003\nphantom.0017\n").unwrap();
    let weights: Vec<String> = (0..2).map(|k| format!("runs/a/fold{k}_best.safetensors")).collect();
    let mut by_files =
        vec!["predict", "--data", "new/crops", "--studies", "two.csv", "--out", "two-p.csv"];
    by_files.extend(["--config", "runs/a/config.toml", "--views", "8"]);
    by_files.extend(weights.iter().flat_map(|w| ["--weights", w]));
    done(dir, &by_files);
    let ((_, two), (_, all)) =
        (rows(&dir.join("two-p.wide.csv")), rows(&dir.join("whole.wide.csv")));
    assert_eq!(two.len(), 2);
    assert!(two.iter().all(|(study, cells)| *cells == all[study]));
    fs::write(dir.join("three.csv"), "StudyInstanceUID\nphantom.9999\n").unwrap();
    let missing = ["predict", "--data", "new/crops", "--studies", "three.csv", "--out", "x.csv"];
    refused(dir, &missing, &["phantom.9999", "new/crops"]);
    refused(dir, &["predict", "--data", "runs", "--out", "x.csv"], &["runs holds no crops"]);
    refused(dir, &["predict", "--folds", "3", "--out", "x.csv"], &["fold 3", "0, 1"]);
    refused(dir, &["evaluate", "--folds", "2"], &["fold 2", "no best weights"]);
    fs::write(dir.join("runs/a/fold1_best.safetensors"), "x").unwrap();
    refused(dir, &["evaluate"], &["fold1_best.safetensors", "cut short"]);
}

#[test]
fn best_is_chosen_by_what_the_config_names() {
    let dir = tempfile::tempdir().unwrap();
    let mut args = train("a", 5);
    args.extend(["--set", "select.metric=vertebra_auc", "--folds", "0"]);
    let out = rsna_tui(dir.path(), &args);
    assert!(out.status.success(), "{}", said(&out));
    let journal = fs::read_to_string(dir.path().join("runs/a/journal.jsonl")).unwrap();
    let epochs: Vec<Value> = journal
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["type"] == "epoch")
        .collect();
    let mut best = f64::INFINITY;
    for epoch in &epochs {
        let aucs = epoch["scores"]["targets"].as_array().unwrap()[..7].iter();
        let aucs: Vec<f64> = aucs.filter_map(|t| t["auc"]["value"].as_f64()).collect();
        let cost = 1.0 - aucs.iter().sum::<f64>() / aucs.len() as f64;
        assert!((epoch["metric"].as_f64().unwrap() - cost).abs() < 1e-12);
        assert_eq!(epoch["is_best"], cost < best);
        best = best.min(cost);
    }
    assert_eq!(epochs.len(), 5);
    let state = json(&dir.path().join("runs/a/state.json"));
    let of_best = epochs.iter().rfind(|e| e["is_best"] == true).unwrap();
    let best = &state["folds"][0]["best"];
    assert_eq!(
        (&best["epoch"], &best["valid_loss"]),
        (&of_best["at"]["epoch"], &of_best["valid_loss"])
    );
}

/// Makes a folder with a trained run, and six studies in new/crops.
fn trained_and_new() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    done(dir.path(), &train("a", 2));
    done(dir.path(), &["phantom", "new", "--studies", "6", "--size", "32", "--seed", "5"]);
    dir
}

fn predict_new<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["predict", "--data", "new/crops", "--force", "--out", out], more].concat()
}

/// Returns the files of a study in new/crops.
fn crops_of(dir: &Path, study: &str) -> Vec<std::path::PathBuf> {
    let all = fs::read_dir(dir.join("new/crops")).unwrap().map(|entry| entry.unwrap().path());
    let own = format!("{study}_");
    all.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(&own)).collect()
}

#[test]
fn what_cannot_be_predicted_is_refused_or_listed_and_never_silent() {
    let dir = trained_and_new();
    let dir = dir.path();
    let crops = dir.join("new/crops");
    done(dir, &predict_new("all.csv", &[]));
    let (_, all) = rows(&dir.join("all.wide.csv"));
    assert_eq!(all.len(), 6);
    // Files that macOS and editors leave behind are no studies.
    for name in ["._phantom.0001_1_0.npy", "._9.9_1_0.npy", ".9.8_1_0.npy", ".DS_Store"] {
        fs::write(crops.join(name), "not a crop").unwrap();
    }
    done(dir, &predict_new("dots.csv", &[]));
    assert_eq!(rows(&dir.join("dots.wide.csv")).1, all);

    // Bad studies of every kind, with their number.
    let mut bad: Vec<(&str, &str)> = Vec::new();
    fs::remove_file(&crops_of(dir, "phantom.0001")[0]).unwrap();
    bad.push(("phantom.0001", "is missing"));
    for path in crops_of(dir, "phantom.0002").iter().take(3) {
        fs::write(path, "x").unwrap();
    }
    bad.push(("phantom.0002", "and 2 more of its files"));
    #[cfg(unix)]
    {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
        for path in crops_of(dir, "phantom.0003") {
            let name = path.file_name().unwrap().as_bytes();
            let name = [b"phantom.\xE4", &name["phantom.0003".len()..]].concat();
            fs::rename(&path, crops.join(OsStr::from_bytes(&name))).unwrap();
        }
        bad.push(("phantom.\\xe4", "not UTF-8"));
        for path in crops_of(dir, "phantom.0004") {
            let name = path.file_name().unwrap().to_str().unwrap().replace(".0004", "\n4");
            fs::rename(&path, crops.join(name)).unwrap();
        }
        bad.push(("phantom\\n4", "control character"));
    }
    let good = 6 - bad.len();
    for path in crops_of(dir, "phantom.0005").iter().take(1) {
        // A file that belongs to no study is reported.
        fs::copy(path, crops.join("phantom.0005-1-0.npy")).unwrap();
    }
    let out = rsna_tui(dir, &predict_new("p.csv", &[]));
    assert_eq!(out.status.code(), Some(2), "{}", said(&out));
    assert!(said(&out).contains("--skip-bad"), "{}", said(&out));
    assert!(!dir.join("p.csv").exists() && !dir.join("p.skipped.csv").exists());

    let out = rsna_tui(dir, &predict_new("p.csv", &["--skip-bad"]));
    let output = said(&out);
    assert_eq!(out.status.code(), Some(1), "{output}");
    let n = bad.len();
    for words in [
        format!("wrote p.csv ({good} studies, {} rows)", 8 * good),
        format!("{n} of 6 studies were left out, see p.skipped.csv"),
        format!("left out as unreadable: {n} studies"),
        "passed over in new/crops, as not named {UID}_{1..7}_{slice}.npy: 1 files \
         (phantom.0005-1-0.npy)"
            .into(),
    ] {
        assert!(output.contains(&words), "{output} lacks {words}");
    }
    let mut list = csv::Reader::from_path(dir.join("p.skipped.csv")).unwrap();
    let list: BTreeMap<String, String> =
        list.records().map(|r| r.unwrap()).map(|r| (r[0].into(), r[1].into())).collect();
    assert_eq!(list.len(), n, "{list:?}");
    for (study, why) in bad {
        assert!(list[study].contains(why), "{list:?}");
        assert!(output.contains(study), "{output} lacks {study}");
    }
    let (_, some) = rows(&dir.join("p.wide.csv"));
    assert_eq!(some.len(), good);
    assert!(some.iter().all(|(study, cells)| *cells == all[study]));

    // With a list of studies, the others are not mentioned.
    fs::write(dir.join("good.csv"), "StudyInstanceUID\nphantom.0000\n").unwrap();
    done(dir, &predict_new("p.csv", &["--studies", "good.csv"]));
    assert!(
        !dir.join("p.skipped.csv").exists(),
        "an older list is not left beside new predictions"
    );
    fs::write(dir.join("some.csv"), "StudyInstanceUID\nphantom.0000\n8.8\n8.9\n").unwrap();
    let words = ["8.8", "has no crops in new/crops", "and 1 more", "--skip-bad"];
    refused(dir, &predict_new("p.csv", &["--studies", "some.csv"]), &words);
    let out = rsna_tui(dir, &predict_new("p.csv", &["--studies", "some.csv", "--skip-bad"]));
    assert_eq!(out.status.code(), Some(1), "{}", said(&out));
    assert!(said(&out).contains("2 of 3 studies were left out"), "{}", said(&out));
    // No study is left.
    fs::write(dir.join("none.csv"), "StudyInstanceUID\nphantom.0001\n8.8\n").unwrap();
    let out = rsna_tui(dir, &predict_new("q.csv", &["--studies", "none.csv", "--skip-bad"]));
    assert_eq!(out.status.code(), Some(2), "{}", said(&out));
    assert!(said(&out).contains("none of 2 studies could be read"), "{}", said(&out));
    assert!(!dir.join("q.csv").exists() && !dir.join("q.csv.part").exists());
}

#[test]
fn a_list_may_have_several_rows_of_a_study() {
    let dir = trained_and_new();
    let dir = dir.path();
    done(dir, &predict_new("all.csv", &[]));
    let (_, all) = rows(&dir.join("all.wide.csv"));
    // The competition's test.csv.
    let mut list = "row_id,StudyInstanceUID,prediction_type\n".to_string();
    for kind in ["C1", "C2", "patient_overall"] {
        for study in ["phantom.0004", "phantom.0001"] {
            list += &format!("{study}_{kind},{study},{kind}\n");
        }
    }
    fs::write(dir.join("test.csv"), &list).unwrap();
    let said = done(dir, &predict_new("p.csv", &["--studies", "test.csv"]));
    assert!(said.contains("(2 studies, 16 rows)"), "{said}");
    let (_, two) = rows(&dir.join("p.wide.csv"));
    assert!(two.len() == 2 && two.iter().all(|(study, cells)| *cells == all[study]));
    fs::write(dir.join("test.csv"), list.replace("_C2,", "_C2,,")).unwrap();
    let words = ["test.csv", "line 4 has 4 cells", "--studies"];
    refused(dir, &predict_new("p.csv", &["--studies", "test.csv"]), &words);
    fs::write(dir.join("test.csv"), list.replace(',', ";")).unwrap();
    let words = ["test.csv", "separated by semicolons"];
    refused(dir, &predict_new("p.csv", &["--studies", "test.csv"]), &words);
}
