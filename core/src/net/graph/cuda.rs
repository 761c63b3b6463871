//! The same on a GPU.

use super::{Op, map_shape};
use crate::net::description::Affine;
use crate::net::device_ops::cuda::{Buffer, Compute, Cuda, Sum, Weight};
use crate::net::ops::cuda::{images, lstm_backward, lstm_forward};
use crate::net::ops::gpu::{Element, empty, tensor};
use crate::net::ops::recurrence::KEPT;
use crate::net::views::Views;
use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{Result, Tensor, bail};
use std::ops::Range;

/// The arguments of [`Op::run`].
pub(super) struct Run<'a> {
    pub op: Op,
    pub x: &'a Tensor,
    pub parameters: &'a Tensor,
    pub other: &'a Tensor,
    pub back: bool,
}

/// [`Op::run`] in the compute type `T`.
pub(super) fn on_card<T: Compute>(run: Run) -> Result<(Tensor, Tensor)> {
    let Run { op, x, parameters, other, back } = run;
    let device = x.device().as_cuda_device()?;
    let (shape, count) = (map_shape(x)?, parameters.elem_count());
    let at = count - shape[3];
    let views = Views::of([parameters]);
    let values = &views.on_card::<f32>()?[0];
    let [weight, bias] =
        [0..at, at..count].map(|range| Weight::<T> { wide: values.slice(range), narrow: None });
    let sums = device.alloc_zeros::<f32>(count)?;
    let [of_weight, of_bias] =
        [0..at, at..count].map(|range| Sum { all: &sums, range, empty: false });
    let fill = |_: Range<usize>, _: usize, _: &mut CudaSlice<T>| Ok(());
    let mut cuda = Cuda::new(device, &fill);
    let buffers = [map::<T>(x)?, map(other)?, map(&x.zeros_like()?)?];
    let weights = Affine { weight: &weight, bias: &bias };
    let of = Affine { weight: of_weight, bias: of_bias };
    let out = op.on(&mut cuda, &weights, shape, buffers, back.then_some(of));
    cuda.done()?;
    let out = match out {
        // The residual stream.
        Buffer { wide: Some(wide), .. } if op == Op::Scale && !back => {
            tensor(wide, device, x.shape())
        }
        Buffer { values: Some(values), .. } => tensor(values, device, x.shape()),
        _ => bail!("no result and no error"),
    };
    Ok((out, tensor(sums, device, parameters.shape())))
}

/// Copies a tensor to a map's buffer.
fn map<T: Compute>(t: &Tensor) -> Result<Buffer<T>> {
    let wide = T::NARROW.then(|| copy(t)).transpose()?;
    Ok(Buffer { values: Some(copy(t)?), wide })
}

/// Copies a tensor to a buffer in the type `T`.
fn copy<T: Element>(t: &Tensor) -> Result<CudaSlice<T>> {
    let t = t.to_dtype(T::DTYPE)?;
    let device = t.device().as_cuda_device()?;
    let mut out = empty::<T>(device, t.elem_count())?;
    let views = Views::of([&t]);
    device.memcpy_dtod(&views.on_card::<T>()?[0], &mut out)?;
    Ok(out)
}

/// [`super::recurrence::steps`] in f32.
pub(super) fn steps(kept: &Tensor, w_hh: &Tensor, grad: Option<&Tensor>) -> Result<Tensor> {
    let (d, t, b, width) = kept.dims4()?;
    let (device, shape) = (kept.device().as_cuda_device()?, [d, t, b, width / KEPT]);
    let cells = copy::<f32>(kept)?;
    let views = Views::of([w_hh].into_iter().chain(grad));
    let values = views.on_card::<f32>()?;
    match values.get(1) {
        None => lstm_forward(device, &cells.as_view(), (&values[0], None), shape)?,
        Some(grad) => lstm_backward(device, &cells.as_view(), &values[0], grad, shape)?,
    }
    Ok(tensor(cells, device, kept.shape()))
}

/// [`super::pixels`] in the type `T`.
pub(super) fn pixels_on_card<T: Element>(
    own: &Tensor,
    partner: Option<(&Tensor, [f32; 2])>,
) -> Result<Tensor> {
    let (device, n) = (own.device().as_cuda_device()?, own.elem_count());
    let out = empty::<T>(device, n)?;
    let views = Views::of([own].into_iter().chain(partner.map(|(partner, _)| partner)));
    let shares = partner.map_or([1.0, 0.0], |(_, shares)| shares);
    images::<T>(device, &views.on_card::<u8>()?, shares, &out.as_view(), [0; 3])?;
    Ok(tensor(out, device, own.shape()))
}
