//! Blur with a small Gaussian.

use super::Canvas;
use super::augmentation::{Augmentation, Transform, WEIGHT};
use super::neighbours::{self, Border, Filter, LANES, Lanes};
use rand_chacha::ChaCha8Rng;

pub(super) const GAUSSIAN_BLUR: Augmentation = Augmentation {
    name: "GaussianBlur",
    keys: &[("gaussian_blur_weight", WEIGHT)],
    new: |_| Box::new(GaussianBlur),
};

/// Weights [1, 2, 1]ᵀ [1, 2, 1] / 16, halves rounded up, mirrored borders: `cv2.GaussianBlur`
/// for bytes with a 3 × 3 kernel and sigma 0, albumentations 1.3.1 `GaussianBlur(blur_limit=3)`.
#[derive(Debug, Clone, Copy)]
pub struct GaussianBlur;

impl Transform for GaussianBlur {
    type Params = ();

    fn params(&self, _: usize, _: &mut ChaCha8Rng) {}

    fn apply(_: &(), canvas: &mut Canvas) {
        neighbours::filter(canvas, GaussianBlur);
    }
}

impl Filter for GaussianBlur {
    const BORDER: Border = Border::Mirror;

    #[inline(always)]
    fn filter(&self, [above, level, below]: [[&Lanes; 3]; 3]) -> Lanes {
        let mut sums = [8u16; LANES];
        for (k, weight) in [1, 2, 1].into_iter().enumerate() {
            for i in 0..LANES {
                let outer = u16::from(above[k][i]) + u16::from(below[k][i]);
                sums[i] += weight * (outer + 2 * u16::from(level[k][i]));
            }
        }
        sums.map(|sum| (sum >> 4) as u8)
    }
}
