//! The ops on a GPU: our kernels (`*.cu` in this folder), which `build.rs` compiled to PTX.
//!
//! Elements are f32, f16 or bf16, the small parameters and their gradients f32. A kernel's module
//! is compiled for the card at its first launch. Everything runs on candle's one stream, in order.

use super::{
    contiguous,
    launch::{self, Launch},
    recurrence::KEPT,
};
use candle_core::{
    CudaDevice, CudaStorage, DType, Layout, Result, Shape, Storage, Tensor,
    backend::BackendStorage,
    bail,
    cuda_backend::{
        CudaDType, WrapErr,
        cudarc::driver::{
            CudaFunction, CudaSlice, CudaView, DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg,
        },
    },
    op::BackpropOp,
};
use half::{bf16, f16};

/// An argument of an op.
pub(super) type Input<'a> = (&'a CudaStorage, &'a Layout);
type Output = Result<(CudaStorage, Shape)>;

/// PTX by the families' names, and the kernels in each.
const MODULES: [(&str, &str, &[&str]); 8] = [
    ("adamw", include_str!(concat!(env!("OUT_DIR"), "/adamw.ptx")), &["adamw", "grad_squares"]),
    ("bias_gelu", include_str!(concat!(env!("OUT_DIR"), "/bias_gelu.ptx")), &["bias_gelu"]),
    (
        "colsum",
        include_str!(concat!(env!("OUT_DIR"), "/colsum.ptx")),
        &["add_bias", "column_sum", "sum_parts"],
    ),
    ("depthwise", include_str!(concat!(env!("OUT_DIR"), "/depthwise.ptx")), &["depthwise7"]),
    ("images", include_str!(concat!(env!("OUT_DIR"), "/images.ptx")), &["images"]),
    ("layer_norm", include_str!(concat!(env!("OUT_DIR"), "/layer_norm.ptx")), &["layer_norm"]),
    ("lstm", include_str!(concat!(env!("OUT_DIR"), "/lstm.ptx")), &["lstm"]),
    (
        "scale_residual",
        include_str!(concat!(env!("OUT_DIR"), "/scale_residual.ptx")),
        &["scale_residual"],
    ),
];

/// A type that the kernels take.
trait Element: CudaDType + DeviceRepr {
    /// At the end of a kernel's name.
    const SUFFIX: &'static str;
}
impl Element for f32 {
    const SUFFIX: &'static str = "_f32";
}
impl Element for f16 {
    const SUFFIX: &'static str = "_f16";
}
impl Element for bf16 {
    const SUFFIX: &'static str = "_bf16";
}

/// Calls a generic function by the type of a storage.
macro_rules! by_type {
    ($dtype:expr, $run:ident($($arg:expr),* $(,)?)) => {
        match $dtype {
            DType::F32 => $run::<f32>($($arg),*),
            DType::F16 => $run::<f16>($($arg),*),
            DType::BF16 => $run::<bf16>($($arg),*),
            other => bail!("on a GPU the network computes in f32, f16 or bf16, not {other:?}"),
        }
    };
}

/// The kernel of a launch.
fn function(device: &CudaDevice, launch: &Launch, suffix: &str) -> Result<CudaFunction> {
    let kernel = launch.kernel;
    let of =
        |(_, _, kernels): &&(&str, &str, &[&str])| kernels.iter().any(|k| kernel.starts_with(k));
    let Some((module, ptx, _)) = MODULES.iter().find(of) else {
        bail!("no module has a kernel {kernel}")
    };
    let suffix = if launch.typed { suffix } else { "" };
    let (name, module) = (format!("{kernel}{suffix}"), format!("rsna_tui_{module}"));
    Ok(device.get_or_load_custom_func(&name, &module, ptx)?.into_cuda_function())
}

