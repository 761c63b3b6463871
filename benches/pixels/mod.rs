//! Images that are any values, for what is timed.

use rsna_tui::train::step::Images;
use std::ops::Range;

/// So many values in 0..=1.
pub fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i * 7919 % 1009) as f32 / 1008.0).collect()
}

/// A few images, again and again.
pub struct Pixels {
    size: usize,
    values: Vec<f32>,
}

impl Pixels {
    /// Of `size`², so many of them different.
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
