//! Tests `rsna-tui selftest` on the CPU, and that it detects an incorrect op.

use candle_core::{DType, Device, Tensor};
use rsna_tui::selftest::{self, ops, reference, steps};
use std::process::{Command, Output};

fn selftest(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rsna-tui"));
    command.arg("selftest").args(args).env("NO_COLOR", "1").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn every_check_is_a_line_and_right_on_the_cpu() {
    let out = selftest(&["--device", "cpu"]);
    let (said, aside) = (text(&out.stdout), text(&out.stderr));
    assert_eq!(out.status.code(), Some(0), "{said}{aside}");
    assert_eq!(aside, "");
    for line in said.lines() {
        assert!(line.chars().count() <= 80 && !line.contains('\x1b'), "{line}");
    }
    let ok: Vec<&str> = said.lines().filter(|line| line.starts_with("ok ")).collect();
    let others = [
        "images from bytes",
        "head",
        "NaN and infinity kept",
        "encoder, by candle's",
        "network, by candle's",
        "AdamW, by candle's",
        "gradient, by differences",
        "training again",
    ];
    let names: Vec<&str> = ops::all().iter().map(|op| op.name).chain(others).collect();
    for name in &names {
        assert!(ok.iter().any(|line| line.contains(&format!(" {name} "))), "{name}: {said}");
    }
    assert_eq!(ok.len(), names.len(), "{said}");
    for word in ["device   CPU", "versions rsna-tui ", "memory ", "products ", "GB/s"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(said.ends_with(&format!("all {} checks are right\n", names.len())), "{said}");
}

#[test]
fn unknown_devices_are_one_sentence() {
    for (device, word) in [("tpu", "expected auto, cpu, cuda or cuda:N"), ("cuda:99", "give cpu")] {
        let out = selftest(&["--device", device]);
        let said = text(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(device) && said.contains(word), "{said}");
        assert_eq!(text(&out.stdout), "");
    }
    let help = selftest(&["--help"]);
    assert!(help.status.success());
    assert!(text(&help.stdout).contains("--device <DEVICE>"), "{}", text(&help.stdout));
}

/// GELU with one value in a thousand slightly too large, in any type except the CPU's f64.
fn wrong_gelu(x: &[Tensor]) -> candle_core::Result<Tensor> {
    let right = rsna_tui::net::graph::bias_gelu(&x[0], &x[1])?;
    if right.dtype() == DType::F64 {
        return Ok(right);
    }
    let first = right.narrow(0, 0, 1)?;
    let first = (first * 1.1)?;
    Tensor::cat(&[&first, &right.narrow(0, 1, right.dim(0)? - 1)?], 0)
}

/// ReLU instead of GELU: NaN becomes 0.
fn forgetful(x: &[Tensor]) -> candle_core::Result<Tensor> {
    let right = rsna_tui::net::graph::bias_gelu(&x[0], &x[1])?;
    if right.dtype() == DType::F64 { Ok(right) } else { right.relu() }
}

#[test]
fn an_op_that_computes_wrong_is_found_and_named() {
    let mut all = ops::all();
    let at = all.iter().position(|op| op.name == "bias and GELU").unwrap();
    all[at].run = wrong_gelu;
    let mut lines = Vec::new();
    let tally = selftest::run(&Device::Cpu, &all, &mut |outcome| lines.push(outcome.to_string()));
    let wrong: Vec<&String> = lines.iter().filter(|line| line.starts_with("WRONG")).collect();
    assert_eq!(tally, selftest::Tally { made: lines.len(), wrong: 1, unmade: 0 }, "{lines:?}");
    assert!(wrong[0].contains("bias and GELU"), "{wrong:?}");
    assert!(wrong[0].contains("first input 33 x 19"), "{wrong:?}");

    all[at].run = forgetful;
    let lost = ops::not_finite(&all, &Device::Cpu, 0).unwrap();
    assert!(lost.error >= 1.0 && lost.at.starts_with("bias and GELU"), "{lost:?}");
}

/// Errors are far below the limits, so that growing errors are noticed here first.
#[test]
fn the_cpus_errors_are_small() {
    let encoder = reference::encoder(&Device::Cpu, DType::F32).unwrap();
    let slope = steps::slope(&Device::Cpu).unwrap();
    let adamw = steps::adamw(&Device::Cpu, 1).unwrap();
    for (worst, bound) in [(encoder, 5e-6), (slope, 3e-3), (adamw, 3e-5)] {
        assert!(worst.error < bound, "{worst:?}");
    }
}
