//! Launches of the kernels that work on tensors' views outside the encoder's pass.

use super::gpu::{self, Element, empty, pointer, run};
use super::launch;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaView, PushKernelArg};
use candle_core::{CudaDevice, Device, Result, Tensor, bail};

/// Converts bytes to pixels in the type `T`: the first view's, times the first share, plus the second's,
/// if there is one, times the second share. `order`: values in a row of the map, of them in a patch, and
/// the patches' side, or 0 to keep the pixels' order.
///
/// Errors: when the launch fails.
pub(crate) fn images<T: Element>(
    device: &CudaDevice,
    bytes: &[CudaView<u8>],
    [share, other_share]: [f32; 2],
    out: &CudaView<T>,
    order: [usize; 3],
) -> Result<()> {
    let (own, other, out) = (bytes[0].slice(..), pointer(device, bytes.get(1)), out.slice(..));
    let (n, [row, part, side]) = (own.len(), order.map(|n| n as i32));
    let launch = launch::rows("images", 1, n);
    run!(device, launch, T::SUFFIX, own, other, share, other_share, out, n as i64, row, part, side);
    Ok(())
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
    let (launch, n, width) = (launch::head("head_forward", c), rows as i32, c as i32);
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
    let (launch, n, width, slope) =
        (launch::head("head_grad", c), rows as i32, c as i32, slope as f32);
    run!(
        cuda, launch, "", x, bias, weight, shift, mask, statistics, out, g, to, sums, n, width,
        slope
    );
    Ok((gpu::tensor(dx, cuda, (rows, c)), gpu::tensor(grads, cuda, (4, c))))
}
