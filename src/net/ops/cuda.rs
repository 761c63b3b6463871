//! GPU side of candle's custom ops, by our kernels: elements are f32, f16 or bf16; small parameters and
//! their gradients are f32.

use super::{
    contiguous,
    gpu::{self, Element, by_type, empty, pointer, run},
    launch,
    recurrence::KEPT,
};
use candle_core::{
    CudaDevice, CudaStorage, DType, Device, Layout, Result, Shape, Storage, Tensor,
    backend::BackendStorage,
    bail,
    cuda_backend::{
        CudaDType,
        cudarc::driver::{CudaSlice, CudaView, PushKernelArg},
    },
    op::BackpropOp,
};

/// An argument of an op.
pub(super) type Input<'a> = (&'a CudaStorage, &'a Layout);
type Output = Result<(CudaStorage, Shape)>;

/// Returns the contiguous elements of an argument.
pub(super) fn view<'a, T: CudaDType>((storage, layout): Input<'a>) -> Result<CudaView<'a, T>> {
    let (start, end) = contiguous(layout)?;
    Ok(storage.as_cuda_slice::<T>()?.slice(start..end))
}

fn wrap<T: CudaDType>(slice: CudaSlice<T>, device: &CudaDevice, shape: impl Into<Shape>) -> Output {
    Ok((CudaStorage::wrap_cuda_slice(slice, device.clone()), shape.into()))
}

/// Returns the number of rows and their width.
fn rows(layout: &Layout) -> (usize, usize) {
    let c = layout.dims().last().copied().unwrap_or(1);
    (layout.shape().elem_count() / c.max(1), c)
}

fn dims4(layout: &Layout) -> Result<[usize; 4]> {
    let (n, h, w, c) = layout.shape().dims4()?;
    Ok([n, h, w, c])
}

/// Creates a result of the type and shape of `x`; `fill` gets the buffer, the number of rows and their
/// width.
fn like<T: Element>(
    x: Input,
    fill: impl FnOnce(&CudaDevice, CudaView<T>, usize, usize) -> Result<()>,
) -> Output {
    let device = x.0.device();
    let (n, c) = rows(x.1);
    let out = empty::<T>(device, n * c)?;
    fill(device, out.as_view(), n, c)?;
    wrap(out, device, x.1.shape())
}

/// Sums `parts` parts of a result of this shape, which `fill` writes into one buffer.
fn in_parts(
    device: &CudaDevice,
    parts: usize,
    shape: impl Into<Shape>,
    fill: impl FnOnce(CudaView<f32>) -> Result<()>,
) -> Output {
    let shape = shape.into();
    let n = shape.elem_count();
    let partial = empty::<f32>(device, parts * n)?;
    fill(partial.as_view())?;
    wrap(sum_parts(device, &partial, parts, n)?, device, shape)
}

/// Sums [parts, n] over the parts.
fn sum_parts(
    device: &CudaDevice,
    partial: &CudaSlice<f32>,
    parts: usize,
    n: usize,
) -> Result<CudaSlice<f32>> {
    let out = empty::<f32>(device, n)?;
    gpu::sum_parts(device, &partial.as_view(), parts, &out.as_view(), false)?;
    Ok(out)
}

pub(super) fn depthwise(x: Input, w: Input, bias: Input) -> Output {
    fn of<T: Element>(x: Input, w: Input, bias: Input) -> Output {
        let device = x.0.device();
        let shape = dims4(x.1)?;
        let y = empty::<T>(device, shape.iter().product())?;
        let (from, weight, bias) = (view::<T>(x)?, view::<f32>(w)?, view::<f32>(bias)?);
        let launch = launch::depthwise7_forward(shape);
        let [n, h, width, c] = shape.map(|n| n as i32);
        run!(device, launch, T::SUFFIX, from, weight, bias, y.as_view(), n, h, width, c);
        wrap(y, device, x.1.shape())
    }
    by_type!(x.0.dtype(), of(x, w, bias))
}

