//! Parts of the network as ONNX nodes. Maps are [N, C, H, W], the layout of ONNX's convolutions.

use super::build::{Build, float, int, ints, text};
use crate::net::{
    description::{Affine, Block, Direction, EPS, Encoder, Head, Lstm, Weight},
    head, ops,
};
use candle_core::{Device, Result, Tensor, bail};

/// PyTorch's gates in ONNX's order: PyTorch has i, f, g, o; ONNX has i, o, f, c, where c is PyTorch's g.
const GATES: [usize; 4] = [0, 3, 1, 2];

/// Maps images [N, C, H, W] to features [N, F].
pub(super) fn encoder(b: &mut Build, of: &Encoder<Weight>, images: &str) -> Result<String> {
    let mut x = match &of.second {
        None => convolution(b, &of.stem, images, (4, 0))?,
        Some(second) => {
            let x = convolution(b, &of.stem, images, (2, 1))?;
            convolution(b, second, &x, (2, 1))?
        }
    };
    x = norm_map(b, &of.stem_norm, &x)?;
    for stage in &of.stages {
        if let Some((norm, product)) = &stage.downsample {
            x = norm_map(b, norm, &x)?;
            x = convolution(b, product, &x, (2, 0))?;
        }
        for of in &stage.blocks {
            x = block(b, of, &x)?;
        }
    }
    let at = "encoder.head";
    let pooled = b.node(at, "GlobalAveragePool", &[&x], Vec::new());
    let flat = b.node(at, "Flatten", &[&pooled], vec![int("axis", 1)]);
    norm(b, &of.head_norm, &flat)
}

/// A ConvNeXt block; transposes to channels last for its norm and products.
fn block(b: &mut Build, of: &Block<Weight>, x: &str) -> Result<String> {
    let at = of.gamma.module();
    let y = convolution(b, &of.depthwise, x, (1, 3))?;
    let y = b.transpose(at, &y, &[0, 2, 3, 1]);
    let y = norm(b, &of.norm, &y)?;
    let y = linear(b, &of.fc1, &y)?;
    let y = gelu(b, &format!("{at}.mlp.act"), &y)?;
    let y = linear(b, &of.fc2, &y)?;
    let gamma = b.weight(&of.gamma.name)?;
    let y = b.node(at, "Mul", &[&y, &gamma], Vec::new());
    let y = b.transpose(at, &y, &[0, 3, 1, 2]);
    Ok(b.node(at, "Add", &[&y, x], Vec::new()))
}

/// A convolution with this stride and zero padding; depthwise if the weight has one input channel.
fn convolution(
    b: &mut Build,
    of: &Affine<Weight>,
    x: &str,
    (stride, padding): (i64, i64),
) -> Result<String> {
    let &[out, inputs, h, w] = &of.weight.shape[..] else {
        bail!("{} has the shape {:?}, which no convolution has", of.weight.name, of.weight.shape)
    };
    let groups = if inputs == 1 { out } else { 1 };
    let (weight, bias) = (b.weight(&of.weight.name)?, b.weight(&of.bias.name)?);
    let settings = vec![
        ints("kernel_shape", &[h as i64, w as i64]),
        ints("strides", &[stride; 2]),
        ints("pads", &[padding; 4]),
        int("group", groups as i64),
    ];
    Ok(b.node(of.weight.module(), "Conv", &[x, &weight, &bias], settings))
}

/// LayerNorm over the last dimension.
fn norm(b: &mut Build, of: &Affine<Weight>, x: &str) -> Result<String> {
    let (weight, bias) = (b.weight(&of.weight.name)?, b.weight(&of.bias.name)?);
    let settings = vec![int("axis", -1), float("epsilon", EPS)];
    Ok(b.node(of.weight.module(), "LayerNormalization", &[x, &weight, &bias], settings))
}

/// LayerNorm over the channels of a map.
fn norm_map(b: &mut Build, of: &Affine<Weight>, x: &str) -> Result<String> {
    let at = of.weight.module();
    let y = b.transpose(at, x, &[0, 2, 3, 1]);
    let y = norm(b, of, &y)?;
    Ok(b.transpose(at, &y, &[0, 3, 1, 2]))
}

