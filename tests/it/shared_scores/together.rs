//! Several runs together, and several devices.

use super::{copy, done, equal_files, refused, scores, text, trained};
use crate::tiny::{rsna_tui, said};
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Reads a CSV's rows by its first column.
fn rows(path: &Path) -> BTreeMap<String, Vec<String>> {
    let text = text(path);
    let rows = text.lines().skip(1).map(|line| line.split(',').map(String::from).collect());
    rows.map(|cells: Vec<String>| (cells[0].clone(), cells)).collect()
}

fn numbers(cells: &[String]) -> Vec<f64> {
    cells.iter().map(|cell| cell.parse().unwrap()).collect()
}

#[test]
fn runs_score_and_predict_together() {
    let dir = trained();
    let dir = dir.path();
    let evaluate =
        |runs: &[&str], out: &str| done(dir, &[&["evaluate"], runs, &["--out", out]].concat());
    refused(dir, &["evaluate", "one/a", "one/b"], &["one/a one/b", "--out DIR"]);
    assert!(!dir.join("one/a/evaluation").exists());
    let said_both = evaluate(&["one/a", "one/b"], "both");
    assert!(
        said_both.contains("a + b: 12 studies, each scored by the best weights of all"),
        "{said_both}"
    );
    evaluate(&["one/a"], "only-a");
    evaluate(&["one/b"], "only-b");
    let [a, b, both] = ["only-a", "only-b", "both"].map(|out| rows(&dir.join(out).join("oof.csv")));
    assert_eq!((a.len(), b.len(), both.len()), (12, 12, 12));
    for (study, cells) in &both {
        assert_eq!(cells[..10], a[study][..10], "fold and labels");
        let [a, b, both] = [&a[study], &b[study], cells].map(|cells| numbers(&cells[10..]));
        for ((a, b), both) in a.iter().zip(&b).zip(&both) {
            assert!(((a + b) / 2.0 - both).abs() < 1e-12, "{study}: {a} {b} {both}");
        }
        assert_ne!(a, b);
    }
    // The run's folds may be anywhere, in either order.
    evaluate(&["many/a", "one/b"], "shared");
    equal_files(&dir.join("both"), &dir.join("shared"), &["oof.csv", "roc.csv", "worst.json"]);
    assert_eq!(scores(&dir.join("both")), scores(&dir.join("shared")));

    let predict = |runs: &[&str], more: &[&str], out: &str| {
        let runs: Vec<&str> = runs.iter().flat_map(|run| ["--run", run]).collect();
        done(dir, &[&["predict", "--out", out], &runs[..], more].concat())
    };
    let words = predict(&["one/a", "one/b"], &["--unseen"], "p.csv");
    assert!(words.contains("6 networks"), "{words}");
    let p = rows(&dir.join("p.wide.csv"));
    for (study, cells) in &p {
        assert_eq!(cells[1..], both[study][10..], "as evaluate has it, to the last digit");
    }
    predict(&["one/a", "one/b"], &["--folds", "1", "--of-fold", "1"], "of-1.csv");
    let of_1 = rows(&dir.join("of-1.wide.csv"));
    assert!(of_1.len() == 4 && of_1.iter().all(|(study, cells)| p[study] == *cells));
    let words = predict(&["one/a", "one/b"], &[], "seen.csv");
    assert!(words.contains("(a fold ") && words.contains(", b fold "), "{words}");
    // One run as ever, under either name.
    done(dir, &["predict", "one/a", "--unseen", "--out", "a.csv"]);
    predict(&["one/a"], &["--unseen"], "a2.csv");
    assert_eq!(text(&dir.join("a.csv")), text(&dir.join("a2.csv")));
    let out = rsna_tui(dir, &["predict", "one/a", "--run", "one/b", "--out", "x.csv"]);
    assert!(out.status.code() == Some(2) && said(&out).contains("--run"), "{}", said(&out));
}

#[test]
fn runs_that_do_not_go_together_are_named_with_what_differs() {
    let dir = trained();
    let dir = dir.path();
    refused(
        dir,
        &["evaluate", "one/a", "many/../one/a", "--out", "x"],
        &["the run a is named twice"],
    );
    let change = |from: &str, to: &str| {
        let path = dir.join("one/c/config.toml");
        let config = text(&path);
        assert!(config.contains(from), "{config}");
        fs::write(path, config.replace(from, to)).unwrap();
    };
    let both = ["evaluate", "one/a", "one/c", "--out", "x"];
    let predict = ["predict", "--run", "one/a", "--run", "one/c", "--out", "x.csv"];
    copy(&dir.join("one/b"), &dir.join("one/c"));
    change("image_size = 32", "image_size = 64");
    for args in [&both[..], &predict] {
        refused(dir, args, &["the runs a and c", "data.image_size is 32 in a and 64 in c"]);
    }
    change("image_size = 64", "image_size = 32");
    change("specificity = 0.9", "specificity = 0.8");
    refused(dir, &both, &["the runs a and c differ in [score]", "--set"]);
    change("specificity = 0.8", "specificity = 0.9");
    // Another table: the same crops, one study in another fold.
    let table = text(&dir.join("made/train_seg.csv"));
    let moved = table.replacen("phantom.0003,", "phantom.0003-,", 1);
    let row = table.lines().find(|line| line.starts_with("phantom.0003,")).unwrap();
    let fold: usize = row.rsplit(',').next().unwrap().parse().unwrap();
    let other = format!("{},{}", row.rsplit_once(',').unwrap().0, (fold + 1) % 3);
    assert_ne!(moved, table);
    fs::write(dir.join("made/moved.csv"), table.replace(row, &other)).unwrap();
    fs::remove_dir_all(dir.join("one/c")).unwrap();
    let training = super::training("8")
        .iter()
        .map(|arg| arg.replace("train_seg", "moved"))
        .collect::<Vec<_>>();
    let mut args = vec!["--no-tui", "--run", "c", "--runs-dir", "one"];
    args.extend(training.iter().map(String::as_str));
    done(dir, &args);
    let moved =
        format!("study phantom.0003 is in fold {}, but in fold {fold} in a", (fold + 1) % 3);
    refused(dir, &both, &["the runs a and c were not trained on the same folds", &moved]);
    // Predicting other studies needs no common folds, and by --unseen each run leaves out its own.
    done(dir, &[&predict[..], &["--unseen"]].concat());
}

