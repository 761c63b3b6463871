//! Where a step's time goes.

use std::{cell::Cell, time::Instant};

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

/// Times the parts of steps that carry it.
#[derive(Debug)]
pub struct Clock {
    seconds: Cell<[f64; Part::ALL.len()]>,
    last: Cell<Instant>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { seconds: Cell::default(), last: Cell::new(Instant::now()) }
    }
}

impl Clock {
    /// A step begins.
    pub fn start(&self) {
        self.last.set(Instant::now());
    }

    /// A part ends that began where the one before it ended.
    pub fn lap(&self, part: Part) {
        let now = Instant::now();
        let mut seconds = self.seconds.get();
        seconds[part as usize] += now.duration_since(self.last.replace(now)).as_secs_f64();
        self.seconds.set(seconds);
    }

    /// Seconds of each part since the last call.
    pub fn take(&self) -> [f64; Part::ALL.len()] {
        self.seconds.take()
    }
}
