//! A ConvNeXt block: depthwise 7×7, norm, fourfold MLP with GELU, layer scale, residual.

use super::patch::norm_forward;
use super::space;
use super::weights::{Block, Sum};
use crate::net::description::EPS;
use crate::net::ops::{Real, bias_gelu, depthwise, layer_norm, scale_residual};
use crate::net::ops::{lanes::Lanes, product::shared_product};
use crate::simd::vectorised;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// What a group is worked on in.
#[derive(Default)]
pub(super) struct Work<R> {
    /// The threads that share it.
    pub(super) lanes: Lanes,
    conv: Vec<depthwise::Space<R>>,
    /// After the convolution, [M, C].
    y: Vec<R>,
    /// Gradient of `y`, [M, C].
    dy: Vec<R>,
    /// After the norm, of some rows.
    z: Vec<R>,
    /// Gradient of `z`, of some rows.
    dz: Vec<R>,
    /// Before and after the GELU, its gradient: of some rows, [rows, 4C].
    h: Vec<R>,
    a: Vec<R>,
    da: Vec<R>,
    /// After the MLP, or the gradient times gamma: of some rows, [rows, C].
    o: Vec<R>,
    /// Gradients of the norm's weight and bias.
    norm: Vec<R>,
}

/// Rows of a thread whose hidden values, a row of 4C, are worked on at once: so many that a
/// weight, packed anew for each product, is worth it, and so few that they stay in the second
/// cache, or nearly (2 MiB each; half as many took 3 % longer).
fn rows_at_once(c: usize) -> usize {
    (1usize << 19).div_ceil(4 * c).clamp(256, 1024)
}

/// Ranges of rows, as even as they can be.
fn pieces(rows: usize, c: usize, lanes: Lanes) -> impl Iterator<Item = std::ops::Range<usize>> {
    let n = rows.div_ceil(rows_at_once(c) * lanes.0).max(1);
    (0..n).map(move |i| rows * i / n..rows * (i + 1) / n)
}

/// Rows after the convolution, `y` [n, C] → after the norm `z` [n, C] and after the first product,
/// without its bias, `h` [n, 4C].
fn hidden<R: Real>(lanes: Lanes, weights: &Block<&[R]>, y: &[R], z: &mut [R], h: &mut [R]) {
    let c = weights.gamma.len();
    norm_forward(lanes, &weights.norm, y, z);
    let size = (y.len() / c, 4 * c, c);
    shared_product(lanes, size, h, 4 * c, z, (c, 1), weights.fc1.weight, (1, c), false);
}

/// What of a block's forward pass can be kept for its backward pass, or else is computed again
/// there.
pub(super) struct Inner<R> {
    /// After the convolution, [M, C].
    pub(super) y: Vec<R>,
    /// After the first product, without its bias, [M, 4C].
    pub(super) h: Vec<R>,
}

/// `x` [n, h, w, C] → `out`, the same shape. `shape`: its four numbers. `inner` is filled.
pub(super) fn forward<R: Real>(
    weights: &Block<&[R]>,
    shape: [usize; 4],
    x: &[R],
    out: &mut [R],
    work: &mut Work<R>,
    mut inner: Option<&mut Inner<R>>,
) {
    let (c, lanes) = (shape[3], work.lanes);
    let dw = &weights.depthwise;
    let y = match &mut inner {
        Some(inner) => &mut inner.y[..],
        None => space(&mut work.y, x.len()),
    };
    depthwise::forward_shared(lanes, x, [dw.weight, dw.bias], shape, &mut work.conv, y);
    for rows in pieces(x.len() / c, c, lanes) {
        let (n, range) = (rows.len(), rows.start * c..rows.end * c);
        let z = space(&mut work.z, n * c);
        let wide = lanes.values(n * 4 * c, 4 * c);
        let h = match &mut inner {
            Some(Inner { y, h }) => {
                let h = &mut h[4 * range.start..4 * range.end];
                hidden(lanes, weights, &y[range.clone()], z, h);
                let a = space(&mut work.a, n * 4 * c);
                let rows = h.par_chunks(wide).zip(a.par_chunks_mut(wide));
                rows.for_each(|(h, a)| bias_gelu::forward_to(h, weights.fc1.bias, a));
                a
            }
            None => {
                let h = space(&mut work.h, n * 4 * c);
                hidden(lanes, weights, &work.y[range.clone()], z, h);
                let rows = h.par_chunks_mut(wide);
                rows.for_each(|h| bias_gelu::forward_here(h, weights.fc1.bias));
                h
            }
        };
        let o = space(&mut work.o, n * c);
        let fc2 = weights.fc2.weight;
        shared_product(lanes, (n, c, 4 * c), o, c, h, (4 * c, 1), fc2, (1, 4 * c), false);
        let params = [weights.fc2.bias, weights.gamma];
        let k = wide / 4;
        let rows = x[range.clone()].par_chunks(k).zip(out[range].par_chunks_mut(k));
        let rows = o.par_chunks(k).zip(rows);
        rows.for_each(|(o, (x, out))| scale_residual::forward_here(o, params, x, out));
    }
}

