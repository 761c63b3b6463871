//! Compares the gradient scaler with PyTorch's GradScaler around AdamW, step by step
//! (`golden/scaler.json`).

use candle_core::{Device, Tensor, Var};
use rsna_tui::{
    config::{Config, Set},
    net::{description::Layout, parameters::Parameter},
    train::{adamw::AdamW, scaler::Scaler, step::WeightGradients},
};
use serde_json::Value;

/// The case's learning rate, which is the notebook's and not in the file.
const LEARNING_RATE: f64 = 23e-5;

#[test]
fn the_golden_sequence() {
    let text = include_str!("../golden/scaler.json");
    let case: Value = serde_json::from_str(text).unwrap();
    let config = Config::load(None, false, &[Set::new("train.precision=f16")]).unwrap();
    let mut optimizer = AdamW::new(&config.train, [4].into_iter());
    let start = optimizer.scaler.unwrap();
    assert_eq!(start.scale, case["state0"]["scale"].as_f64().unwrap());
    assert_eq!(start.good_steps, 0);
    let var = Var::zeros(4, candle_core::DType::F32, &Device::Cpu).unwrap();
    let name = "p".to_string();
    let p = Parameter { name, shape: vec![4], layout: Layout::Plain, var: var.clone() };
    for (i, step) in case["steps"].as_array().unwrap().iter().enumerate() {
        let scale = optimizer.scaler.unwrap().scale as f32;
        let of = |v: &Value| v.as_str().unwrap().parse::<f32>().unwrap();
        // The file holds unscaled gradients.
        let grads = step["grad_after_step"].as_array().unwrap().iter().map(|g| of(g) * scale);
        let grads = WeightGradients::Host(vec![grads.collect()]);
        let finite = optimizer.squares(&grads).unwrap().iter().all(|s| s.is_finite());
        assert_eq!(finite, !step["inf"].as_bool().unwrap(), "step {i}");
        if finite {
            optimizer.step(std::slice::from_ref(&p), &grads, LEARNING_RATE).unwrap();
        }
        optimizer.scaler.as_mut().unwrap().update(finite);
        let expected = step["p"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32);
        let expected: Vec<f32> = expected.collect();
        if i == 0 {
            // The file lacks the initial parameters, so continue from the first step's result.
            var.set(&Tensor::new(&expected[..], &Device::Cpu).unwrap()).unwrap();
        }
        assert_eq!(var.to_vec1::<f32>().unwrap(), expected, "step {i}");
        assert_eq!(optimizer.steps as f64, step["adam_step"].as_f64().unwrap(), "step {i}");
        let scaler = Scaler {
            scale: step["scale_after"].as_f64().unwrap(),
            good_steps: step["growth_tracker"].as_u64().unwrap(),
        };
        assert_eq!(optimizer.scaler, Some(scaler), "step {i}");
    }
}
