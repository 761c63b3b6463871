//! The recurrence's kernels, step by step.

use crate::harness::Arg::{Int, Long, Of};
use crate::harness::{Buffer, Type, compare, compiler, random, report, run};
use crate::ops::reference;
use rsna_tui::net::ops::{launch, lstm_recurrence};

const TY: Type = Type::F32;

fn check(d: usize, steps: usize, rows: usize, hidden: usize) {
    let cells = d * steps * rows;
    let gates = TY.round(&random(cells * 4 * hidden, 1));
    let w = TY.round(&random(d * 4 * hidden * hidden, 2));
    let g = TY.round(&random(cells * hidden, 3));
    let inputs: [(&[f64], &[usize]); 2] =
        [(&gates, &[d, steps, rows, 4 * hidden]), (&w, &[d, 4 * hidden, hidden])];
    let (h, grads) = reference(&inputs, &g, |t| lstm_recurrence(&t[0], &t[1]));

    let [dgates, dw, dg] = [&gates, &w, &g].map(|x| TY.buffer(x, 0));
    let (kept, out) = (TY.unwritten(cells * 6 * hidden), TY.unwritten(cells * hidden));
    let size = [Long(cells), Int(hidden)];
    let args = [&[Of(&dgates), Of(&kept)][..], &size].concat();
    run(launch::lstm_spread(cells, hidden), TY, &args);
    let dims = |s: usize| [Int(d), Int(steps), Int(rows), Int(hidden), Int(s)];
    for s in 0..steps {
        let args = [&[Of(&kept), Of(&dw)][..], &dims(s)].concat();
        run(launch::lstm_step(d, rows, hidden), TY, &args);
    }
    let args = [&[Of(&kept), Of(&out)][..], &size].concat();
    run(launch::lstm_gather(cells, hidden), TY, &args);
    compare("lstm_step", &h, &TY.values(&out), 1e-6);

    let zeros = vec![0f32; d * rows * hidden];
    let (dh, dc) = (Buffer::new(&zeros), Buffer::new(&zeros));
    for s in (0..steps).rev() {
        let args = [&[Of(&kept), Of(&dg), Of(&dh), Of(&dc)][..], &dims(s)].concat();
        run(launch::lstm_grad_cells(d, rows, hidden), TY, &args);
        if s > 0 {
            let args = [&[Of(&kept), Of(&dw), Of(&dh)][..], &dims(s)].concat();
            run(launch::lstm_grad_carry(d, rows, hidden), TY, &args);
        }
    }
    let kept = TY.values(&kept);
    let spent = kept.chunks(6 * hidden).flat_map(|cell| &cell[2 * hidden..]).copied();
    compare("lstm_grad", &grads[0], &spent.collect::<Vec<_>>(), 2e-6);
    // The gradient of w_hh is a product of candle's, of these gates with the h before.
}

#[test]
fn lstm() {
    if !compiler() {
        return;
    }
    for (d, steps, rows, hidden) in
        [(1, 1, 1, 1), (2, 3, 8, 5), (4, 4, 3, 20), (3, 3, 11, 19), (2, 2, 8, 132), (1, 3, 17, 8)]
    {
        check(d, steps, rows, hidden);
    }
    report("lstm");
}

/// NaN and infinities go through the kernel as through the CPU's op.
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
        let [dgates, dw] = [&inputs[0], &inputs[1]].map(|x| TY.buffer(x, 0));
        let (kept, out) = (TY.unwritten(cells * 6 * hidden), TY.unwritten(cells * hidden));
        let size = [Long(cells), Int(hidden)];
        run(
            launch::lstm_spread(cells, hidden),
            TY,
            &[&[Of(&dgates), Of(&kept)][..], &size].concat(),
        );
        for s in 0..steps {
            let dims = [Int(d), Int(steps), Int(rows), Int(hidden), Int(s)];
            let args = [&[Of(&kept), Of(&dw)][..], &dims].concat();
            run(launch::lstm_step(d, rows, hidden), TY, &args);
        }
        run(launch::lstm_gather(cells, hidden), TY, &[&[Of(&kept), Of(&out)][..], &size].concat());
        let finite = |x: &[f64]| x.iter().map(|x| x.is_finite()).collect::<Vec<_>>();
        assert_eq!(finite(&exact), finite(&TY.values(&out)), "{value} at {at} of input {input}");
    }
}
