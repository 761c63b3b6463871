//! Counts the instructions of the hot kernels under valgrind, which gives the same numbers on a busy
//! machine as on an idle one. Ignored by default, because it needs valgrind and a few minutes:
//!
//!     cargo test --release --test it instructions:: -- --ignored --nocapture
//!
//! The counts are those of the AVX2 path (valgrind does not support AVX-512) in a release build. When a
//! kernel's count changes on purpose, update it here and give the reason in the commit.

use candle_core::{DType, Device, Tensor};
use rsna_tui::{
    config::{Config, Set},
    net::{
        Classifier, Spec,
        buffers::BufferPool,
        encoder::{Arena, Encoder, Pass, Retention},
        graph,
        recurrent::Lstms,
    },
};
use std::{ops::Range, process::Command};

/// Expected millions of instructions per run of each kernel.
const COUNTS: [(&str, f64); 6] = [
    ("depthwise", 3.638),
    ("layer_norm", 2.219),
    ("bias_gelu", 1.529),
    ("scale_residual", 0.472),
    ("encoder", 20.971),
    ("lstms", 10.363),
];
const TOLERANCE: f64 = 0.05;

/// Environment variables: the kernel that the test below runs, and how often.
const KERNEL: &str = "RSNA_TUI_COUNT_KERNEL";
const TIMES: &str = "RSNA_TUI_COUNT_TIMES";

fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i * 7919 % 1009) as f32 / 1008.0).collect()
}

fn tensor(shape: &[usize]) -> Tensor {
    Tensor::from_vec(values(shape.iter().product()), shape, &Device::Cpu).unwrap()
}

/// Runs a kernel `times` times.
fn run(kernel: &str, times: usize) {
    let (x, c, taps) = (tensor(&[1, 28, 28, 160]), tensor(&[160]), tensor(&[49, 160]));
    let sets =
        ["model.backbone=convnext_micro", "data.slices_per_vertebra=1", "model.lstm_hidden=64"];
    let config = Config::load(None, false, &sets.map(Set::new)).unwrap();
    let spec = Spec::new(&config);
    let model = Classifier::new(&spec, 0, 0, DType::F32, &Device::Cpu).unwrap();
    let (arena, pool) = (Arena::default(), BufferPool::default());
    let lstms = Lstms::new(&model, &pool);
    let pixels = values(2 * 64 * 64 * 6);
    let fill = |_: Range<usize>, out: &mut [f32]| out.copy_from_slice(&pixels[..out.len()]);
    let encoder = Encoder::new(&model, 64, &arena, &fill);
    let features = tensor(&[2 * spec.images, spec.features()]);
    for _ in 0..times {
        match kernel {
            "depthwise" => drop(graph::depthwise7(&x, &taps, &c).unwrap()),
            "layer_norm" => drop(graph::layer_norm(&x, &c, &c).unwrap()),
            "bias_gelu" => drop(graph::bias_gelu(&x, &c).unwrap()),
            "scale_residual" => drop(graph::scale_residual(&x, &c, &c, &x).unwrap()),
            "encoder" => {
                let retention = Retention { inputs: 2, inner: 0 };
                let (grad, tapes) = encoder.forward(0..2, retention).unwrap();
                let mut sums = encoder.sums().unwrap();
                encoder.backward(tapes, &grad, &mut sums).unwrap();
            }
            "lstms" => {
                let (out, tape) = lstms.forward(&features).unwrap();
                drop(lstms.backward(tape, &out).unwrap());
            }
            other => panic!("{other}: no such kernel"),
        }
    }
}

/// The test that valgrind runs; does nothing on its own.
#[test]
#[ignore = "run by the test below"]
fn counted() {
    if let (Ok(kernel), Ok(times)) = (std::env::var(KERNEL), std::env::var(TIMES)) {
        run(&kernel, times.parse().unwrap());
    }
}

/// Counts the instructions of `counted`.
fn count(kernel: &str, times: usize) -> f64 {
    let out =
        Command::new("valgrind").args(["--tool=none", "--log-file=/dev/null", "true"]).output();
    assert!(out.is_ok_and(|o| o.status.success()), "valgrind runs");
    let out = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "instructions::counted"])
        .env(KERNEL, kernel)
        .env(TIMES, times.to_string())
        .env("RAYON_NUM_THREADS", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    let line = said.lines().find_map(|l| l.split_once("Collected : "));
    let count = line.unwrap_or_else(|| panic!("no count in\n{said}")).1;
    count.trim().parse().unwrap()
}

#[test]
#[ignore = "wants valgrind"]
fn hot_kernels_take_the_instructions_they_took() {
    if std::env::var(KERNEL).is_ok() {
        return;
    }
    let mut wrong = Vec::new();
    for (kernel, expected) in COUNTS {
        let millions = (count(kernel, 4) - count(kernel, 1)) / 3.0 / 1e6;
        println!("{kernel}: {millions:.3} million instructions, expected {expected:.3}");
        if (millions / expected - 1.0).abs() > TOLERANCE {
            wrong.push(format!("{kernel}: {millions:.3}, expected {expected:.3}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("; "));
}