/// Gradient of the input.
pub(super) fn depthwise_grad_input(g: Input, w: Input) -> Output {
    fn of<T: Element>(g: Input, w: Input) -> Output {
        let device = g.0.device();
        let shape = dims4(g.1)?;
        let n = shape.iter().product();
        let (sum, copy) = (device.alloc_zeros::<f32>(n)?, empty::<T>(device, n)?);
        let (from, weight, to) = (view::<T>(g)?, view::<f32>(w)?, copy.as_view());
        let launch = launch::depthwise7_grad_input(shape);
        let [n, h, width, c] = shape.map(|n| n as i32);
        run!(device, launch, T::SUFFIX, from, weight, sum.as_view(), to, n, h, width, c);
        wrap(copy, device, g.1.shape())
    }
    by_type!(g.0.dtype(), of(g, w))
}

/// [50, C]: gradient of the weight, and of the bias in the last row.
pub(super) fn depthwise_grad_weight(x: Input, g: Input) -> Output {
    fn of<T: Element>(x: Input, g: Input) -> Output {
        let device = x.0.device();
        let [n, h, w, c] = dims4(x.1)?;
        let parts = launch::depthwise7_parts(n, w, c);
        in_parts(device, parts, (50, c), |out| {
            let launch = launch::depthwise7_grad_weight(c, parts);
            let (x, g) = (view::<T>(x)?, view::<T>(g)?);
            let [n, h, w, c, parts] = [n, h, w, c, parts].map(|n| n as i32);
            run!(device, launch, T::SUFFIX, x, g, out, n, h, w, c, parts);
            Ok(())
        })
    }
    by_type!(x.0.dtype(), of(x, g))
}

pub(super) fn layer_norm(x: Input, w: Input, b: Input, eps: f64) -> Output {
    fn of<T: Element>(x: Input, w: Input, b: Input, eps: f64) -> Output {
        like::<T>(x, |device, y, n, c| {
            let launch = launch::layer_norm_forward(n, c);
            let (x, w, b) = (view::<T>(x)?, view::<f32>(w)?, view::<f32>(b)?);
            let (none, eps) = (0u64, eps as f32);
            run!(device, launch, T::SUFFIX, x, w, b, y, none, n as i64, c as i32, eps, 0i32, 0i32);
            Ok(())
        })
    }
    by_type!(x.0.dtype(), of(x, w, b, eps))
}

/// Gradient of x, and [2, C]: those of weight and bias.
fn layer_norm_grads<T: Element>(
    x: Input,
    w: Input,
    g: Input,
    eps: f64,
) -> Result<(CudaSlice<T>, CudaSlice<f32>)> {
    let device = x.0.device();
    let (n, c) = rows(x.1);
    let parts = launch::layer_norm_parts(n);
    let (dx, partial) = (empty::<T>(device, n * c)?, empty::<f32>(device, parts * 2 * c)?);
    let (launch, of_parts) = (launch::layer_norm_grad(c, parts), partial.as_view());
    let (x, w, g, to) = (view::<T>(x)?, view::<f32>(w)?, view::<T>(g)?, dx.as_view());
    let (rows, width, eps, n) = (n as i64, c as i32, eps as f32, parts as i32);
    let (none, map) = (0u64, 0i32);
    run!(device, launch, T::SUFFIX, x, w, g, to, none, of_parts, rows, width, eps, n, map, map);
    Ok((dx, sum_parts(device, &partial, parts, 2 * c)?))
}

pub(super) fn layer_norm_grad_input(x: Input, w: Input, g: Input, eps: f64) -> Output {
    fn of<T: Element>(x: Input, w: Input, g: Input, eps: f64) -> Output {
        wrap(layer_norm_grads::<T>(x, w, g, eps)?.0, x.0.device(), x.1.shape())
    }
    by_type!(x.0.dtype(), of(x, w, g, eps))
}

/// [2, C]: gradients of weight and bias. They do not depend on `w`.
pub(super) fn layer_norm_grad_params(x: Input, w: Input, g: Input, eps: f64) -> Output {
    fn of<T: Element>(x: Input, w: Input, g: Input, eps: f64) -> Output {
        wrap(layer_norm_grads::<T>(x, w, g, eps)?.1, x.0.device(), (2, rows(x.1).1))
    }
    by_type!(x.0.dtype(), of(x, w, g, eps))
}

