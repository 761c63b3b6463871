//! Checks that a device computes correctly: every op against its CPU version, the network against one
//! built from candle-nn and candle-transformers, AdamW, and training steps. `rsna-tui selftest` prints
//! what `tests/it/gpu.rs` asserts.

pub mod card;
pub mod ops;
pub mod reference;
pub mod steps;

use crate::{device, net::weights, panics, train};
use candle_core::{DType, Device, Tensor};
use eyre::Result;
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// The largest of several errors, and its location.
#[derive(Debug, Clone, Default)]
pub struct Worst {
    /// ‖device − expected‖ / ‖expected‖, or the number of wrong values if each must be right.
    pub error: f64,
    /// Location of the error.
    pub at: String,
}

impl Worst {
    /// Takes an error into account; NaN counts as larger than any number.
    fn add(&mut self, error: f64, at: impl FnOnce() -> String) {
        if error > self.error || self.at.is_empty() || error.is_nan() {
            *self = Self { error, at: at() };
        }
    }
}

/// A comparison that can be run.
pub struct Check<'a> {
    /// Name of the comparison.
    pub name: &'static str,
    /// Type computed in.
    pub dtype: DType,
    /// Largest allowed [`Worst::error`].
    pub allowed: f64,
    /// Runs the comparison.
    pub run: Box<dyn Fn() -> Result<Worst> + 'a>,
}

impl Check<'_> {
    /// Runs the comparison. A panic counts as an error.
    pub fn result(&self) -> Outcome {
        let made = catch_unwind(AssertUnwindSafe(|| (self.run)()));
        let worst = match made {
            Ok(Ok(worst)) => Ok(worst),
            Ok(Err(error)) if is_out_of_memory(&error) => Err(Failure::OutOfMemory),
            Ok(Err(error)) => Err(Failure::Other(weights::report(&error))),
            Err(panic) => Err(Failure::Other(panics::message(panic.as_ref()).into())),
        };
        Outcome { name: self.name, dtype: self.dtype, allowed: self.allowed, worst }
    }
}

fn is_out_of_memory(error: &eyre::Report) -> bool {
    let of_engine = error.downcast_ref().is_some_and(device::is_out_of_memory);
    of_engine || error.downcast_ref().is_some_and(train::Error::is_out_of_memory)
}

/// Why a comparison gave no result.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Failure {
    /// Not a fault of the device.
    OutOfMemory,
    Other(String),
}

/// The result of a [`Check`].
#[derive(Debug, Clone)]
pub struct Outcome {
    name: &'static str,
    dtype: DType,
    allowed: f64,
    worst: Result<Worst, Failure>,
}

impl Outcome {
    /// Whether the error is within the limit; false for NaN.
    pub fn is_right(&self) -> bool {
        self.worst.as_ref().is_ok_and(|worst| worst.error <= self.allowed)
    }

    /// Whether there was too little memory to run it.
    fn is_unmade(&self) -> bool {
        matches!(self.worst, Err(Failure::OutOfMemory))
    }
}

impl fmt::Display for Outcome {
    /// Writes one line, and a second with the location of the error if it is too large.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match (self.is_right(), self.is_unmade()) {
            (true, _) => "ok",
            (_, true) => "?",
            _ => "WRONG",
        };
        write!(f, "{verdict:<6} {:<24} {:<5} ", self.name, self.dtype.as_str())?;
        match &self.worst {
            Err(Failure::OutOfMemory) => write!(f, "not checked: out of memory"),
            Err(Failure::Other(why)) => write!(f, "failed\n       {why}"),
            Ok(worst) => {
                let (error, allowed) = (worst.error, self.allowed);
                match allowed == 0.0 {
                    true => write!(f, "{error:.0} values differ")?,
                    false => write!(f, "largest error {error:.1e} of {allowed:.0e} allowed")?,
                }
                if self.is_right() { Ok(()) } else { write!(f, "\n       {}", worst.at) }
            }
        }
    }
}

/// Counts of checks and failures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// All checks.
    pub made: usize,
    /// Checks whose error is too large.
    pub wrong: usize,
    /// Checks skipped for lack of memory.
    pub unmade: usize,
}

impl Tally {
    /// Whether every check ran and passed.
    pub fn is_right(self) -> bool {
        self.wrong + self.unmade == 0
    }
}

/// Runs every check on `device` and passes each outcome to `tell` at once.
pub fn run(device: &Device, ops: &[ops::Op], tell: &mut dyn FnMut(&Outcome)) -> Tally {
    let mut tally = Tally::default();
    for check in checks(device, ops) {
        let outcome = check.result();
        tally.made += 1;
        tally.unmade += usize::from(outcome.is_unmade());
        tally.wrong += usize::from(!outcome.is_right() && !outcome.is_unmade());
        tell(&outcome);
    }
    tally
}