/// A linear layer over the last dimension, with weight [out, in] or [out, in, 1, 1], and bias.
fn linear(b: &mut Build, of: &Affine<Weight>, x: &str) -> Result<String> {
    let at = of.weight.module();
    let mut weight = b.weight(&of.weight.name)?;
    if let [out, inputs, 1, 1] = of.weight.shape[..] {
        weight = b.reshape(at, &weight, &[out as i64, inputs as i64])?;
    }
    let turned = b.transpose(at, &weight, &[1, 0]);
    let y = b.node(at, "MatMul", &[x, &turned], Vec::new());
    let bias = b.weight(&of.bias.name)?;
    Ok(b.node(at, "Add", &[&y, &bias], Vec::new()))
}

/// GELU as x · (1 + erf(x / √2)) / 2: ONNX has no GELU before opset 20.
fn gelu(b: &mut Build, at: &str, x: &str) -> Result<String> {
    let mut number = |name, value: f32| b.values(name, &Tensor::new(value, &Device::Cpu)?);
    let (half, one) = (number("0.5", 0.5)?, number("1", 1.0)?);
    let root = number("√0.5", std::f32::consts::FRAC_1_SQRT_2)?;
    let y = b.node(at, "Mul", &[x, &root], Vec::new());
    let y = b.node(at, "Erf", &[&y], Vec::new());
    let y = b.node(at, "Add", &[&y, &one], Vec::new());
    let y = b.node(at, "Mul", &[&y, x], Vec::new());
    Ok(b.node(at, "Mul", &[&y, &half], Vec::new()))
}

/// A bidirectional LSTM named `at`: [T, B, in] → [T, B, 2H].
pub(super) fn recurrent(b: &mut Build, at: &str, of: &Lstm<Weight>, x: &str) -> Result<String> {
    let mut x = x.to_string();
    for (layer, directions) in of.layers.iter().enumerate() {
        let both = |part: fn(&Direction<Weight>) -> &Weight| -> Result<[&Tensor; 2]> {
            let [forward, reverse] = directions;
            Ok([b.tensor(&part(forward).name)?, b.tensor(&part(reverse).name)?])
        };
        let w = gates(both(|d| &d.w_ih)?)?;
        let r = gates(both(|d| &d.w_hh)?)?;
        let bias = Tensor::cat(&[gates(both(|d| &d.b_ih)?)?, gates(both(|d| &d.b_hh)?)?], 1)?;
        let hidden = r.dim(2)? as i64;
        let name = |part: &str| format!("{at}.l{layer}.{part}");
        let (w, r) = (b.values(&name("W"), &w)?, b.values(&name("R"), &r)?);
        let bias = b.values(&name("B"), &bias)?;
        let settings = vec![text("direction", "bidirectional"), int("hidden_size", hidden)];
        let y = b.node(at, "LSTM", &[&x, &w, &r, &bias], settings);
        // [T, 2, B, H]
        let y = b.transpose(at, &y, &[0, 2, 1, 3]);
        x = b.reshape(at, &y, &[0, 0, 2 * hidden])?;
    }
    Ok(x)
}

/// Reorders both directions' gates to ONNX's order: rows [4H, ..] → [2, 4H, ..].
fn gates(directions: [&Tensor; 2]) -> Result<Tensor> {
    let [forward, reverse] = directions.map(|t| {
        let gates = t.chunk(4, 0)?;
        Tensor::cat(&GATES.map(|gate| &gates[gate]), 0)
    });
    Tensor::stack(&[forward?, reverse?], 0)
}

/// A head: [M, in] → [M, 1], with the running statistics and without dropout. `at`: its name.
pub(super) fn head(b: &mut Build, at: &str, of: &Head<Weight>, x: &str) -> Result<String> {
    let y = product(b, &of.hidden, x)?;
    let norm = of.norm.weight.module();
    let statistics = [head::MEAN, head::VARIANCE].map(|part| format!("{norm}.{part}"));
    let mut inputs = vec![y];
    for name in [&of.norm.weight.name, &of.norm.bias.name, &statistics[0], &statistics[1]] {
        inputs.push(b.weight(name)?);
    }
    let inputs: Vec<&str> = inputs.iter().map(|name| &**name).collect();
    let y = b.node(norm, "BatchNormalization", &inputs, vec![float("epsilon", ops::head::EPS)]);
    let y = b.node(at, "LeakyRelu", &[&y], vec![float("alpha", ops::head::SLOPE)]);
    product(b, &of.out, &y)
}

/// A linear layer over rows.
fn product(b: &mut Build, of: &Affine<Weight>, x: &str) -> Result<String> {
    let (weight, bias) = (b.weight(&of.weight.name)?, b.weight(&of.bias.name)?);
    Ok(b.node(of.weight.module(), "Gemm", &[x, &weight, &bias], vec![int("transB", 1)]))
}