/// Launches a kernel with its arguments in their order.
macro_rules! run {
    ($device:expr, $launch:expr, $suffix:expr, $($arg:expr),* $(,)?) => {{
        let launch: Launch = $launch;
        let function = function($device, &launch, $suffix)?;
        let stream = $device.cuda_stream();
        let mut builder = stream.launch_builder(&function);
        candle_core::builder_arg!(builder, $($arg),*);
        let config = config(&launch);
        // SAFETY: the arguments are those of the kernel, in its order, and the launch is for
        // buffers of these sizes (`launch` is what the emulation in tests/kernels runs).
        unsafe { builder.launch(config) }.w()?;
    }};
}

fn config(launch: &Launch) -> LaunchConfig {
    let three = |[x, y, z]: [u32; 3]| (x, y, z);
    LaunchConfig {
        grid_dim: three(launch.grid),
        block_dim: three(launch.block),
        shared_mem_bytes: launch.shared,
    }
}

/// The contiguous elements that an argument selects.
fn view<'a, T: CudaDType>((storage, layout): Input<'a>) -> Result<CudaView<'a, T>> {
    let (start, end) = contiguous(layout)?;
    Ok(storage.as_cuda_slice::<T>()?.slice(start..end))
}

/// Where a buffer begins, or a null pointer.
fn pointer<T>(device: &CudaDevice, view: Option<&CudaView<T>>) -> u64 {
    view.map_or(0, |view| view.device_ptr(&device.cuda_stream()).0)
}

/// A buffer that a kernel fills.
fn empty<T: DeviceRepr>(device: &CudaDevice, n: usize) -> Result<CudaSlice<T>> {
    // SAFETY: each buffer is written whole before it is read.
    unsafe { device.alloc::<T>(n) }
}

fn wrap<T: CudaDType>(slice: CudaSlice<T>, device: &CudaDevice, shape: impl Into<Shape>) -> Output {
    Ok((CudaStorage::wrap_cuda_slice(slice, device.clone()), shape.into()))
}

/// Rows and their width.
fn rows(layout: &Layout) -> (usize, usize) {
    let c = layout.dims().last().copied().unwrap_or(1);
    (layout.shape().elem_count() / c.max(1), c)
}

fn dims4(layout: &Layout) -> Result<[usize; 4]> {
    let (n, h, w, c) = layout.shape().dims4()?;
    Ok([n, h, w, c])
}

/// A result of the type and shape of `x`, which `fill` writes: given the buffer, rows and width.
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

/// The sum of `parts` parts of a result of this shape, which `fill` writes one behind the other.
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

/// Σ over the parts of [parts, n].
fn sum_parts(
    device: &CudaDevice,
    partial: &CudaSlice<f32>,
    parts: usize,
    n: usize,
) -> Result<CudaSlice<f32>> {
    let out = empty::<f32>(device, n)?;
    run!(
        device,
        launch::sum_parts(n),
        "",
        partial.as_view(),
        out.as_view(),
        parts as i32,
        n as i64
    );
    Ok(out)
}

/// The depthwise convolution, or with `flip` its gradient by the input, which has no bias.
pub(super) fn depthwise(x: Input, w: Input, bias: Option<Input>, flip: bool) -> Output {
    fn of<T: Element>(x: Input, w: Input, bias: Option<Input>, flip: bool) -> Output {
        let device = x.0.device();
        let [n, h, width, c] = dims4(x.1)?;
        let y = empty::<T>(device, n * h * width * c)?;
        let (from, weight) = (view::<T>(x)?, view::<f32>(w)?);
        let sizes = [n, h, width, c].map(|n| n as i32);
        let launch = launch::depthwise7_forward(n, h, width, c);
        let [n, h, width, c] = sizes;
        let flip = i32::from(flip);
        let bias = bias.map(view::<f32>).transpose()?;
        let (bias, y_out) = (pointer(device, bias.as_ref()), y.as_view());
        run!(device, launch, T::SUFFIX, from, weight, bias, y_out, n, h, width, c, flip);
        wrap(y, device, x.1.shape())
    }
    by_type!(x.0.dtype(), of(x, w, bias, flip))
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
            run!(device, launch, T::SUFFIX, x, w, b, y, n as i64, c as i32, eps as f32);
            Ok(())
        })
    }
    by_type!(x.0.dtype(), of(x, w, b, eps))
}

