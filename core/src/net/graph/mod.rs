//! The network's operations as functions of candle's tensors, for its autograd: each runs the operation
//! of [`super::device_ops`], forward and backward, that the hand-written passes run.
//!
//! On the CPU they compute in f32, or in f64 if the arguments are f64. Arguments in f16 or bf16 (on the
//! CPU only in tests) are widened to f32, and the result is rounded. Parameters, their gradients and the
//! residual stream are never narrower than f32.

#[cfg(feature = "cuda")]
mod cuda;
mod recurrence;
#[cfg(test)]
mod tests;

#[cfg(feature = "cuda")]
use cuda::{Run, on_card, pixels_on_card};
pub use recurrence::lstm_recurrence;

use super::description::Affine;
use super::device_ops::Ops;
use super::device_ops::cpu::{Cpu, Sum};
use super::ops::{Float, lanes::Lanes};
use super::{buffers::BufferPool, views::Views};
use candle_core::{CpuStorage, CustomOp3, D, DType, Device, Layout, Result, Shape, Storage};
use candle_core::{Tensor, bail};
use std::ops::Range;

/// y[n,h,w,c] = b[c] + Σ x[n,h+i-3,w+j-3,c] · w[7i+j,c].
///
/// `x` [N, H, W, C], `weight` [49, C], `bias` [C], all contiguous → [N, H, W, C].
pub fn depthwise7(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    x.dims4()?;
    Op::Depthwise.apply(x, &[weight, bias], x)
}

/// y = (x - mean) / √(var + ε) · weight + bias over the last dimension, the variance biased, ε = 1e-6.
///
/// `x` [.., C], `weight` [C], `bias` [C], contiguous → [.., C] (Ba et al. 2016,
/// <https://arxiv.org/abs/1607.06450>). candle 0.11's own silently returns no gradient for contiguous
/// input.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    Op::Norm.apply(x, &[weight, bias], x)
}

/// gelu(x + bias) with gelu(v) = v · (1 + erf(v / √2)) / 2, PyTorch's default form
/// (Hendrycks & Gimpel 2016, <https://arxiv.org/abs/1606.08415>).
///
/// `x` [.., C], `bias` [C], contiguous → [.., C].
pub fn bias_gelu(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    Op::Gelu.apply(x, &[bias], x)
}

/// x + bias over the last dimension. `x` [.., C], `bias` [C], contiguous → [.., C].
pub fn add_bias(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    Op::Bias.apply(x, &[bias], x)
}

/// residual + (x + bias) · gamma.
///
/// `x` [M, C], `bias` [C], `gamma` [C] (layer scale: Touvron et al. 2021,
/// <https://arxiv.org/abs/2103.17239>), `residual` [M, C], contiguous → [M, C]. The residual and the
/// result are f32 if `x` is narrower, as under PyTorch's autocast: gamma starts at 1e-6, and a narrower
/// sum would round the block away.
pub fn scale_residual(
    x: &Tensor,
    bias: &Tensor,
    gamma: &Tensor,
    residual: &Tensor,
) -> Result<Tensor> {
    Op::Scale.apply(x, &[gamma, bias], residual)
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

/// Maps `x` [N, H, W, C], H and W even, to [N·H/2·W/2, 9·C]: the pixels of each window of a 3×3
/// convolution of stride 2 row by row, with a border of zeros around the map. The product with a weight
/// [out, 9·C] is the convolution. By candle's own operations, whose gradients are correct here.
pub fn windows(x: &Tensor) -> Result<Tensor> {
    let (n, h, w, c) = x.dims4()?;
    let (rows, columns) = (h / 2, w / 2);
    let x = threes(&x.reshape((n, rows, 2, w * c))?)?;
    let x = threes(&x.reshape((n * rows * 3, columns, 2, c))?)?;
    x.reshape(&[n, rows, 3, columns, 3, c][..])?
        .permute([0, 1, 3, 2, 4, 5])?
        .reshape((n * rows * columns, 9 * c))
}

/// Maps pairs of neighbours [A, P, 2, B] to [A, P, 3, B]: each pair follows the last element of the pair
/// before it, the first pair a zero. No window leaves the map below or to the right.
fn threes(pairs: &Tensor) -> Result<Tensor> {
    let last = pairs.dim(1)? - 1;
    let before = pairs.narrow(2, 1, 1)?.narrow(1, 0, last)?.pad_with_zeros(1, 1, 0)?;
    Tensor::cat(&[&before, pairs], 2)
}

/// own / 255; with a partner, own / 255 · share + partner / 255 · its share, each operation rounded to
/// f32 in this order.
///
/// `own` and the partner uint8, contiguous and of one shape → that shape, in `dtype` (f32, f16 or
/// bf16). No gradient.
pub fn pixels(own: &Tensor, partner: Option<(&Tensor, [f32; 2])>, dtype: DType) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if own.device().is_cuda() {
        return super::ops::gpu::by_type!(dtype, pixels_on_card(own, partner));
    }
    let most = Tensor::new(255f32, own.device())?;
    let level = |bytes: &Tensor| bytes.to_dtype(DType::F32)?.broadcast_div(&most);
    let level = match partner {
        None => level(own)?,
        Some((partner, [a, b])) => {
            ((level(own)? * f64::from(a))? + (level(partner)? * f64::from(b))?)?
        }
    };
    level.to_dtype(dtype)
}

