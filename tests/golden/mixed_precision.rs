//! The encoder in bf16 and f16 against PyTorch's autocast, and both against f64.

use crate::reference::*;
use candle_core::{DType, Tensor};
use rsna_tui::net::{convnext::ConvNeXt, parameters::Builder, weights};
use std::collections::HashMap;

/// What a case of `autocast.safetensors` holds, computed here: features, what the first stage adds
/// to the residual stream, and gradients by PyTorch's names and layouts.
fn mixed_precision(compute: DType, gamma: f64, scale: f64) -> HashMap<String, Vec<f32>> {
    let mut builder = Builder::new(0, 0, DType::F32, device());
    let encoder = ConvNeXt::new(&mut builder, &tiny()).unwrap();
    fill(&builder.parameters);
    let trainable = &builder.parameters.trainable;
    for p in trainable.iter().filter(|p| p.name.ends_with(".gamma")) {
        p.var.set(&Tensor::full(gamma as f32, p.var.shape(), device()).unwrap()).unwrap();
    }
    let pixels = channels_last(&input_u8(1, 64)[..4 * 6 * 64 * 64], 64);
    let images = Tensor::from_vec(pixels, (4, 64, 64, 6), device()).unwrap();
    let images = images.to_dtype(compute).unwrap();
    let map = |stages: usize| encoder.feature_map(&images, stages, false).unwrap();
    let features = encoder.forward(&images, true).unwrap();
    let n = features.elem_count() as u64;
    let u = (0..n).map(|i| (scale * unit("autocast.grad", i)) as f32).collect();
    let u = Tensor::from_vec(u, features.shape(), device()).unwrap();
    let grads = (&features * u).unwrap().sum_all().unwrap().backward().unwrap();
    let mut out = HashMap::from([
        ("features".to_string(), values(&features)),
        ("stage".to_string(), values(&(map(1) - map(0)).unwrap())),
    ]);
    for p in trainable {
        let grad = weights::to_torch(grads.get(&p.var).unwrap(), p.layout, &p.shape).unwrap();
        let grad = (grad.to_dtype(DType::F32).unwrap() / scale).unwrap();
        out.insert(format!("grad.{}", p.name), values(&grad));
    }
    out
}

/// In bf16 and f16 the encoder is as near to the exact result as PyTorch's autocast is. Of a residual
/// stream that is not f32, nothing would be left at a layer scale of 1e-6.
#[test]
fn mixed_precision_is_as_exact_as_pytorchs() {
    let t = tensors("autocast.safetensors").unwrap();
    for gamma in ["1e-6", "0.1"] {
        for (kind, compute, scale) in [("bf16", DType::BF16, 1.0), ("f16", DType::F16, 128.0)] {
            let ours = mixed_precision(compute, gamma.parse().unwrap(), scale);
            let prefix = format!("{kind}.{gamma}.");
            let keys: Vec<&str> = t.keys().filter_map(|k| k.strip_prefix(&prefix)).collect();
            assert!(keys.len() > 20, "{}", keys.len());
            for key in keys {
                let exact = values(&t[&format!("f64.{gamma}.{key}")]);
                let theirs = rel_l2(&values(&t[&format!("{prefix}{key}")]), &exact);
                let ours = rel_l2(&ours[key], &exact);
                println!("{kind}, gamma {gamma}, {key}: {ours:.1e}, PyTorch {theirs:.1e}");
                assert!(ours < 2.0 * theirs + 1e-4, "{prefix}{key}: {ours}, PyTorch {theirs}");
            }
        }
    }
}
