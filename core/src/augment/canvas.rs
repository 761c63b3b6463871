//! The slice being augmented, and buffers for redrawing it.

/// Channels of a slice: five CT planes and a mask.
pub const CHANNELS: usize = 6;

/// The channels of one pixel.
pub type Pixel = [u8; CHANNELS];

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
    pub(super) taps: Taps,
}

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
