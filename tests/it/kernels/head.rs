//! Tests of a head's kernels.

use super::harness::Arg::{Float, Int, Null, Of};
use super::harness::{Arg, Buffer, Type, compare, compiler, random, report, run};
use super::ops::reference;
use candle_core::{Result, Tensor};
use rsna_tui::net::ops::launch;

const TY: Type = Type::F32;
const MOMENTUM: f64 = 0.1;
const EPS: f64 = 1e-5;
const SLOPE: f64 = 0.1;

/// Maps x, bias, weight, shift [, mask] to the rows after them, with the rows' own statistics.
fn rows(t: &[Tensor], mask: Option<&Tensor>) -> Result<Tensor> {
    let y = t[0].broadcast_add(&t[1])?;
    let centred = y.broadcast_sub(&y.mean_keepdim(0)?)?;
    let std = (centred.sqr()?.mean_keepdim(0)? + EPS)?.sqrt()?;
    let y = centred.broadcast_div(&std)?.broadcast_mul(&t[2])?.broadcast_add(&t[3])?;
    let y = mask.map_or(Ok(y.clone()), |mask| y * mask)?;
    y.gt(0.0)?.where_cond(&y, &(&y * SLOPE)?)
}

/// Checks `n` rows of `c`.
fn check(n: usize, c: usize, masked: bool) {
    let part = |n: usize, seed: u64| TY.round(&random(n, seed));
    let (x, g) = (part(n * c, 1), part(n, 2));
    let [bias, weight, shift, out] = [3, 4, 5, 6].map(|seed| part(c, seed));
    let [running_mean, running_var] = [7, 8].map(|seed| part(c, seed));
    let mask: Vec<f64> =
        random(n * c, 9).iter().map(|x| f64::from(u8::from(*x > 0.0)) * 2.0).collect();
    let factors = Tensor::from_slice(&mask, (n, c), &candle_core::Device::Cpu).unwrap();
    let factors = masked.then_some(&factors);
    let inputs: [(&[f64], &[usize]); 5] =
        [(&x, &[n, c]), (&bias, &[c]), (&weight, &[c]), (&shift, &[c]), (&out, &[c])];
    let (y, _) = reference(&inputs[..4], &vec![0.0; n * c], |t| rows(t, factors));
    let logits = |t: &[Tensor]| rows(t, factors)?.broadcast_mul(&t[4])?.sum(1);
    let (_, exact) = reference(&inputs, &g, logits);

    let of = |x: &[f64]| TY.buffer(x, 0);
    let (dx, dg, dmask) = (of(&x), of(&g), of(&mask));
    let [b, w, s, o] = [&bias, &weight, &shift, &out].map(|v| of(v));
    let [mean, var] = [&running_mean, &running_var].map(|v| of(v));
    let mask = if masked { Of(&dmask) } else { Null };
    let (to, statistics) = (TY.unwritten(n * c), TY.unwritten(4 * c));
    let forward = |statistics: Arg, to: &Buffer| {
        let args = [Of(&dx), Of(&b), Of(&w), Of(&s), mask, Of(&mean), Of(&var), Of(to), statistics];
        let sizes =
            [Int(n), Int(c), Float(MOMENTUM as f32), Float(EPS as f32), Float(SLOPE as f32)];
        run(launch::head("head_forward", c), TY, &[&args[..], &sizes].concat());
        TY.values(to)
    };
    compare("head_forward", &y, &forward(Of(&statistics), &to), 1e-6);
    let moved = TY.values(&statistics);
    let columns = |f: &dyn Fn(&[f64], usize) -> f64| -> Vec<f64> {
        let column = |j: usize| (0..n).map(|i| x[i * c + j] + bias[j]).collect::<Vec<f64>>();
        (0..c).map(|j| f(&column(j), j)).collect()
    };
    let mean_of = |v: &[f64]| v.iter().sum::<f64>() / n as f64;
    let squares = |v: &[f64]| v.iter().map(|x| (x - mean_of(v)).powi(2)).sum::<f64>();
    let expected = [
        columns(&|v, _| mean_of(v)),
        columns(&|v, _| 1.0 / (squares(v) / n as f64 + EPS).sqrt()),
        columns(&|v, j| (1.0 - MOMENTUM) * running_mean[j] + MOMENTUM * mean_of(v)),
        columns(&|v, j| (1.0 - MOMENTUM) * running_var[j] + MOMENTUM * squares(v) / (n - 1) as f64),
    ];
    for (expected, got) in expected.iter().zip(moved.chunks(c)) {
        compare("head_forward, statistics", expected, got, 2e-6);
    }

    // With the rows' statistics as the running ones, the result must be the same.
    let var: Vec<f64> = moved[c..2 * c].iter().map(|s| 1.0 / (s * s) - EPS).collect();
    let again = {
        let (mean, var) = (of(&moved[..c]), of(&var));
        let args = [Of(&dx), Of(&b), Of(&w), Of(&s), mask, Of(&mean), Of(&var), Of(&to), Null];
        let sizes = [Int(n), Int(c), Float(0.0), Float(EPS as f32), Float(SLOPE as f32)];
        run(launch::head("head_forward", c), TY, &[&args[..], &sizes].concat());
        TY.values(&to)
    };
    compare("head_forward, running", &y, &again, 2e-6);

    let grads = TY.unwritten(4 * c);
    let args = [Of(&dx), Of(&b), Of(&w), Of(&s), mask, Of(&statistics), Of(&o), Of(&dg), Of(&to)];
    let sizes = [Of(&grads), Int(n), Int(c), Float(SLOPE as f32)];
    run(launch::head("head_grad", c), TY, &[&args[..], &sizes].concat());
    // With two rows, a norm leaves little more than the sign, so most of the gradient cancels.
    compare("head_grad", &exact[0], &TY.values(&to), if n == 2 { 1e-4 } else { 5e-6 });
    let grads = TY.values(&grads);
    for (exact, got) in exact[2..].iter().zip(grads[c..].chunks(c)) {
        compare("head_grad, weights", exact, got, 2e-6);
    }
    // The norm cancels the bias, so its gradient is only rounding error.
    let scale = exact[0].iter().map(|x| x.abs()).sum::<f64>();
    assert!(grads[..c].iter().all(|g| g.abs() < 1e-6 * scale), "{:?}", &grads[..c]);
}

#[test]
fn head() {
    if !compiler() {
        return;
    }
    for (n, c) in [(2, 1), (3, 32), (33, 19), (70, 40), (105, 64)] {
        check(n, c, n % 2 == 1);
    }
    report("head");
}

/// NaN and infinities pass through as on the CPU: in training, into all rows of a column.
#[test]
fn what_is_not_finite_stays_so() {
    if !compiler() {
        return;
    }
    let (n, c) = (3, 2);
    let ones = TY.buffer(&vec![1.0; n * c], 0);
    for broken in [f64::NAN, f64::INFINITY] {
        let mut x = vec![0.5; n * c];
        x[2] = broken;
        let (x, y, statistics) = (TY.buffer(&x, 0), TY.unwritten(n * c), TY.unwritten(4 * c));
        let one = || Of(&ones);
        let args = [Of(&x), one(), one(), one(), Null, one(), one(), Of(&y), Of(&statistics)];
        let sizes = [Int(n), Int(c), Float(0.1), Float(1e-5), Float(0.1)];
        run(launch::head("head_forward", c), TY, &[&args[..], &sizes].concat());
        let values = TY.values(&y);
        assert!((0..n).all(|row| values[row * c].is_nan() && values[row * c + 1].is_finite()));
    }
}
