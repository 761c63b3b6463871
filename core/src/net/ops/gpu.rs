//! Shared GPU code: element types, launches of our kernels (`*.cu` in this folder, compiled to PTX by
//! `build.rs`), buffers, and cuBLAS products.
//!
//! Everything runs on candle's one stream, in order. The driver compiles a kernel's module at its first
//! launch.

use super::launch::{self, Launch};
use candle_core::{
    CudaDevice, CudaStorage, Result, Shape, Storage, Tensor, WithDType, bail,
    cuda_backend::{
        CudaDType, WrapErr,
        cudarc::{
            cublas::{result::gemm_ex, sys},
            driver::{
                CudaFunction, CudaSlice, CudaView, DevicePtr, DeviceRepr, LaunchConfig,
                PushKernelArg, ValidAsZeroBits,
            },
        },
        gemm_reduced_precision_f32,
    },
    op::BackpropOp,
};
use half::{bf16, f16};
use std::ffi::c_void;

/// Names of the kernel files, and their PTX.
const MODULES: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/modules.rs"));

/// An element type of the kernels.
pub(crate) trait Element: WithDType + CudaDType + DeviceRepr + ValidAsZeroBits {
    /// Suffix of a kernel's name.
    const SUFFIX: &'static str;
    /// cuBLAS's name of the type.
    const CUBLAS: sys::cudaDataType_t;
}
impl Element for f32 {
    const SUFFIX: &'static str = "_f32";
    const CUBLAS: sys::cudaDataType_t = sys::cudaDataType_t::CUDA_R_32F;
}
impl Element for f16 {
    const SUFFIX: &'static str = "_f16";
    const CUBLAS: sys::cudaDataType_t = sys::cudaDataType_t::CUDA_R_16F;
}
impl Element for bf16 {
    const SUFFIX: &'static str = "_bf16";
    const CUBLAS: sys::cudaDataType_t = sys::cudaDataType_t::CUDA_R_16BF;
}

/// Calls a function that is generic over the element type.
macro_rules! by_type {
    ($dtype:expr, $run:ident($($arg:expr),* $(,)?)) => {
        match $dtype {
            candle_core::DType::F32 => $run::<f32>($($arg),*),
            candle_core::DType::F16 => $run::<half::f16>($($arg),*),
            candle_core::DType::BF16 => $run::<half::bf16>($($arg),*),
            other => {
                let types = "on a GPU the network computes in f32, f16 or bf16";
                Err(candle_core::Error::Msg(format!("{types}, not {other:?}")))?
            }
        }
    };
}

/// Returns the kernel of a launch; `suffix` names the element type.
///
/// Errors: when the driver rejects the module.
pub(crate) fn function(device: &CudaDevice, launch: &Launch, suffix: &str) -> Result<CudaFunction> {
    let &Launch { kernel, family, typed, .. } = launch;
    let Some((_, ptx)) = MODULES.iter().find(|(name, _)| *name == family) else {
        bail!("there is no module {family} for the kernel {kernel}")
    };
    let suffix = if typed { suffix } else { "" };
    let (name, module) = (format!("{kernel}{suffix}"), format!("rsna_tui_{family}"));
    Ok(device.get_or_load_custom_func(&name, &module, ptx)?.into_cuda_function())
}

/// Launches a kernel with its arguments in order.
macro_rules! run {
    ($device:expr, $launch:expr, $suffix:expr, $($arg:expr),* $(,)?) => {{
        let launch: $crate::net::ops::launch::Launch = $launch;
        let function = $crate::net::ops::gpu::function($device, &launch, $suffix)?;
        let stream = $device.cuda_stream();
        let mut builder = stream.launch_builder(&function);
        candle_core::builder_arg!(builder, $($arg),*);
        let config = $crate::net::ops::gpu::config(&launch);
        // SAFETY: the arguments are the kernel's, in order, and the launch fits buffers of these sizes
        // (the emulation in tests/it/kernels runs the same `launch`).
        candle_core::cuda_backend::WrapErr::w(unsafe { builder.launch(config) })?;
    }};
}

/// Converts a launch's geometry.
pub(crate) fn config(launch: &Launch) -> LaunchConfig {
    let three = |[x, y, z]: [u32; 3]| (x, y, z);
    LaunchConfig {
        grid_dim: three(launch.grid),
        block_dim: three(launch.block),
        shared_mem_bytes: launch.shared,
    }
}

