//! Tests of the encoder's kernels.

use super::harness::Arg::{Float, Int, Long, Null, Of};
use super::harness::{Arg, Buffer, Type, compare, compiler, random, report, run};
use candle_core::{Device, Result, Tensor, Var};
use rsna_tui::net::graph;
use rsna_tui::net::ops::launch::{self, Launch};

/// Runs `f` on f64 inputs on the CPU; returns its result and the gradients of Σ result · g.
pub fn reference(
    inputs: &[(&[f64], &[usize])],
    g: &[f64],
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> (Vec<f64>, Vec<Vec<f64>>) {
    let var = |(x, shape): &(&[f64], &[usize])| Var::from_slice(x, *shape, &Device::Cpu).unwrap();
    let vars: Vec<Var> = inputs.iter().map(var).collect();
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let out = f(&tensors).unwrap();
    let g = Tensor::from_slice(g, out.dims(), &Device::Cpu).unwrap();
    let grads = (&out * g).unwrap().sum_all().unwrap().backward().unwrap();
    let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    (values(&out), vars.iter().map(|v| values(grads.get(v).unwrap())).collect())
}

/// Sums `parts` parts of `n` values with the `sum_parts` kernel.
fn sum_parts(partial: &Buffer, parts: usize, n: usize) -> Vec<f64> {
    let out = Buffer::unwritten::<f32>(n);
    let args = |add| [Of(partial), Of(&out), Int(parts), Long(n), Int(add)];
    run(launch::sum_parts(n), Type::F32, &args(0));
    let once = Type::F32.values(&out);
    // Run again, adding to the sums.
    run(launch::sum_parts(n), Type::F32, &args(1));
    let twice: Vec<f64> = once.iter().map(|x| 2.0 * x).collect();
    assert_eq!(Type::F32.values(&out), twice);
    once
}

/// Sums the partial sums and compares them with the gradients in order. They are float sums for every
/// element type.
fn compare_parts(name: &str, exact: &[&[f64]], partial: &Buffer, parts: usize) {
    let exact = exact.concat();
    compare(name, &exact, &sum_parts(partial, parts, exact.len()), 1e-5);
}

fn parameters(n: usize, seed: u64) -> (Vec<f64>, Buffer) {
    let x = Type::F32.round(&random(n, seed));
    let buffer = Type::F32.buffer(&x, 0);
    (x, buffer)
}

/// Draws elements in the type's precision, aligned or `shift` elements off their alignment.
fn elements(ty: Type, n: usize, seed: u64, shift: usize) -> (Vec<f64>, Buffer) {
    let x = ty.round(&random(n, seed));
    let buffer = ty.buffer(&x, shift);
    (x, buffer)
}

/// Runs a grid-stride kernel as launched and in a single block, where threads go on to further elements.
/// Returns the contents of `out`.
fn run_both(launch: Launch, ty: Type, args: &[Arg], out: &Buffer) -> Vec<f64> {
    run_both_to(ty, launch, ty, args, out)
}

/// Like [`run_both`], with a type of its own for `out`.
fn run_both_to(to: Type, launch: Launch, ty: Type, args: &[Arg], out: &Buffer) -> Vec<f64> {
    let [one, all] = [Launch { grid: [1, 1, 1], ..launch }, launch].map(|launch| {
        out.erase();
        run(launch, ty, args);
        to.values(out)
    });
    assert_eq!(one, all, "{} depends on its grid", launch.kernel);
    all
}

/// Every type, and some also with elements off the alignment of vectors.
fn types() -> impl Iterator<Item = (Type, usize)> {
    Type::ALL.into_iter().map(|t| (t, 0)).chain([(Type::Bf16, 1), (Type::F32, 1)])
}

#[test]
fn depthwise() {
    if !compiler() {
        return;
    }
    let shapes = [
        [2, 7, 7, 19],
        [3, 9, 5, 5],
        [4, 2, 2, 80],
        [1, 56, 14, 20],
        [2, 1, 3, 1],
        [1, 14, 14, 40],
        [20, 7, 7, 33],
    ];
    for [n, h, w, c] in shapes {
        for (ty, shift) in Type::ALL.into_iter().map(|t| (t, 0)) {
            let len = n * h * w * c;
            let (x, dx) = elements(ty, len, 1, shift);
            let (g, dg) = elements(ty, len, 2, shift);
            let ((weight, dweight), (bias, dbias)) = (parameters(49 * c, 3), parameters(c, 4));
            let inputs: [(&[f64], &[usize]); 3] =
                [(&x, &[n, h, w, c]), (&weight, &[49, c]), (&bias, &[c])];
            let (y, grads) = reference(&inputs, &g, |t| graph::depthwise7(&t[0], &t[1], &t[2]));

            let dims = [Int(n), Int(h), Int(w), Int(c)];
            let out = ty.unwritten(len);
            let args = [&[Of(&dx), Of(&dweight), Of(&dbias), Of(&out)][..], &dims].concat();
            run(launch::depthwise7("depthwise7_forward", [n, h, w, c]), ty, &args);
            compare(&format!("depthwise7_forward {ty:?}"), &y, &ty.values(&out), ty.bound());

            // Added to existing values.
            let before = Type::F32.round(&random(len, 5));
            let sum = Type::F32.buffer(&before, 0);
            let args = [&[Of(&dg), Of(&dweight), Of(&sum), Of(&out)][..], &dims].concat();
            run(launch::depthwise7("depthwise7_grad_input", [n, h, w, c]), ty, &args);
            let exact: Vec<f64> = grads[0].iter().zip(&before).map(|(g, b)| g + b).collect();
            let got = Type::F32.values(&sum);
            compare(&format!("depthwise7_grad_input {ty:?}"), &exact, &got, 1e-5);
            assert_eq!(ty.values(&out), ty.round(&got));
            // Also with one part, where the launch would use more.
            for parts in [launch::depthwise7_parts(n, w, c), 1] {
                let partial = Buffer::unwritten::<f32>(parts * 50 * c);
                let args = [&[Of(&dx), Of(&dg), Of(&partial)][..], &dims, &[Int(parts)]];
                run(launch::depthwise7_grad_weight(c, parts), ty, &args.concat());
                let name = format!("depthwise7_grad_weight {ty:?}");
                compare_parts(&name, &[&grads[1], &grads[2]], &partial, parts);
            }
        }
    }
    // Check that the above had rows in ranges and sums in parts.
    assert!(launch::depthwise7("depthwise7_forward", [1, 56, 14, 20]).grid[1] == 4);
    assert!(launch::depthwise7_parts(20, 7, 33) > 1);
    report("depthwise");
}

#[test]
fn layer_norm() {
    if !compiler() {
        return;
    }
    let eps = 1e-6;
    let shapes = [
        (70, 80),
        (33, 19),
        (130, 5),
        (3, 1),
        (37, 160),
        (9, 320),
        (5, 640),
        (17, 768),
        (5, 772),
        (150, 40),
    ];
    for (rows, c) in shapes {
        for (ty, shift) in types() {
            if c == 1 && ty != Type::F32 {
                continue;
            }
            let (x, dx) = elements(ty, rows * c, 1, shift);
            let (g, dg) = elements(ty, rows * c, 2, shift);
            let ((weight, dweight), (bias, dbias)) = (parameters(c, 3), parameters(c, 4));
            let inputs: [(&[f64], &[usize]); 3] =
                [(&x, &[rows, c]), (&weight, &[c]), (&bias, &[c])];
            let (y, grads) = reference(&inputs, &g, |t| graph::layer_norm(&t[0], &t[1], &t[2]));

            let end = [Long(rows), Int(c), Float(eps as f32)];
            let (out, wide) = (ty.unwritten(rows * c), Buffer::unwritten::<f32>(rows * c));
            let first = [Of(&dx), Of(&dweight), Of(&dbias), Of(&out), Of(&wide)];
            let args = [&first[..], &end, &[Int(0), Int(0)]].concat();
            let got = run_both(launch::layer_norm_forward(rows, c), ty, &args, &out);
            compare(&format!("layer_norm_forward {ty:?}"), &y, &got, ty.bound());
            assert_eq!(ty.round(&Type::F32.values(&wide)), got);

            let parts = launch::layer_norm_parts(rows);
            let (out, partial) = (ty.unwritten(rows * c), Buffer::unwritten::<f32>(parts * 2 * c));
            let first = [Of(&dx), Of(&dweight), Of(&dg), Of(&out), Of(&wide), Of(&partial)];
            let args = [&first[..], &end, &[Int(parts), Int(0), Int(0)]].concat();
            run(launch::layer_norm_grad(c, parts), ty, &args);
            assert_eq!(ty.round(&Type::F32.values(&wide)), ty.values(&out));
            let name = format!("layer_norm_grad {ty:?}");
            compare(&name, &grads[0], &ty.values(&out), ty.bound());
            compare_parts(&name, &[&grads[1], &grads[2]], &partial, parts);
        }
    }
    report("layer_norm");
}

/// Rows and channels of the element-wise ops: odd, several blocks, several parts, and rows longer than a
/// block handles at once.
const ROWS: [(usize, usize); 7] =
    [(7, 5), (300, 19), (40, 80), (3, 1), (1200, 40), (260, 36), (5, 1100)];

#[test]
fn bias_gelu() {
    if !compiler() {
        return;
    }
    for (rows, c) in ROWS {
        for (ty, shift) in types() {
            // ×4, to cover the tails.
            let far: Vec<f64> = random(rows * c, 1).iter().map(|x| 4.0 * x).collect();
            let x = ty.round(&far);
            let dx = ty.buffer(&x, shift);
            let (g, dg) = elements(ty, rows * c, 2, shift);
            let (bias, dbias) = parameters(c, 3);
            let inputs: [(&[f64], &[usize]); 2] = [(&x, &[rows, c]), (&bias, &[c])];
            let (y, grads) = reference(&inputs, &g, |t| graph::bias_gelu(&t[0], &t[1]));

            let out = ty.unwritten(rows * c);
            let args = [Of(&dx), Of(&dbias), Of(&out), Long(rows), Int(c)];
            let got = run_both(launch::rows("bias_gelu_forward", rows, c), ty, &args, &out);
            compare(&format!("bias_gelu_forward {ty:?}"), &y, &got, ty.bound());

            let parts = launch::column_parts(rows, c);
            let partial = Buffer::unwritten::<f32>(parts * c);
            let name = format!("bias_gelu_grad {ty:?}");
            let launch = launch::columns("bias_gelu_grad", c, parts);
            // Without recomputing the GELU, then with it and in place of the gradient.
            for again in [false, true] {
                let (once_more, out) = (ty.unwritten(rows * c), ty.unwritten(rows * c));
                let y_out = if again { Of(&once_more) } else { Null };
                let to = if again { &dg } else { &out };
                let first = [Of(&dx), Of(&dbias), Of(&dg), y_out, Of(to), Of(&partial)];
                let args = [&first[..], &[Long(rows), Int(c), Int(parts)]].concat();
                run(launch, ty, &args);
                compare(&name, &grads[0], &ty.values(to), ty.bound());
                compare_parts(&name, &[&grads[1]], &partial, parts);
                if again {
                    compare(&name, &y, &ty.values(&once_more), ty.bound());
                }
            }
        }
    }
    report("bias_gelu");
}

#[test]
fn scale_residual() {
    if !compiler() {
        return;
    }
    for (rows, c) in ROWS {
        for (ty, shift) in types() {
            let (x, dx) = elements(ty, rows * c, 1, shift);
            // The residual stream and its gradient are float.
            let (r, dr) = elements(Type::F32, rows * c, 2, shift);
            let (g, _) = elements(Type::F32, rows * c, 3, shift);
            let ((bias, dbias), (gamma, dgamma)) = (parameters(c, 4), parameters(c, 5));
            let inputs: [(&[f64], &[usize]); 4] =
                [(&x, &[rows, c]), (&bias, &[c]), (&gamma, &[c]), (&r, &[rows, c])];
            let (y, _) =
                reference(&inputs, &g, |t| graph::scale_residual(&t[0], &t[1], &t[2], &t[3]));

            let (to, launch) = (Type::F32, launch::rows("scale_residual_forward", rows, c));
            let (out, copy) = (to.unwritten(rows * c), ty.unwritten(rows * c));
            let first = [Of(&dx), Of(&dbias), Of(&dgamma), Of(&dr), Of(&out), Of(&copy)];
            let args = [&first[..], &[Long(rows), Int(c)]].concat();
            let got = run_both_to(to, launch, ty, &args, &out);
            compare(&format!("scale_residual_forward {ty:?}"), &y, &got, to.bound());
            assert_eq!(ty.values(&copy), ty.round(&got));

            let parts = launch::column_parts(rows, c);
            let (out, partial) = (ty.unwritten(rows * c), Buffer::unwritten::<f32>(parts * c));
            let (g, dg) = elements(ty, rows * c, 6, shift);
            let (_, grads) =
                reference(&inputs, &g, |t| graph::scale_residual(&t[0], &t[1], &t[2], &t[3]));
            let first = [Of(&dg), Of(&dgamma), Of(&out), Of(&partial)];
            let args = [&first[..], &[Long(rows), Int(c), Int(parts)]].concat();
            run(launch::columns("scale_residual_grad", c, parts), ty, &args);
            let name = format!("scale_residual_grad {ty:?}");
            compare(&name, &grads[0], &ty.values(&out), ty.bound());
            let sums: Vec<f64> = grads[1].iter().zip(&gamma).map(|(g, gamma)| g / gamma).collect();
            compare_parts(&name, &[&sums], &partial, parts);
        }
    }
    report("scale_residual");
}

#[test]
fn bias_and_its_sum() {
    if !compiler() {
        return;
    }
    for (rows, c) in ROWS {
        for (ty, shift) in types() {
            let (x, dx) = elements(ty, rows * c, 1, shift);
            let (bias, dbias) = parameters(c, 2);
            let inputs: [(&[f64], &[usize]); 2] = [(&x, &[rows, c]), (&bias, &[c])];
            // With x as the gradient, the bias's gradient is the sum of x.
            let (y, grads) = reference(&inputs, &x, |t| graph::add_bias(&t[0], &t[1]));

            let out = ty.unwritten(rows * c);
            let wide = Buffer::unwritten::<f32>(rows * c);
            let args = [Of(&dx), Of(&dbias), Of(&out), Of(&wide), Long(rows), Int(c)];
            let got = run_both(launch::rows("add_bias", rows, c), ty, &args, &out);
            compare(&format!("add_bias {ty:?}"), &y, &got, ty.bound());
            assert_eq!(ty.round(&Type::F32.values(&wide)), got);

            let parts = launch::column_parts(rows, c);
            let partial = Buffer::unwritten::<f32>(parts * c);
            let args = [Of(&dx), Of(&partial), Long(rows), Int(c), Int(parts)];
            run(launch::columns("column_sum", c, parts), ty, &args);
            compare_parts(&format!("column_sum {ty:?}"), &[&grads[1]], &partial, parts);
        }
    }
    assert!(launch::column_parts(1200, 40) > 1 && launch::rows("add_bias", 1200, 40).grid[0] > 1);
    report("add_bias");
    report("column_sum");
}

/// x · weightᵀ + bias as on the GPU: a candle product, then `add_bias`.
#[test]
fn linear() {
    if !compiler() {
        return;
    }
    let (m, input, out) = (9, 12, 5);
    let (x, weight) = (random(m * input, 1), random(out * input, 2));
    let (bias, dbias) = parameters(out, 3);
    let g = random(m * out, 4);
    let inputs: [(&[f64], &[usize]); 3] =
        [(&x, &[m, input]), (&weight, &[out, input]), (&bias, &[out])];
    let (y, _) = reference(&inputs, &g, |t| graph::linear(&t[0], &t[1], &t[2]));
    let dot = |i: usize| {
        let (r, o) = (i / out, i % out);
        (0..input).map(|k| x[r * input + k] * weight[o * input + k]).sum::<f64>()
    };
    let product: Vec<f64> = (0..m * out).map(dot).collect();
    let (from, to) = (Type::F32.buffer(&product, 0), Type::F32.unwritten(m * out));
    let args = [Of(&from), Of(&dbias), Of(&to), Null, Long(m), Int(out)];
    run(launch::rows("add_bias", m, out), Type::F32, &args);
    compare("linear", &y, &Type::F32.values(&to), 1e-6);
}

/// NaN and infinities pass through the kernels as through the CPU's ops.
#[test]
fn what_is_not_finite_stays_so() {
    if !compiler() {
        return;
    }
    let (rows, c, ty) = (4, 20, Type::F32);
    let finite = |x: &[f64]| x.iter().map(|x| x.is_finite()).collect::<Vec<_>>();
    let check = |name: &str, exact: &[f64], got: &[f64]| {
        assert_eq!(finite(exact), finite(got), "{name}");
    };
    // Run one grid only: `run_both` compares results, and NaN is not equal to itself.
    let run_once = |launch: Launch, ty: Type, args: &[Arg], out: &Buffer| {
        out.erase();
        run(launch, ty, args);
        ty.values(out)
    };
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for (input, at) in [(0, 33), (1, 19), (2, 0), (3, 11)] {
            let mut inputs = [(rows * c, 1), (c, 2), (c, 3), (rows * c, 4)]
                .map(|(n, seed)| ty.round(&random(n, seed)));
            inputs[input][at] = value;
            let [x, b, w, r] = &inputs;
            let [dx, db, dw, dr] = [x, b, w, r].map(|x| ty.buffer(x, 0));
            let g = vec![1.0; rows * c];
            let what = format!("{value} at {at} of input {input}");
            let (x, b) = ((&x[..], &[rows, c][..]), (&b[..], &[c][..]));
            let (w, r) = ((&w[..], &[c][..]), (&r[..], &[rows, c][..]));

            let out = ty.unwritten(rows * c);
            let args = [Of(&dx), Of(&db), Of(&out), Long(rows), Int(c)];
            if input < 2 {
                let (y, _) = reference(&[x, b], &g, |t| graph::bias_gelu(&t[0], &t[1]));
                let got = run_once(launch::rows("bias_gelu_forward", rows, c), ty, &args, &out);
                check(&format!("bias_gelu, {what}"), &y, &got);
            }
            let (y, _) =
                reference(&[x, b, w, r], &g, |t| graph::scale_residual(&t[0], &t[1], &t[2], &t[3]));
            let args = [Of(&dx), Of(&db), Of(&dw), Of(&dr), Of(&out), Null, Long(rows), Int(c)];
            let got = run_once(launch::rows("scale_residual_forward", rows, c), ty, &args, &out);
            check(&format!("scale_residual, {what}"), &y, &got);
            if input < 3 {
                let (y, _) = reference(&[x, w, b], &g, |t| graph::layer_norm(&t[0], &t[1], &t[2]));
                let first = [Of(&dx), Of(&dw), Of(&db), Of(&out), Null, Long(rows), Int(c)];
                let args = [&first[..], &[Float(1e-6), Int(0), Int(0)]].concat();
                let got = run_once(launch::layer_norm_forward(rows, c), ty, &args, &out);
                check(&format!("layer_norm, {what}"), &y, &got);
            }
        }
    }
}

