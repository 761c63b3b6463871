//! Bias addition, whose gradient is a sum over rows, and the linear layer built on it.

use super::{Float, Kernel1, Kernel2, ROWS, cpu_op, map_rows, vectorised};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// x + bias over the last dimension. `x` [.., C], `bias` [C], contiguous → [.., C].
pub fn add_bias(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    x.apply_op2(bias, AddBias)
}

/// x · weightᵀ + bias. `x` [M, in], `weight` [out, in], `bias` [out] → [M, out].
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    add_bias(&multiply(x, weight)?, bias)
}

/// x · weightᵀ in the type of `x`, to which a copy of the weight is rounded if it is wider. `x` [M, in],
/// `weight` [out, in] → [M, out].
pub fn multiply(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    x.matmul(&weight.to_dtype(x.dtype())?.t()?)
}

struct AddBias;
/// Sum over rows, [.., C] → [C].
pub(super) struct ColumnSum;

/// Sums `out_len` values over `rows`: `piece` adds up ranges of rows in parallel, and their sums are
/// added in order.
pub(super) fn sum_pieces<R: Float>(
    rows: usize,
    out_len: usize,
    piece: impl Fn(Range<usize>, &mut [R]) + Sync,
) -> Vec<R> {
    let parts: Vec<Vec<R>> = (0..rows.div_ceil(ROWS))
        .into_par_iter()
        .map(|i| {
            let mut out = vec![R::zero(); out_len];
            piece(i * ROWS..((i + 1) * ROWS).min(rows), &mut out);
            out
        })
        .collect();
    let mut out = vec![R::zero(); out_len];
    for part in &parts {
        for (o, &v) in out.iter_mut().zip(part) {
            *o += v;
        }
    }
    out
}

struct AddRows<'a, R> {
    x: &'a [R],
    b: &'a [R],
    out: &'a mut [R],
}

impl<R: Float> WithSimd for AddRows<'_, R> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let c = self.b.len();
        for (x, out) in self.x.chunks_exact(c).zip(self.out.chunks_exact_mut(c)) {
            for i in 0..c {
                out[i] = x[i] + self.b[i];
            }
        }
    }
}

struct SumRows<'a, R> {
    x: &'a [R],
    out: &'a mut [R],
}

impl<R: Float> WithSimd for SumRows<'_, R> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for x in self.x.chunks_exact(self.out.len()) {
            for (sum, &v) in self.out.iter_mut().zip(x) {
                *sum += v;
            }
        }
    }
}

impl Kernel2 for AddBias {
    fn cpu<R: Float>(&self, x: &[R], l: &Layout, b: &[R], _: &Layout) -> Result<(Vec<R>, Shape)> {
        let out = map_rows(x, b.len(), |x, out| vectorised(AddRows { x, b, out }));
        Ok((out, l.shape().clone()))
    }
}

impl CustomOp2 for AddBias {
    cpu_op!("add-bias", 2);
    fn bwd(
        &self,
        _x: &Tensor,
        _b: &Tensor,
        _out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let gb = grad.apply_op1_no_bwd(&ColumnSum)?;
        Ok((Some(grad), Some(gb)))
    }
}

impl Kernel1 for ColumnSum {
    fn cpu<R: Float>(&self, x: &[R], l: &Layout) -> Result<(Vec<R>, Shape)> {
        let c = l.dims().last().copied().unwrap_or(1);
        let out = sum_pieces(x.len() / c, c, |rows, out| {
            vectorised(SumRows { x: &x[rows.start * c..rows.end * c], out });
        });
        Ok((out, Shape::from(c)))
    }
}

impl CustomOp1 for ColumnSum {
    cpu_op!("column-sum", 1, wide);
}

#[cfg(feature = "cuda")]
mod on_cuda {
    use super::super::cuda::{self, Input};
    use candle_core::{CudaStorage, Result, Shape};

    type Output = Result<(CudaStorage, Shape)>;

    impl super::AddBias {
        pub(super) fn on_cuda(&self, x: Input, b: Input) -> Output {
            cuda::add_bias(x, b)
        }
    }

    impl super::ColumnSum {
        pub(super) fn on_cuda(&self, x: Input) -> Output {
            cuda::column_sum(x)
        }
    }
}
