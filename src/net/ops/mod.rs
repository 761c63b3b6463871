//! Ops with their own backward pass, where candle drops gradients or wastes passes over memory.
//!
//! Each is a candle custom op over contiguous storage. On the CPU it is generic over f32 (training) and
//! f64 (compared with finite differences); on a GPU it runs our own kernels (`cuda`). Loops are written
//! for the compiler to vectorise, and run under [`pulp`]'s run-time dispatch (AVX-512, AVX2 + FMA, NEON,
//! scalar). Work is split over rayon's threads in pieces that do not depend on the number of threads,
//! and sums over pieces are taken in a fixed order: the same input gives the same bits.

pub(crate) mod bias_gelu;
mod colsum;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
pub(crate) mod depthwise;
mod float;
#[cfg(feature = "cuda")]
pub(crate) mod gpu;
pub(crate) mod head;
pub(crate) mod lanes;
#[doc(hidden)]
pub mod launch;
pub(crate) mod layer_norm;
mod lstm_cell;
#[cfg(feature = "cuda")]
pub(crate) mod multi;
mod pixels;
pub(crate) mod product;
pub(crate) mod recurrence;
pub(crate) mod scale_residual;
mod windows;

#[cfg(test)]
mod finite_differences;
#[cfg(test)]
mod not_finite;
#[cfg(test)]
mod paths;

pub use bias_gelu::bias_gelu;
pub use colsum::{add_bias, linear, multiply};
pub use depthwise::depthwise7;
pub use layer_norm::layer_norm;
pub use lstm_cell::lstm_recurrence;
pub use pixels::pixels;
pub use scale_residual::scale_residual;
pub use windows::windows;

pub(crate) use float::Float;

use crate::simd::vectorised;
use candle_core::{CpuStorage, DType, Layout, Result, Shape, WithDType};
use candle_core::{backend::BackendStorage, bail};
use rayon::prelude::*;

/// Rows per task of a thread: enough to pay for the hand-over.
const ROWS: usize = 256;

/// Returns the start and end of the elements that `layout` selects.
///
/// Errors: when they are not contiguous.
fn contiguous(layout: &Layout) -> Result<(usize, usize)> {
    let Some(ends) = layout.contiguous_offsets() else {
        bail!("an op of rsna-tui takes contiguous tensors only, got strides {:?}", layout.stride())
    };
    Ok(ends)
}

/// Returns the contiguous elements that `layout` selects.
fn slice<'a, T: WithDType>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    let (start, end) = contiguous(layout)?;
    Ok(&storage.as_slice::<T>()?[start..end])
}

/// Maps rows of `c` elements of `x` to as many of the result, in parallel pieces.
fn map_rows<R: Float>(x: &[R], c: usize, piece: impl Fn(&[R], &mut [R]) + Sync) -> Vec<R> {
    let mut out = vec![R::zero(); x.len()];
    let pieces = out.par_chunks_mut(ROWS * c).zip(x.par_chunks(ROWS * c));
    pieces.for_each(|(out, x)| piece(x, out));
    out
}

/// Like [`map_rows`], with the rows of `y` too.
fn zip_rows<R: Float>(
    x: &[R],
    y: &[R],
    c: usize,
    piece: impl Fn(&[R], &[R], &mut [R]) + Sync,
) -> Vec<R> {
    let mut out = vec![R::zero(); x.len()];
    let inputs = x.par_chunks(ROWS * c).zip(y.par_chunks(ROWS * c));
    out.par_chunks_mut(ROWS * c).zip(inputs).for_each(|(out, (x, y))| piece(x, y, out));
    out
}

