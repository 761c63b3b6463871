//! Weights that are NaN or infinite: they show in the answer, and no file that holds them is read.

use super::*;
use crate::tiny::{rsna_tui, said, train};
use rsna_tui::{
    net::{
        encoder::Arena,
        weights::{load_state_dict, state_dict},
    },
    selftest::steps::Noise,
    train::{
        checkpoint::{check_finite, set_sum},
        loss::Weights,
        memory::Plan,
        step::{Stepper, Targets},
    },
};
use std::fs;

/// The weight that has no part in the answer: the study head reads the second LSTM's first step,
/// and the state before that is 0.
const UNUSED: &str = "lstm2.weight_hh_l1";

/// `values` with `value` in the middle.
fn spoilt(t: &Tensor, value: f32) -> Tensor {
    let mut values = reference::values(t);
    let middle = values.len() / 2;
    values[middle] = value;
    Tensor::from_vec(values, t.shape(), &Device::Cpu).unwrap()
}

/// Each weight and statistic of a small network in turn: its answers, its loss and its checkpoints.
#[test]
fn one_value_that_is_not_finite_shows_in_the_answer_and_is_refused_by_name() {
    let spec =
        Spec { dims: [2, 2, 2, 2], images: 7, lstm_hidden: 2, head_hidden: 2, ..reference::tiny() };
    let model = network(&spec);
    reference::fill(&model.parameters);
    // Copies: those of the model change in place.
    let good = state_dict(&model.parameters).unwrap().into_iter();
    let good: BTreeMap<String, Tensor> = good.map(|(n, t)| (n, t.copy().unwrap())).collect();
    let of = |dict: &BTreeMap<String, Tensor>| dict.clone().into_iter().collect();
    let arena = Arena::default();
    let stepper = Stepper::on_cpu(&model, Plan::of_chunk(21, 21), &arena);
    let own: Vec<f32> = (0..21).map(|i| f32::from(u8::from(i % 7 == 2))).collect();
    let (targets, weights) =
        (Targets { own: &own, mixed: None }, Weights { slice: 15.0, study: 1.0, positive: 2.0 });
    let names = model.parameters.trainable.iter().map(|p| (p.name.clone(), p.var.clone()));
    let buffers = model.parameters.buffers.iter().map(|b| (b.name.clone(), b.var.clone()));
    let all: Vec<_> = names.chain(buffers).filter(|(_, v)| v.dtype() == DType::F32).collect();
    let answers = || {
        let (slices, studies) = stepper.predict(&Noise(0), 3).unwrap();
        [reference::values(&slices), reference::values(&studies)].concat()
    };
    assert!(answers().iter().all(|x| x.is_finite()));
    for (name, var) in &all {
        let before = var.as_detached_tensor().copy().unwrap();
        var.set(&spoilt(&before, f32::NAN)).unwrap();
        if name != UNUSED {
            assert!(answers().iter().any(|x| !x.is_finite()), "{name} in validation");
            // Training does not read the running statistics, but moves them.
            let step = stepper.gradients(&Noise(0), targets, weights, None);
            let shows = step.is_err() || check_finite(&model).is_err();
            assert!(shows, "{name} in training");
        }
        let error = check_finite(&model).unwrap_err().to_string();
        assert!(error.contains(&format!("the weight {name} is no longer finite")), "{error}");
        load_state_dict(&model.parameters, &of(&good)).unwrap().unwrap();
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut dict = good.clone();
            dict.insert(name.clone(), spoilt(&good[name], value));
            let refused = load_state_dict(&model.parameters, &of(&dict)).unwrap().unwrap_err();
            assert_eq!(refused.to_string(), format!("{name} has 1 NaN or infinite value"));
            assert_eq!(bits(&state_dict(&model.parameters).unwrap()), bits(&good), "{name}");
        }
    }
    // Beyond f32, as a file of f64 may hold.
    let mut dict = good.clone();
    let wide = (dict["head.4.bias"].to_dtype(DType::F64).unwrap() + 1e300).unwrap();
    dict.insert("head.4.bias".into(), wide);
    assert!(load_state_dict(&model.parameters, &of(&dict)).unwrap().is_err());
}

/// Writes a checkpoint with `value` in the middle of a tensor, and the checksum that goes with it.
fn spoil(path: &Path, name: &str, value: f32) {
    let mut bytes = fs::read(path).unwrap();
    let at = {
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let data = file.tensor(name).unwrap().data();
        data.as_ptr() as usize - bytes.as_ptr() as usize + data.len() / 8 * 4
    };
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    assert!(set_sum(&mut bytes));
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_checkpoint_that_is_not_finite_is_refused_by_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let fewer = "--folds 0 --set train.epochs=1 --set data.phantom_studies=8";
    let args = [train("a", 2), fewer.split(' ').collect()].concat();
    let out = rsna_tui(dir, &args);
    assert!(out.status.success(), "{}", said(&out));
    let run = dir.join("runs/a");
    let (best, last) = (run.join("fold0_best.safetensors"), run.join("fold0_last.safetensors"));
    let good = [fs::read(&best).unwrap(), fs::read(&last).unwrap()];
    let refused = |command: &str, name: &str| {
        let out = rsna_tui(dir, &command.split_whitespace().collect::<Vec<_>>());
        let text = said(&out);
        assert!(matches!(out.status.code(), Some(1 | 2)), "{command}: {text}");
        assert!(text.contains(name) && text.contains("NaN or infinite"), "{command}: {text}");
    };
    for (name, value) in [("encoder.stem.0.weight", f32::NAN), ("head2.4.bias", f32::INFINITY)] {
        spoil(&best, name, value);
        for command in [
            "evaluate a",
            "export a --fold 0",
            "export a --fold 0 --format onnx",
            "predict --run a --out p.csv",
            "predict --weights runs/a/fold0_best.safetensors --config runs/a/config.toml --out p.csv",
            "import torch runs/a/fold0_best.safetensors --config runs/a/config.toml --out x.safetensors",
            "--no-tui --config runs/a/config.toml --set model.pretrained=runs/a/fold0_best.safetensors",
        ] {
            refused(command, name);
        }
    }
    assert!(!dir.join("p.csv").exists() && !dir.join("x.safetensors").exists());
    fs::write(&best, &good[0]).unwrap();
    for name in [
        "model.lstm2.weight_hh_l1",
        "model.head.1.running_var",
        "exp_avg.head.0.weight",
        "exp_avg_sq.encoder.stem.0.bias",
    ] {
        spoil(&last, name, f32::NAN);
        let own = name.split_once('.').unwrap().1;
        refused("resume a --no-tui --epochs 2", own);
        if name.starts_with("model.") {
            refused("export a --fold 0 --last", own);
        }
        fs::write(&last, &good[1]).unwrap();
    }
}
