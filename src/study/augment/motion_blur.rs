//! A short stroke.

use super::neighbours::{Border, filter};
use super::{Canvas, Transform};
use crate::config::CHANNELS;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// The mean along a line of two or three pixels anywhere in the 3 × 3 neighbourhood, the outside
/// mirrored: albumentations 1.3.1 `MotionBlur(blur_limit=3)`, that is `cv2.line` in a 3 × 3 kernel,
/// normalised, and `cv2.filter2D`.
#[derive(Debug, Clone, Copy)]
pub struct MotionBlur;

/// One of the 36 kernels of [`MotionBlur`]: the pixels of a line, (x, y) each 0..3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Line {
    /// Neighbours.
    Two([(usize, usize); 2]),
    /// From border to border.
    Three([(usize, usize); 3]),
}

impl Line {
    /// As `cv2.line` draws it: the pixel between two ends that lie two apart keeps the place of
    /// the left one along the shorter direction.
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

    /// Both ends uniform, but never the same pixel.
    fn params(&self, _: usize, rng: &mut ChaCha8Rng) -> Line {
        let (x1, x2) = (rng.random_range(0..3), rng.random_range(0..3));
        let y1 = rng.random_range(0..3);
        let y2 = match x1 == x2 {
            // `random.sample`: one of the other two.
            true => (y1 + rng.random_range(1..3)) % 3,
            false => rng.random_range(0..3),
        };
        Line::between((x1, y1), (x2, y2))
    }

    fn apply(line: &Line, canvas: &mut Canvas) {
        let size = canvas.size();
        canvas.redraw(|from, to, work| {
            filter(from, to, size, work, Border::Mirror, |rows, out| {
                let n = out.len();
                let tap = |(x, y): (usize, usize)| &rows[y][x * CHANNELS..x * CHANNELS + n];
                match line {
                    Line::Two(taps) => mean_of_two(taps.map(tap), out),
                    Line::Three(taps) => mean_of_three(taps.map(tap), out),
                }
            });
        });
    }
}

/// (a + b) / 2, halves to the even number, as float32 rounds in `cv2.filter2D`.
#[inline(always)]
fn mean_of_two([a, b]: [&[u8]; 2], out: &mut [u8]) {
    for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
        let below = (a & b) + ((a ^ b) >> 1);
        *out = below + (below & (a ^ b) & 1);
    }
}

/// (a + b + c) / 3 to the nearest; there are no halves.
#[inline(always)]
fn mean_of_three([a, b, c]: [&[u8]; 3], out: &mut [u8]) {
    for (((out, &a), &b), &c) in out.iter_mut().zip(a).zip(b).zip(c) {
        let sum = u16::from(a) + u16::from(b) + u16::from(c) + 1;
        // sum / 3 exactly for sum up to 766.
        *out = ((u32::from(sum) * 21846) >> 16) as u8;
    }
}
