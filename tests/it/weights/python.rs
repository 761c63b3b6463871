//! The other ends: the notebook's PyTorch model, and onnxruntime.

use super::*;
use crate::reference::max_abs;
use candle_core::safetensors::load;
use rsna_tui::{
    config::{Config, Set},
    net::{
        onnx,
        weights::{Content, fill, state_dict},
    },
};
use std::{path::PathBuf, process::Command};

/// Runs a script of this folder; `false`, said plainly, where Python lacks `modules`.
fn python(script: &str, modules: &str, args: &[&str]) -> bool {
    let python = std::env::var("RSNA_TUI_PYTHON").unwrap_or_else(|_| "python3".into());
    let found = Command::new(&python).args(["-c", &format!("import {modules}")]).output();
    if !found.is_ok_and(|found| found.status.success()) {
        eprintln!("skipped: {python} lacks one of {modules}, so {script} was not run");
        return false;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/weights").join(script);
    let out = Command::new(&python).arg(script).args(args).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    true
}

/// The notebook's model as a Python module, where it lies beside the repository.
fn notebook() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/peer");
    let there = dir.join("ref_common.py").is_file();
    if !there {
        eprintln!("skipped: ../shared/peer/ref_common.py, the notebook's model, is not there");
    }
    there.then_some(dir)
}

/// Holds the logits of the notebook's model against ours: of our weights there, and of its weights
/// here, from a plain state dict and from a training checkpoint.
fn both_ends(dir: &Path, model: &Classifier, kind: &str, images: &Tensor) {
    let Some(notebook) = notebook() else { return };
    let spec = &model.spec;
    let hidden = [spec.lstm_hidden, spec.head_hidden].map(|n| n.to_string());
    write(&dir.join("images.safetensors"), &[("images".to_string(), images.clone())].into());
    write(&dir.join("ours.safetensors"), &state_dict(&model.parameters).unwrap());
    let args = [notebook.to_str().unwrap(), dir.to_str().unwrap(), kind, &hidden[0], &hidden[1]];
    if !python("network.py", "torch, timm, safetensors", &args) {
        return;
    }
    let compare = |model: &Classifier, name: &str, what: &str| {
        let theirs = load(dir.join(name), &Device::Cpu).unwrap();
        let (slices, studies) = logits(model, images);
        let error = max_abs(&slices, &reference::values(&theirs["slices"]))
            .max(max_abs(&studies, &reference::values(&theirs["studies"])));
        eprintln!("{kind}, {what}: {error:.1e}");
        assert!(error < 1e-5, "{kind}, {what}: {error:e}");
    };
    compare(model, "of_ours.safetensors", "our weights in PyTorch");
    for file in ["theirs.pth", "parallel.pth"] {
        let own = network(spec);
        assert_eq!(fill(&own, &dir.join(file), None).unwrap(), Content::Network);
        compare(&own, "of_theirs.safetensors", file);
    }
}

/// Holds the logits of the ONNX file by onnxruntime against ours.
fn runtime(dir: &Path, model: &Classifier, file: Option<&Path>, images: &[Tensor]) {
    let path = dir.join("network.onnx");
    match file {
        Some(file) => drop(std::fs::copy(file, &path).unwrap()),
        None => std::fs::write(&path, onnx::to_bytes(model, &[]).unwrap()).unwrap(),
    }
    let named = images.iter().enumerate().map(|(i, t)| (i.to_string(), t.clone()));
    write(&dir.join("images.safetensors"), &named.collect());
    if !python("onnx_logits.py", "onnxruntime, safetensors", &[dir.to_str().unwrap()]) {
        return;
    }
    let theirs = load(dir.join("of_onnx.safetensors"), &Device::Cpu).unwrap();
    for (i, images) in images.iter().enumerate() {
        let (slices, studies) = logits(model, images);
        let error = max_abs(&slices, &reference::values(&theirs[&format!("{i}.slices")]))
            .max(max_abs(&studies, &reference::values(&theirs[&format!("{i}.studies")])));
        eprintln!("{} of {:?} in onnxruntime: {error:.1e}", model.spec.name, images.dims());
        assert!(error < 1e-4, "{}: {error:e}", model.spec.name);
    }
}

/// What was trained, against both.
pub fn trained(dir: &Path, run: &Path) {
    let config = Config::load(Some(&run.join("config.toml")), false, &[]).unwrap();
    let model = network(&Spec::new(&config));
    let best = run.join("exports/fold0_best.safetensors");
    assert_eq!(fill(&model, &best, Some(Content::Network)).unwrap(), Content::Network);
    both_ends(dir, &model, "micro", &images("trained", 2, 64, 64));
    let several = [images("a", 2, 32, 32), images("b", 1, 32, 96)];
    runtime(dir, &model, Some(&run.join("exports/fold0_best.onnx")), &several);
}

#[test]
fn the_notebooks_network_gives_the_same_logits_in_pytorch() {
    let dir = tempfile::tempdir().unwrap();
    let model = network(&reference::nano());
    reference::fill(&model.parameters);
    both_ends(dir.path(), &model, "nano", &images("nano", 1, 64, 64));
}

#[test]
fn onnxruntime_gives_the_same_logits() {
    // Its blocks of convolutions and of linear layers, and both kinds of stem.
    for backbone in ["convnext_nano", "convnext_atto_ols", "convnext_tiny"] {
        let dir = tempfile::tempdir().unwrap();
        let set = Set::new(format!("model.backbone={backbone}"));
        let model = network(&Spec::new(&Config::load(None, false, &[set]).unwrap()));
        reference::fill(&model.parameters);
        runtime(dir.path(), &model, None, &[images("onnx", 1, 64, 64)]);
    }
}
