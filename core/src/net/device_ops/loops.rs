//! Inner loops on the CPU that candle has no op for.

use super::Windows;
use crate::net::ops::{Float, layer_norm};
use crate::simd::vectorised;

/// Calls `row` for each row of a patch, s·C values, with its start in the patches and in the map.
pub(super) fn each_row([n, h, w, c]: [usize; 4], s: usize, mut row: impl FnMut(usize, usize)) {
    let (ph, pw) = (h / s, w / s);
    for y in 0..n * ph {
        for x in 0..pw {
            for i in 0..s {
                row(((y * pw + x) * s + i) * s * c, ((y * s + i) * w + x * s) * c);
            }
        }
    }
}

/// Calls `row` for the three rows of each window, with the start in the windows, the start in the maps,
/// and the length. Leaves out the parts above and to the left of the map.
pub(super) fn each_window_row(windows: &Windows, mut row: impl FnMut(usize, usize, usize)) {
    let &Windows { h, w, c, ref rows } = windows;
    for (i, y) in rows.clone().enumerate() {
        let (first, y) = (y / (h / 2) * h, y % (h / 2));
        for x in 0..w / 2 {
            let outside = if x == 0 { c } else { 0 };
            for k in 0..3 {
                let Some(from) = (2 * y + k).checked_sub(1) else { continue };
                let to = ((i * (w / 2) + x) * 3 + k) * 3 * c + outside;
                row(to, ((first + from) * w + 2 * x) * c + outside - c, 3 * c - outside);
            }
        }
    }
}

/// Adds `values` to `to`.
pub(crate) fn add<R: Float>(to: &mut [R], values: &[R]) {
    for (to, &v) in to.iter_mut().zip(values) {
        *to += v;
    }
}

/// Computes Σ w·g, and scales g in place.
pub(super) fn dot_and_scale<R: Float>(w: &[R], g: &mut [R], scale: R) -> R {
    vectorised(move || {
        let sum = layer_norm::sum_by(w.len().min(g.len()), |i| w[i] * g[i]);
        g.iter_mut().for_each(|g| *g *= scale);
        sum
    })
}

/// Computes g · gamma, and adds Σ g over the rows to `sum`.
pub(super) fn scale<R: Float>(g: &[R], gamma: &[R], out: &mut [R], sum: &mut [R]) {
    let c = gamma.len();
    let sum = &mut sum[..c];
    vectorised(move || {
        for (g, out) in g.chunks_exact(c).zip(out.chunks_exact_mut(c)) {
            for i in 0..c {
                out[i] = g[i] * gamma[i];
                sum[i] += g[i];
            }
        }
    });
}

/// Multiplies g by the derivative in place, and adds its sum over the rows to `sum`.
pub(super) fn times_derivative<R: Float>(g: &mut [R], derivative: &[R], sum: &mut [R]) {
    let c = sum.len();
    vectorised(move || {
        for (g, d) in g.chunks_exact_mut(c).zip(derivative.chunks_exact(c)) {
            for i in 0..c {
                g[i] *= d[i];
                sum[i] += g[i];
            }
        }
    });
}
