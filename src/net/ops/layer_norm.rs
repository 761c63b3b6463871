//! LayerNorm over the last dimension, with weight and bias.
//!
//! candle 0.11's own silently returns no gradient for contiguous input.

use super::{Float, Kernel3, cpu_op, map_rows, vectorised, zip_rows};
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use pulp::{Simd, WithSimd};

/// y = (x - mean) / √(var + eps) · weight + bias over the last dimension, the variance biased.
///
/// `x` [.., C], `weight` [C], `bias` [C], contiguous → [.., C]. Gradients for all three
/// (Ba et al. 2016, <https://arxiv.org/abs/1607.06450>).
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    x.apply_op3(weight, bias, Forward { eps })
}

struct Forward {
    eps: f64,
}
/// (x, weight, g) → gradient of x.
struct GradInput {
    eps: f64,
}
/// (x, w, g) → [2, C]: gradients of weight and bias.
struct GradParams {
    eps: f64,
}

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

struct ForwardRows<'a, R> {
    x: &'a [R],
    w: &'a [R],
    b: &'a [R],
    out: &'a mut [R],
    eps: R,
}

impl<R: Float> WithSimd for ForwardRows<'_, R> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let c = self.w.len();
        let (w, b) = (&self.w[..c], &self.b[..c]);
        for (x, out) in self.x.chunks_exact(c).zip(self.out.chunks_exact_mut(c)) {
            let (mean, rstd) = statistics(x, self.eps);
            for i in 0..c {
                out[i] = (x[i] - mean) * rstd * w[i] + b[i];
            }
        }
    }
}

struct GradInputRows<'a, R> {
    x: &'a [R],
    w: &'a [R],
    g: &'a [R],
    out: &'a mut [R],
    eps: R,
}

impl<R: Float> WithSimd for GradInputRows<'_, R> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let c = self.w.len();
        let n = R::of(c as f64);
        let w = &self.w[..c];
        let rows = self.x.chunks_exact(c).zip(self.g.chunks_exact(c));
        for ((x, g), out) in rows.zip(self.out.chunks_exact_mut(c)) {
            let (mean, rstd) = statistics(x, self.eps);
            let a = sum_by(c, |i| g[i] * w[i]) / n;
            let b = sum_by(c, |i| g[i] * w[i] * (x[i] - mean)) * rstd / n;
            for i in 0..c {
                out[i] = rstd * (g[i] * w[i] - a - (x[i] - mean) * rstd * b);
            }
        }
    }
}

struct GradParamsRows<'a, R> {
    x: &'a [R],
    g: &'a [R],
    out: &'a mut [R],
    eps: R,
}

impl<R: Float> WithSimd for GradParamsRows<'_, R> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let c = self.out.len() / 2;
        let (gw, gb) = self.out.split_at_mut(c);
        for (x, g) in self.x.chunks_exact(c).zip(self.g.chunks_exact(c)) {
            let (mean, rstd) = statistics(x, self.eps);
            for i in 0..c {
                gw[i] += g[i] * (x[i] - mean) * rstd;
                gb[i] += g[i];
            }
        }
    }
}

/// Applies [`layer_norm`] to rows of `weight`'s length, on this thread alone.
pub(crate) fn forward_here<R: Float>(x: &[R], [w, b]: [&[R]; 2], eps: f64, out: &mut [R]) {
    vectorised(ForwardRows { x, w, b, out, eps: R::of(eps) });
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
    let eps = R::of(eps);
    vectorised(GradInputRows { x, w, g, out, eps });
    vectorised(GradParamsRows { x, g, out: grad_params, eps });
}

impl Kernel3 for Forward {
    fn cpu<R: Float>(
        &self,
        (x, l): (&[R], &Layout),
        (w, _): (&[R], &Layout),
        (b, _): (&[R], &Layout),
    ) -> Result<(Vec<R>, Shape)> {
        let eps = R::of(self.eps);
        let out = map_rows(x, w.len(), |x, out| vectorised(ForwardRows { x, w, b, out, eps }));
        Ok((out, l.shape().clone()))
    }
}

impl CustomOp3 for Forward {
    cpu_op!("layer-norm", 3);
    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _b: &Tensor,
        _out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let gx = x.apply_op3_no_bwd(w, &grad, &GradInput { eps: self.eps })?;
        let params = x.apply_op3_no_bwd(w, &grad, &GradParams { eps: self.eps })?;
        Ok((Some(gx), Some(params.get(0)?), Some(params.get(1)?)))
    }
}

impl Kernel3 for GradInput {
    fn cpu<R: Float>(
        &self,
        (x, l): (&[R], &Layout),
        (w, _): (&[R], &Layout),
        (g, _): (&[R], &Layout),
    ) -> Result<(Vec<R>, Shape)> {
        let eps = R::of(self.eps);
        let out =
            zip_rows(x, g, w.len(), |x, g, out| vectorised(GradInputRows { x, w, g, out, eps }));
        Ok((out, l.shape().clone()))
    }
}

impl CustomOp3 for GradInput {
    cpu_op!("layer-norm-grad-input", 3);
}

impl Kernel3 for GradParams {
    fn cpu<R: Float>(
        &self,
        (x, l): (&[R], &Layout),
        _: (&[R], &Layout),
        (g, _): (&[R], &Layout),
    ) -> Result<(Vec<R>, Shape)> {
        let c = l.dims().last().copied().unwrap_or(1);
        let out = super::colsum::sum_pieces(x.len() / c, 2 * c, |rows, out| {
            let range = rows.start * c..rows.end * c;
            let (x, g) = (&x[range.clone()], &g[range]);
            vectorised(GradParamsRows { x, g, out, eps: R::of(self.eps) });
        });
        Ok((out, Shape::from((2, c))))
    }
}

impl CustomOp3 for GradParams {
    cpu_op!("layer-norm-grad-params", 3, wide);
}

#[cfg(feature = "cuda")]
mod on_cuda {
    use super::super::cuda::{self, Input};
    use candle_core::{CudaStorage, Result, Shape};

    type Output = Result<(CudaStorage, Shape)>;

    impl super::Forward {
        pub(super) fn on_cuda(&self, x: Input, w: Input, b: Input) -> Output {
            cuda::layer_norm(x, w, b, self.eps)
        }
    }

    impl super::GradInput {
        pub(super) fn on_cuda(&self, x: Input, w: Input, g: Input) -> Output {
            cuda::layer_norm_grad_input(x, w, g, self.eps)
        }
    }

    impl super::GradParams {
        pub(super) fn on_cuda(&self, x: Input, w: Input, g: Input) -> Output {
            cuda::layer_norm_grad_params(x, w, g, self.eps)
        }
    }
}
