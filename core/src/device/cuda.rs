//! Probes CUDA's driver before candle uses it: candle's first call panics without a driver.

use super::{Facts, NoCuda, nvml};
use candle_core::{
    CudaDevice, Device,
    cuda_backend::{
        CudaError,
        cudarc::{
            cublas::sys::{cublasGetProperty, cublasStatus_t, libraryPropertyType},
            driver::{
                DriverError,
                result::{device, mem_pool},
                sys,
            },
        },
    },
};
use std::{
    ffi::c_int,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// File name of the driver's library.
const DRIVER: &str = if cfg!(windows) { "nvcuda.dll" } else { "libcuda.so.1" };
/// CUDA_ERROR_NO_DEVICE
const NO_DEVICE: c_int = 100;

/// Opens CUDA device `n`; returns candle's handle and the name to show.
pub(super) fn open(n: usize) -> Result<(Device, String), NoCuda> {
    probe(n)?;
    // The driver works, but cuBLAS or cuRAND may be missing. candle panics then if it loads them at run
    // time.
    let made = catch_unwind(AssertUnwindSafe(|| Device::new_cuda_with_stream(n)));
    let device = match made {
        Ok(Ok(device)) => device,
        Ok(Err(error)) => return Err(NoCuda::Failed(error.to_string())),
        Err(panic) => return Err(NoCuda::Failed(crate::panics::message(panic.as_ref()).into())),
    };
    let cuda = device.as_cuda_device().map_err(|e| NoCuda::Failed(e.to_string()))?;
    let needs = env!("RSNA_TUI_CUDA_CAP").parse().unwrap_or(0);
    let has = capability(cuda).map_err(|e| NoCuda::Failed(e.to_string()))?;
    if has < needs {
        return Err(NoCuda::OldGpu { has, needs });
    }
    let name = settle(cuda).map_err(|e| NoCuda::Failed(e.to_string()))?;
    Ok((device, name))
}

/// Checks that the driver is installed and new enough, and sees device `n`.
fn probe(n: usize) -> Result<(), NoCuda> {
    // SAFETY: loading the driver's library runs no code of ours, and these three functions have had
    // these types since CUDA 2.
    unsafe {
        let driver = libloading::Library::new(DRIVER).map_err(|_| NoCuda::NoDriver(DRIVER))?;
        // Never closed: drivers have crashed on being unloaded after cuInit.
        let driver = std::mem::ManuallyDrop::new(driver);
        let missing = |e: libloading::Error| NoCuda::Failed(e.to_string());
        let init: libloading::Symbol<unsafe extern "C" fn(u32) -> c_int> =
            driver.get(b"cuInit").map_err(missing)?;
        let version: libloading::Symbol<unsafe extern "C" fn(*mut c_int) -> c_int> =
            driver.get(b"cuDriverGetVersion").map_err(missing)?;
        let count: libloading::Symbol<unsafe extern "C" fn(*mut c_int) -> c_int> =
            driver.get(b"cuDeviceGetCount").map_err(missing)?;
        let needs = env!("RSNA_TUI_CUDA").parse().unwrap_or(0);
        let mut has = 0;
        if version(&mut has) == 0 && (has as u32) < needs {
            return Err(NoCuda::OldDriver { has: has as u32, needs });
        }
        let code = init(0);
        if code != 0 {
            return Err(NoCuda::NoGpu(code));
        }
        let mut seen = 0;
        let code = count(&mut seen);
        if code != 0 || seen == 0 {
            return Err(NoCuda::NoGpu(if code == 0 { NO_DEVICE } else { code }));
        }
        if n >= seen as usize {
            return Err(NoCuda::NoSuchGpu { asked: n, seen: seen as usize });
        }
    }
    Ok(())
}

/// Sets the device up for training on one stream; returns its name and memory in words.
fn settle(cuda: &CudaDevice) -> Result<String, DriverError> {
    let stream = cuda.cuda_stream();
    let context = stream.context();
    // SAFETY: the trainer computes on this one stream, so allocations and uses are ordered. The two
    // events per buffer that would order several streams cost more than small kernels.
    unsafe { cuda.disable_event_tracking() };
    // Keep freed memory in the pool: by default each synchronisation returns it all to the driver, and
    // the next step allocates it again. A driver without this attribute is slower, not wrong.
    // SAFETY: the device is open, and the attribute is a 64-bit number.
    unsafe {
        if let Ok(pool) = device::get_default_mem_pool(context.cu_device()) {
            let mut all = u64::MAX;
            let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
            let _ = sys::cuMemPoolSetAttribute(pool, attribute, (&raw mut all).cast());
        }
    }
    let (_, total) = context.mem_get_info()?;
    Ok(format!("{}, {:.0} GiB", context.name()?, total as f64 / f64::from(1 << 30)))
}

/// Compute capability, 90 for 9.0.
pub(super) fn capability(cuda: &CudaDevice) -> Result<u32, DriverError> {
    let (major, minor) = cuda.cuda_stream().context().compute_capability()?;
    Ok((10 * major + minor) as u32)
}

/// Collects facts from the driver, cuBLAS and NVML.
pub(super) fn facts(cuda: &CudaDevice) -> Result<Facts, DriverError> {
    let stream = cuda.cuda_stream();
    let context = stream.context();
    let (major, minor) = context.compute_capability()?;
    let (free, total) = context.mem_get_info()?;
    // 13000 for 13.0.
    let version = |of: u32| format!("{}.{}", of / 1000, of % 1000 / 10);
    let mut driver = 0;
    // SAFETY: every driver has this function, and it writes one number.
    unsafe { sys::cuDriverGetVersion(&mut driver).result()? };
    Ok(Facts {
        name: context.name()?,
        capability: format!("{major}.{minor}"),
        driver: nvml::driver_version(),
        driver_cuda: version(driver as u32),
        built_with: version(env!("RSNA_TUI_CUDA").parse().unwrap_or(0)),
        cublas: cublas_version(),
        total: total as u64,
        free: free as u64,
    })
}

/// Version of the cuBLAS that candle loaded. The function exists since CUDA 8.
fn cublas_version() -> Option<String> {
    use libraryPropertyType::{MAJOR_VERSION, MINOR_VERSION, PATCH_LEVEL};
    let part = |of| {
        let mut value = 0;
        // SAFETY: the call needs no handle and writes one number.
        let status = unsafe { cublasGetProperty(of, &mut value) };
        (status == cublasStatus_t::CUBLAS_STATUS_SUCCESS).then(|| value.to_string())
    };
    Some([part(MAJOR_VERSION)?, part(MINOR_VERSION)?, part(PATCH_LEVEL)?].join("."))
}

/// Returns the pool's unused memory to the driver, so that it is contiguous for later allocations and
/// available to cuBLAS, which does not allocate from the pool.
pub(super) fn trim(cuda: &CudaDevice) -> Result<(), DriverError> {
    let stream = cuda.cuda_stream();
    stream.synchronize()?;
    // SAFETY: the device is open.
    unsafe {
        let pool = device::get_default_mem_pool(stream.context().cu_device())?;
        mem_pool::trim_to(pool, 0)
    }
}

/// Whether a candle error means that the GPU is out of memory.
pub(super) fn is_out_of_memory(error: &candle_core::Error) -> bool {
    use sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY;
    let mut error = error;
    let cuda = loop {
        match error {
            candle_core::Error::WithBacktrace { inner, .. } => error = inner,
            candle_core::Error::Context { inner, .. } => error = inner,
            candle_core::Error::Cuda(cuda) => break cuda,
            _ => return false,
        }
    };
    match cuda.downcast_ref() {
        Some(CudaError::Cuda(error)) => error.0 == CUDA_ERROR_OUT_OF_MEMORY,
        Some(CudaError::Load { cuda, .. }) => cuda.0 == CUDA_ERROR_OUT_OF_MEMORY,
        // cuBLAS reports it by any of these, depending on what the memory was for.
        Some(CudaError::Cublas(error)) => matches!(
            error.0,
            cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED
                | cublasStatus_t::CUBLAS_STATUS_NOT_INITIALIZED
                | cublasStatus_t::CUBLAS_STATUS_INTERNAL_ERROR
                | cublasStatus_t::CUBLAS_STATUS_EXECUTION_FAILED
        ),
        _ => false,
    }
}

/// Free memory of the device, bytes, including the pool's unused memory if the driver reports it.
pub(super) fn free_memory(cuda: &CudaDevice) -> Result<u64, DriverError> {
    let (free, _) = cuda.cuda_stream().context().mem_get_info()?;
    let of_pool = |attribute| pool(cuda, attribute).unwrap_or(0);
    let reserved = of_pool(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
    let used = of_pool(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT);
    Ok(free as u64 + reserved.saturating_sub(used))
}

/// Peak memory in use, bytes.
pub(super) fn peak_memory(cuda: &CudaDevice) -> Result<u64, DriverError> {
    pool(cuda, sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)
}

/// Reads a byte count of the device's pool.
fn pool(cuda: &CudaDevice, attribute: sys::CUmemPool_attribute) -> Result<u64, DriverError> {
    let stream = cuda.cuda_stream();
    let mut bytes = 0u64;
    // SAFETY: the device is open, and the attributes used here are 64-bit numbers.
    unsafe {
        let pool = device::get_default_mem_pool(stream.context().cu_device())?;
        sys::cuMemPoolGetAttribute(pool, attribute, (&raw mut bytes).cast()).result()?;
    }
    Ok(bytes)
}
