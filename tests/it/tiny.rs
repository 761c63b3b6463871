//! Runs a small training by the command line, and compares the results.

use candle_core::{DType, Device, Tensor};
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output},
};

pub fn rsna_tui(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rsna-tui")).current_dir(dir).args(args).output().unwrap()
}

/// Returns arguments: two folds of `epochs` epochs of about nine steps on made-up studies.
pub fn train(run: &'static str, epochs: usize) -> Vec<&'static str> {
    let flags = "--no-tui --set train.folds=[0,1] --set data.dir=phantom --set data.phantom_studies=24 \
                 --set data.image_size=32 --set model.backbone=convnext_micro --set model.lstm_hidden=16 \
                 --set model.head_hidden=16 --set train.batch_size=2 --set data.workers=1 \
                 --set run.kernel_type=k --set train.threads=1 --set checkpoint.every_steps=4 --run";
    let epochs = match epochs {
        2 => "train.epochs=2",
        3 => "train.epochs=3",
        5 => "train.epochs=5",
        _ => "train.epochs=200",
    };
    flags.split_whitespace().chain([run, "--set", epochs]).collect()
}

/// Makes the run of [`train`] for workers.
pub fn create(dir: &Path, run: &'static str, epochs: usize) {
    let args = train(run, epochs);
    let new = args.into_iter().filter(|arg| !["--no-tui", "--run"].contains(arg));
    let args: Vec<&str> = std::iter::once("create").chain(new).collect();
    let out = rsna_tui(dir, &args);
    assert!(out.status.success(), "{}", said(&out));
}

pub fn tensors(path: &Path) -> BTreeMap<String, Vec<u32>> {
    let bits = |t: &Tensor| -> Vec<u32> {
        let t = t.flatten_all().unwrap();
        match t.dtype() {
            DType::F32 => t.to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect(),
            _ => t.to_vec1::<i64>().unwrap().into_iter().map(|v| v as u32).collect(),
        }
    };
    let all = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    all.iter().map(|(name, t)| (name.clone(), bits(t))).collect()
}

/// Returns the log without its times.
pub fn log(run: &Path) -> Vec<String> {
    let log = fs::read_to_string(run.join("logs/k.txt")).unwrap();
    log.lines().map(|l| l[l.find("Fold").unwrap()..].to_string()).collect()
}

/// Returns the journal's steps, validation batches and epochs without measured times.
pub fn figures(run: &Path) -> Vec<String> {
    let journal = fs::read_to_string(run.join("journal.jsonl")).unwrap();
    let mut out = Vec::new();
    for line in journal.lines() {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        let fields = value.as_object_mut().unwrap();
        if !["step", "valid_step", "epoch"].contains(&fields["type"].as_str().unwrap()) {
            continue;
        }
        fields.retain(|key, _| !key.contains("seconds") && key != "time" && key != "elapsed");
        out.push(value.to_string());
    }
    out
}

/// Asserts that both runs have the same results.
pub fn same(dir: &Path, a: &str, b: &str) {
    same_fold(dir, 0, a, b);
    same_fold(dir, 1, a, b);
    let (a, b) = (dir.join("runs").join(a), dir.join("runs").join(b));
    assert_eq!(log(&a), log(&b));
    assert_eq!(figures(&a), figures(&b));
    let report = |run: &Path| fs::read_to_string(run.join("report.txt")).unwrap();
    let folds = |text: String| -> Vec<String> {
        text.lines().filter(|l| l.starts_with("   ")).map(String::from).collect()
    };
    assert_eq!(folds(report(&a)), folds(report(&b)));
}

pub fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
}

/// Asserts that both runs have the same results for a fold, in the same order.
pub fn same_fold(dir: &Path, fold: usize, a: &str, b: &str) {
    let (a, b) = (dir.join("runs").join(a), dir.join("runs").join(b));
    for kind in ["last", "best"] {
        let of = |run: &Path| tensors(&run.join(format!("fold{fold}_{kind}.safetensors")));
        assert!(of(&a) == of(&b), "fold {fold} {kind}");
    }
    let of = |lines: Vec<String>, mark: String| -> Vec<String> {
        lines.into_iter().filter(|line| line.contains(&mark)).collect()
    };
    let logged = |run: &Path| of(log(run), format!("Fold {fold}, "));
    assert_eq!(logged(&a), logged(&b));
    let figures = |run: &Path| of(figures(run), format!("\"fold\":{fold}"));
    assert_eq!(figures(&a), figures(&b));
}
