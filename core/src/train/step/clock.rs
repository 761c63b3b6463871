//! Times the parts of a step.

#[cfg(feature = "cuda")]
use candle_core::cuda_backend::{
    WrapErr,
    cudarc::driver::{CudaEvent, result, sys},
};
use candle_core::{Device, Result};
use std::{cell::RefCell, time::Instant};

/// A part of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Upload of the images to the device.
    Upload,
    /// The encoder's forward pass.
    Encode,
    /// Forward and backward pass of LSTMs and heads.
    Tail,
    /// The encoder's backward pass, and the forward pass of images that are encoded again.
    Backward,
    /// Check of the gradients, and AdamW.
    Optimizer,
}

impl Part {
    /// All parts in their order.
    pub const ALL: [Self; 5] =
        [Self::Upload, Self::Encode, Self::Tail, Self::Backward, Self::Optimizer];
}

/// A point in time.
#[derive(Debug)]
enum Mark {
    Host(Instant),
    /// A point in a GPU stream; the host does not wait for it.
    #[cfg(feature = "cuda")]
    Event(CudaEvent),
}

impl Mark {
    fn now(device: &Device) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if let Device::Cuda(device) = device {
            let timed = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
            return Ok(Self::Event(device.cuda_stream().record_event(timed).w()?));
        }
        let _ = device;
        Ok(Self::Host(Instant::now()))
    }

    /// Seconds from `before` to `self`; on a GPU, as measured by the GPU.
    fn since(&self, before: &Self) -> Result<f64> {
        match (self, before) {
            (Self::Host(end), Self::Host(start)) => Ok((*end - *start).as_secs_f64()),
            #[cfg(feature = "cuda")]
            (Self::Event(end), Self::Event(start)) => {
                // SAFETY: both events have been recorded, for timing.
                let ms = unsafe { result::event::elapsed(start.cu_event(), end.cu_event()) }.w()?;
                Ok(f64::from(ms) / 1e3)
            }
            #[cfg(feature = "cuda")]
            _ => candle_core::bail!("the parts of a step were timed on two devices"),
        }
    }
}

/// Times the parts of steps that carry it.
#[derive(Debug)]
pub struct Clock<'a> {
    device: &'a Device,
    /// Start of each step (`None`), and end of each of its parts.
    marks: RefCell<Vec<(Option<Part>, Mark)>>,
}

impl<'a> Clock<'a> {
    /// Creates a clock for steps on `device`.
    pub fn new(device: &'a Device) -> Self {
        Self { device, marks: RefCell::default() }
    }

    /// Marks the end of a part, which began where the previous one ended, or with `None` the start of a
    /// step.
    ///
    /// Errors: when the device fails.
    pub fn mark(&self, ended: Option<Part>) -> Result<()> {
        self.marks.borrow_mut().push((ended, Mark::now(self.device)?));
        Ok(())
    }

    /// Returns the seconds of each part since the last call, summed over all steps. Waits for the device.
    ///
    /// Errors: when the device fails.
    pub fn take(&self) -> Result<[f64; Part::ALL.len()]> {
        self.device.synchronize()?;
        let marks = self.marks.take();
        let mut seconds = [0.0; Part::ALL.len()];
        for ((_, before), (part, mark)) in marks.iter().zip(&marks[1.min(marks.len())..]) {
            if let Some(part) = part {
                seconds[*part as usize] += mark.since(before)?;
            }
        }
        Ok(seconds)
    }
}
