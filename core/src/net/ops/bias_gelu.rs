//! Bias and GELU in one pass: gelu(v) = v · (1 + erf(v / √2)) / 2, v = x + bias.

use super::Float;
use crate::simd::vectorised;
use pulp::{Simd, WithSimd};

/// 1 / √(2π).
const DENSITY_AT_0: f64 = 0.398_942_280_401_432_7;

#[inline(always)]
fn cdf<S: Simd, R: Float>(v: R) -> R {
    R::of(0.5) * (R::one() + (v * R::of(std::f64::consts::FRAC_1_SQRT_2)).erf::<S>())
}

struct ForwardRows<'a, R> {
    x: &'a [R],
    b: &'a [R],
    out: &'a mut [R],
}

impl<R: Float> WithSimd for ForwardRows<'_, R> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let c = self.b.len();
        for (x, out) in self.x.chunks_exact(c).zip(self.out.chunks_exact_mut(c)) {
            for i in 0..c {
                let v = x[i] + self.b[i];
                out[i] = v * cdf::<S, R>(v);
            }
        }
    }
}

struct InPlace<'a, R> {
    x: &'a mut [R],
    b: &'a [R],
}

impl<R: Float> WithSimd for InPlace<'_, R> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let c = self.b.len();
        for x in self.x.chunks_exact_mut(c) {
            for (x, &b) in x.iter_mut().zip(self.b) {
                let v = *x + b;
                *x = v * cdf::<S, R>(v);
            }
        }
    }
}

/// Computes gelu(x + bias) from `x` to `out`, for rows of `bias`'s length, on this thread alone.
pub(crate) fn forward_to<R: Float>(x: &[R], bias: &[R], out: &mut [R]) {
    vectorised(ForwardRows { x, b: bias, out });
}

/// Computes gelu(x + bias) in place, for rows of `bias`'s length, on this thread alone.
pub(crate) fn forward_here<R: Float>(x: &mut [R], bias: &[R]) {
    vectorised(InPlace { x, b: bias });
}

struct WithDerivative<'a, R> {
    x: &'a mut [R],
    b: &'a [R],
    out: &'a mut [R],
}

impl<R: Float> WithSimd for WithDerivative<'_, R> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let scale = R::of(DENSITY_AT_0);
        let c = self.b.len();
        for (x, out) in self.x.chunks_exact_mut(c).zip(self.out.chunks_exact_mut(c)) {
            for ((x, out), &b) in x.iter_mut().zip(out).zip(self.b) {
                let v = *x + b;
                let p = cdf::<S, R>(v);
                *out = v * p;
                *x = p + v * scale * (R::of(-0.5) * v * v).exp::<S>();
            }
        }
    }
}

/// Like [`forward_here`], but writes the result to `out` and the derivative to `x`.
pub(crate) fn forward_with_derivative<R: Float>(x: &mut [R], bias: &[R], out: &mut [R]) {
    vectorised(WithDerivative { x, b: bias, out });
}