/// x + bias.
pub(super) fn add_bias(x: Input, b: Input) -> Output {
    fn of<T: Element>(x: Input, b: Input) -> Output {
        like::<T>(x, |device, y, n, c| {
            let (x, b, none) = (view::<T>(x)?, view::<f32>(b)?, 0u64);
            let launch = launch::add_bias(n, c);
            run!(device, launch, T::SUFFIX, x, b, y, none, n as i64, c as i32);
            Ok(())
        })
    }
    by_type!(x.0.dtype(), of(x, b))
}

/// gelu(x + bias).
pub(super) fn bias_gelu(x: Input, b: Input) -> Output {
    fn of<T: Element>(x: Input, b: Input) -> Output {
        like::<T>(x, |device, y, n, c| {
            let (x, b) = (view::<T>(x)?, view::<f32>(b)?);
            let launch = launch::bias_gelu_forward(n, c);
            run!(device, launch, T::SUFFIX, x, b, y, n as i64, c as i32);
            Ok(())
        })
    }
    by_type!(x.0.dtype(), of(x, b))
}

pub(super) fn bias_gelu_grad(x: Input, b: Input, g: Input) -> Output {
    fn of<T: Element>(x: Input, b: Input, g: Input) -> Output {
        like::<T>(x, |device, dx, n, c| {
            let parts = launch::column_parts(n, c);
            let partial = empty::<f32>(device, parts * c)?;
            let (launch, partial) = (launch::bias_gelu_grad(c, parts), partial.as_view());
            let (x, b, g) = (view::<T>(x)?, view::<f32>(b)?, view::<T>(g)?);
            let (rows, width, parts, none) = (n as i64, c as i32, parts as i32, 0u64);
            run!(device, launch, T::SUFFIX, x, b, g, none, dx, partial, rows, width, parts);
            Ok(())
        })
    }
    by_type!(x.0.dtype(), of(x, b, g))
}

/// Sum over rows, [.., C] → [C], f32.
pub(super) fn column_sum(x: Input) -> Output {
    fn of<T: Element>(x: Input) -> Output {
        let device = x.0.device();
        let (n, c) = rows(x.1);
        let parts = launch::column_parts(n, c);
        in_parts(device, parts, c, |out| {
            let (launch, x) = (launch::column_sum(c, parts), view::<T>(x)?);
            run!(device, launch, T::SUFFIX, x, out, n as i64, c as i32, parts as i32);
            Ok(())
        })
    }
    by_type!(x.0.dtype(), of(x))
}

/// `params` [2, C]: bias, gamma. The residual and the result are f32.
pub(super) fn scale_residual(x: Input, params: Input, residual: Input) -> Output {
    fn of<T: Element>(x: Input, params: Input, r: Input) -> Output {
        like::<f32>(r, |device, y, n, c| {
            let launch = launch::scale_residual_forward(n, c);
            let (x, params, r) = (view::<T>(x)?, view::<f32>(params)?, view::<f32>(r)?);
            let (bias, gamma, none) = (params.slice(..c), params.slice(c..), 0u64);
            run!(device, launch, T::SUFFIX, x, bias, gamma, r, y, none, n as i64, c as i32);
            Ok(())
        })
    }
    by_type!(x.0.dtype(), of(x, params, residual))
}

/// Gradient of x, in the type of `g`.
pub(super) fn scale_residual_grad_input(params: Input, g: Input) -> Output {
    fn of<T: Element>(params: Input, g: Input) -> Output {
        like::<T>(g, |device, dx, n, c| {
            let parts = launch::column_parts(n, c);
            let partial = empty::<f32>(device, parts * c)?;
            let (launch, partial) = (launch::scale_residual_grad(c, parts), partial.as_view());
            let (params, g) = (view::<f32>(params)?, view::<T>(g)?);
            let (gamma, parts) = (params.slice(c..), parts as i32);
            run!(device, launch, T::SUFFIX, g, gamma, dx, partial, n as i64, c as i32, parts);
            Ok(())
        })
    }
    by_type!(g.0.dtype(), of(params, g))
}

