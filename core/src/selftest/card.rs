//! Compares a device's speed with its data sheet.

use crate::device::speed;
use candle_core::{DType, Device, Result};

/// Peak throughput of a GPU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DataSheet {
    /// f32 products without TF32, TFLOP/s.
    pub f32: f64,
    /// Dense bf16 and f16 products with f32 sums, TFLOP/s.
    pub narrow: f64,
    /// Memory bandwidth, GB/s.
    pub memory: f64,
}

/// GPUs by the words of their names, longer names before shorter ones.
///
/// Figures from NVIDIA's data sheet of each, without sparsity; for GeForce cards from the white papers
/// of GA102, AD102 and RTX Blackwell (FP16 Tensor TFLOPS with FP32 Accumulate).
#[rustfmt::skip]
const SHEETS: [(&[&str], f64, f64, f64); 31] = [
    (&["H200", "NVL"], 60.0, 835.5, 4800.0),
    (&["H200"], 67.0, 989.5, 4800.0),
    (&["H100", "NVL"], 60.0, 835.5, 3900.0),
    (&["H100", "PCIe"], 51.0, 756.0, 2000.0),
    (&["H100"], 67.0, 989.5, 3350.0),
    (&["A100", "SXM4", "80GB"], 19.5, 312.0, 2039.0),
    (&["A100", "80GB"], 19.5, 312.0, 1935.0),
    (&["A100"], 19.5, 312.0, 1555.0),
    (&["A40"], 37.4, 149.7, 696.0),
    (&["A30"], 10.3, 165.0, 933.0),
    (&["A10"], 31.2, 125.0, 600.0),
    (&["L40S"], 91.6, 362.0, 864.0),
    (&["L40"], 90.5, 181.0, 864.0),
    (&["L4"], 30.3, 121.0, 300.0),
    (&["T4"], 8.1, 65.0, 320.0),
    (&["V100S"], 16.4, 130.0, 1134.0),
    (&["V100", "PCIE"], 14.0, 112.0, 900.0),
    (&["V100"], 15.7, 125.0, 900.0),
    (&["6000", "Ada"], 91.1, 364.2, 960.0),
    (&["A6000"], 38.7, 154.8, 768.0),
    (&["5090"], 104.8, 209.5, 1792.0),
    (&["5080"], 56.3, 112.6, 960.0),
    (&["4090"], 82.6, 165.2, 1008.0),
    (&["4080", "SUPER"], 52.2, 104.4, 736.0),
    (&["4080"], 48.7, 97.5, 717.0),
    (&["4070", "Ti"], 40.1, 80.2, 504.0),
    (&["4060", "Ti"], 22.1, 44.1, 288.0),
    (&["4060"], 15.1, 30.2, 272.0),
    (&["3090", "Ti"], 40.0, 80.0, 1008.0),
    (&["3090"], 35.6, 71.0, 936.0),
    (&["3080"], 29.8, 59.5, 760.0),
];
/// Words that denote a different product: a slower one, or a part of one.
const OTHERS: [&str; 6] = ["Laptop", "D", "Max", "MIG", "SUPER", "Ti"];

impl DataSheet {
    /// Looks up a GPU by the driver's name for it; `None` if it is unknown.
    pub fn of(name: &str) -> Option<Self> {
        let words: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).collect();
        let is_there = |word: &&str| words.contains(word);
        let (known, f32, narrow, memory) =
            SHEETS.into_iter().find(|(known, ..)| known.iter().all(is_there))?;
        let is_another = OTHERS.iter().any(|word| is_there(word) && !known.contains(word));
        (!is_another).then_some(Self { f32, narrow, memory })
    }
}

/// A measured throughput and the data sheet's.
#[derive(Debug, Clone, PartialEq)]
pub struct Throughput {
    /// Operation and type.
    pub what: (&'static str, &'static str),
    /// Measured value.
    pub is: f64,
    /// GFLOP/s on the CPU, TFLOP/s, or GB/s.
    pub unit: &'static str,
    /// The data sheet's value, for a known GPU.
    pub sheet: Option<f64>,
}

