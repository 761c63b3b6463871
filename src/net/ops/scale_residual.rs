//! The end of a ConvNeXt block in one pass: bias, layer scale and residual.

use super::{Float, Kernel2, Kernel3, colsum::ColumnSum, cpu_op, map_rows, vectorised, zip_rows};
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use pulp::{Simd, WithSimd};

/// residual + (x + bias) · gamma.
///
/// `x` [M, C], `bias` [C], `gamma` [C] (layer scale: Touvron et al. 2021,
/// <https://arxiv.org/abs/2103.17239>), `residual` [M, C], contiguous → [M, C]. Gradients for all four.
/// The residual and the result are f32 if `x` is narrower, as under PyTorch's autocast: gamma starts at
/// 1e-6, and a narrower sum would round the block away.
pub fn scale_residual(
    x: &Tensor,
    bias: &Tensor,
    gamma: &Tensor,
    residual: &Tensor,
) -> Result<Tensor> {
    // A custom op takes three tensors, so bias and gamma are stacked.
    x.apply_op3(&Tensor::stack(&[bias, gamma], 0)?, residual, Forward)
}

struct Forward;
/// (params, g) → gradient of x, in the type of g.
struct GradInput;

struct ForwardRows<'a, R> {
    x: &'a [R],
    bias: &'a [R],
    gamma: &'a [R],
    r: &'a [R],
    out: &'a mut [R],
}

impl<R: Float> WithSimd for ForwardRows<'_, R> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let c = self.gamma.len();
        let (bias, gamma) = (&self.bias[..c], &self.gamma[..c]);
        let rows = self.x.chunks_exact(c).zip(self.r.chunks_exact(c));
        for ((x, r), out) in rows.zip(self.out.chunks_exact_mut(c)) {
            for i in 0..c {
                out[i] = r[i] + (x[i] + bias[i]) * gamma[i];
            }
        }
    }
}

/// Applies [`scale_residual`] to rows of `bias`'s and `gamma`'s length, on this thread alone.
pub(crate) fn forward_here<R: Float>(
    x: &[R],
    [bias, gamma]: [&[R]; 2],
    residual: &[R],
    out: &mut [R],
) {
    vectorised(ForwardRows { x, bias, gamma, r: residual, out });
}

struct ScaleRows<'a, R> {
    g: &'a [R],
    gamma: &'a [R],
    out: &'a mut [R],
}

impl<R: Float> WithSimd for ScaleRows<'_, R> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let c = self.gamma.len();
        for (g, out) in self.g.chunks_exact(c).zip(self.out.chunks_exact_mut(c)) {
            for i in 0..c {
                out[i] = g[i] * self.gamma[i];
            }
        }
    }
}

impl Kernel3 for Forward {
    fn cpu<R: Float>(
        &self,
        (x, l): (&[R], &Layout),
        (p, _): (&[R], &Layout),
        (r, _): (&[R], &Layout),
    ) -> Result<(Vec<R>, Shape)> {
        let (bias, gamma) = p.split_at(p.len() / 2);
        let out = zip_rows(x, r, gamma.len(), |x, r, out| {
            forward_here(x, [bias, gamma], r, out);
        });
        Ok((out, l.shape().clone()))
    }
}

impl CustomOp3 for Forward {
    cpu_op!("scale-residual", 3, wide);
    fn bwd(
        &self,
        x: &Tensor,
        p: &Tensor,
        _r: &Tensor,
        _out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let gx = p.apply_op2_no_bwd(&grad.to_dtype(x.dtype())?, &GradInput)?;
        let (bias, gamma) = (p.get(0)?, p.get(1)?);
        let sum = |t: &Tensor| t.apply_op1_no_bwd(&ColumnSum);
        let scaled = x.to_dtype(grad.dtype())?.broadcast_add(&bias)?;
        let gp = Tensor::stack(&[(sum(&grad)? * gamma)?, sum(&(scaled * &grad)?)?], 0)?;
        Ok((Some(gx), Some(gp), Some(grad)))
    }
}

impl Kernel2 for GradInput {
    fn cpu<R: Float>(&self, p: &[R], _: &Layout, g: &[R], l: &Layout) -> Result<(Vec<R>, Shape)> {
        let gamma = &p[p.len() / 2..];
        let out = map_rows(g, gamma.len(), |g, out| vectorised(ScaleRows { g, gamma, out }));
        Ok((out, l.shape().clone()))
    }
}

impl CustomOp2 for GradInput {
    cpu_op!("scale-residual-grad-input", 2);
}

#[cfg(feature = "cuda")]
mod on_cuda {
    use super::super::cuda::{self, Input};
    use candle_core::{CudaStorage, Result, Shape};

    type Output = Result<(CudaStorage, Shape)>;

    impl super::Forward {
        pub(super) fn on_cuda(&self, x: Input, params: Input, r: Input) -> Output {
            cuda::scale_residual(x, params, r)
        }
    }

    impl super::GradInput {
        pub(super) fn on_cuda(&self, params: Input, g: Input) -> Output {
            cuda::scale_residual_grad_input(params, g)
        }
    }
}
