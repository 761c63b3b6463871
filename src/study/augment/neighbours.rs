//! 3 × 3 neighbourhoods, a row of bytes at a time.

use super::Pixel;
use super::canvas::Work;
use crate::config::CHANNELS;
use crate::simd::vectorised;

/// What stands beside the outermost pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Border {
    /// Their inner neighbours (`BORDER_REFLECT_101`).
    Mirror,
    /// They themselves (`BORDER_REPLICATE`).
    Repeat,
}

/// Redraws `from` into `to`, both `[size, size]`: `row(three, out)` makes each row of bytes from
/// the row above, its own and the one below, each with a pixel more on either side, so that
/// `three[j][i + 6 * k]` lies k − 1 pixels from byte i.
pub(super) fn filter(
    from: &[Pixel],
    to: &mut [Pixel],
    size: usize,
    work: &mut Work,
    border: Border,
    row: impl Fn([&[u8]; 3], &mut [u8]),
) {
    let width = (size + 2) * CHANNELS;
    work.rows.resize(3 * width, 0);
    let (above, rest) = work.rows.split_at_mut(width);
    let (here, below) = rest.split_at_mut(width);
    let outside = usize::from(border == Border::Mirror);
    let load = |y: usize, into: &mut [u8]| {
        let source = from[y * size..(y + 1) * size].as_flattened();
        into[CHANNELS..width - CHANNELS].copy_from_slice(source);
        into[..CHANNELS].copy_from_slice(&from[y * size + outside]);
        into[width - CHANNELS..].copy_from_slice(&from[(y + 1) * size - 1 - outside]);
    };
    let mut rows = [above, here, below];
    load(outside, rows[0]);
    load(0, rows[1]);
    vectorised(|| {
        for (y, out) in to.chunks_exact_mut(size).enumerate() {
            let next = if y + 1 < size { y + 1 } else { size - 1 - outside };
            load(next, rows[2]);
            row([rows[0], rows[1], rows[2]], out.as_flattened_mut());
            rows.rotate_left(1);
        }
    });
}
