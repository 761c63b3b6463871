//! Median blur over nine pixels.

use super::Canvas;
use super::augmentation::{Augmentation, Transform, WEIGHT};
use super::neighbours::{self, Border, Filter, LANES, Lanes};
use rand_chacha::ChaCha8Rng;

pub(super) const MEDIAN_BLUR: Augmentation = Augmentation {
    name: "MedianBlur",
    keys: &[("median_blur_weight", WEIGHT)],
    new: |_| Box::new(MedianBlur),
};

/// Replaces each value by the median of its 3 × 3 neighbourhood, with repeated borders:
/// `cv2.medianBlur`, albumentations 1.3.1 `MedianBlur(blur_limit=3)`.
#[derive(Debug, Clone, Copy)]
pub struct MedianBlur;

impl Transform for MedianBlur {
    type Params = ();

    fn params(&self, _: usize, _: &mut ChaCha8Rng) {}

    fn apply(_: &(), canvas: &mut Canvas) {
        neighbours::filter(canvas, MedianBlur);
    }
}

impl Filter for MedianBlur {
    const BORDER: Border = Border::Repeat;

    /// The median of nine is the median of three values: the largest of the columns' minima, the median
    /// of their medians, and the smallest of their maxima.
    #[inline(always)]
    fn filter(&self, [above, level, below]: [[&Lanes; 3]; 3]) -> Lanes {
        let mut low = [[0; LANES]; 3];
        let mut middle = [[0; LANES]; 3];
        let mut high = [[0; LANES]; 3];
        for k in 0..3 {
            for i in 0..LANES {
                let (a, b, c) = (above[k][i], level[k][i], below[k][i]);
                let (smaller, larger) = (a.min(b), a.max(b));
                low[k][i] = smaller.min(c);
                middle[k][i] = smaller.max(larger.min(c));
                high[k][i] = larger.max(c);
            }
        }
        let mut out = [0; LANES];
        for i in 0..LANES {
            let low = low[0][i].max(low[1][i]).max(low[2][i]);
            let high = high[0][i].min(high[1][i]).min(high[2][i]);
            let middle = of_three(middle[0][i], middle[1][i], middle[2][i]);
            out[i] = of_three(low, middle, high);
        }
        out
    }
}

#[inline(always)]
fn of_three(a: u8, b: u8, c: u8) -> u8 {
    a.min(b).max(a.max(b).min(c))
}
