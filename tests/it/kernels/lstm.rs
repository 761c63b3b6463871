//! Tests of the recurrence's kernels, step by step.

use super::harness::Arg::{Int, Null, Of};
use super::harness::{Buffer, Type, compare, compiler, random, report, run};
use super::ops::reference;
use rsna_tui::net::graph::lstm_recurrence;
use rsna_tui::net::ops::launch;

const TY: Type = Type::F32;

/// Puts gates [.., 4H] into cells [.., 6H], whose states are not written yet.
fn spread(gates: &[f64], hidden: usize) -> Buffer {
    let cell = |gates: &[f64]| [&vec![f64::NAN; 2 * hidden], gates].concat();
    TY.buffer(&gates.chunks(4 * hidden).flat_map(cell).collect::<Vec<_>>(), 0)
}

/// Returns h of cells [.., 6H].
fn gather(kept: &Buffer, hidden: usize) -> Vec<f64> {
    TY.values(kept).chunks(6 * hidden).flat_map(|cell| cell[..hidden].to_vec()).collect()
}

/// Checks the passes; if `biased`, the kernel adds a bias.
fn check([d, steps, rows, hidden]: [usize; 4], biased: bool) {
    let cells = d * steps * rows;
    let gates = TY.round(&random(cells * 4 * hidden, 1));
    let w = TY.round(&random(d * 4 * hidden * hidden, 2));
    let g = TY.round(&random(cells * hidden, 3));
    let inputs: [(&[f64], &[usize]); 2] =
        [(&gates, &[d, steps, rows, 4 * hidden]), (&w, &[d, 4 * hidden, hidden])];
    let (h, grads) = reference(&inputs, &g, |t| lstm_recurrence(&t[0], &t[1]));

    // Subtract the bias that the kernel adds from the products. Fractions of 1/64 avoid rounding.
    let part = |i: usize| ((i * 7 % 13) as f64 - 6.0) / 64.0 * f64::from(u8::from(biased));
    let bias: Vec<f64> = (0..d * 4 * hidden).map(part).collect();
    let width = 4 * hidden;
    let less = |(i, x): (usize, &f64)| x - bias[i / (width * steps * rows) * width + i % width];
    let products: Vec<f64> = gates.iter().enumerate().map(less).collect();
    let [dw, dg, dbias] = [&w, &g, &bias].map(|x| TY.buffer(x, 0));
    let bias = if biased { Of(&dbias) } else { Null };
    let kept = spread(&products, hidden);
    let dims = |s: usize| [Int(d), Int(steps), Int(rows), Int(hidden), Int(s)];
    for s in 0..steps {
        let args = [&[Of(&kept), Of(&dw), bias][..], &dims(s)].concat();
        run(launch::lstm_step(d, rows, hidden), TY, &args);
    }
    compare("lstm_step", &h, &gather(&kept, hidden), 1e-6);

    let dc = TY.unwritten(d * rows * hidden);
    for s in (0..steps).rev() {
        let args = [&[Of(&kept), Of(&dw), Of(&dg), Of(&dc)][..], &dims(s)].concat();
        run(launch::lstm_step_grad(d, rows, hidden), TY, &args);
    }
    let kept = TY.values(&kept);
    let spent = kept.chunks(6 * hidden).flat_map(|cell| &cell[2 * hidden..]).copied();
    compare("lstm_grad", &grads[0], &spent.collect::<Vec<_>>(), 2e-6);
    // The gradient of w_hh is a candle product of these gates with the previous h.
}

#[test]
fn lstm() {
    if !compiler() {
        return;
    }
    for (d, steps, rows, hidden) in
        [(1, 1, 1, 1), (2, 3, 8, 5), (4, 4, 3, 20), (3, 3, 11, 19), (2, 2, 8, 132), (1, 3, 17, 8)]
    {
        check([d, steps, rows, hidden], hidden % 2 == 0);
    }
    report("lstm");
}

/// NaN and infinities pass through the kernel as through the CPU's op.
#[test]
fn what_is_not_finite_stays_so() {
    if !compiler() {
        return;
    }
    let (d, steps, rows, hidden) = (2, 3, 2, 5);
    let cells = d * steps * rows;
    let gates = random(cells * 4 * hidden, 1);
    let w = random(d * 4 * hidden * hidden, 2);
    let bad = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    let places = [(0, 7), (0, gates.len() - 1), (1, 3), (1, w.len() - 1)];
    for (value, (input, at)) in bad.into_iter().flat_map(|v| places.map(|place| (v, place))) {
        let mut inputs = [gates.clone(), w.clone()];
        inputs[input][at] = value;
        let shapes: [&[usize]; 2] = [&[d, steps, rows, 4 * hidden], &[d, 4 * hidden, hidden]];
        let g = vec![1.0; cells * hidden];
        let named = [(&inputs[0][..], shapes[0]), (&inputs[1][..], shapes[1])];
        let (exact, _) = reference(&named, &g, |t| lstm_recurrence(&t[0], &t[1]));
        let (kept, dw) = (spread(&inputs[0], hidden), TY.buffer(&inputs[1], 0));
        for s in 0..steps {
            let dims = [Int(d), Int(steps), Int(rows), Int(hidden), Int(s)];
            let args = [&[Of(&kept), Of(&dw), Null][..], &dims].concat();
            run(launch::lstm_step(d, rows, hidden), TY, &args);
        }
        let finite = |x: &[f64]| x.iter().map(|x| x.is_finite()).collect::<Vec<_>>();
        assert_eq!(
            finite(&exact),
            finite(&gather(&kept, hidden)),
            "{value} at {at} of input {input}"
        );
    }
}

#[test]
fn weights_one_behind_the_other() {
    if !compiler() {
        return;
    }
    for hidden in [1, 6, 8] {
        let floats = |n: usize, seed: usize| -> Vec<f32> {
            random(n, seed as u64).iter().map(|&x| x as f32).collect()
        };
        let w: Vec<_> = (0..4).map(|i| floats(4 * hidden * hidden, i)).collect();
        let b: Vec<_> = (0..8).map(|i| floats(4 * hidden, 4 + i)).collect();
        let given: Vec<_> = w.iter().chain(&b).map(|x| Buffer::new(x)).collect();
        let out = [TY.unwritten(16 * hidden * hidden), TY.unwritten(16 * hidden)];
        let mut args: Vec<_> = given.iter().chain(&out).map(Of).collect();
        args.push(Int(hidden));
        run(launch::lstm_weights(hidden), TY, &args);
        assert_eq!(out[0].to::<f32>(), w.concat());
        let pairs = b[..4].concat().into_iter().zip(b[4..].concat());
        assert_eq!(out[1].to::<f32>(), pairs.map(|(a, b)| a + b).collect::<Vec<_>>());
    }
}
