//! Where the network computes.

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "cuda")]
mod nvml;
pub mod speed;

use crate::{config::Precision, run::event::Gpu};
use candle_core::Device;

/// A device that cannot be had; one sentence.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such device.
    #[error("--device {0}: expected auto, cpu, cuda or cuda:N")]
    Unknown(String),
    /// CUDA does not answer.
    #[error("--device {device}: {why}; give cpu, or leave --device out to take what there is")]
    NoCuda {
        /// As it was asked for.
        device: String,
        /// Why not.
        why: NoCuda,
    },
    /// A precision the device does not compute in.
    #[error(
        "train.precision = {precision}: on the CPU the network trains in f32; set \
         train.precision=f32{}",
        .why.as_ref().map(|why| format!(" (no CUDA: {why})")).unwrap_or_default()
    )]
    Precision {
        /// As it stands in the config.
        precision: Precision,
        /// Why there is no other device, where it was looked for.
        why: Option<NoCuda>,
    },
}

/// Why CUDA is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoCuda {
    /// The program was built without it.
    #[error("this rsna-tui was built without CUDA (cargo build --release --features cuda)")]
    NotBuilt,
    /// There is no driver.
    #[error("no NVIDIA driver: {0} is not there")]
    NoDriver(&'static str),
    /// It has another tongue than the kernels.
    #[error(
        "the NVIDIA driver is too old: it knows CUDA {}.{}, this rsna-tui was built with {}.{}; \
         update the driver, or build with its toolkit",
        .has / 1000, .has % 1000 / 10, .needs / 1000, .needs % 1000 / 10
    )]
    OldDriver {
        /// 12040 for CUDA 12.4.
        has: u32,
        /// That of the toolkit.
        needs: u32,
    },
    /// It sees none.
    #[error("the NVIDIA driver sees no GPU (error {0})")]
    NoGpu(i32),
    /// There are fewer.
    #[error("there is no GPU {asked}: the driver sees {seen}, counted from 0")]
    NoSuchGpu {
        /// N of cuda:N.
        asked: usize,
        /// How many there are.
        seen: usize,
    },
    /// It does not know the kernels' instructions.
    #[error(
        "the GPU is too old: it is of compute capability {}.{}, this rsna-tui was built for {}.{} and \
         newer",
        .has / 10, .has % 10, .needs / 10, .needs % 10
    )]
    OldGpu {
        /// 75 for 7.5.
        has: u32,
        /// That of the build, 80 or more.
        needs: u32,
    },
    /// It was seen and cannot be used.
    #[error("the GPU cannot be used: {0}")]
    Failed(String),
}

/// The device that a run computes on.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// For candle.
    pub device: Device,
    /// In words.
    pub name: String,
    /// Why it is the CPU, where any was welcome.
    pub why: Option<NoCuda>,
}

/// The device that is asked for as `--device`.
///
/// Errors: there is no such device, or it does not compute in `precision`.
pub fn choose(asked: &str, precision: Precision) -> Result<Chosen, Error> {
    let why = match asked {
        "cpu" => None,
        "auto" => match cuda(0) {
            Ok(chosen) => return Ok(chosen),
            Err(why) => Some(why),
        },
        _ => {
            let n = match asked.strip_prefix("cuda") {
                Some("") => Some(0),
                Some(rest) => rest.strip_prefix(':').and_then(|n| n.parse().ok()),
                None => None,
            };
            let n: usize = n.ok_or_else(|| Error::Unknown(asked.into()))?;
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

#[cfg(feature = "cuda")]
fn cuda(n: usize) -> Result<Chosen, NoCuda> {
    let (device, name) = cuda::open(n)?;
    Ok(Chosen { device, name, why: None })
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize) -> Result<Chosen, NoCuda> {
    Err(NoCuda::NotBuilt)
}

/// A GPU, and the libraries that drive it.
#[derive(Debug, Clone)]
pub struct Facts {
    /// As the driver calls it.
    pub name: String,
    /// Compute capability, "9.0".
    pub capability: String,
    /// The driver's version, where NVIDIA's management library tells it.
    pub driver: Option<String>,
    /// The newest CUDA that the driver takes.
    pub driver_cuda: String,
    /// The CUDA that the kernels were compiled with.
    pub built_with: String,
    /// cuBLAS's version.
    pub cublas: Option<String>,
    /// Bytes of memory.
    pub total: u64,
    /// Those that are free.
    pub free: u64,
}

/// What is known of a GPU; none of the CPU, and none where the driver fails.
pub fn facts(device: &Device) -> Option<Facts> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => cuda::facts(device).ok(),
        _ => None,
    }
}

/// A GPU's compute capability, 90 for 9.0; none of the CPU.
pub fn capability(device: &Device) -> Option<u32> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => cuda::capability(device).ok(),
        _ => None,
    }
}

/// Whether f32 products on a GPU may round their inputs to TF32's 10 bits.
pub fn allow_tf32(allowed: bool) {
    candle_core::cuda::set_gemm_reduced_precision_f32(allowed);
}

/// Asks NVIDIA's management library how a GPU is doing, where there are both.
pub struct Monitor {
    #[cfg(feature = "cuda")]
    card: nvml::Card,
}

impl Monitor {
    /// Of a device; none of the CPU, and none where the library is missing.
    #[cfg(feature = "cuda")]
    pub fn open(device: &Device) -> Option<Self> {
        Some(Self { card: nvml::Card::open(device)? })
    }

    /// Of a device; none, this program was built without CUDA.
    #[cfg(not(feature = "cuda"))]
    pub fn open(_: &Device) -> Option<Self> {
        None
    }

    /// As it is now.
    pub fn read(&self) -> Option<Gpu> {
        #[cfg(feature = "cuda")]
        return self.card.read();
        #[cfg(not(feature = "cuda"))]
        None
    }
}

/// Whether an error of candle says that a device's memory does not suffice.
pub fn is_out_of_memory(error: &candle_core::Error) -> bool {
    #[cfg(feature = "cuda")]
    return cuda::is_out_of_memory(error);
    #[cfg(not(feature = "cuda"))]
    {
        let _ = error;
        false
    }
}

/// Gives a GPU's memory back that is held and not used, before something is tried again with less;
/// nothing on the CPU.
pub fn trim(device: &Device) {
    match device {
        // Where that fails, so will what is tried, and say why.
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => {
            let _ = cuda::trim(device);
        }
        _ => {}
    }
}

/// Bytes of memory that are free on a GPU; none on the CPU.
pub fn free_memory(device: &Device) -> Option<u64> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => cuda::free_memory(device).ok(),
        _ => None,
    }
}

/// Bytes of memory at their most so far: a GPU's that this program took, or else the program's own;
/// none where the system does not tell.
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