pub(super) fn layer_norm_grad_input(x: Input, w: Input, g: Input, eps: f64) -> Output {
    fn of<T: Element>(x: Input, w: Input, g: Input, eps: f64) -> Output {
        like::<T>(x, |device, dx, n, c| {
            let launch = launch::layer_norm_grad_input(n, c);
            let (x, w, g) = (view::<T>(x)?, view::<f32>(w)?, view::<T>(g)?);
            run!(device, launch, T::SUFFIX, x, w, g, dx, n as i64, c as i32, eps as f32);
            Ok(())
        })
    }
    by_type!(x.0.dtype(), of(x, w, g, eps))
}

/// [2, C]: gradients of weight and bias.
pub(super) fn layer_norm_grad_params(x: Input, g: Input, eps: f64) -> Output {
    fn of<T: Element>(x: Input, g: Input, eps: f64) -> Output {
        let device = x.0.device();
        let (n, c) = rows(x.1);
        let parts = launch::layer_norm_parts(n);
        in_parts(device, parts, (2, c), |out| {
            let launch = launch::layer_norm_grad_params(c, parts);
            let (x, g, parts) = (view::<T>(x)?, view::<T>(g)?, parts as i32);
            run!(device, launch, T::SUFFIX, x, g, out, n as i64, c as i32, eps as f32, parts);
            Ok(())
        })
    }
    by_type!(x.0.dtype(), of(x, g, eps))
}

/// x, or with `gelu` its GELU, after the bias.
pub(super) fn add_bias(x: Input, b: Input, gelu: bool) -> Output {
    fn of<T: Element>(x: Input, b: Input, gelu: bool) -> Output {
        like::<T>(x, |device, y, n, c| {
            let kernel = if gelu { launch::bias_gelu_forward } else { launch::add_bias };
            let (x, b) = (view::<T>(x)?, view::<f32>(b)?);
            run!(device, kernel(n, c), T::SUFFIX, x, b, y, n as i64, c as i32);
            Ok(())
        })
    }
    by_type!(x.0.dtype(), of(x, b, gelu))
}

pub(super) fn bias_gelu_grad(x: Input, b: Input, g: Input) -> Output {
    fn of<T: Element>(x: Input, b: Input, g: Input) -> Output {
        like::<T>(x, |device, dx, n, c| {
            let launch = launch::bias_gelu_grad(n, c);
            let (x, b, g) = (view::<T>(x)?, view::<f32>(b)?, view::<T>(g)?);
            run!(device, launch, T::SUFFIX, x, b, g, dx, n as i64, c as i32);
            Ok(())
        })
    }
    by_type!(x.0.dtype(), of(x, b, g))
}

/// [.., C] → [C], f32.
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
            run!(device, launch, T::SUFFIX, x, params, r, y, n as i64, c as i32);
            Ok(())
        })
    }
    by_type!(x.0.dtype(), of(x, params, residual))
}

/// Of the type `dtype`.
pub(super) fn scale_residual_grad_input(params: Input, g: Input, dtype: DType) -> Output {
    fn of<T: Element>(params: Input, g: Input) -> Output {
        like::<T>(g, |device, dx, n, c| {
            let launch = launch::scale_residual_grad_input(n, c);
            let (params, g) = (view::<f32>(params)?, view::<f32>(g)?);
            run!(device, launch, T::SUFFIX, params, g, dx, n as i64, c as i32);
            Ok(())
        })
    }
    by_type!(dtype, of(params, g))
}

