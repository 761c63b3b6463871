//! The golden cases: where they lie and the formulas that regenerate their weights and inputs
//! (`tests/golden/README.md`).

use candle_core::{Device, Tensor};
use rsna_tui::net::{Classifier, Spec, Stem, parameters::Parameters, weights};
use rsna_tui::rng::hash;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::LazyLock;

/// `name` from the folder that `RSNA_TUI_GOLDEN` names (for a test binary that was taken to another
/// machine), from the repository, or from `../shared/golden` for the larger ones; `None`, said plainly,
/// where none has it.
pub fn golden(name: &str) -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let given = std::env::var_os("RSNA_TUI_GOLDEN").map(PathBuf::from);
    let found = given
        .into_iter()
        .chain([root.join("tests/golden"), root.join("../shared/golden")])
        .map(|dir| dir.join(name))
        .find(|p| p.is_file());
    if found.is_none() {
        eprintln!("skipped: {name} is neither in tests/golden nor in ../shared/golden");
    }
    found
}

pub fn tensors(name: &str) -> Option<HashMap<String, Tensor>> {
    Some(candle_core::safetensors::load(golden(name)?, &Device::Cpu).unwrap())
}

pub fn json(name: &str) -> Option<serde_json::Value> {
    Some(serde_json::from_slice(&std::fs::read(golden(name)?).unwrap()).unwrap())
}

/// splitmix64's i-th output for a name.
pub fn splitmix(name: &str, i: u64) -> u64 {
    let mut z = hash(name).wrapping_add((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The i-th of a name's numbers in -1..1.
pub fn unit(name: &str, i: u64) -> f64 {
    (splitmix(name, i) >> 40) as f64 * (2.0 / 16_777_216.0) - 1.0
}

/// A state-dict entry by the formula.
pub fn formula(name: &str, shape: &[usize]) -> Vec<f32> {
    let leaf = name.rsplit('.').next().unwrap();
    let (offset, scale) = match leaf {
        "running_mean" => (0.0, 0.1),
        "running_var" => (1.0, 0.3),
        "gamma" => (0.5, 0.3),
        l if l.starts_with("weight") && shape.len() >= 2 => {
            (0.0, (3.0 / shape[1..].iter().product::<usize>() as f64).sqrt())
        }
        l if l.starts_with("weight") => (1.0, 0.2),
        _ => (0.0, 0.1),
    };
    let n = shape.iter().product::<usize>() as u64;
    (0..n).map(|i| (offset + scale * unit(name, i)) as f32).collect()
}

/// Sets every weight and buffer by the formula.
pub fn fill(parameters: &Parameters) {
    let mut dict = HashMap::new();
    for p in &parameters.trainable {
        let t = Tensor::from_vec(formula(&p.name, &p.shape), p.shape.as_slice(), &Device::Cpu);
        dict.insert(p.name.clone(), t.unwrap());
    }
    for b in &parameters.buffers {
        let t = match b.name.ends_with("num_batches_tracked") {
            true => Tensor::new(0i64, &Device::Cpu),
            false => Tensor::from_vec(formula(&b.name, b.var.dims()), b.var.dims(), &Device::Cpu),
        };
        dict.insert(b.name.clone(), t.unwrap());
    }
    weights::load_state_dict(parameters, &dict).unwrap().unwrap();
}

/// `tiny` of the golden cases.
pub fn tiny() -> Spec {
    Spec {
        name: "convnext_micro",
        stem: Stem::Patch,
        depths: [1, 1, 2, 1],
        dims: [16, 32, 64, 128],
        conv_mlp: true,
        in_channels: 6,
        images: 105,
        lstm_hidden: 32,
        head_hidden: 32,
        dropout: 0.0,
    }
}

/// The notebook's.
pub fn nano() -> Spec {
    Spec {
        name: "convnext_nano",
        depths: [2, 2, 8, 2],
        dims: [80, 160, 320, 640],
        lstm_hidden: 256,
        head_hidden: 256,
        ..tiny()
    }
}

/// Where the network computes: the CPU, or what `RSNA_TUI_TEST_DEVICE` says.
pub fn device() -> &'static Device {
    static DEVICE: LazyLock<Device> = LazyLock::new(|| {
        let asked = std::env::var("RSNA_TUI_TEST_DEVICE").unwrap_or("cpu".into());
        match rsna_tui::device::choose(&asked, rsna_tui::config::Precision::F32) {
            Ok(chosen) => chosen.device,
            Err(why) => {
                eprintln!("skipped on {asked}, run on the CPU: {why}");
                Device::Cpu
            }
        }
    });
    &DEVICE
}

pub fn model(spec: &Spec) -> Classifier {
    let model = Classifier::new(spec, 0, 0, candle_core::DType::F32, device()).unwrap();
    fill(&model.parameters);
    model
}

/// The golden input in PyTorch's order, u8 [B, 105, 6, S, S].
pub fn input_u8(b: usize, s: usize) -> Vec<u8> {
    let name = format!("input.{b}.{s}");
    let mut out = Vec::with_capacity(b * 105 * 6 * s * s);
    let mut i = 0;
    for study in 0..b {
        for slice in 0..105 {
            for c in 0..6 {
                for y in 0..s {
                    for x in 0..s {
                        let h = (splitmix(&name, i) >> 56) as usize;
                        let g = 1 + (slice * 7 + study * 5) % 16;
                        let ramp = x * (1 + (slice + study) % 5)
                            + y * (slice % 3)
                            + 37 * c
                            + 11 * (slice / 15);
                        let v = ((h * g) >> 5) + (ramp & 127);
                        out.push(v.min(255) as u8);
                        i += 1;
                    }
                }
            }
        }
    }
    out
}

/// u8 [N, 6, S, S] → f32 [N, S, S, 6] in 0..=1.
pub fn channels_last(u8s: &[u8], s: usize) -> Vec<f32> {
    let image = 6 * s * s;
    let mut out = vec![0f32; u8s.len()];
    for (from, to) in u8s.chunks(image).zip(out.chunks_mut(image)) {
        for c in 0..6 {
            for p in 0..s * s {
                to[p * 6 + c] = f32::from(from[c * s * s + p]) / 255.0;
            }
        }
    }
    out
}

pub fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1::<f32>().unwrap()
}

/// Largest absolute difference.
pub fn max_abs(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).abs()).fold(0.0, f64::max)
}

/// ‖a - b‖ / ‖b‖.
pub fn rel_l2(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    let diff = norm(&mut a.iter().zip(b).map(|(&a, &b)| f64::from(a) - f64::from(b)));
    diff / norm(&mut b.iter().map(|&b| f64::from(b)))
}
