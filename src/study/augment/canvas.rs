//! The slice being augmented, and buffers for redrawing it.

use super::Pixel;
use crate::config::CHANNELS;

/// Buffers that a worker reuses from slice to slice to avoid allocations.
#[derive(Debug, Default)]
pub struct Scratch {
    spare: Vec<Pixel>,
    work: Work,
}

/// Buffers of the transforms; their contents are undefined between two transforms.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Rows of bytes with a border.
    pub(super) rows: Vec<u8>,
    /// Source x coordinates of a row of pixels.
    pub(super) x: Vec<i32>,
    /// Source y coordinates of a row of pixels.
    pub(super) y: Vec<i32>,
    /// Source pixels and weights of a row of pixels.
    pub(super) taps: super::taps::Taps,
}

/// One slice, uint8 `[size, size, 6]`, to be changed by a sequence of transforms.
pub struct Canvas<'a> {
    pixels: &'a mut [Pixel],
    spare: &'a mut [Pixel],
    work: &'a mut Work,
    size: usize,
    /// Whether `pixels` is the scratch buffer and `spare` the caller's image.
    swapped: bool,
}

impl<'a> Canvas<'a> {
    /// Creates a canvas on `image`, uint8 `[size, size, 6]` in C order, `size * size * 6` bytes.
    pub fn new(image: &'a mut [u8], size: usize, scratch: &'a mut Scratch) -> Self {
        assert_eq!(image.len(), size * size * CHANNELS, "an image is [size, size, 6]");
        let (pixels, _) = image.as_chunks_mut();
        scratch.spare.resize(size * size, [0; CHANNELS]);
        let Scratch { spare, work } = scratch;
        Self { pixels, spare, work, size, swapped: false }
    }

    /// Returns the height and width.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Returns the pixels row by row, to be changed in place.
    pub fn pixels(&mut self) -> &mut [Pixel] {
        self.pixels
    }

    /// Replaces every pixel: `draw` reads the first slice and fills the second, both row by row.
    pub(super) fn redraw(&mut self, draw: impl FnOnce(&[Pixel], &mut [Pixel], &mut Work)) {
        draw(self.pixels, self.spare, self.work);
        std::mem::swap(&mut self.pixels, &mut self.spare);
        self.swapped = !self.swapped;
    }

    /// Copies the result to the caller's image if it is elsewhere.
    pub fn finish(self) {
        if self.swapped {
            self.spare.copy_from_slice(self.pixels);
        }
    }
}
