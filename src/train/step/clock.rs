//! Where a step's time goes.

#[cfg(feature = "cuda")]
use candle_core::cuda_backend::{
    WrapErr,
    cudarc::driver::{CudaEvent, result, sys},
};
use candle_core::{Device, Result};
use std::{cell::RefCell, time::Instant};

/// Parts of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Bringing the images to the device.
    Upload,
    /// The encoder's forward pass.
    Encode,
    /// LSTMs and heads, forward and backward.
    Tail,
    /// The encoder's backward pass, and its second forward pass where images are encoded again.
    Backward,
    /// Looking at the gradients, and AdamW.
    Optimizer,
}

impl Part {
    /// All, in their order.
    pub const ALL: [Self; 5] =
        [Self::Upload, Self::Encode, Self::Tail, Self::Backward, Self::Optimizer];
}

/// A moment.
#[derive(Debug)]
enum Mark {
    Host(Instant),
    /// Of a GPU's stream, which the host does not wait for.
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

    /// Seconds; what a GPU had to do until `self` is done.
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
    /// Where a step begins, and where each of its parts ends.
    marks: RefCell<Vec<(Option<Part>, Mark)>>,
}

impl<'a> Clock<'a> {
    /// For steps on `device`.
    pub fn new(device: &'a Device) -> Self {
        Self { device, marks: RefCell::default() }
    }

    fn mark(&self, part: Option<Part>) -> Result<()> {
        self.marks.borrow_mut().push((part, Mark::now(self.device)?));
        Ok(())
    }

    /// A step begins.
    ///
    /// Errors: the device's.
    pub fn start(&self) -> Result<()> {
        self.mark(None)
    }

    /// A part ends that began where the one before it ended.
    ///
    /// Errors: the device's.
    pub fn lap(&self, part: Part) -> Result<()> {
        self.mark(Some(part))
    }

    /// Seconds of each part since the last call, all steps together. Waits for the device.
    ///
    /// Errors: the device's.
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
