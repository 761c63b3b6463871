//! A small Gaussian.

use super::neighbours::{Border, filter};
use super::{Canvas, Transform};
use crate::config::CHANNELS;
use rand_chacha::ChaCha8Rng;

/// Weights [1, 2, 1]ᵀ [1, 2, 1] / 16, halves rounded up, the outside mirrored: `cv2.GaussianBlur`
/// of bytes with a 3 × 3 kernel and sigma 0, albumentations 1.3.1 `GaussianBlur(blur_limit=3)`.
#[derive(Debug, Clone, Copy)]
pub struct GaussianBlur;

impl Transform for GaussianBlur {
    type Params = ();

    fn params(&self, _: usize, _: &mut ChaCha8Rng) {}

    fn apply(_: &(), canvas: &mut Canvas) {
        let size = canvas.size();
        canvas.redraw(|from, to, work| {
            filter(from, to, size, work, Border::Mirror, |rows, out| {
                let n = out.len();
                let columns = [0, 1, 2].map(|column| {
                    let at = column * CHANNELS;
                    rows.map(|row| &row[at..at + n])
                });
                let down = |[a, b, c]: [&[u8]; 3], i: usize| {
                    u16::from(a[i]) + 2 * u16::from(b[i]) + u16::from(c[i])
                };
                for (i, out) in out.iter_mut().enumerate() {
                    let [left, middle, right] = columns.map(|column| down(column, i));
                    *out = ((left + 2 * middle + right + 8) >> 4) as u8;
                }
            });
        });
    }
}
