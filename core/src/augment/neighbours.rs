//! Filters of 3 × 3 neighbourhoods, 64 bytes at a time.

use super::canvas::Work;
use super::{CHANNELS, Canvas, Pixel};
use crate::simd::vectorised;
use pulp::{Simd, WithSimd};

/// Number of bytes computed at once.
pub(super) const LANES: usize = 64;

/// 64 consecutive bytes of a row.
pub(super) type Lanes = [u8; LANES];

/// Values outside the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Border {
    /// Mirrored about the outermost pixels (`BORDER_REFLECT_101`).
    Mirror,
    /// Copies of the outermost pixels (`BORDER_REPLICATE`).
    Repeat,
}

/// Computes a value from itself and its eight neighbours.
pub(super) trait Filter {
    const BORDER: Border;

    /// `nine[row][column]`: above, level and below; left, middle and right. Always inlined, so that it is
    /// compiled for the vector instructions in use.
    fn filter(&self, nine: [[&Lanes; 3]; 3]) -> Lanes;
}

/// Filters every value of every channel. The size must be at least 11 pixels, that is 64 bytes.
pub(super) fn filter(canvas: &mut Canvas, filter: impl Filter) {
    let size = canvas.size();
    canvas.redraw(|from, to, work| vectorised(Kernel { from, to, size, work, filter }));
}

struct Kernel<'a, F> {
    from: &'a [Pixel],
    to: &'a mut [Pixel],
    size: usize,
    work: &'a mut Work,
    filter: F,
}

impl<F: Filter> WithSimd for Kernel<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { from, to, size, work, filter } = self;
        // Three rows, each with an extra pixel on either side.
        let width = (size + 2) * CHANNELS;
        work.rows.resize(3 * width, 0);
        let (above, rest) = work.rows.split_at_mut(width);
        let (level, below) = rest.split_at_mut(width);
        let mut rows = [above, level, below];
        let outside = usize::from(F::BORDER == Border::Mirror);
        let load = |y: usize, into: &mut [u8]| {
            let source = from[y * size..(y + 1) * size].as_flattened();
            into[CHANNELS..width - CHANNELS].copy_from_slice(source);
            into[..CHANNELS].copy_from_slice(&from[y * size + outside]);
            into[width - CHANNELS..].copy_from_slice(&from[(y + 1) * size - 1 - outside]);
        };
        load(outside, rows[0]);
        load(0, rows[1]);
        for (y, out) in to.chunks_exact_mut(size).enumerate() {
            load(if y + 1 < size { y + 1 } else { size - 1 - outside }, rows[2]);
            let out = out.as_flattened_mut();
            let last = out.len() - LANES;
            let mut start = 0;
            loop {
                let mut nine = [[&[0; LANES]; 3]; 3];
                for (nine, row) in nine.iter_mut().zip(&rows) {
                    for (k, lanes) in nine.iter_mut().enumerate() {
                        let at = start + k * CHANNELS;
                        *lanes = row[at..at + LANES].try_into().expect("64 bytes");
                    }
                }
                out[start..start + LANES].copy_from_slice(&filter.filter(nine));
                if start == last {
                    break;
                }
                // The last piece may overlap the previous one.
                start = (start + LANES).min(last);
            }
            rows.rotate_left(1);
        }
    }
}
