//! Checks each op's result and gradients on a device against the CPU in f64, with sizes from the network
//! and sizes that do not fit vectors.

use super::{Worst, apart, values};
use crate::{
    net::{graph, head::Head, parameters::Builder},
    rng::{Key, Purpose},
};
use candle_core::{DType, Device, Result, Tensor, Var};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// An op to check.
pub struct Op {
    /// Name of the op.
    pub name: &'static str,
    /// Whether each input is an activation, in the type computed in; the others are f32 weights.
    pub activations: &'static [bool],
    /// Shapes to check.
    pub cases: Vec<Case>,
    /// The op: inputs → result.
    pub run: fn(&[Tensor]) -> Result<Tensor>,
}

/// Shapes of an op's inputs and result.
pub struct Case {
    /// Shape of each input.
    pub inputs: Vec<Vec<usize>>,
    /// Shape of the result.
    pub result: Vec<usize>,
}

fn case(inputs: &[&[usize]], result: &[usize]) -> Case {
    Case { inputs: inputs.iter().map(|shape| shape.to_vec()).collect(), result: result.to_vec() }
}

/// Cases of rows of `c` values with `vectors` weights [c] and `more` inputs shaped like the rows.
fn rows<const N: usize>(sizes: [(usize, usize); N], vectors: usize, more: usize) -> Vec<Case> {
    let of = |(n, c): (usize, usize)| {
        let rows = vec![n, c];
        let weights = std::iter::repeat_n(vec![c], vectors);
        let inputs = std::iter::once(rows.clone()).chain(weights);
        let more = std::iter::repeat_n(rows.clone(), more);
        Case { inputs: inputs.chain(more).collect(), result: rows }
    };
    sizes.map(of).into()
}

/// Every op of [`graph`] with a gradient.
pub fn all() -> Vec<Op> {
    const ONE_OF_TWO: &[bool] = &[true, false];
    const ONE_OF_THREE: &[bool] = &[true, false, false];
    let op = |name, activations, cases, run| Op { name, activations, cases, run };
    let images = [(2, 56, 56, 80), (3, 7, 7, 640), (2, 14, 14, 320), (1, 9, 5, 19)];
    let depthwise = |(n, h, w, c)| case(&[&[n, h, w, c], &[49, c], &[c]], &[n, h, w, c]);
    let linear = |(m, k, n)| case(&[&[m, k], &[n, k], &[n]], &[m, n]);
    let product = |(m, k, n)| case(&[&[m, k], &[n, k]], &[m, n]);
    let lstm = |(t, b, h)| case(&[&[4, t, b, 4 * h], &[4, 4 * h, h]], &[4, t, b, h]);
    let windows = |(n, h, w, c)| case(&[&[n, h, w, c]], &[n * h * w / 4, 9 * c]);
    vec![
        op("depthwise 7x7", ONE_OF_THREE, images.map(depthwise).into(), |x| {
            graph::depthwise7(&x[0], &x[1], &x[2])
        }),
        op("layer norm", ONE_OF_THREE, rows([(6272, 80), (98, 640), (33, 19)], 2, 0), |x| {
            graph::layer_norm(&x[0], &x[1], &x[2])
        }),
        op("bias and GELU", ONE_OF_TWO, rows([(6272, 320), (33, 19)], 1, 0), |x| {
            graph::bias_gelu(&x[0], &x[1])
        }),
        op("bias", ONE_OF_TWO, rows([(6272, 320), (33, 19)], 1, 0), |x| {
            graph::add_bias(&x[0], &x[1])
        }),
        op(
            "layer scale and residual",
            &[true, false, false, false],
            rows([(6272, 80), (33, 19)], 2, 1),
            // Blocks add to f32 values.
            |x| graph::scale_residual(&x[0], &x[1], &x[2], &x[3])?.to_dtype(x[0].dtype()),
        ),
        op("product", ONE_OF_TWO, [(300, 80, 320), (98, 2560, 640)].map(product).into(), |x| {
            graph::multiply(&x[0], &x[1])
        }),
        op("linear layer", ONE_OF_THREE, [(105, 640, 1024), (33, 19, 7)].map(linear).into(), |x| {
            graph::linear(&x[0], &x[1], &x[2])
        }),
        op("windows 3x3", &[true], [(2, 64, 64, 6), (1, 6, 10, 5)].map(windows).into(), |x| {
            graph::windows(&x[0])
        }),
        op("LSTM", &[false, false], [(15, 8, 256), (5, 3, 19)].map(lstm).into(), |x| {
            graph::lstm_recurrence(&(&x[0] * 0.5)?, &(&x[1] * 0.1)?)
        }),
    ]
}