/// Gradients of a block's last product and of gamma, from sums without gamma.
#[test]
fn layer_scale_enters_the_sums() {
    if !compiler() {
        return;
    }
    for (c, width) in [(5, 20), (9, 33), (40, 160)] {
        let [(w, dw), (g, dg)] = [1, 2].map(|seed| parameters(c * width, seed));
        let [(b, db), (s, ds), (gamma, dgamma)] = [3, 4, 5].map(|seed| parameters(c, seed));
        let out = Buffer::unwritten::<f32>(c);
        let args = [Of(&dw), Of(&db), Of(&dgamma), Of(&dg), Of(&ds), Of(&out), Int(c), Int(width)];
        run(launch::scale_residual_finish(c), Type::F32, &args);
        let row = |x: &[f64], i: usize| x[i * width..][..width].to_vec();
        let dot = |i| row(&w, i).iter().zip(row(&g, i)).map(|(w, g)| w * g).sum::<f64>();
        let exact: Vec<f64> = (0..c).map(|i| dot(i) + b[i] * s[i]).collect();
        compare("scale_residual_finish", &exact, &Type::F32.values(&out), 1e-5);
        let exact: Vec<f64> = (0..c * width).map(|i| g[i] * gamma[i / width]).collect();
        compare("scale_residual_finish", &exact, &Type::F32.values(&dg), 1e-6);
        let exact: Vec<f64> = (0..c).map(|i| s[i] * gamma[i]).collect();
        compare("scale_residual_finish", &exact, &Type::F32.values(&ds), 1e-6);
    }
    report("scale_residual_finish");
}