#[test]
fn devices_share_the_studies_and_write_the_same_file() {
    let dir = trained();
    let dir = dir.path();
    done(dir, &["phantom", "new", "--studies", "11", "--size", "32", "--seed", "5"]);
    let predict = |more: &[&str], out: &str| {
        let args = ["predict", "one/a", "--data", "new/crops", "--views", "2", "--out", out];
        done(dir, &[&args[..], more].concat())
    };
    let words = predict(&["--set", "train.threads=2"], "one.csv");
    assert!(words.contains("CPU, 2 threads"), "{words}");
    for (list, n) in [("cpu:1", 1), ("cpu:2", 2), ("cpu:3", 3), ("cpu", 1)] {
        let out = format!("of-{}.csv", list.replace(':', "-"));
        let words = predict(&["--set", "train.threads=2", "--devices", list], &out);
        let named = if n == 1 { "CPU, 2 threads".into() } else { format!("{n} × CPU, 1 thread") };
        assert!(words.contains(&named), "{words}");
        for (a, b) in [("one.csv", out.clone()), ("one.wide.csv", out.replace(".csv", ".wide.csv"))]
        {
            assert_eq!(text(&dir.join(a)), text(&dir.join(&b)), "{b}");
        }
    }
    // To stdout, in order.
    let args = [
        "predict",
        "one/a",
        "--data",
        "new/crops",
        "--views",
        "2",
        "--devices",
        "cpu:2",
        "--out",
        "-",
    ];
    let out = rsna_tui(dir, &args);
    assert!(out.status.success(), "{}", said(&out));
    assert_eq!(String::from_utf8(out.stdout).unwrap(), text(&dir.join("one.csv")));
    // A study that cannot be read is refused, or left out and listed, by any worker.
    let crops = fs::read_dir(dir.join("new/crops")).unwrap().map(|entry| entry.unwrap().path());
    let of = |study: &str| {
        let own = format!("{study}_");
        move |path: &std::path::PathBuf| {
            path.file_name().unwrap().to_string_lossy().starts_with(&own)
        }
    };
    let files: Vec<_> = crops.collect();
    for study in ["phantom.0004", "phantom.0009"] {
        fs::remove_file(files.iter().find(|path| of(study)(path)).unwrap()).unwrap();
    }
    let args = [
        "predict",
        "one/a",
        "--data",
        "new/crops",
        "--views",
        "2",
        "--devices",
        "cpu:2",
        "--out",
        "some.csv",
    ];
    refused(dir, &args, &["phantom.0004", "phantom.0009"]);
    let out = rsna_tui(dir, &[&args[..], &["--skip-bad"]].concat());
    assert_eq!(out.status.code(), Some(1), "{}", said(&out));
    let (some, all) = (rows(&dir.join("some.wide.csv")), rows(&dir.join("one.wide.csv")));
    assert!(some.len() == 9 && some.iter().all(|(study, cells)| all[study] == *cells));
    refused(
        dir,
        &["predict", "one/a", "--devices", "cpu:2,cuda:0", "--out", "x.csv"],
        &["one kind"],
    );
    refused(dir, &["predict", "one/a", "--devices", "gpu", "--out", "x.csv"], &["--devices gpu"]);
}

#[test]
fn what_several_devices_began_one_goes_on_with() {
    let dir = trained();
    let dir = dir.path();
    done(dir, &["phantom", "new", "--studies", "30", "--size", "32", "--seed", "5"]);
    let args = |out: &'static str, more: &[&'static str]| -> Vec<&'static str> {
        let all = ["predict", "one/a", "--data", "new/crops", "--views", "8", "--out", out];
        [&all[..], more].concat()
    };
    done(dir, &args("whole.csv", &[]));
    let part = dir.join("cut.csv.part");
    let mut child = Command::new(env!("CARGO_BIN_EXE_rsna-tui"))
        .current_dir(dir)
        .args(args("cut.csv", &["--devices", "cpu:2"]))
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
    let words = done(dir, &args("cut.csv", &[]));
    assert!(words.contains("of 30 studies were predicted before"), "{words}");
    for (whole, cut) in [("whole.csv", "cut.csv"), ("whole.wide.csv", "cut.wide.csv")] {
        assert_eq!(text(&dir.join(whole)), text(&dir.join(cut)));
    }
}