/// Largest error explained by rounding in `dtype`.
pub fn allowed(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 4e-3,
        DType::BF16 => 3e-2,
        _ => 2e-5,
    }
}

fn generator(seed: u64) -> ChaCha8Rng {
    Key::new(seed, Purpose::Init).rng()
}

/// Draws values in −1..1, f64 on the CPU.
pub(super) fn random(rng: &mut ChaCha8Rng, shape: &[usize]) -> Result<Tensor> {
    let n = shape.iter().product();
    let values: Vec<f64> = (0..n).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

impl Op {
    /// Whether the op is checked in `dtype`: without activations only in f32.
    pub fn takes(&self, dtype: DType) -> bool {
        dtype == DType::F32 || self.activations.contains(&true)
    }

    /// Returns the result, and the gradients of Σ result·r with respect to all inputs.
    fn results(&self, inputs: &[Tensor], r: &Tensor) -> Result<Vec<Vec<f64>>> {
        let inputs = inputs.iter().map(Var::from_tensor).collect::<Result<Vec<_>>>()?;
        let tensors: Vec<Tensor> = inputs.iter().map(|v| v.as_tensor().clone()).collect();
        let result = (self.run)(&tensors)?;
        let grads = (&result * r)?.sum_all()?.backward()?;
        let mut all = vec![values(&result)?];
        for input in &inputs {
            match grads.get(input) {
                Some(grad) => all.push(values(grad)?),
                None => candle_core::bail!("{} has no gradient", self.name),
            }
        }
        Ok(all)
    }

    /// Compares `device` in `dtype` with the CPU in f64, from the same rounded inputs.
    pub fn compare(&self, device: &Device, dtype: DType, seed: u64) -> eyre::Result<Worst> {
        let mut rng = generator(seed);
        let mut worst = Worst::default();
        for case in &self.cases {
            let mut rounded = Vec::new();
            for (shape, &narrow) in case.inputs.iter().zip(self.activations) {
                let dtype = if narrow { dtype } else { DType::F32 };
                rounded.push(random(&mut rng, shape)?.to_dtype(dtype)?);
            }
            let r = random(&mut rng, &case.result)?.to_dtype(dtype)?;
            let wide = |t: &Tensor| t.to_dtype(DType::F64);
            let there = |t: &Tensor| t.to_device(device);
            let inputs = rounded.iter().map(wide).collect::<Result<Vec<_>>>()?;
            let expected = self.results(&inputs, &wide(&r)?)?;
            let inputs = rounded.iter().map(there).collect::<Result<Vec<_>>>()?;
            let got = self.results(&inputs, &there(&r)?)?;
            for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
                worst.add(apart(got, expected), || {
                    let sides: Vec<String> = case.inputs[0].iter().map(usize::to_string).collect();
                    let shape = sides.join(" x ");
                    match i {
                        0 => format!("result, first input {shape}"),
                        i => format!("gradient of input {i}, first input {shape}"),
                    }
                });
            }
        }
        Ok(worst)
    }
}