/// Pixels in `dtype`; ignores the partner without `shares`.
pub(super) fn pixels(dtype: DType, shares: Option<[f32; 2]>, own: Input, partner: Input) -> Output {
    fn of<T: Element>(shares: Option<[f32; 2]>, own: Input, partner: Input) -> Output {
        let device = own.0.device();
        let n = own.1.shape().elem_count();
        let out = empty::<T>(device, n)?;
        let (from, launch) = (view::<u8>(own)?, launch::images(n));
        let other = shares.map(|_| view::<u8>(partner)).transpose()?;
        let other = pointer(device, other.as_ref());
        let [a, b] = shares.unwrap_or([1.0, 0.0]);
        let (to, map) = (out.as_view(), 0i32);
        run!(device, launch, T::SUFFIX, from, other, a, b, to, n as i64, map, map, map);
        wrap(out, device, own.1.shape())
    }
    by_type!(dtype, of(shares, own, partner))
}

/// Returns D, T, B and H of [D, T, B, parts·H].
fn directions(layout: &Layout, parts: usize) -> Result<[usize; 4]> {
    let [d, t, b, width] = dims4(layout)?;
    Ok([d, t, b, width / parts])
}

/// Runs all steps of the recurrence; returns h [D, T, B, H] and the state for the backward pass.
pub(super) fn lstm(gates: Input, w_hh: Input) -> Result<((CudaStorage, Shape), Tensor)> {
    let device = gates.0.device();
    let [d, t, b, hidden] = directions(gates.1, 4)?;
    let cells = d * t * b;
    let kept = empty::<f32>(device, cells * KEPT * hidden)?;
    let h = empty::<f32>(device, cells * hidden)?;
    let (gates, w_hh) = (view::<f32>(gates)?, view::<f32>(w_hh)?);
    let (of_cells, n) = (cells as i64, hidden as i32);
    run!(device, launch::lstm_spread(cells, hidden), "", gates, kept.as_view(), of_cells, n);
    lstm_forward(device, &kept.as_view(), (&w_hh, None), [d, t, b, hidden])?;
    run!(device, launch::lstm_gather(cells, hidden), "", kept.as_view(), h.as_view(), of_cells, n);
    let kept = CudaStorage::wrap_cuda_slice(kept, device.clone());
    let shape = (d, t, b, KEPT * hidden);
    let kept = Tensor::from_storage(Storage::Cuda(kept), shape, BackpropOp::none(), false);
    Ok((wrap(h, device, (d, t, b, hidden))?, kept))
}

/// From the gradient of h, computes the gates' gradients in place of the gates in [`lstm`]'s state.
pub(super) fn lstm_grad(w_hh: Input, kept: Input, grad: Input) -> Output {
    let device = kept.0.device();
    let [d, t, b, hidden] = directions(kept.1, KEPT)?;
    let mut out = empty::<f32>(device, d * t * b * KEPT * hidden)?;
    device.memcpy_dtod(&view::<f32>(kept)?, &mut out)?;
    let (w_hh, grad) = (view::<f32>(w_hh)?, view::<f32>(grad)?);
    lstm_backward(device, &out.as_view(), &w_hh, &grad, [d, t, b, hidden])?;
    wrap(out, device, kept.1.shape())
}

/// Runs all steps of `d` directions. `kept` [D, T, B, 6H] holds the input products in place of the
/// gates; `bias` [D, 4H], if given, is added to them; `w_hh` is [D, 4H, H].
///
/// Errors: when a launch fails.
pub(crate) fn lstm_forward(
    device: &CudaDevice,
    kept: &CudaView<f32>,
    (w_hh, bias): (&CudaView<f32>, Option<&CudaView<f32>>),
    [d, t, b, hidden]: [usize; 4],
) -> Result<()> {
    let (launch, bias) = (launch::lstm_step(d, b, hidden), pointer(device, bias));
    let [ds, ts, bs, n] = [d, t, b, hidden].map(|n| n as i32);
    for s in 0..ts {
        run!(device, launch, "", kept.slice(..), w_hh.slice(..), bias, ds, ts, bs, n, s);
    }
    Ok(())
}

/// Runs all steps backward: from `grad` [D, T, B, H], the gradient of h, turns the gates in `kept` into
/// their gradients.
///
/// Errors: when the driver fails.
pub(crate) fn lstm_backward(
    device: &CudaDevice,
    kept: &CudaView<f32>,
    w_hh: &CudaView<f32>,
    grad: &CudaView<f32>,
    [d, t, b, hidden]: [usize; 4],
) -> Result<()> {
    let dc = empty::<f32>(device, d * b * hidden)?;
    let launch = launch::lstm_step_grad(d, b, hidden);
    let [ds, ts, bs, n] = [d, t, b, hidden].map(|n| n as i32);
    for s in (0..ts).rev() {
        let (kept, w_hh, grad, dc) = (kept.slice(..), w_hh.slice(..), grad.slice(..), dc.as_view());
        run!(device, launch, "", kept, w_hh, grad, dc, ds, ts, bs, n, s);
    }
    Ok(())
}