/// Shapes of maps [n, h, w, c] that divide into patches and windows.
const MAPS: [[usize; 4]; 4] = [[2, 8, 4, 5], [1, 4, 4, 20], [3, 12, 8, 6], [9, 8, 8, 40]];

/// In the order of patches, a norm's result and its backward pass are bit-identical with those in the
/// order of rows.
#[test]
fn patches() {
    if !compiler() {
        return;
    }
    for [n, h, w, c] in MAPS {
        for (ty, shift) in types() {
            for s in [2, 4] {
                let (rows, len) = (n * h * w, n * h * w * c);
                let [(_, dx), (_, dg)] = [1, 2].map(|seed| elements(ty, len, seed, shift));
                let ((_, dweight), (_, dbias)) = (parameters(c, 3), parameters(c, 4));
                let places: Vec<usize> = (0..n * h / s)
                    .flat_map(|y| (0..w / s).map(move |x| (y, x)))
                    .flat_map(|(y, x)| (0..s * s).map(move |i| (y * s + i / s) * w + x * s + i % s))
                    .collect();
                let ordered = |x: &[f64]| -> Vec<f64> {
                    places.iter().flat_map(|p| x[p * c..(p + 1) * c].to_vec()).collect()
                };
                let forward = |side: usize| {
                    let out = ty.unwritten(len);
                    let first = [Of(&dx), Of(&dweight), Of(&dbias), Of(&out), Null, Long(rows)];
                    let args = [&first[..], &[Int(c), Float(1e-6), Int(w), Int(side)]].concat();
                    run_both(launch::layer_norm_forward(rows, c), ty, &args, &out)
                };
                assert_eq!(forward(s), ordered(&forward(0)));
                let turned = ty.buffer(&ordered(&ty.values(&dg)), shift);
                let parts = launch::layer_norm_parts(rows);
                let backward = |g: &Buffer, side: usize| {
                    let (out, partial) =
                        (ty.unwritten(len), Buffer::unwritten::<f32>(parts * 2 * c));
                    let first = [Of(&dx), Of(&dweight), Of(g), Of(&out), Null, Of(&partial)];
                    let next = [Long(rows), Int(c), Float(1e-6), Int(parts), Int(w), Int(side)];
                    run(launch::layer_norm_grad(c, parts), ty, &[&first[..], &next].concat());
                    (ty.values(&out), Type::F32.values(&partial))
                };
                assert_eq!(backward(&turned, s), backward(&dg, 0));
            }
        }
    }
}

