//! The network's parts as nodes. Maps are [N, C, H, W], as ONNX's convolutions want them.

use super::build::{Build, float, int, ints, text};
use crate::net::{Spec, convnext, head, lstm};
use candle_core::{Result, Tensor, bail};

/// PyTorch's gates are i, f, g, o; ONNX's i, o, f, c, where c is PyTorch's g.
const GATES: [usize; 4] = [0, 3, 1, 2];

/// Images [N, C, H, W] → features [N, F].
pub(super) fn encoder(b: &mut Build, spec: &Spec, images: &str) -> Result<String> {
    let mut x = stem(b, images)?;
    for (s, &depth) in spec.depths.iter().enumerate() {
        let at = format!("encoder.stages.{s}");
        if s > 0 {
            x = norm_map(b, &format!("{at}.downsample.0"), &x)?;
            x = convolution(b, &format!("{at}.downsample.1"), &x, (2, 0))?;
        }
        for i in 0..depth {
            x = block(b, &format!("{at}.blocks.{i}"), &x)?;
        }
    }
    let at = "encoder.head";
    let pooled = b.node(at, "GlobalAveragePool", &[&x], Vec::new());
    let flat = b.node(at, "Flatten", &[&pooled], vec![int("axis", 1)]);
    norm(b, &format!("{at}.norm"), &flat)
}

/// What `encoder.stem` has, part after part: convolutions, then the norm.
fn stem(b: &mut Build, images: &str) -> Result<String> {
    let mut x = images.to_string();
    for part in 0.. {
        let at = format!("encoder.stem.{part}");
        let Some(weight) = b.look(&format!("{at}.weight")) else { break };
        x = match *weight.dims() {
            // Patches side by side, or windows that overlap.
            [_, _, 4, 4] => convolution(b, &at, &x, (4, 0))?,
            [_, _, 3, 3] => convolution(b, &at, &x, (2, 1))?,
            [_] => norm_map(b, &at, &x)?,
            ref other => bail!("{at}.weight has the shape {other:?}, which no stem has"),
        };
    }
    Ok(x)
}

/// A ConvNeXt block; its norm and products see the channels last.
fn block(b: &mut Build, at: &str, x: &str) -> Result<String> {
    let y = convolution(b, &format!("{at}.conv_dw"), x, (1, 3))?;
    let y = b.transpose(at, &y, &[0, 2, 3, 1]);
    let y = norm(b, &format!("{at}.norm"), &y)?;
    let y = linear(b, &format!("{at}.mlp.fc1"), &y)?;
    let y = gelu(b, &format!("{at}.mlp.act"), &y);
    let y = linear(b, &format!("{at}.mlp.fc2"), &y)?;
    let gamma = b.weight(&format!("{at}.gamma"))?;
    let y = b.node(at, "Mul", &[&y, &gamma], Vec::new());
    let y = b.transpose(at, &y, &[0, 3, 1, 2]);
    Ok(b.node(at, "Add", &[&y, x], Vec::new()))
}

/// Windows of the weight's size, at a stride and with so many zeros around; with one input channel a
/// weight it is depthwise.
fn convolution(b: &mut Build, at: &str, x: &str, (stride, padding): (i64, i64)) -> Result<String> {
    let name = format!("{at}.weight");
    let (out, inputs, h, w) = b.tensor(&name)?.dims4()?;
    let groups = if inputs == 1 { out } else { 1 };
    let (weight, bias) = (b.weight(&name)?, b.weight(&format!("{at}.bias"))?);
    let settings = vec![
        ints("kernel_shape", &[h as i64, w as i64]),
        ints("strides", &[stride; 2]),
        ints("pads", &[padding; 4]),
        int("group", groups as i64),
    ];
    Ok(b.node(at, "Conv", &[x, &weight, &bias], settings))
}

/// LayerNorm over the last side.
fn norm(b: &mut Build, at: &str, x: &str) -> Result<String> {
    let (weight, bias) = (b.weight(&format!("{at}.weight"))?, b.weight(&format!("{at}.bias"))?);
    let settings = vec![int("axis", -1), float("epsilon", convnext::EPS)];
    Ok(b.node(at, "LayerNormalization", &[x, &weight, &bias], settings))
}

/// LayerNorm over the channels of a map.
fn norm_map(b: &mut Build, at: &str, x: &str) -> Result<String> {
    let y = b.transpose(at, x, &[0, 2, 3, 1]);
    let y = norm(b, at, &y)?;
    Ok(b.transpose(at, &y, &[0, 3, 1, 2]))
}