pub(crate) use {by_type, run};

/// Returns a buffer's address, or a null pointer.
pub(crate) fn pointer<T>(device: &CudaDevice, view: Option<&CudaView<T>>) -> u64 {
    view.map_or(0, |view| view.device_ptr(&device.cuda_stream()).0)
}

/// Allocates a buffer for a kernel to fill.
pub(crate) fn empty<T: DeviceRepr>(device: &CudaDevice, n: usize) -> Result<CudaSlice<T>> {
    // SAFETY: each buffer is fully written before it is read.
    unsafe { device.alloc::<T>(n) }
}

/// Wraps a buffer as a tensor outside of any graph.
pub(crate) fn tensor<T: CudaDType>(
    values: CudaSlice<T>,
    device: &CudaDevice,
    shape: impl Into<Shape>,
) -> Tensor {
    let storage = Storage::Cuda(CudaStorage::wrap_cuda_slice(values, device.clone()));
    Tensor::from_storage(storage, shape, BackpropOp::none(), false)
}

/// out = Σ over the parts of `partial` [parts, n]; with `add`, out += the same. `n` is out's length.
///
/// Errors: when the launch fails.
pub(crate) fn sum_parts(
    device: &CudaDevice,
    partial: &CudaView<f32>,
    parts: usize,
    out: &CudaView<f32>,
    add: bool,
) -> Result<()> {
    let (n, add) = (out.len(), i32::from(add));
    let (partial, out) = (partial.slice(..), out.slice(..));
    run!(device, launch::sum_parts(n), "", partial, out, parts as i32, n as i64, add);
    Ok(())
}

/// A matrix in a buffer, stored by rows `row` values apart.
pub(crate) struct Matrix<'a, T> {
    /// Values, from the first one.
    pub values: CudaView<'a, T>,
    /// Distance between rows, in values.
    pub row: usize,
    /// Whether the product uses the transpose.
    pub transposed: bool,
}

/// c [m, n] = (c if `add`) + a [m, k] · b [k, n], summed in f32; rows of `c` are `row` values apart.
///
/// Errors: when cuBLAS fails.
pub(crate) fn product<T: Element, C: Element>(
    device: &CudaDevice,
    [m, n, k]: [usize; 3],
    a: &Matrix<T>,
    b: &Matrix<T>,
    (c, row): (&CudaView<C>, usize),
    add: bool,
) -> Result<()> {
    let needs = |m: &Matrix<T>, rows: usize, columns: usize| {
        let (rows, columns) = if m.transposed { (columns, rows) } else { (rows, columns) };
        (rows - 1) * m.row + columns <= m.values.len()
    };
    if !(needs(a, m, k) && needs(b, k, n) && (m - 1) * row + n <= c.len()) {
        bail!("a product [{m}, {k}] · [{k}, {n}] of buffers that are too short")
    }
    let stream = device.cuda_stream();
    let operation = |m: &Matrix<T>| match m.transposed {
        true => sys::cublasOperation_t::CUBLAS_OP_T,
        false => sys::cublasOperation_t::CUBLAS_OP_N,
    };
    let compute = match gemm_reduced_precision_f32() {
        true if T::CUBLAS == f32::CUBLAS => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
        _ => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
    };
    let address = |values: &CudaView<T>| values.device_ptr(&stream).0 as *const c_void;
    let (alpha, beta) = (1f32, if add { 1f32 } else { 0f32 });
    // cuBLAS is column-major: it computes the transpose, cᵀ = bᵀ · aᵀ, whose columns are our rows.
    // SAFETY: the matrices lie within their buffers, as checked above, and the buffers are on this
    // device.
    unsafe {
        gemm_ex(
            *device.cublas_handle().handle(),
            operation(b),
            operation(a),
            n as i32,
            m as i32,
            k as i32,
            (&raw const alpha).cast(),
            address(&b.values),
            T::CUBLAS,
            b.row as i32,
            address(&a.values),
            T::CUBLAS,
            a.row as i32,
            (&raw const beta).cast(),
            c.device_ptr(&stream).0 as *mut c_void,
            C::CUBLAS,
            row as i32,
            compute,
            sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT_TENSOR_OP,
        )
    }
    .w()
}
