//! Source pixels and their weights, for a row at a time.

use crate::config::CHANNELS;

/// Subpixel resolution of a coordinate: parts per pixel.
pub(super) const PARTS: i32 = 32;

/// Source pixels and weights for each pixel of a row, packed in the form in which the warp loads them.
#[derive(Debug, Default)]
pub(super) struct Taps {
    /// Offset of the upper left source pixel in bytes.
    pub(super) at: Vec<u32>,
    /// Weights of the left and right pixels in 1/32, a byte each, repeated twice.
    pub(super) across: Vec<u32>,
    /// Weights of the upper and lower pixels in 1/32, two bytes each.
    pub(super) down: Vec<u32>,
}

impl Taps {
    pub(super) fn resize(&mut self, size: usize) {
        for values in [&mut self.at, &mut self.across, &mut self.down] {
            values.resize(size, 0);
        }
    }

    /// Sets taps from coordinates in an image of `[size, size]`, in 1/32 pixel, from 0 to the last pixel.
    #[inline(always)]
    pub(super) fn set(&mut self, size: usize, xs: &[i32], ys: &[i32]) {
        let size = size as i32;
        let outputs = self.at.iter_mut().zip(&mut self.across).zip(&mut self.down);
        for (((at, across), down), (&x, &y)) in outputs.zip(xs.iter().zip(ys)) {
            // On the outermost pixel, its inner neighbour gets weight 0.
            let (left, upper) = ((x >> 5).min(size - 2), (y >> 5).min(size - 2));
            let (right, lower) = (x - (left << 5), y - (upper << 5));
            *at = ((upper * size + left) * CHANNELS as i32) as u32;
            *across = (((PARTS - right) | right << 8) * 0x10001) as u32;
            *down = ((PARTS - lower) | lower << 16) as u32;
        }
    }
}
