//! LayerNorm over the last dimension, with weight and bias: y = (x - mean) / √(var + eps) · weight + bias.

use super::Float;
use crate::simd::vectorised;

/// Σ f(i) in 16 running sums: vectorisable, and in a fixed order.
#[inline(always)]
pub(crate) fn sum_by<R: Float>(n: usize, f: impl Fn(usize) -> R) -> R {
    let mut sums = [R::zero(); 16];
    let whole = n / 16 * 16;
    let mut i = 0;
    while i < whole {
        for (t, s) in sums.iter_mut().enumerate() {
            *s += f(i + t);
        }
        i += 16;
    }
    let mut sum = sums.iter().fold(R::zero(), |a, &b| a + b);
    for j in whole..n {
        sum += f(j);
    }
    sum
}

/// Returns mean and 1 / √(var + eps) of a row.
#[inline(always)]
fn statistics<R: Float>(x: &[R], eps: R) -> (R, R) {
    let n = R::of(x.len() as f64);
    let mean = sum_by(x.len(), |i| x[i]) / n;
    let var = sum_by(x.len(), |i| (x[i] - mean) * (x[i] - mean)) / n;
    (mean, R::one() / (var + eps).root())
}

/// Normalises rows of `weight`'s length, on this thread alone.
pub(crate) fn forward_here<R: Float>(x: &[R], [w, b]: [&[R]; 2], eps: f64, out: &mut [R]) {
    let (c, eps) = (w.len(), R::of(eps));
    let b = &b[..c];
    vectorised(move || {
        for (x, out) in x.chunks_exact(c).zip(out.chunks_exact_mut(c)) {
            let (mean, rstd) = statistics(x, eps);
            for i in 0..c {
                out[i] = (x[i] - mean) * rstd * w[i] + b[i];
            }
        }
    });
}

/// Its backward pass: writes the gradient of `x` to `out`, and adds those of weight and bias to
/// `grad_params` [2·C], weight first.
pub(crate) fn backward_here<R: Float>(
    x: &[R],
    w: &[R],
    g: &[R],
    eps: f64,
    out: &mut [R],
    grad_params: &mut [R],
) {
    let (c, eps) = (w.len(), R::of(eps));
    let n = R::of(c as f64);
    vectorised(move || {
        let rows = x.chunks_exact(c).zip(g.chunks_exact(c));
        for ((x, g), out) in rows.zip(out.chunks_exact_mut(c)) {
            let (mean, rstd) = statistics(x, eps);
            let a = sum_by(c, |i| g[i] * w[i]) / n;
            let b = sum_by(c, |i| g[i] * w[i] * (x[i] - mean)) * rstd / n;
            for i in 0..c {
                out[i] = rstd * (g[i] * w[i] - a - (x[i] - mean) * rstd * b);
            }
        }
    });
    let (grad_weight, grad_bias) = grad_params.split_at_mut(c);
    vectorised(move || {
        for (x, g) in x.chunks_exact(c).zip(g.chunks_exact(c)) {
            let (mean, rstd) = statistics(x, eps);
            for i in 0..c {
                grad_weight[i] += g[i] * (x[i] - mean) * rstd;
                grad_bias[i] += g[i];
            }
        }
    });
}
