//! Inner loops on the CPU that candle has no op for.

use super::Windows;
use crate::net::ops::{Float, layer_norm};
use pulp::{Simd, WithSimd};

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
pub(super) struct DotAndScale<'a, R> {
    pub w: &'a [R],
    pub g: &'a mut [R],
    pub scale: R,
}

impl<R: Float> WithSimd for DotAndScale<'_, R> {
    type Output = R;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> R {
        let n = self.w.len().min(self.g.len());
        let sum = layer_norm::sum_by(n, |i| self.w[i] * self.g[i]);
        self.g.iter_mut().for_each(|g| *g *= self.scale);
        sum
    }
}

/// Computes g · gamma, and Σ g over the rows.
pub(super) struct Scale<'a, R> {
    pub g: &'a [R],
    pub gamma: &'a [R],
    pub out: &'a mut [R],
    pub sum: &'a mut [R],
}

impl<R: Float> WithSimd for Scale<'_, R> {
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

/// Multiplies g by the derivative in place, and sums it over the rows.
pub(super) struct TimesDerivative<'a, R> {
    pub g: &'a mut [R],
    pub derivative: &'a [R],
    pub sum: &'a mut [R],
}

impl<R: Float> WithSimd for TimesDerivative<'_, R> {
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