impl Throughput {
    /// Whether the measured value is under half of the data sheet's.
    pub fn is_slow(&self) -> bool {
        self.sheet.is_some_and(|sheet| self.is < sheet / 2.0)
    }
}

impl std::fmt::Display for Throughput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verdict = match self.sheet {
            None => "",
            Some(_) if self.is_slow() => "SLOW",
            Some(_) => "ok",
        };
        let ((what, dtype), unit) = (self.what, self.unit);
        let digits = if self.is < 10.0 { 2 } else { 0 };
        write!(f, "{verdict:<6} {what:<24} {dtype:<5} {:.digits$} {unit}", self.is)?;
        match self.sheet {
            None => Ok(()),
            Some(sheet) => write!(f, " of {sheet:.0} by the data sheet"),
        }
    }
}

/// Measures products in each of `types`, and copying.
///
/// Errors: when the device fails.
pub fn throughput(
    device: &Device,
    types: &[DType],
    sheet: Option<DataSheet>,
) -> Result<Vec<Throughput>> {
    let (unit, one) = if device.is_cpu() { ("GFLOP/s", 1e9) } else { ("TFLOP/s", 1e12) };
    let mut found = Vec::new();
    for &dtype in types {
        let of = |sheet: DataSheet| if dtype == DType::F32 { sheet.f32 } else { sheet.narrow };
        found.push(Throughput {
            what: ("products", dtype.as_str()),
            is: speed::product(device, dtype)? / one,
            unit,
            sheet: sheet.map(of),
        });
    }
    found.push(Throughput {
        what: ("memory, read and written", ""),
        is: speed::copy(device)? / 1e9,
        unit: "GB/s",
        sheet: sheet.map(|sheet| sheet.memory),
    });
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_by_the_names_that_the_driver_gives() {
        let memory = |name: &str| DataSheet::of(name).map(|sheet| sheet.memory);
        for (name, expected) in [
            ("NVIDIA H100 80GB HBM3", 3350.0),
            ("NVIDIA H100 PCIe", 2000.0),
            ("NVIDIA H200", 4800.0),
            ("NVIDIA A100-SXM4-40GB", 1555.0),
            ("NVIDIA A100-SXM4-80GB", 2039.0),
            ("NVIDIA A100 80GB PCIe", 1935.0),
            ("NVIDIA GeForce RTX 4090", 1008.0),
            ("NVIDIA GeForce RTX 3090 Ti", 1008.0),
            ("NVIDIA GeForce RTX 3090", 936.0),
            ("NVIDIA RTX 6000 Ada Generation", 960.0),
            ("NVIDIA RTX A6000", 768.0),
            ("NVIDIA L40S", 864.0),
            ("NVIDIA L4", 300.0),
            ("Tesla T4", 320.0),
            ("Tesla V100-SXM2-16GB", 900.0),
        ] {
            assert_eq!(memory(name), Some(expected), "{name}");
        }
        for other in [
            "NVIDIA GeForce RTX 4090 Laptop GPU",
            "NVIDIA GeForce RTX 4090 D",
            "NVIDIA GeForce RTX 3080 Ti",
            "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
            "NVIDIA A10G",
            "Stand-in 0",
            "",
        ] {
            assert_eq!(memory(other), None, "{other}");
        }
    }

    #[test]
    fn throughput_under_half_of_the_sheets_is_told() {
        let measured =
            |is, sheet| Throughput { what: ("products", "bf16"), is, unit: "TFLOP/s", sheet };
        let slow = measured(494.0, Some(989.5));
        assert!(slow.is_slow());
        let line = "SLOW   products                 bf16  494 TFLOP/s of 990 by the data sheet";
        assert_eq!(slow.to_string(), line);
        assert!(!measured(700.0, Some(989.5)).is_slow());
        assert!(!measured(0.1, None).is_slow());
        assert_eq!(
            measured(0.1, None).to_string().trim(),
            "products                 bf16  0.10 TFLOP/s"
        );
    }
}
