//! Changes the brightness of the whole slice.

use super::Canvas;
use super::augmentation::{Augmentation, SHARE, Transform, uniform};
use crate::simd::vectorised;
use rand_chacha::ChaCha8Rng;

pub(super) const BRIGHTNESS: Augmentation = Augmentation {
    name: "RandomBrightness",
    keys: &[("brightness_limit", SHARE)],
    new: |s| Box::new(RandomBrightness { limit: s.number("brightness_limit") }),
};

/// Adds 255 · beta to every value, including the mask's, and clips to 0..=255: albumentations 1.3.1
/// `RandomBrightness` with `brightness_by_max`, with the same beta for all six channels.
#[derive(Debug, Clone, Copy)]
pub struct RandomBrightness {
    /// Maximum |beta|, 0..=1.
    pub limit: f64,
}

impl Transform for RandomBrightness {
    /// beta, −limit..limit.
    type Params = f64;

    fn params(&self, _: usize, rng: &mut ChaCha8Rng) -> f64 {
        uniform(rng, -self.limit, self.limit)
    }

    fn apply(&beta: &f64, canvas: &mut Canvas) {
        let table = table(beta);
        let values = canvas.pixels().as_flattened_mut();
        // A vector instruction adds 64 values at once but cannot look any up. So use a saturating sum
        // if it gives the same values as the table, which it does except for rounding.
        let change = i16::from(table[128]) - 128;
        let (up, down) = (change.clamp(0, 127) as u8, (-change).clamp(0, 128) as u8);
        let sum = |value: u8| value.saturating_add(up).saturating_sub(down);
        if (0..=255).all(|value| table[usize::from(value)] == sum(value)) {
            vectorised(|| values.iter_mut().for_each(|value| *value = sum(*value)));
        } else {
            values.iter_mut().for_each(|value| *value = table[usize::from(*value)]);
        }
    }
}

/// Lookup table of the new values: f32 and truncation as in albumentations.
fn table(beta: f64) -> [u8; 256] {
    let add = (beta * 255.0) as f32;
    std::array::from_fn(|value| (value as f32 + add).clamp(0.0, 255.0) as u8)
}