/// Images in the order of patches.
#[test]
fn patches_of_images() {
    if !compiler() {
        return;
    }
    let (n, side, c, s) = (3, 8, 6, 4);
    let bytes: Vec<u8> = (0..n * side * side * c).map(|i| (i * 7 % 256) as u8).collect();
    let own = Buffer::new(&bytes);
    for ty in Type::ALL {
        let image = |s: usize| {
            let out = ty.unwritten(bytes.len());
            let first = [Of(&own), Null, Float(1.0), Float(0.0), Of(&out), Long(bytes.len())];
            let args = [&first[..], &[Int(side * c), Int(s * c), Int(s)]].concat();
            run_both(launch::rows("images", 1, bytes.len()), ty, &args, &out)
        };
        let rows = image(0);
        let places = (0..n * side / s).flat_map(|y| (0..side / s).map(move |x| (y, x)));
        let places = places.flat_map(|(y, x)| (0..s).map(move |i| (y * s + i) * side + x * s));
        let exact: Vec<f64> = places.flat_map(|p| rows[p * c..(p + s) * c].to_vec()).collect();
        assert_eq!(image(s), exact);
    }
}

/// 3×3 windows, and the sum of overlapping ones.
#[test]
fn windows() {
    if !compiler() {
        return;
    }
    for [n, h, w, c] in MAPS {
        for (ty, shift) in types() {
            let (all, len) = (n * (h / 2) * (w / 2), n * h * w * c);
            let (x, from) = elements(ty, len, 1, shift);
            let (g, rows) = elements(ty, all * 9 * c, 2, shift);
            let (y, grads) = reference(&[(&x, &[n, h, w, c])], &g, |t| graph::windows(&t[0]));
            // All of them, and some rows of windows in the middle.
            for range in [0..all, w / 2..all - w / 2] {
                let (count, at) = (range.len(), range.start * 9 * c..range.end * 9 * c);
                let dims = [Int(h), Int(w), Int(c)];
                let out = ty.unwritten(count * 9 * c);
                let first = [Of(&from), Of(&out), Long(range.start), Long(count)];
                let args = [&first[..], &dims].concat();
                assert_eq!(
                    run_both(launch::rows("windows", 9 * count, c), ty, &args, &out),
                    y[at.clone()]
                );
                if range.len() < all {
                    continue;
                }
                let before = ty.round(&random(len, 3));
                let sum = ty.buffer(&before, 0);
                let first = [Of(&rows), Of(&sum), Long(range.start), Long(count), Long(n * h * w)];
                run(launch::rows("add_windows", n * h * w, c), ty, &[&first[..], &dims].concat());
                let exact: Vec<f64> = grads[0].iter().zip(&before).map(|(g, b)| g + b).collect();
                let name = format!("add_windows {ty:?}");
                compare(&name, &exact, &ty.values(&sum), ty.bound());
            }
        }
    }
    report("add_windows");
}

