//! State of a GPU, as NVML (NVIDIA's management library) reports it.

use crate::run::event::Gpu;
use candle_core::Device;
use nvml_wrapper::{
    Nvml, bitmasks::device::ThrottleReasons, enum_wrappers::device::TemperatureSensor,
};

/// Version of the driver; `None` without NVML.
pub(super) fn driver_version() -> Option<String> {
    Nvml::init().ok()?.sys_driver_version().ok()
}

/// A GPU that NVML knows.
pub(super) struct Card {
    nvml: Nvml,
    uuid: String,
}

impl Card {
    /// Opens a CUDA device; `None` if NVML does not know it.
    pub(super) fn open(device: &Device) -> Option<Self> {
        let cuda = device.as_cuda_device().ok()?;
        // NVML numbers GPUs differently from CUDA, so look it up by UUID.
        let uuid = cuda.cuda_stream().context().uuid().ok()?;
        let uuid = name(&uuid.bytes.map(|b| b as u8));
        let nvml = Nvml::init().ok()?;
        nvml.device_by_uuid(&*uuid).ok()?;
        Some(Self { nvml, uuid })
    }

    /// Reads the current state.
    pub(super) fn read(&self) -> Option<Gpu> {
        let card = self.nvml.device_by_uuid(&*self.uuid).ok()?;
        let memory = card.memory_info().ok()?;
        Some(Gpu {
            memory_used: memory.used,
            memory_total: memory.total,
            utilisation: card.utilization_rates().ok().map(|u| u.gpu),
            temperature: card.temperature(TemperatureSensor::Gpu).ok(),
            watts: card.power_usage().ok().map(|mw| f64::from(mw) / 1e3),
            throttled: card.current_throttle_reasons().ok().and_then(in_words),
        })
    }
}

/// Reasons for throttling, in words; `None` if the GPU is only idle, or its user limits the clocks.
fn in_words(reasons: ThrottleReasons) -> Option<String> {
    type R = ThrottleReasons;
    let mut words = Vec::new();
    for (reason, word) in [
        (R::SW_THERMAL_SLOWDOWN.union(R::HW_THERMAL_SLOWDOWN), "thermal"),
        (R::HW_POWER_BRAKE_SLOWDOWN, "power brake"),
        (R::SW_POWER_CAP, "power cap"),
        (R::SYNC_BOOST, "sync boost"),
    ] {
        if reasons.intersects(reason) {
            words.push(word);
        }
    }
    // The GPU also sets this flag with a specific reason; name it only without one.
    let why = R::HW_THERMAL_SLOWDOWN.union(R::HW_POWER_BRAKE_SLOWDOWN);
    if reasons.contains(R::HW_SLOWDOWN) && !reasons.intersects(why) {
        words.push("hardware slowdown");
    }
    (!words.is_empty()).then(|| words.join(", "))
}

/// Formats 16 bytes as NVML's UUID: GPU-8-4-4-4-12 hexadecimal digits.
fn name(bytes: &[u8; 16]) -> String {
    let hex = |range: std::ops::Range<usize>| -> String {
        bytes[range].iter().map(|b| format!("{b:02x}")).collect()
    };
    let parts = [hex(0..4), hex(4..6), hex(6..8), hex(8..10), hex(10..16)];
    format!("GPU-{}", parts.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_the_clocks_down_in_words() {
        type R = ThrottleReasons;
        assert_eq!(in_words(R::NONE), None);
        assert_eq!(in_words(R::GPU_IDLE | R::APPLICATIONS_CLOCKS_SETTING), None);
        assert_eq!(in_words(R::SW_POWER_CAP).as_deref(), Some("power cap"));
        let hot = R::HW_SLOWDOWN | R::HW_THERMAL_SLOWDOWN | R::SW_POWER_CAP;
        assert_eq!(in_words(hot).as_deref(), Some("thermal, power cap"));
        assert_eq!(in_words(R::HW_SLOWDOWN).as_deref(), Some("hardware slowdown"));
    }

    #[test]
    fn a_name_as_nvidia_smi_writes_it() {
        let bytes: [u8; 16] = std::array::from_fn(|i| 17 * i as u8);
        assert_eq!(name(&bytes), "GPU-00112233-4455-6677-8899-aabbccddeeff");
    }
}