/// CPU version of a unary op: elements and layout → elements and shape.
trait Kernel1 {
    fn cpu<R: Float>(&self, a: &[R], la: &Layout) -> Result<(Vec<R>, Shape)>;
}
/// CPU version of a binary op.
trait Kernel2 {
    fn cpu<R: Float>(&self, a: &[R], la: &Layout, b: &[R], lb: &Layout) -> Result<(Vec<R>, Shape)>;
}
/// CPU version of a ternary op.
trait Kernel3 {
    fn cpu<R: Float>(
        &self,
        a: (&[R], &Layout),
        b: (&[R], &Layout),
        c: (&[R], &Layout),
    ) -> Result<(Vec<R>, Shape)>;
}

/// Returns the narrow type among some storages, if there is one.
fn narrow_type(storages: &[&CpuStorage]) -> Option<DType> {
    let types = storages.iter().map(|s| s.dtype());
    types.into_iter().find(|t| matches!(t, DType::F16 | DType::BF16))
}

/// Converts to f32.
fn widened(storage: &CpuStorage) -> CpuStorage {
    match storage {
        CpuStorage::F16(v) => CpuStorage::F32(v.iter().map(|v| v.to_f32()).collect()),
        CpuStorage::BF16(v) => CpuStorage::F32(v.iter().map(|v| v.to_f32()).collect()),
        other => other.clone(),
    }
}

/// Rounds f32 to `dtype`.
fn narrowed(storage: CpuStorage, dtype: DType) -> CpuStorage {
    match (storage, dtype) {
        (CpuStorage::F32(v), DType::F16) => {
            CpuStorage::F16(v.into_iter().map(half::f16::from_f32).collect())
        }
        (CpuStorage::F32(v), DType::BF16) => {
            CpuStorage::BF16(v.into_iter().map(half::bf16::from_f32).collect())
        }
        (storage, _) => storage,
    }
}

