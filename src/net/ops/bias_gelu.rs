//! Bias and GELU in one pass.

use super::{Float, Kernel2, Kernel3, cpu_op, map_rows, vectorised, zip_rows};
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use pulp::{Simd, WithSimd};

/// gelu(x + bias) with gelu(v) = v · (1 + erf(v / √2)) / 2, PyTorch's default form
/// (Hendrycks & Gimpel 2016, <https://arxiv.org/abs/1606.08415>).
///
/// `x` [.., C], `bias` [C], contiguous → [.., C]. Gradients for both.
pub fn bias_gelu(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    x.apply_op2(bias, Forward)
}

struct Forward;
/// (x, bias, g) → gradient of x; its sum over rows is the bias's.
struct Backward;

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

struct BackwardRows<'a, R> {
    x: &'a [R],
    b: &'a [R],
    g: &'a [R],
    out: &'a mut [R],
}

impl<R: Float> WithSimd for BackwardRows<'_, R> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let scale = R::of(DENSITY_AT_0);
        let c = self.b.len();
        let rows = self.x.chunks_exact(c).zip(self.g.chunks_exact(c));
        for ((x, g), out) in rows.zip(self.out.chunks_exact_mut(c)) {
            for i in 0..c {
                let v = x[i] + self.b[i];
                out[i] = g[i] * (cdf::<S, R>(v) + v * scale * (R::of(-0.5) * v * v).exp::<S>());
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

/// Applies [`bias_gelu`] from `x` to `out`, for rows of `bias`'s length, on this thread alone.
pub(crate) fn forward_to<R: Float>(x: &[R], bias: &[R], out: &mut [R]) {
    vectorised(ForwardRows { x, b: bias, out });
}

/// Applies [`bias_gelu`] in place, for rows of `bias`'s length, on this thread alone.
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

impl Kernel2 for Forward {
    fn cpu<R: Float>(&self, x: &[R], l: &Layout, b: &[R], _: &Layout) -> Result<(Vec<R>, Shape)> {
        let out = map_rows(x, b.len(), |x, out| vectorised(ForwardRows { x, b, out }));
        Ok((out, l.shape().clone()))
    }
}

impl CustomOp2 for Forward {
    cpu_op!("bias-gelu", 2);
    fn bwd(
        &self,
        x: &Tensor,
        b: &Tensor,
        _out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gx = x.apply_op3_no_bwd(b, &grad.contiguous()?, &Backward)?;
        let gb = gx.apply_op1_no_bwd(&super::colsum::ColumnSum)?;
        Ok((Some(gx), Some(gb)))
    }
}

impl Kernel3 for Backward {
    fn cpu<R: Float>(
        &self,
        (x, l): (&[R], &Layout),
        (b, _): (&[R], &Layout),
        (g, _): (&[R], &Layout),
    ) -> Result<(Vec<R>, Shape)> {
        let out = zip_rows(x, g, b.len(), |x, g, out| vectorised(BackwardRows { x, b, g, out }));
        Ok((out, l.shape().clone()))
    }
}

impl CustomOp3 for Backward {
    cpu_op!("bias-gelu-grad", 3);
}

#[cfg(feature = "cuda")]
mod on_cuda {
    use super::super::cuda::{self, Input};
    use candle_core::{CudaStorage, Result, Shape};

    type Output = Result<(CudaStorage, Shape)>;

    impl super::Forward {
        pub(super) fn on_cuda(&self, x: Input, b: Input) -> Output {
            cuda::bias_gelu(x, b)
        }
    }

    impl super::Backward {
        pub(super) fn on_cuda(&self, x: Input, b: Input, g: Input) -> Output {
            cuda::bias_gelu_grad(x, b, g)
        }
    }
}