/// [2, C]: gradients of bias and gamma.
pub(super) fn scale_residual_grad_params(x: Input, params: Input, g: Input) -> Output {
    fn of<T: Element>(x: Input, params: Input, g: Input) -> Output {
        let device = x.0.device();
        let (n, c) = rows(x.1);
        let parts = launch::column_parts(n, c);
        in_parts(device, parts, (2, c), |out| {
            let launch = launch::scale_residual_grad_params(c, parts);
            let (x, params, g) = (view::<T>(x)?, view::<f32>(params)?, view::<f32>(g)?);
            run!(device, launch, T::SUFFIX, x, params, g, out, n as i64, c as i32, parts as i32);
            Ok(())
        })
    }
    by_type!(x.0.dtype(), of(x, params, g))
}

pub(super) fn pixels(op: &super::pixels::Pixels, own: Input, partner: Input) -> Output {
    fn of<T: Element>(shares: Option<[f32; 2]>, own: Input, partner: Input) -> Output {
        let device = own.0.device();
        let n = own.1.shape().elem_count();
        let out = empty::<T>(device, n)?;
        let (from, launch) = (view::<u8>(own)?, launch::images(n));
        let other = shares.map(|_| view::<u8>(partner)).transpose()?;
        let other = pointer(device, other.as_ref());
        let [a, b] = shares.unwrap_or([1.0, 0.0]);
        run!(device, launch, T::SUFFIX, from, other, a, b, out.as_view(), n as i64);
        wrap(out, device, own.1.shape())
    }
    by_type!(op.dtype, of(op.shares, own, partner))
}

/// D, T, B and H of [D, T, B, parts·H].
fn directions(layout: &Layout, parts: usize) -> Result<[usize; 4]> {
    let [d, t, b, width] = dims4(layout)?;
    Ok([d, t, b, width / parts])
}

/// All steps of the recurrence: h [D, T, B, H], and all that the backward pass needs.
pub(super) fn lstm(gates: Input, w_hh: Input) -> Result<((CudaStorage, Shape), Tensor)> {
    let device = gates.0.device();
    let [d, t, b, hidden] = directions(gates.1, 4)?;
    let cells = d * t * b;
    let kept = empty::<f32>(device, cells * KEPT * hidden)?;
    let h = empty::<f32>(device, cells * hidden)?;
    let (gates, w_hh) = (view::<f32>(gates)?, view::<f32>(w_hh)?);
    let (of_cells, n) = (cells as i64, hidden as i32);
    run!(device, launch::lstm_spread(cells, hidden), "", gates, kept.as_view(), of_cells, n);
    let [ds, ts, bs] = [d, t, b].map(|n| n as i32);
    for s in 0..ts {
        let launch = launch::lstm_step(d, b, hidden);
        run!(device, launch, "", kept.as_view(), w_hh.slice(..), ds, ts, bs, n, s);
    }
    run!(device, launch::lstm_gather(cells, hidden), "", kept.as_view(), h.as_view(), of_cells, n);
    let kept = CudaStorage::wrap_cuda_slice(kept, device.clone());
    let shape = (d, t, b, KEPT * hidden);
    let kept = Tensor::from_storage(Storage::Cuda(kept), shape, BackpropOp::none(), false);
    Ok((wrap(h, device, (d, t, b, hidden))?, kept))
}

/// What [`lstm`] kept, the gates' gradients in their places, from that of h.
pub(super) fn lstm_grad(w_hh: Input, kept: Input, grad: Input) -> Output {
    let device = kept.0.device();
    let [d, t, b, hidden] = directions(kept.1, KEPT)?;
    let mut out = empty::<f32>(device, d * t * b * KEPT * hidden)?;
    device.memcpy_dtod(&view::<f32>(kept)?, &mut out)?;
    let (w_hh, grad) = (view::<f32>(w_hh)?, view::<f32>(grad)?);
    let dh = device.alloc_zeros::<f32>(d * b * hidden)?;
    let dc = device.alloc_zeros::<f32>(d * b * hidden)?;
    let [ds, ts, bs, n] = [d, t, b, hidden].map(|n| n as i32);
    for s in (0..ts).rev() {
        let launch = launch::lstm_grad_cells(d, b, hidden);
        let (all, dh, dc) = (out.as_view(), dh.as_view(), dc.as_view());
        run!(device, launch, "", all.slice(..), grad.slice(..), dh.slice(..), dc, ds, ts, bs, n, s);
        if s > 0 {
            let launch = launch::lstm_grad_carry(d, b, hidden);
            run!(device, launch, "", all, w_hh.slice(..), dh, ds, ts, bs, n, s);
        }
    }
    wrap(out, device, kept.1.shape())
}