/// Puts NaN and an infinity in each input in turn. Counts results in f32 that are finite where the CPU's
/// in f64 are not, and gradients that lost all their non-finite values.
pub fn not_finite(ops: &[Op], device: &Device, seed: u64) -> eyre::Result<Worst> {
    let mut rng = generator(seed);
    let mut worst = Worst::default();
    for op in ops {
        let Some(case) = op.cases.last() else { continue };
        let inputs: Vec<Tensor> =
            case.inputs.iter().map(|shape| random(&mut rng, shape)).collect::<Result<_>>()?;
        for i in 0..inputs.len() {
            for value in [f64::NAN, f64::INFINITY] {
                let mut spoilt = inputs.clone();
                let mut of_input = values(&inputs[i])?;
                let middle = of_input.len() / 2;
                of_input[middle] = value;
                spoilt[i] = Tensor::from_vec(of_input, inputs[i].shape(), &Device::Cpu)?;
                let ones = |dtype, device| Tensor::ones(&case.result[..], dtype, device);
                let expected = op.results(&spoilt, &ones(DType::F64, &Device::Cpu)?)?;
                let there = |t: &Tensor| t.to_dtype(DType::F32)?.to_device(device);
                let spoilt = spoilt.iter().map(there).collect::<Result<Vec<_>>>()?;
                let got = op.results(&spoilt, &ones(DType::F32, device)?)?;
                let lost = lost(&got, &expected);
                worst.add(lost as f64, || format!("{}, {value} in input {}", op.name, i + 1));
            }
        }
    }
    Ok(worst)
}

fn lost(got: &[Vec<f64>], expected: &[Vec<f64>]) -> usize {
    let hidden = got[0].iter().zip(&expected[0]).filter(|(g, e)| g.is_finite() && !e.is_finite());
    let is_finite = |values: &[f64]| values.iter().all(|v| v.is_finite());
    let gradients = got[1..].iter().zip(&expected[1..]);
    hidden.count() + gradients.filter(|(g, e)| is_finite(g) && !is_finite(e)).count()
}

/// Compares a head's training pass on `device` with the CPU in f64: logits and gradients.
pub fn head(device: &Device, seed: u64) -> eyre::Result<Worst> {
    /// Index of the gradient of the bias before BatchNorm, which is 0 up to rounding: BatchNorm cancels
    /// the bias.
    const NOTHING: usize = 3;
    let mut rng = generator(seed);
    let mut worst = Worst::default();
    for (rows, input, hidden) in [(840, 512, 256), (33, 19, 7)] {
        let x = random(&mut rng, &[rows, input])?.to_dtype(DType::F32)?;
        let mask = (random(&mut rng, &[rows, hidden])?.gt(0.0)?.to_dtype(DType::F32)? * 2.0)?;
        let g: Vec<f32> = random(&mut rng, &[rows])?.to_dtype(DType::F32)?.to_vec1()?;
        let of = |dtype: DType, device: &Device| -> Result<Vec<Vec<f64>>> {
            let there = |t: &Tensor| t.to_dtype(dtype)?.to_device(device);
            let head = Head::new(&mut Builder::new(seed, 0, dtype, device), "head", input, hidden)?;
            let (logits, tape) = head.train(&there(&x)?, Some(there(&mask)?))?;
            let (dx, of_weights) = tape.backward(&g)?;
            [logits, dx].iter().chain(&of_weights).map(values).collect()
        };
        let (got, expected) = (of(DType::F32, device)?, of(DType::F64, &Device::Cpu)?);
        let each = got.iter().zip(&expected).enumerate().filter(|(i, _)| *i != NOTHING);
        for (i, (got, expected)) in each {
            worst.add(apart(got, expected), || match i {
                0 => format!("logits, {rows} rows"),
                1 => format!("gradient of the input, {rows} rows"),
                i => format!("gradient of weight {}, {rows} rows", i - 1),
            });
        }
    }
    Ok(worst)
}

/// Counts values of [`graph::pixels`] in `dtype` that are not bit-identical with the CPU's.
pub fn pixels(device: &Device, dtype: DType, seed: u64) -> eyre::Result<Worst> {
    const BYTES: usize = 100_003;
    let mut rng = generator(seed);
    let mut bytes = || (0..BYTES).map(|_| rng.random()).collect::<Vec<u8>>();
    let (own, partner) = (bytes(), bytes());
    let mut worst = Worst::default();
    for shares in [None, Some([0.3f32, 0.7])] {
        let on = |device: &Device| {
            let own = Tensor::from_slice(&own, BYTES, device)?;
            let partner = Tensor::from_slice(&partner, BYTES, device)?;
            values(&graph::pixels(&own, shares.map(|s| (&partner, s)), dtype)?)
        };
        let differ = on(device)?.iter().zip(on(&Device::Cpu)?).filter(|(a, b)| **a != *b).count();
        worst.add(differ as f64, || format!("shares {shares:?}"));
    }
    Ok(worst)
}
