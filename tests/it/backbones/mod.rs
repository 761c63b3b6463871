//! Every backbone against timm: the overlapping stems by golden cases, and all of them at their own
//! widths where there is a Python with timm (`RSNA_TUI_PYTHON`, or else `python3`).

use crate::reference::*;
use candle_core::{DType, Device, Tensor};
use rsna_tui::{
    config::{Config, Set},
    net::{
        Classifier, Spec, Stem,
        encoder::{WeightGradients, once},
        weights,
    },
};
use std::{collections::HashMap, path::Path, process::Command};

/// By timm's names.
const BACKBONES: [&str; 9] = [
    "convnext_atto",
    "convnext_atto_ols",
    "convnext_femto",
    "convnext_femto_ols",
    "convnext_pico",
    "convnext_pico_ols",
    "convnext_nano",
    "convnext_nano_ols",
    "convnext_tiny",
];

/// By hand, of images [n, S, S, 6]: features, and each weight's gradient by the features' `grad`.
fn by_hand(model: &Classifier, images: &Tensor, grad: &[f32]) -> (Vec<f32>, Vec<Vec<f32>>) {
    let grad = Tensor::from_slice(grad, (images.dim(0).unwrap(), ()), &Device::Cpu).unwrap();
    let size = images.dim(1).unwrap();
    let (features, grads) = once(model, &values(images), size, &grad, DType::F32).unwrap();
    let WeightGradients::Host(grads) = grads else { panic!("gradients on the CPU stay there") };
    (values(&features), grads)
}

#[test]
fn overlapping_stems_give_timms_features_and_gradients() {
    let t = tensors("ols.safetensors").unwrap();
    let pixels = channels_last(&input_u8(1, 64)[..8 * 6 * 64 * 64], 64);
    let images = Tensor::from_vec(pixels, (8, 64, 64, 6), &Device::Cpu).unwrap();
    let grad: Vec<f32> = (0..8 * 128).map(|i| unit("ols.grad", i) as f32).collect();
    for (kind, middle) in [("overlap_tiered", 8), ("overlap", 16)] {
        let spec = Spec { stem: Stem::Overlap { middle }, ..tiny() };
        let expected = values(&t[&format!("{kind}.features")]);
        let mut compared = 0;
        let mut same = |name: &str, got: &Tensor| {
            if let Some(expected) = t.get(&format!("{kind}.grad.{name}")) {
                assert_eq!(got.dims(), expected.dims(), "{kind} {name}");
                let error = rel_l2(&values(got), &values(expected));
                assert!(error < 1e-4, "{kind} {name}: {error:e}");
                compared += 1;
            }
        };

        let net = model(&spec);
        let x = images.to_device(device()).unwrap();
        let features = net.encoder.forward(&x, true).unwrap();
        assert!(max_abs(&values(&features), &expected) < 2e-5);
        let g = Tensor::from_slice(&grad, (8, 128), device()).unwrap();
        let store = (features * g).unwrap().sum_all().unwrap().backward().unwrap();
        for p in &net.parameters.trainable {
            let Some(g) = store.get(&p.var) else { continue };
            same(&p.name, &weights::to_torch(g, p.layout, &p.shape).unwrap());
        }

        let net = Classifier::new(&spec, 0, 0, DType::F32, &Device::Cpu).unwrap();
        fill(&net.parameters);
        let (features, sums) = by_hand(&net, &images, &grad);
        assert!(max_abs(&features, &expected) < 2e-5);
        for (p, g) in net.parameters.trainable.iter().zip(sums) {
            let g = Tensor::from_vec(g, p.var.shape(), &Device::Cpu).unwrap();
            same(&p.name, &weights::to_torch(&g, p.layout, &p.shape).unwrap());
        }
        assert_eq!(compared, 2 * 17);
    }
}

#[test]
fn images_of_every_size_have_one_result_by_both_ways() {
    let spec = Spec { stem: Stem::Overlap { middle: 8 }, ..tiny() };
    let net = Classifier::new(&spec, 0, 0, DType::F32, &Device::Cpu).unwrap();
    fill(&net.parameters);
    for size in [32, 96, 224, 512] {
        let pixels: Vec<f32> = formula("sizes.bias", &[size * size * 6]);
        let images = Tensor::from_vec(pixels, (1, size, size, 6), &Device::Cpu).unwrap();
        let graph = values(&net.encoder.forward(&images, false).unwrap());
        let (features, _) = by_hand(&net, &images, &[1.0; 128]);
        assert!(max_abs(&features, &graph) < 2e-5, "{size}");
    }
}

#[test]
fn every_backbone_gives_timms_features() {
    let dir = tempfile::tempdir().unwrap();
    if !written_by_timm(dir.path()) {
        return;
    }
    for name in BACKBONES {
        let set = Set::new(format!("model.backbone={name}"));
        let spec = Spec::new(&Config::load(None, false, &[set]).unwrap());
        assert_eq!(spec.name, name);
        let net = Classifier::new(&spec, 0, 0, DType::F32, &Device::Cpu).unwrap();
        let file = dir.path().join(format!("{name}.safetensors"));
        assert_eq!(weights::fill(&net, &file, None).unwrap(), weights::Content::Encoder);
        let case = dir.path().join(format!("{name}.case.safetensors"));
        let case: HashMap<String, Tensor> =
            candle_core::safetensors::load(case, &Device::Cpu).unwrap();
        let expected = values(&case["features"]);
        let graph = values(&net.encoder.forward(&case["images"], false).unwrap());
        let (features, _) = by_hand(&net, &case["images"], &vec![0.0; expected.len()]);
        let error = max_abs(&graph, &expected).max(max_abs(&features, &expected));
        eprintln!("{name}: {error:.1e}, {} parameters", spec.parameters().0);
        assert!(error < 5e-5, "{name}: {error:e}");
    }
}

/// Whether there is a Python with timm, and has written what it makes of [`BACKBONES`] into `dir`.
fn written_by_timm(dir: &Path) -> bool {
    let python = std::env::var("RSNA_TUI_PYTHON").unwrap_or_else(|_| "python3".into());
    let found = Command::new(&python).args(["-c", "import timm, safetensors"]).output();
    if !found.is_ok_and(|found| found.status.success()) {
        eprintln!("skipped: {python} has no timm, so its own backbones were not asked");
        return false;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/backbones/timm_features.py");
    let out = Command::new(&python).arg(script).arg(dir).args(BACKBONES).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    true
}
