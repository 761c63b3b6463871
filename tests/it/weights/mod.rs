//! Weights that come from timm and PyTorch and go there: files that fit, files that do not, and, where
//! there is a Python for it (`RSNA_TUI_PYTHON`, or else `python3`), the same logits on both ends.

mod files;
mod not_finite;
mod python;
mod wrapped;

use crate::reference;
use candle_core::{DType, Device, Tensor};
use rsna_tui::net::{Classifier, Spec, Stem};
use std::{collections::BTreeMap, path::Path};

/// The network of `tests/golden/parallel.pth`.
fn narrow() -> Spec {
    Spec {
        stem: Stem::Patch,
        dims: [4, 8, 12, 16],
        lstm_hidden: 3,
        head_hidden: 5,
        ..reference::tiny()
    }
}

/// A network on the CPU, its weights fresh.
fn network(spec: &Spec) -> Classifier {
    Classifier::new(spec, 0, 0, DType::F32, &Device::Cpu).unwrap()
}

/// What `model` makes of images [B, T, C, H, W]: logits of slices and studies.
fn logits(model: &Classifier, images: &Tensor) -> (Vec<f32>, Vec<f32>) {
    let (b, t, c, h, w) = images.dims5().unwrap();
    let maps = images.reshape((b * t, c, h, w)).unwrap();
    let maps = maps.permute((0, 2, 3, 1)).unwrap().contiguous().unwrap();
    let features = model.encoder.forward(&maps, false).unwrap();
    let features = features.reshape((b, t, model.spec.features())).unwrap();
    let out = model.tail(&features).unwrap();
    (reference::values(&out.slices), reference::values(&out.studies))
}

/// Images [B, 105, 6, H, W] in 0..1.
fn images(name: &str, b: usize, h: usize, w: usize) -> Tensor {
    let n = b * 105 * 6 * h * w;
    let values: Vec<f32> = (0..n as u64).map(|i| reference::unit(name, i).abs() as f32).collect();
    Tensor::from_vec(values, (b, 105, 6, h, w), &Device::Cpu).unwrap()
}

fn write(path: &Path, tensors: &BTreeMap<String, Tensor>) {
    std::fs::write(path, safetensors::serialize(tensors, None).unwrap()).unwrap();
}

/// The bits of every tensor of a state dict.
fn bits(tensors: &BTreeMap<String, Tensor>) -> BTreeMap<String, Vec<u32>> {
    let of = |t: &Tensor| -> Vec<u32> {
        let t = t.flatten_all().unwrap().to_dtype(DType::F32).unwrap();
        t.to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
    };
    tensors.iter().map(|(name, t)| (name.clone(), of(t))).collect()
}