/// A product over the last side with [out, in], or [out, in, 1, 1], and its bias.
fn linear(b: &mut Build, at: &str, x: &str) -> Result<String> {
    let name = format!("{at}.weight");
    let mut weight = b.weight(&name)?;
    if let [out, inputs, 1, 1] = *b.tensor(&name)?.dims() {
        weight = b.reshape(at, &weight, &[out as i64, inputs as i64]);
    }
    let turned = b.transpose(at, &weight, &[1, 0]);
    let y = b.node(at, "MatMul", &[x, &turned], Vec::new());
    let bias = b.weight(&format!("{at}.bias"))?;
    Ok(b.node(at, "Add", &[&y, &bias], Vec::new()))
}

/// x · (1 + erf(x / √2)) / 2: ONNX has no GELU before opset 20.
fn gelu(b: &mut Build, at: &str, x: &str) -> String {
    let [half, one, root] = [("0.5", 0.5), ("1", 1.0), ("√0.5", std::f32::consts::FRAC_1_SQRT_2)]
        .map(|(name, value)| b.number(name, value));
    let y = b.node(at, "Mul", &[x, &root], Vec::new());
    let y = b.node(at, "Erf", &[&y], Vec::new());
    let y = b.node(at, "Add", &[&y, &one], Vec::new());
    let y = b.node(at, "Mul", &[&y, x], Vec::new());
    b.node(at, "Mul", &[&y, &half], Vec::new())
}

/// A bidirectional LSTM of some layers: [T, B, in] → [T, B, 2H].
pub(super) fn recurrent(b: &mut Build, at: &str, x: &str) -> Result<String> {
    let mut x = x.to_string();
    for layer in 0..lstm::LAYERS {
        let both = |part: &str| -> Result<[&Tensor; 2]> {
            let name = format!("{at}.{part}_l{layer}");
            Ok([b.tensor(&name)?, b.tensor(&format!("{name}_reverse"))?])
        };
        let w = gates(both("weight_ih")?)?;
        let r = gates(both("weight_hh")?)?;
        let bias = Tensor::cat(&[gates(both("bias_ih")?)?, gates(both("bias_hh")?)?], 1)?;
        let hidden = r.dim(2)? as i64;
        let name = |part: &str| format!("{at}.l{layer}.{part}");
        let (w, r) = (b.values(&name("W"), &w)?, b.values(&name("R"), &r)?);
        let bias = b.values(&name("B"), &bias)?;
        let settings = vec![text("direction", "bidirectional"), int("hidden_size", hidden)];
        let y = b.node(at, "LSTM", &[&x, &w, &r, &bias], settings);
        // [T, 2, B, H]
        let y = b.transpose(at, &y, &[0, 2, 1, 3]);
        x = b.reshape(at, &y, &[0, 0, 2 * hidden]);
    }
    Ok(x)
}

/// Both directions' rows [4H, ..], in ONNX's order of the gates: [2, 4H, ..].
fn gates(directions: [&Tensor; 2]) -> Result<Tensor> {
    let turned = directions.map(|t| {
        let gates = t.chunk(4, 0)?;
        Tensor::cat(&GATES.map(|gate| &gates[gate]), 0)
    });
    let [forward, reverse] = turned;
    Tensor::stack(&[forward?, reverse?], 0)
}

/// [M, in] → [M, 1], with the running statistics and without dropout.
pub(super) fn head(b: &mut Build, at: &str, x: &str) -> Result<String> {
    let y = product(b, &format!("{at}.0"), x)?;
    let norm = format!("{at}.1");
    let mut inputs = vec![y];
    for part in ["weight", "bias", "running_mean", "running_var"] {
        inputs.push(b.weight(&format!("{norm}.{part}"))?);
    }
    let inputs: Vec<&str> = inputs.iter().map(|name| &**name).collect();
    let y = b.node(&norm, "BatchNormalization", &inputs, vec![float("epsilon", head::EPS)]);
    let y = b.node(at, "LeakyRelu", &[&y], vec![float("alpha", head::SLOPE)]);
    product(b, &format!("{at}.4"), &y)
}

/// A linear layer over rows.
fn product(b: &mut Build, at: &str, x: &str) -> Result<String> {
    let (weight, bias) = (b.weight(&format!("{at}.weight"))?, b.weight(&format!("{at}.bias"))?);
    Ok(b.node(at, "Gemm", &[x, &weight, &bias], vec![int("transB", 1)]))
}
