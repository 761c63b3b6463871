//! Chooses the device that the network computes on.

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "cuda")]
mod nvml;
pub mod speed;

use crate::{config::Precision, run::event::Gpu};
use candle_core::Device;

/// Why a device cannot be used, in one sentence.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No device has this name.
    #[error("--device {0}: expected auto, cpu, cuda or cuda:N")]
    Unknown(String),
    /// CUDA is not available.
    #[error("--device {device}: {why}; give cpu, or leave --device out to take what there is")]
    NoCuda {
        /// Device, as given on the command line.
        device: String,
        /// Reason.
        why: NoCuda,
    },
    /// The device does not compute in this precision.
    #[error(
        "train.precision = {precision}: on the CPU the network trains in f32; set \
         train.precision=f32{}",
        no_cuda(.why.as_ref())
    )]
    Precision {
        /// Precision, as set in the config.
        precision: Precision,
        /// Why CUDA is not available, if it was tried.
        why: Option<NoCuda>,
    },
}

/// Formats why CUDA was not used as a parenthesis behind another sentence; empty if it was not tried.
pub fn no_cuda(why: Option<&NoCuda>) -> String {
    why.map(|why| format!(" (no CUDA: {why})")).unwrap_or_default()
}

/// Why CUDA cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoCuda {
    /// The program was built without CUDA.
    #[error("this rsna-tui was built without CUDA (cargo build --release --features cuda)")]
    NotBuilt,
    /// The driver's library is missing; its file name.
    #[error("no NVIDIA driver: {0} is not there")]
    NoDriver(&'static str),
    /// The driver supports an older CUDA than the kernels were built with.
    #[error(
        "the NVIDIA driver is too old: it knows CUDA {}.{}, this rsna-tui was built with {}.{}; \
         update the driver, or build with its toolkit",
        .has / 1000, .has % 1000 / 10, .needs / 1000, .needs % 1000 / 10
    )]
    OldDriver {
        /// CUDA version of the driver, 12040 for 12.4.
        has: u32,
        /// CUDA version of the toolkit, likewise.
        needs: u32,
    },
    /// The driver sees no GPU; its error code.
    #[error("the NVIDIA driver sees no GPU (error {0})")]
    NoGpu(i32),
    /// The driver sees fewer GPUs.
    #[error("there is no GPU {asked}: the driver sees {seen}, counted from 0")]
    NoSuchGpu {
        /// N of `cuda:N`.
        asked: usize,
        /// Number of GPUs.
        seen: usize,
    },
    /// The GPU does not support the kernels' instructions.
    #[error(
        "the GPU is too old: it is of compute capability {}.{}, this rsna-tui was built for {}.{} and \
         newer",
        .has / 10, .has % 10, .needs / 10, .needs % 10
    )]
    OldGpu {
        /// Compute capability of the GPU, 75 for 7.5.
        has: u32,
        /// Compute capability of the build, 80 or more.
        needs: u32,
    },
    /// The GPU was found, but opening it failed.
    #[error("the GPU cannot be used: {0}")]
    Failed(String),
}

/// The device that a run computes on.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// Handle for candle.
    pub device: Device,
    /// Name to show.
    pub name: String,
    /// With `auto`: why the CPU was taken.
    pub why: Option<NoCuda>,
}

/// Opens the device named by `--device`.
///
/// Errors: when there is no such device, or it does not compute in `precision`.
pub fn choose(asked: &str, precision: Precision) -> Result<Chosen, Error> {
    let why = match asked {
        "cpu" => None,
        "auto" => match cuda(0) {
            Ok(chosen) => return Ok(chosen),
            Err(why) => Some(why),
        },
        _ => {
            let n = asked.strip_prefix("cuda").and_then(|rest| match rest {
                "" => Some(0),
                rest => rest.strip_prefix(':')?.parse().ok(),
            });
            let n = n.ok_or_else(|| Error::Unknown(asked.into()))?;
            return cuda(n).map_err(|why| Error::NoCuda { device: asked.into(), why });
        }
    };
    if precision != Precision::F32 {
        return Err(Error::Precision { precision, why });
    }
    let threads = rayon::current_num_threads();
    let plural = if threads == 1 { "" } else { "s" };
    Ok(Chosen { device: Device::Cpu, name: format!("CPU, {threads} thread{plural}"), why })
}

/// Number of GPUs that the driver sees, one at least.
///
/// Errors: when CUDA is not available.
pub fn count() -> Result<usize, NoCuda> {
    match cuda(usize::MAX) {
        Err(NoCuda::NoSuchGpu { seen, .. }) => Ok(seen),
        Err(why) => Err(why),
        Ok(_) => Ok(1),
    }
}

#[cfg(feature = "cuda")]
fn cuda(n: usize) -> Result<Chosen, NoCuda> {
    let (device, name) = cuda::open(n)?;
    Ok(Chosen { device, name, why: None })
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize) -> Result<Chosen, NoCuda> {
    Err(NoCuda::NotBuilt)
}