/// The backward pass: `g`, the gradient by the block's result, becomes that by `x`, and the
/// gradients by the weights are added to `grads`, of which `fc2` and `gamma` are right only after
/// [`finish`]. `inner`, if it was kept, is used up.
pub(super) fn backward<R: Real>(
    weights: &Block<&[R]>,
    grads: &mut Block<Sum<R>>,
    shape: [usize; 4],
    x: &[R],
    g: &mut [R],
    work: &mut Work<R>,
    mut inner: Option<&mut Inner<R>>,
) {
    let (c, lanes) = (shape[3], work.lanes);
    let dw = &weights.depthwise;
    if inner.is_none() {
        let y = space(&mut work.y, x.len());
        depthwise::forward_shared(lanes, x, [dw.weight, dw.bias], shape, &mut work.conv, y);
    }
    let dy = space(&mut work.dy, x.len());
    let norm_grads = space(&mut work.norm, 2 * c);
    norm_grads.fill(R::zero());
    for rows in pieces(x.len() / c, c, lanes) {
        let (n, range) = (rows.len(), rows.start * c..rows.end * c);
        // Of a lane, of rows of C and of 4C.
        let k = lanes.values(n * c, c);
        let wide = 4 * k;
        let (z, g) = (space(&mut work.z, n * c), &g[range.clone()]);
        let (y, h) = match &mut inner {
            Some(Inner { y, h }) => {
                let y = &y[range.clone()];
                norm_forward(lanes, &weights.norm, y, z);
                (y, &mut h[4 * range.start..4 * range.end])
            }
            None => {
                let (y, h) = (&work.y[range.clone()], space(&mut work.h, n * 4 * c));
                hidden(lanes, weights, y, z, h);
                (y, h)
            }
        };
        let a = space(&mut work.a, n * 4 * c);
        let rows = h.par_chunks_mut(wide).zip(a.par_chunks_mut(wide));
        rows.for_each(|(h, a)| bias_gelu::forward_with_derivative(h, weights.fc1.bias, a));
        // Without gamma for now: see `finish`.
        let (sum, add) = grads.fc2.weight.add_or_begin();
        shared_product(lanes, (c, 4 * c, n), sum, 4 * c, g, (1, c), a, (4 * c, 1), add);
        let scaled = space(&mut work.o, n * c);
        let rows = g.par_chunks(k).zip(scaled.par_chunks_mut(k));
        lanes.summed(grads.fc2.bias.values(), rows, |(g, out), sum| {
            vectorised(Scale { g, gamma: weights.gamma, out, sum });
        });
        let (da, fc2) = (space(&mut work.da, n * 4 * c), weights.fc2.weight);
        shared_product(lanes, (n, 4 * c, c), da, 4 * c, scaled, (c, 1), fc2, (4 * c, 1), false);
        let rows = da.par_chunks_mut(wide).zip(h.par_chunks(wide));
        lanes.summed(grads.fc1.bias.values(), rows, |(g, derivative), sum| {
            vectorised(TimesDerivative { g, derivative, sum });
        });
        let (sum, add) = grads.fc1.weight.add_or_begin();
        shared_product(lanes, (4 * c, c, n), sum, c, da, (1, 4 * c), z, (c, 1), add);
        let (dz, fc1) = (space(&mut work.dz, n * c), weights.fc1.weight);
        shared_product(lanes, (n, c, 4 * c), dz, c, da, (4 * c, 1), fc1, (c, 1), false);
        let rows = dz.par_chunks(k).zip(dy[range].par_chunks_mut(k));
        lanes.summed(norm_grads, y.par_chunks(k).zip(rows), |(y, (dz, dy)), sum| {
            layer_norm::backward_here(y, weights.norm.weight, dz, EPS, dy, sum);
        });
    }
    let (weight, bias) = norm_grads.split_at(c);
    add(grads.norm.weight.values(), weight);
    add(grads.norm.bias.values(), bias);
    let dw_grads = &mut grads.depthwise;
    let dw_grads = [dw_grads.weight.values(), dw_grads.bias.values()];
    depthwise::backward_shared(lanes, x, dw.weight, dy, shape, &mut work.conv, g, dw_grads);
}