/// From w_hh, b_ih and b_hh of four directions, writes w_hh [4, 4H, H] and the sums of both biases [4,
/// 4H].
///
/// Errors: when the driver fails.
pub(crate) fn lstm_weights(
    device: &CudaDevice,
    of: [[CudaView<f32>; 4]; 3],
    hidden: usize,
) -> Result<(CudaSlice<f32>, CudaSlice<f32>)> {
    let w_hh = empty::<f32>(device, 16 * hidden * hidden)?;
    let bias = empty::<f32>(device, 16 * hidden)?;
    let [[w0, w1, w2, w3], [i0, i1, i2, i3], [h0, h1, h2, h3]] = of;
    let (w, b, launch) = (w_hh.as_view(), bias.as_view(), launch::lstm_weights(hidden));
    let n = hidden as i32;
    run!(device, launch, "", w0, w1, w2, w3, i0, i1, i2, i3, h0, h1, h2, h3, w, b, n);
    Ok((w_hh, bias))
}

/// A head's forward pass over `rows` rows of `c`; `views` in the order of the CPU version; also
/// momentum, ε and slope.
///
/// Errors: when the driver fails.
pub(super) fn head_forward(
    device: &Device,
    views: &[CudaView<f32>],
    [rows, c]: [usize; 2],
    [momentum, eps, slope]: [f64; 3],
    batch: bool,
) -> Result<(Tensor, Option<Tensor>)> {
    let [x, bias, weight, shift, mean, var, mask @ ..] = views else {
        bail!("a head's pass takes six tensors and a mask")
    };
    let cuda = device.as_cuda_device()?;
    let y = empty::<f32>(cuda, rows * c)?;
    let statistics = batch.then(|| empty::<f32>(cuda, 4 * c)).transpose()?;
    let of_batch = pointer(cuda, statistics.as_ref().map(CudaSlice::as_view).as_ref());
    let [x, bias, weight, shift, mean, var] =
        [x, bias, weight, shift, mean, var].map(|view| view.slice(..));
    let (mask, to) = (pointer(cuda, mask.first()), y.as_view());
    let [momentum, eps, slope] = [momentum, eps, slope].map(|v| v as f32);
    let (launch, n, width) = (launch::head_forward(c), rows as i32, c as i32);
    run!(
        cuda, launch, "", x, bias, weight, shift, mask, mean, var, to, of_batch, n, width,
        momentum, eps, slope
    );
    Ok((gpu::tensor(y, cuda, (rows, c)), statistics.map(|s| gpu::tensor(s, cuda, (4, c)))))
}

/// A head's backward pass; `views` in the order of the CPU version.
///
/// Errors: when the driver fails.
pub(super) fn head_grad(
    device: &Device,
    views: &[CudaView<f32>],
    [rows, c]: [usize; 2],
    slope: f64,
) -> Result<(Tensor, Tensor)> {
    let [x, bias, weight, shift, statistics, out, g, mask @ ..] = views else {
        bail!("a head's backward pass takes seven tensors and a mask")
    };
    let cuda = device.as_cuda_device()?;
    let (dx, grads) = (empty::<f32>(cuda, rows * c)?, empty::<f32>(cuda, 4 * c)?);
    let [x, bias, weight, shift, statistics, out, g] =
        [x, bias, weight, shift, statistics, out, g].map(|view| view.slice(..));
    let (mask, to, sums) = (pointer(cuda, mask.first()), dx.as_view(), grads.as_view());
    let (launch, n, width, slope) = (launch::head_grad(c), rows as i32, c as i32, slope as f32);
    run!(
        cuda, launch, "", x, bias, weight, shift, mask, statistics, out, g, to, sums, n, width,
        slope
    );
    Ok((gpu::tensor(dx, cuda, (rows, c)), gpu::tensor(grads, cuda, (4, c))))
}
