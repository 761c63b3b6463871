//! Arbitrary images for benchmarks whose time does not depend on the values.

use rsna_tui::train::step::Images;
use std::ops::Range;

/// `n` values in 0..=1.
pub fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i * 7919 % 1009) as f32 / 1008.0).collect()
}

/// A few images, used repeatedly.
pub struct Pixels {
    size: usize,
    values: Vec<f32>,
}

impl Pixels {
    /// `images` different images of `size`².
    pub fn new(images: usize, size: usize) -> Self {
        Self { size, values: values(images * size * size * 6) }
    }
}

impl Images for Pixels {
    fn fill(&self, range: Range<usize>, out: &mut [f32]) {
        let n = self.size * self.size * 6;
        let images = self.values.len() / n;
        for (i, image) in range.zip(out.chunks_exact_mut(n)) {
            image.copy_from_slice(&self.values[i % images * n..][..n]);
        }
    }
    fn size(&self) -> usize {
        self.size
    }
    fn studies(&self) -> Vec<String> {
        Vec::new()
    }
}
