//! Blur along a short line.

use super::Canvas;
use super::augmentation::{Augmentation, Transform, WEIGHT};
use super::neighbours::{self, Border, Filter, LANES, Lanes};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

pub(super) const MOTION_BLUR: Augmentation = Augmentation {
    name: "MotionBlur",
    keys: &[("motion_blur_weight", WEIGHT)],
    new: |_| Box::new(MotionBlur),
};

/// The mean along a line of two or three pixels anywhere in the 3 × 3 neighbourhood, with mirrored
/// borders: albumentations 1.3.1 `MotionBlur(blur_limit=3)`, that is `cv2.line` in a 3 × 3 kernel,
/// normalised, and `cv2.filter2D`.
#[derive(Debug, Clone, Copy)]
pub struct MotionBlur;

/// One of the 36 kernels of [`MotionBlur`]: the pixels of a line, (x, y), each 0..3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Line {
    /// Two neighbouring pixels.
    Two([(usize, usize); 2]),
    /// Three pixels from border to border.
    Three([(usize, usize); 3]),
}

impl Line {
    /// Draws a line like `cv2.line`: if the ends are two pixels apart, the pixel between them keeps the
    /// left end's place along the shorter direction.
    pub fn between(a: (usize, usize), b: (usize, usize)) -> Self {
        let (left, right) = if a.0 <= b.0 { (a, b) } else { (b, a) };
        let (dx, dy) = (right.0 - left.0, right.1.abs_diff(left.1));
        if dx.max(dy) < 2 {
            return Self::Two([left, right]);
        }
        let y = match dy {
            2 => 1,
            _ => left.1,
        };
        let x = left.0 + dx / 2;
        Self::Three([left, (x, y), right])
    }
}

impl Transform for MotionBlur {
    type Params = Line;

    /// Draws both ends uniformly, but never the same pixel twice.
    fn params(&self, _: usize, rng: &mut ChaCha8Rng) -> Line {
        let (x1, x2) = (rng.random_range(0..3), rng.random_range(0..3));
        let y1 = rng.random_range(0..3);
        let y2 = match x1 == x2 {
            // Like `random.sample`: one of the other two.
            true => (y1 + rng.random_range(1..3)) % 3,
            false => rng.random_range(0..3),
        };
        Line::between((x1, y1), (x2, y2))
    }

    fn apply(line: &Line, canvas: &mut Canvas) {
        neighbours::filter(canvas, *line);
    }
}

impl Filter for Line {
    const BORDER: Border = Border::Mirror;

    /// The mean of two pixels with ties to even, as float32 rounds in `cv2.filter2D`; of three, rounded to
    /// the nearest, where there are no ties.
    #[inline(always)]
    fn filter(&self, nine: [[&Lanes; 3]; 3]) -> Lanes {
        let mut out = [0; LANES];
        match *self {
            Self::Two(pixels) => {
                let [a, b] = pixels.map(|(x, y)| nine[y][x]);
                for i in 0..LANES {
                    let (a, b) = (a[i], b[i]);
                    let below = (a & b) + ((a ^ b) >> 1);
                    out[i] = below + (below & (a ^ b) & 1);
                }
            }
            Self::Three(pixels) => {
                let [a, b, c] = pixels.map(|(x, y)| nine[y][x]);
                for i in 0..LANES {
                    let sum = u16::from(a[i]) + u16::from(b[i]) + u16::from(c[i]) + 1;
                    // Equals sum / 3 for sums up to 766.
                    out[i] = ((u32::from(sum) * 21846) >> 16) as u8;
                }
            }
        }
        out
    }
}
