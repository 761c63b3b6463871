//! candle-transformers' ConvNeXt as a second reference for the encoder's forward pass, at its 3
//! input channels.

mod reference;

use candle_core::{DType, Device, Tensor};
use candle_nn::{Module, VarBuilder};
use reference::{fill, formula, max_abs, values};
use rsna_tui::net::{Spec, convnext::ConvNeXt, parameters::Builder, weights};
use std::collections::HashMap;

#[test]
fn same_features_as_candle_transformers() {
    let device = Device::Cpu;
    let spec = Spec {
        name: "convnext_atto",
        depths: [2, 2, 6, 2],
        dims: [40, 80, 160, 320],
        in_channels: 3,
        ..reference::tiny()
    };
    let mut builder = Builder::new(0, 0, DType::F32, &device);
    let ours = ConvNeXt::new(&mut builder, &spec).unwrap();
    fill(&builder.parameters);

    let mut dict: HashMap<String, Tensor> = weights::state_dict(&builder.parameters)
        .unwrap()
        .into_iter()
        .map(|(name, t)| (name.trim_start_matches("encoder.").to_string(), t))
        .collect();
    // Its head applies the norm and a linear layer: here the identity.
    dict.insert("head.fc.weight".into(), Tensor::eye(320, DType::F32, &device).unwrap());
    dict.insert("head.fc.bias".into(), Tensor::zeros(320, DType::F32, &device).unwrap());
    let vb = VarBuilder::from_tensors(dict, DType::F32, &device);
    let config = candle_transformers::models::convnext::Config::atto();
    let theirs = candle_transformers::models::convnext::convnext(&config, 320, vb).unwrap();

    let pixels = formula("candle.input", &[2, 3, 64, 64]);
    let nchw = Tensor::from_vec(pixels, (2, 3, 64, 64), &device).unwrap();
    let nhwc = nchw.permute((0, 2, 3, 1)).unwrap().contiguous().unwrap();
    let a = values(&ours.forward(&nhwc, false).unwrap());
    let b = values(&theirs.forward(&nchw).unwrap());
    let scale = b.iter().fold(0f32, |m, x| m.max(x.abs()));
    assert!(max_abs(&a, &b) < 2e-5 * f64::from(scale), "{}", max_abs(&a, &b));
}
