//! Checks that NaN and infinities pass through every op as through plain arithmetic, never becoming
//! finite.

use crate::net::graph::*;
use candle_core::{D, DType, Device, Tensor, Var};
use rand::Rng;

const VALUES: [f64; 3] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];

fn random(shape: &[usize], seed: u64) -> Tensor {
    let mut rng = crate::rng::Key::new(seed, crate::rng::Purpose::Init).rng();
    let values: Vec<f64> =
        (0..shape.iter().product()).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn finite(t: &Tensor) -> Vec<bool> {
    let values = t.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap();
    values.into_iter().map(f64::is_finite).collect()
}

/// Returns which values of the result and of each gradient are finite.
fn masks(
    inputs: &[Tensor],
    dtype: DType,
    f: &dyn Fn(&[Tensor]) -> Result<Tensor>,
) -> (Vec<bool>, Vec<Vec<bool>>) {
    let vars: Vec<Var> =
        inputs.iter().map(|t| Var::from_tensor(&t.to_dtype(dtype).unwrap()).unwrap()).collect();
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let out = f(&tensors).unwrap();
    let grads = out.sum_all().unwrap().backward().unwrap();
    (finite(&out), vars.iter().map(|v| finite(grads.get(v).unwrap())).collect())
}

/// Puts a non-finite value in each input in turn. Where plain arithmetic in f64 gives a non-finite
/// value, `op` in f32 must too; and a gradient must have one if plain arithmetic's has.
fn check(
    name: &str,
    inputs: &[Tensor],
    op: impl Fn(&[Tensor]) -> Result<Tensor>,
    plain: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let hidden = |exact: &[bool], own: &[bool]| exact.iter().zip(own).any(|(&e, &o)| o && !e);
    for (i, input) in inputs.iter().enumerate() {
        let n = input.elem_count();
        for (at, value) in [0, n / 2, n - 1].into_iter().flat_map(|at| VALUES.map(|v| (at, v))) {
            let mut values = input.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            values[at] = value;
            let mut all = inputs.to_vec();
            all[i] = Tensor::from_vec(values, input.shape(), &Device::Cpu).unwrap();
            let (exact, exact_grads) = masks(&all, DType::F64, &plain);
            let (own, own_grads) = masks(&all, DType::F32, &op);
            let what = format!("{name}: {value} at {at} of input {i}");
            assert!(!hidden(&exact, &own), "{what}");
            for (k, (exact, own)) in exact_grads.iter().zip(&own_grads).enumerate() {
                // Compare whole gradients: after an initial state of 0 some values are 0 anyway.
                let lost = exact.contains(&false) && !own.contains(&false);
                assert!(!lost, "{what}, gradient of input {k}");
            }
            if value.is_nan() {
                assert!(own.contains(&false), "{what}: it is lost");
            }
        }
    }
}

#[test]
fn element_wise() {
    for c in [19, 48] {
        let rows = random(&[5, c], 1);
        let (b, g) = (random(&[c], 2), random(&[c], 3));
        let inputs = [rows.clone(), b.clone()];
        check(
            "bias_gelu",
            &inputs,
            |t| bias_gelu(&t[0], &t[1]),
            |t| {
                let v = t[0].broadcast_add(&t[1])?;
                let p = ((&v * std::f64::consts::FRAC_1_SQRT_2)?.erf()? + 1.0)?;
                (v * p)? * 0.5
            },
        );
        check("add_bias", &inputs, |t| add_bias(&t[0], &t[1]), |t| t[0].broadcast_add(&t[1]));
        let inputs = [rows.clone(), b.clone(), g.clone(), random(&[5, c], 4)];
        check(
            "scale_residual",
            &inputs,
            |t| scale_residual(&t[0], &t[1], &t[2], &t[3]),
            |t| t[0].broadcast_add(&t[1])?.broadcast_mul(&t[2])? + &t[3],
        );
        let inputs = [rows, g, b];
        check(
            "layer_norm",
            &inputs,
            |t| layer_norm(&t[0], &t[1], &t[2]),
            |t| {
                let centred = t[0].broadcast_sub(&t[0].mean_keepdim(D::Minus1)?)?;
                let var = centred.sqr()?.mean_keepdim(D::Minus1)?;
                let y = centred.broadcast_div(&(var + 1e-6)?.sqrt()?)?;
                y.broadcast_mul(&t[1])?.broadcast_add(&t[2])
            },
        );
    }
}

#[test]
fn products() {
    let inputs = [random(&[5, 19], 1), random(&[7, 19], 2), random(&[7], 3)];
    let plain = |t: &[Tensor]| t[0].matmul(&t[1].t()?)?.broadcast_add(&t[2]);
    check("linear", &inputs, |t| linear(&t[0], &t[1], &t[2]), plain);
    let map = [random(&[1, 4, 6, 3], 1)];
    check("windows", &map, |t| windows(&t[0]), |t| windows(&t[0]));
    let (h, w, c) = (5, 7, 19);
    let inputs = [random(&[2, h, w, c], 1), random(&[49, c], 2), random(&[c], 3)];
    check(
        "depthwise7",
        &inputs,
        |t| depthwise7(&t[0], &t[1], &t[2]),
        |t| {
            let x = t[0].pad_with_zeros(1, 3, 3)?.pad_with_zeros(2, 3, 3)?;
            let mut sum = t[0].zeros_like()?.broadcast_add(&t[2])?;
            for (k, weight) in (0..49).map(|k| (k, t[1].get(k))) {
                let moved = x.narrow(1, k / 7, h)?.narrow(2, k % 7, w)?;
                sum = (sum + moved.broadcast_mul(&weight?)?)?;
            }
            Ok(sum)
        },
    );
}

#[test]
fn recurrence() {
    let (t, b, n) = (3, 2, 5);
    let inputs = [random(&[2, t, b, 4 * n], 1), random(&[2, 4 * n, n], 2)];
    // A form whose gradient at infinity is 0, as sigmoid's is.
    let sigmoid = |x: Tensor| ((x * 0.5)?.tanh()? + 1.0)? * 0.5;
    check(
        "lstm_recurrence",
        &inputs,
        |t| lstm_recurrence(&t[0], &t[1]),
        |i| {
            let direction = |d: usize| -> Result<Tensor> {
                let (x, w) = (i[0].get(d)?, i[1].get(d)?);
                let mut steps = vec![None; t];
                let mut state: Option<(Tensor, Tensor)> = None;
                for s in 0..t {
                    let at = if d.is_multiple_of(2) { s } else { t - 1 - s };
                    let mut gates = x.get(at)?;
                    // The state before the first step is 0, whatever the weights.
                    if let Some((h, _)) = &state {
                        gates = (gates + h.matmul(&w.t()?)?)?;
                    }
                    let gate = |k: usize| gates.narrow(1, k * n, n);
                    let forget = sigmoid(gate(1)?)?;
                    let before = match &state {
                        Some((_, c)) => c.clone(),
                        None => forget.zeros_like()?,
                    };
                    let new = (sigmoid(gate(0)?)? * gate(2)?.tanh()?)?;
                    let cell = (new + (forget * before)?)?;
                    let h = (sigmoid(gate(3)?)? * cell.tanh()?)?;
                    steps[at] = Some(h.clone());
                    state = Some((h, cell));
                }
                Tensor::stack(&steps.into_iter().flatten().collect::<Vec<_>>(), 0)
            };
            Tensor::stack(&[direction(0)?, direction(1)?], 0)
        },
    );
}
