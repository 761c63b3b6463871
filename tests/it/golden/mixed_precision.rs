//! The encoder in bf16 and f16 against PyTorch's autocast, and both against f64.

use crate::reference::*;
use candle_core::{DType, Tensor};
use rsna_tui::net::encoder::{WeightGradients, once};
use rsna_tui::net::weights;
use std::collections::HashMap;

/// What a case of `autocast.safetensors` holds, computed here: features, what the first stage adds
/// to the residual stream, and gradients by PyTorch's names and layouts. On a GPU by the pass that
/// trains; on the CPU, where that is f32 only, by autograd.
fn mixed_precision(compute: DType, gamma: f64, scale: f64) -> HashMap<String, Vec<f32>> {
    let model = model(&tiny());
    let (encoder, trainable) = (&model.encoder, &model.parameters.trainable);
    for p in trainable.iter().filter(|p| p.name.ends_with(".gamma")) {
        p.var.set(&Tensor::full(gamma as f32, p.var.shape(), device()).unwrap()).unwrap();
    }
    let pixels = channels_last(&input_u8(1, 64)[..4 * 6 * 64 * 64], 64);
    let n = 4 * 128;
    let u = (0..n).map(|i| (scale * unit("autocast.grad", i)) as f32).collect();
    let u = Tensor::from_vec(u, (4, 128), device()).unwrap();
    let images = Tensor::from_slice(&pixels, (4, 64, 64, 6), device()).unwrap();
    let images = images.to_dtype(compute).unwrap();
    let map = |stages: usize| encoder.feature_map(&images, stages, false).unwrap();
    let mut out = HashMap::from([("stage".to_string(), values(&(map(1) - map(0)).unwrap()))]);
    let trainable = trainable.iter().filter(|p| p.name.starts_with("encoder."));
    let (features, grads) = if device().is_cpu() {
        let features = encoder.forward(&images, true).unwrap();
        let store = (&features * u).unwrap().sum_all().unwrap().backward().unwrap();
        let grads = trainable.clone().map(|p| store.get(&p.var).unwrap().clone()).collect();
        (features, grads)
    } else {
        let (features, grads) = once(&model, &pixels, 64, &u, compute).unwrap();
        let WeightGradients::Device(grads) = grads else { panic!("gradients on a GPU stay there") };
        (features, grads)
    };
    out.insert("features".into(), values(&features));
    for (p, grad) in trainable.zip::<Vec<Tensor>>(grads) {
        let grad = weights::to_torch(&grad, p.layout, &p.shape).unwrap();
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