/// Implements `name`, `cpu_fwd` and `cuda_fwd` of a candle custom op from its kernel and its `on_cuda`.
///
/// On the CPU it computes in the type of its arguments, f32 or f64. If one of them is f16 or bf16 (on
/// the CPU only in tests), it computes in f32 and rounds the result. A `wide` result is not rounded:
/// gradients of weights and the residual stream are always f32.
macro_rules! cpu_op {
    (@dtype $storage:expr, $run:ident ( $($arg:expr),* )) => {
        match $storage {
            candle_core::CpuStorage::F32(_) => $run::<f32>($($arg),*),
            candle_core::CpuStorage::F64(_) => $run::<f64>($($arg),*),
            other => candle_core::bail!(
                "on the CPU the network computes in f32 (f64 in tests), not {:?}",
                candle_core::backend::BackendStorage::dtype(other)
            ),
        }
    };
    (@rounded $out:expr, $narrow:expr) => {{
        let (out, shape) = $out;
        Ok(($crate::net::ops::narrowed(out, $narrow), shape))
    }};
    (@rounded $out:expr, $narrow:expr, wide) => {{
        let _ = $narrow;
        Ok($out)
    }};
    ($name:literal, 1 $(, $of:ident)?) => {
        fn name(&self) -> &'static str {
            $name
        }
        fn cpu_fwd(
            &self,
            s: &CpuStorage,
            l: &Layout,
        ) -> Result<(CpuStorage, Shape)> {
            fn run<R: $crate::net::ops::Float>(
                op: &impl $crate::net::ops::Kernel1,
                (s, l): (&CpuStorage, &Layout),
            ) -> Result<(CpuStorage, Shape)> {
                let (out, shape) = op.cpu::<R>($crate::net::ops::slice(s, l)?, l)?;
                Ok((R::to_cpu_storage_owned(out), shape))
            }
            let Some(narrow) = $crate::net::ops::narrow_type(&[s]) else {
                return $crate::net::ops::cpu_op!(@dtype s, run(self, (s, l)));
            };
            let s = &$crate::net::ops::widened(s);
            let out = run::<f32>(self, (s, l))?;
            $crate::net::ops::cpu_op!(@rounded out, narrow $(, $of)?)
        }
        #[cfg(feature = "cuda")]
        fn cuda_fwd(
            &self,
            s: &candle_core::CudaStorage,
            l: &Layout,
        ) -> Result<(candle_core::CudaStorage, Shape)> {
            self.on_cuda((s, l))
        }
    };
    ($name:literal, 2 $(, $of:ident)?) => {
        fn name(&self) -> &'static str {
            $name
        }
        fn cpu_fwd(
            &self,
            s1: &CpuStorage,
            l1: &Layout,
            s2: &CpuStorage,
            l2: &Layout,
        ) -> Result<(CpuStorage, Shape)> {
            fn run<R: $crate::net::ops::Float>(
                op: &impl $crate::net::ops::Kernel2,
                (s1, l1): (&CpuStorage, &Layout),
                (s2, l2): (&CpuStorage, &Layout),
            ) -> Result<(CpuStorage, Shape)> {
                let (out, shape) = op.cpu::<R>($crate::net::ops::slice(s1, l1)?, l1, $crate::net::ops::slice(s2, l2)?, l2)?;
                Ok((R::to_cpu_storage_owned(out), shape))
            }
            let Some(narrow) = $crate::net::ops::narrow_type(&[s1, s2]) else {
                return $crate::net::ops::cpu_op!(@dtype s1, run(self, (s1, l1), (s2, l2)));
            };
            let s1 = &$crate::net::ops::widened(s1);
            let s2 = &$crate::net::ops::widened(s2);
            let out = run::<f32>(self, (s1, l1), (s2, l2))?;
            $crate::net::ops::cpu_op!(@rounded out, narrow $(, $of)?)
        }
        #[cfg(feature = "cuda")]
        fn cuda_fwd(
            &self,
            s1: &candle_core::CudaStorage,
            l1: &Layout,
            s2: &candle_core::CudaStorage,
            l2: &Layout,
        ) -> Result<(candle_core::CudaStorage, Shape)> {
            self.on_cuda((s1, l1), (s2, l2))
        }
    };
    ($name:literal, 3 $(, $of:ident)?) => {
        fn name(&self) -> &'static str {
            $name
        }
        fn cpu_fwd(
            &self,
            s1: &CpuStorage,
            l1: &Layout,
            s2: &CpuStorage,
            l2: &Layout,
            s3: &CpuStorage,
            l3: &Layout,
        ) -> Result<(CpuStorage, Shape)> {
            fn run<R: $crate::net::ops::Float>(
                op: &impl $crate::net::ops::Kernel3,
                (s1, l1): (&CpuStorage, &Layout),
                (s2, l2): (&CpuStorage, &Layout),
                (s3, l3): (&CpuStorage, &Layout),
            ) -> Result<(CpuStorage, Shape)> {
                let (out, shape) = op.cpu::<R>(($crate::net::ops::slice(s1, l1)?, l1), ($crate::net::ops::slice(s2, l2)?, l2), ($crate::net::ops::slice(s3, l3)?, l3))?;
                Ok((R::to_cpu_storage_owned(out), shape))
            }
            let Some(narrow) = $crate::net::ops::narrow_type(&[s1, s2, s3]) else {
                return $crate::net::ops::cpu_op!(@dtype s1, run(self, (s1, l1), (s2, l2), (s3, l3)));
            };
            let s1 = &$crate::net::ops::widened(s1);
            let s2 = &$crate::net::ops::widened(s2);
            let s3 = &$crate::net::ops::widened(s3);
            let out = run::<f32>(self, (s1, l1), (s2, l2), (s3, l3))?;
            $crate::net::ops::cpu_op!(@rounded out, narrow $(, $of)?)
        }
        #[cfg(feature = "cuda")]
        fn cuda_fwd(
            &self,
            s1: &candle_core::CudaStorage,
            l1: &Layout,
            s2: &candle_core::CudaStorage,
            l2: &Layout,
            s3: &candle_core::CudaStorage,
            l3: &Layout,
        ) -> Result<(candle_core::CudaStorage, Shape)> {
            self.on_cuda((s1, l1), (s2, l2), (s3, l3))
        }
    };
}
use cpu_op;