/// A value of candle's graph that was computed outside of it. `backward` maps the three arguments and the
/// value's gradient to the arguments' gradients.
struct Node<B> {
    value: Tensor,
    backward: B,
}

impl<B> CustomOp3 for Node<B>
where
    B: Fn([&Tensor; 3], Tensor) -> Result<[Option<Tensor>; 3]>,
{
    fn name(&self) -> &'static str {
        "by-hand"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        match &*self.value.storage_and_layout().0 {
            Storage::Cpu(values) => Ok((values.clone(), self.value.shape().clone())),
            _ => bail!("a value on another device than its arguments"),
        }
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        _: &candle_core::CudaStorage,
        _: &Layout,
        _: &candle_core::CudaStorage,
        _: &Layout,
        _: &candle_core::CudaStorage,
        _: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        let (storage, layout) = self.value.storage_and_layout();
        match &*storage {
            Storage::Cuda(values) => Ok((values.try_clone(layout)?, self.value.shape().clone())),
            _ => bail!("a value on another device than its arguments"),
        }
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        _value: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        Ok((self.backward)([a, b, c], grad.contiguous()?)?.into())
    }
}

/// An operation of [`Ops`] on an activation [.., C] and parameters [rows, C], of which the last row is a
/// bias and those before it are a weight.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Op {
    Depthwise,
    Norm,
    Gelu,
    Bias,
    /// Adds the scaled activation to a residual.
    Scale,
}

impl Op {
    /// Applies it in candle's graph. `residual` is read by [`Op::Scale`] only.
    fn apply(self, x: &Tensor, parameters: &[&Tensor], residual: &Tensor) -> Result<Tensor> {
        let c = x.dim(D::Minus1)?;
        let rows = parameters.iter().map(|p| p.reshape(((), c))).collect::<Result<Vec<_>>>()?;
        let parameters = Tensor::cat(&rows, 0)?;
        let (value, _) = self.run(x, &parameters, residual, false)?;
        let backward = move |[x, parameters, _]: [&Tensor; 3], grad: Tensor| {
            let (dx, sums) = self.run(x, parameters, &grad.to_dtype(x.dtype())?, true)?;
            if self != Op::Scale {
                return Ok([Some(dx), Some(sums), None]);
            }
            // The sum is that of the gradient, as training needs it.
            let (gamma, bias) = (parameters.get(0)?, parameters.get(1)?);
            let shifted = x.to_dtype(grad.dtype())?.broadcast_add(&bias)?;
            let of_gamma = (shifted * &grad)?.sum(0)?;
            let sums = Tensor::stack(&[of_gamma, (sums.get(1)? * gamma)?], 0)?;
            Ok([Some(dx), Some(sums), Some(grad)])
        };
        x.apply_op3(&parameters, residual, Node { value, backward })
    }

    /// Runs it forward, with `other` the residual, or `back`, with `other` the result's gradient. Returns
    /// the result, or the gradients of `x` and of the parameters.
    fn run(
        self,
        x: &Tensor,
        parameters: &Tensor,
        other: &Tensor,
        back: bool,
    ) -> Result<(Tensor, Tensor)> {
        match x.dtype() {
            #[cfg(feature = "cuda")]
            dtype if x.device().is_cuda() => {
                let run = Run { op: self, x, parameters, other, back };
                super::ops::gpu::by_type!(dtype, on_card(run))
            }
            DType::F64 => self.on_cpu::<f64>([x, parameters, other], back),
            DType::F32 => self.on_cpu::<f32>([x, parameters, other], back),
            dtype @ (DType::F16 | DType::BF16) => {
                let [x, other] = [x.to_dtype(DType::F32)?, other.to_dtype(DType::F32)?];
                let (out, sums) = self.on_cpu::<f32>([&x, parameters, &other], back)?;
                let wide = self == Op::Scale && !back;
                Ok((out.to_dtype(if wide { DType::F32 } else { dtype })?, sums))
            }
            other => bail!("on the CPU the network computes in f32 (f64 in tests), not {other:?}"),
        }
    }