/// Makes the gradients of `fc2` and `gamma` what they are, once all rows are summed.
///
/// With G = Σ gᵀ·a and s = Σ g over all rows, result o·gamma and o = a·Wᵀ + b:
/// ∂W = gamma·G, ∂b = gamma·s, ∂gamma = Σ g·o = Σₖ G·W + b·s. So o is not needed again.
pub(super) fn finish<R: Real>(weights: &Block<&[R]>, grads: &mut Block<Sum<R>>) {
    let sums = [&mut grads.fc2.weight, &mut grads.fc2.bias, &mut grads.gamma].map(Sum::values);
    let [of_weight, of_bias, of_gamma] = sums;
    let width = 4 * weights.gamma.len();
    let rows = weights.fc2.weight.par_chunks(width).zip(of_weight.par_chunks_mut(width));
    let values = rows.zip(weights.fc2.bias).zip(of_bias).zip(weights.gamma).zip(of_gamma);
    values.with_min_len(16).for_each(|(((((w, g), b), s), &gamma), of_gamma)| {
        *of_gamma = vectorised(DotAndScale { w, g, scale: gamma }) + *b * *s;
        *s *= gamma;
    });
}

/// `to` += `values`.
pub(super) fn add<R: Real>(to: &mut [R], values: &[R]) {
    for (to, &v) in to.iter_mut().zip(values) {
        *to += v;
    }
}

/// Σ w·g, and g ·= scale.
struct DotAndScale<'a, R> {
    w: &'a [R],
    g: &'a mut [R],
    scale: R,
}

impl<R: Real> WithSimd for DotAndScale<'_, R> {
    type Output = R;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> R {
        let n = self.w.len().min(self.g.len());
        let sum = layer_norm::sum_by(n, |i| self.w[i] * self.g[i]);
        self.g.iter_mut().for_each(|g| *g *= self.scale);
        sum
    }
}

/// g · gamma, and Σ g over the rows.
struct Scale<'a, R> {
    g: &'a [R],
    gamma: &'a [R],
    out: &'a mut [R],
    sum: &'a mut [R],
}

impl<R: Real> WithSimd for Scale<'_, R> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let c = self.gamma.len();
        let (gamma, sum) = (&self.gamma[..c], &mut self.sum[..c]);
        for (g, out) in self.g.chunks_exact(c).zip(self.out.chunks_exact_mut(c)) {
            for i in 0..c {
                out[i] = g[i] * gamma[i];
                sum[i] += g[i];
            }
        }
    }
}

/// g ·= derivative, and its sum over the rows.
struct TimesDerivative<'a, R> {
    g: &'a mut [R],
    derivative: &'a [R],
    sum: &'a mut [R],
}

impl<R: Real> WithSimd for TimesDerivative<'_, R> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let c = self.sum.len();
        for (g, d) in self.g.chunks_exact_mut(c).zip(self.derivative.chunks_exact(c)) {
            for i in 0..c {
                g[i] *= d[i];
                self.sum[i] += g[i];
            }
        }
    }
}