/// A GPU and the versions of its libraries.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Name, as the driver reports it.
    pub name: String,
    /// Compute capability, "9.0".
    pub capability: String,
    /// Version of the driver, if NVML reports it.
    pub driver: Option<String>,
    /// Newest CUDA that the driver supports.
    pub driver_cuda: String,
    /// CUDA that the kernels were compiled with.
    pub built_with: String,
    /// Version of cuBLAS.
    pub cublas: Option<String>,
    /// Memory, bytes.
    pub total: u64,
    /// Free memory, bytes.
    pub free: u64,
}

/// Describes a GPU; `None` on the CPU, or if the driver fails.
pub fn facts(device: &Device) -> Option<Facts> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => cuda::facts(device).ok(),
        _ => None,
    }
}

/// Compute capability of a GPU, 90 for 9.0; `None` on the CPU.
pub fn capability(device: &Device) -> Option<u32> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => cuda::capability(device).ok(),
        _ => None,
    }
}

/// Sets whether f32 products on a GPU may round their inputs to TF32's 10 bits.
pub fn allow_tf32(allowed: bool) {
    candle_core::cuda::set_gemm_reduced_precision_f32(allowed);
}

/// Reads a GPU's state through NVML (NVIDIA's management library).
pub struct Monitor {
    #[cfg(feature = "cuda")]
    card: nvml::Card,
}

impl Monitor {
    /// Opens a device; `None` on the CPU, or if NVML is missing.
    #[cfg(feature = "cuda")]
    pub fn open(device: &Device) -> Option<Self> {
        Some(Self { card: nvml::Card::open(device)? })
    }

    /// Returns `None`: this program was built without CUDA.
    #[cfg(not(feature = "cuda"))]
    pub fn open(_: &Device) -> Option<Self> {
        None
    }

    /// Reads the current state.
    pub fn read(&self) -> Option<Gpu> {
        #[cfg(feature = "cuda")]
        return self.card.read();
        #[cfg(not(feature = "cuda"))]
        None
    }
}

/// Whether a candle error means that the device is out of memory.
pub fn is_out_of_memory(error: &candle_core::Error) -> bool {
    #[cfg(feature = "cuda")]
    return cuda::is_out_of_memory(error);
    #[cfg(not(feature = "cuda"))]
    {
        let _ = error;
        false
    }
}

/// Returns a GPU's unused memory to the driver, before a retry with less; does nothing on the CPU.
pub fn trim(device: &Device) {
    match device {
        // If this fails, the retry fails too and reports why.
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => {
            let _ = cuda::trim(device);
        }
        _ => {}
    }
}

/// Free memory of a GPU, bytes; `None` on the CPU.
pub fn free_memory(device: &Device) -> Option<u64> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => cuda::free_memory(device).ok(),
        _ => None,
    }
}

/// Peak memory so far, bytes: this program's use of the GPU, or on the CPU the process's own; `None` if
/// the system does not report it.
pub fn peak_memory(device: &Device) -> Option<u64> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => cuda::peak_memory(device).ok(),
        _ => {
            let status = std::fs::read_to_string("/proc/self/status").ok()?;
            let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
            let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
            Some(kib << 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_by_name() {
        let of = |asked: &str| choose(asked, Precision::F32).map_err(|e| e.to_string());
        assert!(of("cpu").unwrap().device.is_cpu());
        assert_eq!(of("cpu").unwrap().why, None);
        for asked in ["gpu", "cuda:", "cuda:x", "cuda0", "cuda:-1", ""] {
            let said = of(asked).unwrap_err();
            assert!(said.contains("expected auto, cpu, cuda or cuda:N"), "{said}");
        }
        #[cfg(not(feature = "cuda"))]
        {
            assert_eq!(of("auto").unwrap().why, Some(NoCuda::NotBuilt));
            assert!(of("cuda:1").unwrap_err().contains("built without CUDA"));
        }
    }

    #[test]
    fn half_precision_is_for_gpus() {
        let said = choose("cpu", Precision::Bf16).unwrap_err().to_string();
        assert_eq!(
            said,
            "train.precision = bf16: on the CPU the network trains in f32; set train.precision=f32"
        );
        #[cfg(not(feature = "cuda"))]
        {
            let said = choose("auto", Precision::F16).unwrap_err().to_string();
            assert!(said.contains("(no CUDA: this rsna-tui was built without"), "{said}");
        }
    }

    #[test]
    fn versions_as_people_write_them() {
        let said = NoCuda::OldDriver { has: 12040, needs: 13000 }.to_string();
        assert!(said.contains("it knows CUDA 12.4, this rsna-tui was built with 13.0"), "{said}");
        let said = NoCuda::OldGpu { has: 75, needs: 80 }.to_string();
        assert!(
            said.contains("capability 7.5, this rsna-tui was built for 8.0 and newer"),
            "{said}"
        );
    }
}
