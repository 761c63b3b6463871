//! Images made of noise.

use rsna_tui::train::step::Images;
use std::ops::Range;

const SIZE: usize = 64;

/// Noise, another for each step.
pub struct Noise(pub usize);

impl Images for Noise {
    fn fill(&self, range: Range<usize>, out: &mut [f32]) {
        for (i, image) in range.zip(out.chunks_exact_mut(SIZE * SIZE * 6)) {
            let value = |j: usize| (self.0 * 31 + i * 6151 + j * j * 7919 + j * 104_729) % 1009;
            (0..).zip(image).for_each(|(j, v)| *v = value(j) as f32 / 1008.0);
        }
    }
    fn size(&self) -> usize {
        SIZE
    }
    fn studies(&self) -> Vec<String> {
        vec!["a".into(), "b".into(), "c".into()]
    }
}
