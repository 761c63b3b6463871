//! Where the network computes.

use crate::config::Precision;
use candle_core::Device;

/// A device that cannot be had; one sentence.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such device.
    #[error("--device {0}: expected auto, cpu, cuda or cuda:N")]
    Unknown(String),
    /// This version has no CUDA kernels yet.
    #[error("--device {0}: this version trains on the CPU only; leave --device out or give cpu")]
    NoCuda(String),
    /// A precision the device does not compute in.
    #[error("train.precision = {0}: on the CPU the network trains in f32; set train.precision=f32")]
    Precision(String),
}

/// The device and its name in words.
pub fn choose(device: &str, precision: Precision) -> Result<(Device, String), Error> {
    match device {
        "auto" | "cpu" => {}
        d if d == "cuda" || d.strip_prefix("cuda:").is_some_and(|n| n.parse::<u32>().is_ok()) => {
            return Err(Error::NoCuda(d.into()));
        }
        d => return Err(Error::Unknown(d.into())),
    }
    if precision != Precision::F32 {
        return Err(Error::Precision(format!("{precision:?}").to_lowercase()));
    }
    let threads = rayon::current_num_threads();
    let plural = if threads == 1 { "" } else { "s" };
    Ok((Device::Cpu, format!("CPU, {threads} thread{plural}")))
}
