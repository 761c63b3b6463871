//! Lighter or darker as a whole.

use super::{Pixel, Transform};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Adds 255 · beta to every value, the mask's too, and clips to 0..=255: albumentations 1.3.1
/// `RandomBrightness` with `brightness_by_max`, one beta for the six channels.
#[derive(Debug, Clone, Copy)]
pub struct RandomBrightness {
    /// Largest |beta|, 0..=1.
    pub limit: f64,
}

impl Transform for RandomBrightness {
    /// beta, −limit..limit.
    type Params = f64;

    fn params(&self, rng: &mut ChaCha8Rng) -> f64 {
        // As Python's random.uniform(-limit, limit): a + (b - a) * random().
        -self.limit + 2.0 * self.limit * rng.random::<f64>()
    }

    fn apply(&beta: &f64, pixels: &mut [Pixel], _: usize) {
        // f32 and truncation as in albumentations' lookup table.
        let add = (beta * 255.0) as f32;
        let table: [u8; 256] =
            std::array::from_fn(|value| (value as f32 + add).clamp(0.0, 255.0) as u8);
        for value in pixels.as_flattened_mut() {
            *value = table[usize::from(*value)];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Key, Purpose};

    #[test]
    fn beta_fills_its_range() {
        let mut rng = Key::new(0, Purpose::Augment).rng();
        let draws: Vec<f64> =
            (0..1000).map(|_| RandomBrightness { limit: 0.1 }.params(&mut rng)).collect();
        assert!(draws.iter().all(|b| (-0.1..0.1).contains(b)));
        assert!(draws.iter().any(|b| *b < -0.09) && draws.iter().any(|b| *b > 0.09));
    }
}
