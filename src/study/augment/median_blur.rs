//! The median of nine.

use super::neighbours::{Border, filter};
use super::{Canvas, Transform};
use rand_chacha::ChaCha8Rng;

/// Each value becomes the median of its 3 × 3 neighbours, the outermost pixels repeated:
/// `cv2.medianBlur`, albumentations 1.3.1 `MedianBlur(blur_limit=3)`.
#[derive(Debug, Clone, Copy)]
pub struct MedianBlur;

impl Transform for MedianBlur {
    type Params = ();

    fn params(&self, _: usize, _: &mut ChaCha8Rng) {}

    fn apply(_: &(), canvas: &mut Canvas) {
        let size = canvas.size();
        canvas.redraw(|from, to, work| {
            filter(from, to, size, work, Border::Repeat, median);
        });
    }
}

/// Bytes sorted at once.
const LANES: usize = 64;

/// The median of nine is the median of the largest of the columns' smallest, the median of their
/// medians and the smallest of their largest.
#[inline(always)]
fn median(rows: [&[u8]; 3], out: &mut [u8]) {
    let mut start = 0;
    while start < out.len() {
        // The last piece overlaps the one before.
        start = start.min(out.len().saturating_sub(LANES));
        let n = LANES.min(out.len());
        let mut low = [[0; LANES]; 3];
        let mut middle = [[0; LANES]; 3];
        let mut high = [[0; LANES]; 3];
        for column in 0..3 {
            let at = start + column * crate::config::CHANNELS;
            let [a, b, c] = rows.map(|row| &row[at..at + n]);
            for i in 0..n {
                let (ab, ba) = (a[i].min(b[i]), a[i].max(b[i]));
                low[column][i] = ab.min(c[i]);
                middle[column][i] = ab.max(ba.min(c[i]));
                high[column][i] = ba.max(c[i]);
            }
        }
        let out = &mut out[start..start + n];
        for i in 0..n {
            let low = low[0][i].max(low[1][i]).max(low[2][i]);
            let high = high[0][i].min(high[1][i]).min(high[2][i]);
            let middle = of_three(middle[0][i], middle[1][i], middle[2][i]);
            out[i] = of_three(low, middle, high);
        }
        start += LANES;
    }
}

#[inline(always)]
fn of_three(a: u8, b: u8, c: u8) -> u8 {
    a.min(b).max(a.max(b).min(c))
}