/// Types that a device trains in.
pub fn types(device: &Device) -> &'static [DType] {
    /// First compute capability with bf16.
    const BF16: u32 = 80;
    match device::capability(device) {
        None => &[DType::F32],
        Some(capability) if capability < BF16 => &[DType::F32, DType::F16],
        Some(_) => &[DType::F32, DType::F16, DType::BF16],
    }
}

/// All checks of a device: of `ops`, usually [`ops::all`], and of everything built on them.
fn checks<'a>(device: &'a Device, ops: &'a [ops::Op]) -> Vec<Check<'a>> {
    const SEED: u64 = 0;
    let types = types(device);
    let mut all: Vec<Check> = Vec::new();
    for op in ops {
        for &dtype in types.iter().filter(|&&dtype| op.takes(dtype)) {
            let run = Box::new(move || op.compare(device, dtype, SEED));
            all.push(Check { name: op.name, dtype, allowed: ops::allowed(dtype), run });
        }
    }
    let mut add = |name, dtype, allowed, run: Box<dyn Fn() -> Result<Worst> + 'a>| {
        all.push(Check { name, dtype, allowed, run });
    };
    let f32 = DType::F32;
    for &dtype in types {
        add("images from bytes", dtype, 0.0, Box::new(move || ops::pixels(device, dtype, SEED)));
    }
    add("head", f32, ops::allowed(f32), Box::new(move || ops::head(device, SEED)));
    add("NaN and infinity kept", f32, 0.0, Box::new(move || ops::not_finite(ops, device, SEED)));
    for &dtype in types {
        let run = Box::new(move || reference::encoder(device, dtype));
        add("encoder, by candle's", dtype, reference::allowed(dtype), run);
    }
    add("network, by candle's", f32, 1e-4, Box::new(move || reference::network(device)));
    add("AdamW, by candle's", f32, 1e-4, Box::new(move || steps::adamw(device, SEED)));
    add("gradient, by differences", f32, 1e-2, Box::new(move || steps::slope(device)));
    if !device.is_cpu() {
        for &dtype in types {
            let allowed = steps::allowed(dtype);
            let run = Box::new(move || steps::against_cpu(device, dtype));
            add("training, by the CPU's", dtype, allowed, run);
        }
    }
    add("training again", f32, 0.0, Box::new(move || steps::repeat(device)));
    all
}

/// Copies a tensor to the CPU as f64.
pub fn values(t: &Tensor) -> candle_core::Result<Vec<f64>> {
    t.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

/// ‖a − b‖ / ‖b‖; NaN if either has a value that is not finite.
pub fn apart(a: &[f64], b: &[f64]) -> f64 {
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>().sqrt();
    let far = norm(&mut a.iter().zip(b).map(|(a, b)| a - b));
    far / norm(&mut b.iter().copied()).max(1e-30)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(allowed: f64, worst: Result<Worst, Failure>) -> Outcome {
        Outcome { name: "depthwise 7x7", dtype: DType::BF16, allowed, worst }
    }

    #[test]
    fn an_outcome_is_a_line_and_says_where_it_is_wrong() {
        let worst = |error| Ok(Worst { error, at: "result, 2 x 3".into() });
        let line = "ok     depthwise 7x7            bf16  largest error 1.3e-2 of 3e-2 allowed";
        assert_eq!(outcome(3e-2, worst(0.0125)).to_string(), line);
        assert!(line.chars().count() < 80);
        for error in [0.031, f64::NAN, f64::INFINITY] {
            let wrong = outcome(3e-2, worst(error));
            assert!(!wrong.is_right());
            let text = wrong.to_string();
            assert!(text.starts_with("WRONG  depthwise"), "{text}");
            assert!(text.ends_with("\n       result, 2 x 3"), "{text}");
        }
        let failed = outcome(3e-2, Err(Failure::Other("no such kernel".into())));
        assert!(!failed.is_right());
        assert!(failed.to_string().ends_with("failed\n       no such kernel"));
        let unmade = outcome(3e-2, Err(Failure::OutOfMemory));
        assert!(!unmade.is_right());
        assert!(unmade.to_string().ends_with("not checked: out of memory"));
    }

    #[test]
    fn what_panics_or_fails_is_wrong_and_nan_is_the_largest_error() {
        let check = |run| Check { name: "x", dtype: DType::F32, allowed: 1.0, run };
        let failing: Box<dyn Fn() -> Result<Worst>> = Box::new(|| Err(eyre::eyre!("no")));
        assert!(!check(failing).result().is_right());
        let panicking: Box<dyn Fn() -> Result<Worst>> = Box::new(|| panic!("a library is missing"));
        assert!(check(panicking).result().to_string().contains("a library is missing"));
        let mut worst = Worst::default();
        for (error, at) in [(0.5, "a"), (f64::NAN, "b"), (7.0, "c")] {
            worst.add(error, || at.into());
        }
        assert!(worst.error.is_nan() && worst.at == "b");
        assert!(apart(&[1.0, f64::NAN], &[1.0, 1.0]).is_nan());
    }
}
