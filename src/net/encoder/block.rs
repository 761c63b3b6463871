//! A ConvNeXt block: depthwise 7×7, norm, fourfold MLP with GELU, layer scale, residual.

use super::weights::Block;
use super::{EPS, space};
use crate::net::ops::{Real, bias_gelu, depthwise, layer_norm, product::product, scale_residual};
use crate::simd::vectorised;
use pulp::{Simd, WithSimd};

/// What a thread works in.
#[derive(Default)]
pub(super) struct Work<R> {
    conv: depthwise::Space<R>,
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

/// Rows whose hidden values, a row of 4C, are worked on at once: so many that a weight, packed
/// anew for each product, is worth it, and so few that they stay in the second cache, or
/// nearly (2 MiB each; half as many took 3 % longer).
fn rows_at_once(c: usize) -> usize {
    (1usize << 19).div_ceil(4 * c).clamp(256, 1024)
}

/// Ranges of rows, as even as they can be.
fn pieces(rows: usize, c: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let n = rows.div_ceil(rows_at_once(c)).max(1);
    (0..n).map(move |i| rows * i / n..rows * (i + 1) / n)
}

/// Rows after the convolution, `y` [n, C] → after the norm `z` [n, C] and after the first product,
/// without its bias, `h` [n, 4C].
fn hidden<R: Real>(weights: &Block<&[R]>, y: &[R], z: &mut [R], h: &mut [R]) {
    let c = weights.gamma.len();
    layer_norm::forward_here(y, [weights.norm.weight, weights.norm.bias], EPS, z);
    let size = (y.len() / c, 4 * c, c);
    product(size, h, 4 * c, z, (c, 1), weights.fc1.weight, (1, c), false);
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
    let c = shape[3];
    let dw = &weights.depthwise;
    let y = match &mut inner {
        Some(inner) => &mut inner.y[..],
        None => space(&mut work.y, x.len()),
    };
    depthwise::forward_here(x, [dw.weight, dw.bias], shape, &mut work.conv, y);
    for rows in pieces(x.len() / c, c) {
        let (n, range) = (rows.len(), rows.start * c..rows.end * c);
        let z = space(&mut work.z, n * c);
        let h = match &mut inner {
            Some(Inner { y, h }) => {
                let h = &mut h[4 * range.start..4 * range.end];
                hidden(weights, &y[range.clone()], z, h);
                let a = space(&mut work.a, n * 4 * c);
                bias_gelu::forward_to(h, weights.fc1.bias, a);
                a
            }
            None => {
                let h = space(&mut work.h, n * 4 * c);
                hidden(weights, &work.y[range.clone()], z, h);
                bias_gelu::forward_here(h, weights.fc1.bias);
                h
            }
        };
        let o = space(&mut work.o, n * c);
        product((n, c, 4 * c), o, c, h, (4 * c, 1), weights.fc2.weight, (1, 4 * c), false);
        let params = [weights.fc2.bias, weights.gamma];
        scale_residual::forward_here(o, params, &x[range.clone()], &mut out[range]);
    }
}

/// The backward pass: `g`, the gradient by the block's result, becomes that by `x`, and the
/// gradients by the weights are added to `grads`, of which `fc2` and `gamma` are right only after
/// [`finish`]. `inner`, if it was kept, is used up.
pub(super) fn backward<R: Real>(
    weights: &Block<&[R]>,
    grads: &mut Block<&mut [R]>,
    shape: [usize; 4],
    x: &[R],
    g: &mut [R],
    work: &mut Work<R>,
    mut inner: Option<&mut Inner<R>>,
) {
    let c = shape[3];
    let dw = &weights.depthwise;
    if inner.is_none() {
        let y = space(&mut work.y, x.len());
        depthwise::forward_here(x, [dw.weight, dw.bias], shape, &mut work.conv, y);
    }
    let dy = space(&mut work.dy, x.len());
    let norm_grads = space(&mut work.norm, 2 * c);
    norm_grads.fill(R::zero());
    for rows in pieces(x.len() / c, c) {
        let (n, range) = (rows.len(), rows.start * c..rows.end * c);
        let (z, g) = (space(&mut work.z, n * c), &g[range.clone()]);
        let (y, h) = match &mut inner {
            Some(Inner { y, h }) => {
                let (y, norm) = (&y[range.clone()], &weights.norm);
                layer_norm::forward_here(y, [norm.weight, norm.bias], EPS, z);
                (y, &mut h[4 * range.start..4 * range.end])
            }
            None => {
                let (y, h) = (&work.y[range.clone()], space(&mut work.h, n * 4 * c));
                hidden(weights, y, z, h);
                (y, h)
            }
        };
        let a = space(&mut work.a, n * 4 * c);
        bias_gelu::forward_with_derivative(h, weights.fc1.bias, a);
        // Without gamma for now: see `finish`.
        product((c, 4 * c, n), grads.fc2.weight, 4 * c, g, (1, c), a, (4 * c, 1), true);
        let scaled = space(&mut work.o, n * c);
        vectorised(Scale { g, gamma: weights.gamma, out: scaled, sum: grads.fc2.bias });
        let da = space(&mut work.da, n * 4 * c);
        product((n, 4 * c, c), da, 4 * c, scaled, (c, 1), weights.fc2.weight, (4 * c, 1), false);
        vectorised(TimesDerivative { g: da, derivative: h, sum: grads.fc1.bias });
        product((4 * c, c, n), grads.fc1.weight, c, da, (1, 4 * c), z, (c, 1), true);
        let dz = space(&mut work.dz, n * c);
        product((n, c, 4 * c), dz, c, da, (4 * c, 1), weights.fc1.weight, (c, 1), false);
        layer_norm::backward_here(y, weights.norm.weight, dz, EPS, &mut dy[range], norm_grads);
    }
    let (weight, bias) = norm_grads.split_at(c);
    add(grads.norm.weight, weight);
    add(grads.norm.bias, bias);
    let dw_grads = [&mut *grads.depthwise.weight, &mut *grads.depthwise.bias];
    depthwise::backward_here(x, dw.weight, dy, shape, &mut work.conv, g, dw_grads);
}

/// Makes the gradients of `fc2` and `gamma` what they are, once all rows are summed.
///
/// With G = Σ gᵀ·a and s = Σ g over all rows, result o·gamma and o = a·Wᵀ + b:
/// ∂W = gamma·G, ∂b = gamma·s, ∂gamma = Σ g·o = Σₖ G·W + b·s. So o is not needed again.
pub(super) fn finish<R: Real>(weights: &Block<&[R]>, grads: &mut Block<&mut [R]>) {
    let width = 4 * weights.gamma.len();
    for (k, &gamma) in weights.gamma.iter().enumerate() {
        let row = k * width..(k + 1) * width;
        let (w, g) = (&weights.fc2.weight[row.clone()], &mut grads.fc2.weight[row]);
        let sum = w.iter().zip(&*g).fold(R::zero(), |sum, (&w, &g)| sum + w * g);
        let s = &mut grads.fc2.bias[k];
        grads.gamma[k] = sum + weights.fc2.bias[k] * *s;
        *s *= gamma;
        g.iter_mut().for_each(|g| *g *= gamma);
    }
}

/// `to` += `values`.
pub(super) fn add<R: Real>(to: &mut [R], values: &[R]) {
    for (to, &v) in to.iter_mut().zip(values) {
        *to += v;
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