/// Lists of f32 tensors of the same sizes, for kernels that take all of them at once.
pub(crate) struct Multi {
    /// [tensors, lists]: their addresses.
    pointers: CudaSlice<u64>,
    sizes: CudaSlice<i64>,
    /// [pieces, 2]: tensor, piece.
    pieces: CudaSlice<i32>,
    /// The tensor of each piece.
    tensors: Vec<usize>,
    count: usize,
}

impl Multi {
    /// Of tensors that outlive the launches and are contiguous.
    pub(crate) fn new(device: &CudaDevice, lists: &[&[Tensor]]) -> Result<Self> {
        let sizes: Vec<usize> = lists[0].iter().map(Tensor::elem_count).collect();
        let mut pointers = vec![0u64; sizes.len() * lists.len()];
        for (l, list) in lists.iter().enumerate() {
            for (i, tensor) in list.iter().enumerate() {
                if tensor.elem_count() != sizes[i] {
                    bail!("tensors of {} and {} values side by side", tensor.elem_count(), sizes[i])
                }
                pointers[i * lists.len() + l] = address(device, tensor)?;
            }
        }
        let pieces = launch::pieces(sizes.iter().copied());
        let flat: Vec<i32> = pieces.iter().flatten().copied().collect();
        let long: Vec<i64> = sizes.iter().map(|&n| n as i64).collect();
        Ok(Self {
            pointers: device.clone_htod(&pointers)?,
            sizes: device.clone_htod(&long)?,
            pieces: device.clone_htod(&flat)?,
            tensors: pieces.iter().map(|[tensor, _]| *tensor as usize).collect(),
            count: sizes.len(),
        })
    }
}

/// Where a contiguous f32 tensor's values begin.
fn address(device: &CudaDevice, tensor: &Tensor) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else { bail!("a tensor is not on the GPU") };
    Ok(pointer(device, Some(&view::<f32>((storage, layout))?)))
}

/// Σ g² of each tensor of the one list.
pub(crate) fn grad_squares(device: &CudaDevice, of: &Multi) -> Result<Vec<f64>> {
    let n = of.tensors.len();
    let out = empty::<f64>(device, n)?;
    let (pointers, sizes, pieces) =
        (of.pointers.as_view(), of.sizes.as_view(), of.pieces.as_view());
    run!(device, launch::grad_squares(n), "", pointers, sizes, pieces, out.as_view());
    let mut sums = vec![0.0; of.count];
    for (&tensor, square) in of.tensors.iter().zip(device.clone_dtoh(&out)?) {
        sums[tensor] += square;
    }
    Ok(sums)
}

/// One step of AdamW for the lists p, m, v, g, in place; the constants in the kernel's order.
pub(crate) fn adamw(device: &CudaDevice, of: &Multi, constants: [f32; 8]) -> Result<()> {
    let [decay, a, beta2, b, step_size, correction2, eps, inverse_scale] = constants;
    let (pointers, sizes, pieces) =
        (of.pointers.as_view(), of.sizes.as_view(), of.pieces.as_view());
    let launch = launch::adamw(of.tensors.len());
    run!(
        device,
        launch,
        "",
        pointers,
        sizes,
        pieces,
        decay,
        a,
        beta2,
        b,
        step_size,
        correction2,
        eps,
        inverse_scale
    );
    Ok(())
}