    fn on_cpu<R: Float>(self, given: [&Tensor; 3], back: bool) -> Result<(Tensor, Tensor)> {
        let views = Views::of(given);
        let values = views.slices::<R>()?;
        let [x, parameters, other] = values[..] else { unreachable!("three tensors") };
        let (shape, mut sums) = (map_shape(given[0])?, vec![R::zero(); parameters.len()]);
        let (weight, bias) = parameters.split_at(parameters.len() - shape[3]);
        let (of_weight, of_bias) = sums.split_at_mut(weight.len());
        let of = Affine { weight: Sum::new(of_weight, false), bias: Sum::new(of_bias, false) };
        let (pool, fill) = (BufferPool::default(), |_: Range<usize>, _: &mut [R]| ());
        let lanes = Lanes(rayon::current_num_threads());
        let mut cpu = Cpu { lanes, pool: &pool, fill: &fill, spaces: Vec::new() };
        let buffers = [x.to_vec(), other.to_vec(), vec![R::zero(); x.len()]];
        let out = self.on(&mut cpu, &Affine { weight, bias }, shape, buffers, back.then_some(of));
        let tensor = |values, like: &Tensor| Tensor::from_vec(values, like.shape(), &Device::Cpu);
        Ok((tensor(out, given[0])?, tensor(sums, given[1])?))
    }

    /// Runs it on a device, backward if there are sums to add the parameters' gradients to. The last
    /// buffer holds zeros.
    fn on<O: Ops>(
        self,
        ops: &mut O,
        weights: &Affine<O::Weight>,
        shape: [usize; 4],
        [mut x, mut other, mut out]: [O::Inner; 3],
        back: Option<Affine<O::Sum>>,
    ) -> O::Inner {
        let (c, n) = (shape[3], 0..shape.iter().product());
        let all = || n.clone();
        let Affine { weight, bias } = *weights;
        let Some(mut sums) = back else {
            match self {
                Op::Depthwise => ops.depthwise(&x, weights, shape, &mut out),
                Op::Norm => ops.norm(weights, c, (&x, all()), (&mut out, all())),
                Op::Gelu => ops.gelu((&x, all()), bias, c, (&mut out, all())),
                Op::Bias => {
                    ops.add_bias(bias, c, (&mut x, all()));
                    return x;
                }
                Op::Scale => {
                    let to = (&mut out, all());
                    ops.scale_residual((&x, all()), [bias, weight], c, (&other, all()), to);
                }
            }
            return out;
        };
        match self {
            Op::Depthwise => ops.depthwise_backward(&x, weight, &other, shape, &mut out, &mut sums),
            Op::Norm => {
                let mut own = O::Wide::default();
                ops.begin_norm(&mut own, c);
                let (x, g, to) = ((&x, all()), (&other, all()), (&mut out, all()));
                ops.norm_backward(weight, c, x, g, to, &mut own);
                ops.end_norm(&own, &mut sums);
            }
            Op::Gelu => {
                let (x, again, g) = ((&mut x, all()), (&mut out, all()), (&mut other, all()));
                ops.gelu_backward(x, bias, c, again, g, &mut sums.bias);
                return other;
            }
            Op::Bias => {
                ops.column_sums((&other, all()), c, &mut sums.bias);
                return other;
            }
            Op::Scale => {
                let to = (&mut out, all());
                ops.scale_backward((&other, all()), weight, c, to, &mut sums.bias);
            }
        }
        out
    }
}

/// Shape of a map; rows of C count as maps of one pixel.
fn map_shape(x: &Tensor) -> Result<[usize; 4]> {
    match *x.dims() {
        [n, h, w, c] => Ok([n, h, w, c]),
        _ => x.dim(D::Minus1).map(|c| [x.elem_count() / c.max(1), 1, 1, c]),
    }
}