/// Means over pixels, their gradient, and a map in float.
#[test]
fn means() {
    if !compiler() {
        return;
    }
    for [n, h, w, c] in MAPS {
        let (pixels, len) = (h * w, n * h * w * c);
        let (x, from) = parameters(len, 1);
        let (g, dg) = parameters(n * c, 2);
        let inputs: [(&[f64], &[usize]); 1] = [(&x, &[n, pixels, c])];
        let (y, grads) = reference(&inputs, &g, |t| t[0].mean(1));
        let out = Buffer::unwritten::<f32>(n * c);
        let args = [Of(&from), Of(&out), Long(n), Int(pixels), Int(c)];
        let got = run_both(launch::rows("pool_forward", n, c), Type::F32, &args, &out);
        compare("pool_forward", &y, &got, 1e-5);
        for ty in Type::ALL {
            let (map, copy) = (Buffer::unwritten::<f32>(len), ty.unwritten(len));
            let args = [Of(&dg), Of(&map), Of(&copy), Long(n), Int(pixels), Int(c)];
            let launch = launch::rows("pool_grad", n * pixels, c);
            let got = run_both_to(Type::F32, launch, ty, &args, &map);
            compare("pool_grad", &grads[0], &got, 1e-6);
            assert_eq!(ty.values(&copy), ty.round(&got));
        }
    }
    report("pool");
}
