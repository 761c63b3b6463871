//! Compares every kernel on each vector path of this processor with the scalar one.

use super::lanes::Lanes;
use super::recurrence::{GATES, KEPT, Recurrence};
use super::{bias_gelu, depthwise, layer_norm, scale_residual};
use crate::rng::{Key, Purpose};
use crate::simd;
use rand::Rng;

/// Largest allowed difference relative to the largest value: sums are taken in another order, and the
/// scalar path does not fuse multiplications and additions.
const BOUND: f32 = 2e-6;

fn random(n: usize, seed: u64) -> Vec<f32> {
    let mut rng = Key::new(seed, Purpose::Init).rng();
    (0..n).map(|_| rng.random_range(-2.0..2.0) as f32).collect()
}

/// Compares the values that `run` computes on each path.
fn same(name: &str, run: impl Fn() -> Vec<f32>) {
    let scalar = simd::on(pulp::Arch::Scalar, &run);
    let largest = scalar.iter().fold(0f32, |m, v| m.max(v.abs()));
    assert!(largest > 0.0, "{name}");
    for (path, arch) in simd::paths() {
        let other = simd::on(arch, &run);
        assert_eq!(scalar.len(), other.len());
        let apart = scalar.iter().zip(&other).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(apart <= BOUND * largest, "{name} on {path}: {apart:e} of {largest:e}");
    }
}

#[test]
fn norms() {
    // With and without a remainder after the last whole vector.
    for c in [80, 19] {
        let (x, g) = (random(7 * c, 1), random(7 * c, 2));
        let (w, b) = (random(c, 3), random(c, 4));
        same("layer_norm", || {
            let mut out = vec![0.0; x.len()];
            layer_norm::forward_here(&x, [&w, &b], 1e-6, &mut out);
            out
        });
        same("layer_norm's gradients", || {
            let (mut dx, mut params) = (vec![0.0; x.len()], vec![0.0; 2 * c]);
            layer_norm::backward_here(&x, &w, &g, 1e-6, &mut dx, &mut params);
            dx.into_iter().chain(params).collect()
        });
    }
}

#[test]
fn element_wise() {
    for c in [80, 19] {
        let (x, r) = (random(7 * c, 1), random(7 * c, 2));
        let (b, gamma) = (random(c, 3), random(c, 4));
        same("bias_gelu", || {
            let mut out = x.clone();
            bias_gelu::forward_here(&mut out, &b);
            out
        });
        same("bias_gelu with its derivative", || {
            let (mut d, mut out) = (x.clone(), vec![0.0; x.len()]);
            bias_gelu::forward_with_derivative(&mut d, &b, &mut out);
            d.into_iter().chain(out).collect()
        });
        same("scale_residual", || {
            let mut out = vec![0.0; x.len()];
            scale_residual::forward_here(&x, [&b, &gamma], &r, &mut out);
            out
        });
    }
}

#[test]
fn convolution() {
    // The path is set per thread, so use one thread.
    let lanes = Lanes(1);
    for (side, c) in [(9, 80), (2, 19)] {
        let shape = [2, side, side, c];
        let n = shape.iter().product();
        let (x, g) = (random(n, 1), random(n, 2));
        let (w, b) = (random(49 * c, 3), random(c, 4));
        same("depthwise", || {
            let mut out = vec![0.0; n];
            depthwise::forward_shared(lanes, &x, [&w, &b], shape, &mut Vec::new(), &mut out);
            out
        });
        same("depthwise's gradients", || {
            let (mut dx, mut dw, mut db) = (vec![0.0; n], vec![0.0; 49 * c], vec![0.0; c]);
            let space = &mut Default::default();
            depthwise::backward_shared(
                lanes,
                &x,
                &w,
                &g,
                shape,
                space,
                &mut dx,
                [&mut dw, &mut db],
            );
            dx.into_iter().chain(dw).chain(db).collect()
        });
    }
}

#[test]
fn recurrence() {
    for hidden in [32, 19] {
        let shape = Recurrence { steps: 3, rows: 2, hidden, reverse: true };
        let (x, bias) = (random(shape.kept(), 1), random(4 * hidden, 2));
        let (w, grad) = (random(4 * hidden * hidden, 3), random(2 * hidden, 4));
        same("recurrence", || {
            let mut kept = x.clone();
            shape.forward(&mut kept, &bias, &w);
            kept
        });
        same("recurrence's gradients", || {
            let mut kept = x.clone();
            shape.forward(&mut kept, &bias, &w);
            shape.backward(&mut kept, &w, |_| Some((&grad[..], hidden)), &mut Vec::new());
            let gates = |cell: &[f32]| cell[GATES * hidden..].to_vec();
            kept.chunks(KEPT * hidden).flat_map(gates).collect()
        });
    }
}
