//! The slice at hand, and the space to redraw it.

use super::Pixel;
use crate::config::CHANNELS;

/// What a worker keeps from slice to slice, so that none is allocated for each.
#[derive(Debug, Default)]
pub struct Scratch {
    spare: Vec<Pixel>,
    work: Work,
}

/// Space of the transforms; what it holds between two of them means nothing.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Rows of bytes with a border.
    pub(super) rows: Vec<u8>,
    /// Source coordinates of a row of pixels.
    pub(super) x: Vec<i32>,
    /// Source coordinates of a row of pixels.
    pub(super) y: Vec<i32>,
    /// What a row of pixels is made of.
    pub(super) taps: super::taps::Taps,
}

/// One slice, uint8 `[size, size, 6]`, to be changed by one transform after the other.
pub struct Canvas<'a> {
    pixels: &'a mut [Pixel],
    spare: &'a mut [Pixel],
    work: &'a mut Work,
    size: usize,
    /// Whether `pixels` is the scratch and `spare` the caller's image.
    swapped: bool,
}

impl<'a> Canvas<'a> {
    /// Over `image`, uint8 `[size, size, 6]` in C order, `size * size * 6` bytes.
    pub fn new(image: &'a mut [u8], size: usize, scratch: &'a mut Scratch) -> Self {
        assert_eq!(image.len(), size * size * CHANNELS, "an image is [size, size, 6]");
        let (pixels, _) = image.as_chunks_mut();
        scratch.spare.resize(size * size, [0; CHANNELS]);
        let Scratch { spare, work } = scratch;
        Self { pixels, spare, work, size, swapped: false }
    }

    /// Height and width.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The pixels row by row, to change in place.
    pub fn pixels(&mut self) -> &mut [Pixel] {
        self.pixels
    }

    /// Makes every pixel anew: `draw` reads the first slice and fills the second, both row by row.
    pub(super) fn redraw(&mut self, draw: impl FnOnce(&[Pixel], &mut [Pixel], &mut Work)) {
        draw(self.pixels, self.spare, self.work);
        std::mem::swap(&mut self.pixels, &mut self.spare);
        self.swapped = !self.swapped;
    }

    /// Leaves the result in the image it was made over.
    pub fn finish(self) {
        if self.swapped {
            self.spare.copy_from_slice(self.pixels);
        }
    }
}
