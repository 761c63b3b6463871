//! Bilinear sampling in fixed point, as `cv2.warpAffine` and `cv2.remap` do it for bytes.

use super::Pixel;
use super::canvas::Work;
use crate::config::CHANNELS;
use crate::simd::vectorised;

/// A source coordinate in 1/32 pixel, from pixels.
#[inline(always)]
pub(super) fn fixed(pixels: f32) -> i32 {
    (pixels * 32.0).round_ties_even() as i32
}

/// Bytes of a pixel as they are loaded: its own six and two of the next.
const LOADED: usize = 8;

/// Redraws `from` into `to`, both `[size, size]`: `row(y, xs, ys)` gives the source coordinates of
/// the pixels of row y, in 1/32 pixel. Coordinates outside are mirrored about the outermost pixels
/// (`BORDER_REFLECT_101`).
///
/// A result is (Σ wᵢ·pᵢ + 512) / 1024 of the four pixels around it, the weights the products of
/// 1/32 parts: OpenCV's 15-bit weights are 32 times these and give the same bytes.
pub(super) fn warp(
    from: &[Pixel],
    to: &mut [Pixel],
    size: usize,
    work: &mut Work,
    row: impl Fn(usize, &mut [i32], &mut [i32]),
) {
    work.x.resize(size, 0);
    work.y.resize(size, 0);
    let (xs, ys) = (&mut work.x[..], &mut work.y[..]);
    vectorised(|| {
        for (y, out) in to.chunks_exact_mut(size).enumerate() {
            row(y, xs, ys);
            sample(from, size, xs, ys, out);
        }
    });
}

#[inline(always)]
fn sample(from: &[Pixel], size: usize, xs: &[i32], ys: &[i32], out: &mut [Pixel]) {
    let bytes = from.as_flattened();
    // The last pixel whose right and lower neighbours can be loaded with two bytes to spare.
    let inside = (size - 1) as u32;
    for ((out, &x), &y) in out.iter_mut().zip(xs).zip(ys) {
        let (wx, wy) = ((x & 31) as u16, (y & 31) as u32);
        let (x, y) = (x >> 5, y >> 5);
        let mut result = [0; LOADED];
        if (x as u32) < inside - 1 && (y as u32) < inside {
            let upper = (y as usize * size + x as usize) * CHANNELS;
            let lower = upper + size * CHANNELS;
            blend([&bytes[upper..upper + 14], &bytes[lower..lower + 14]], wx, wy, &mut result);
        } else {
            let [x0, x1] = [x, x + 1].map(|x| mirrored(x, size));
            let mut rows = [[0; 16]; 2];
            for (row, y) in rows.iter_mut().zip([y, y + 1]) {
                let y = mirrored(y, size) * size;
                row[..CHANNELS].copy_from_slice(&from[y + x0]);
                row[CHANNELS..2 * CHANNELS].copy_from_slice(&from[y + x1]);
            }
            blend([&rows[0], &rows[1]], wx, wy, &mut result);
        }
        out.copy_from_slice(&result[..CHANNELS]);
    }
}

/// `rows`: two neighbouring pixels each, 12 bytes, and at least two more that count for nothing.
#[inline(always)]
fn blend(rows: [&[u8]; 2], wx: u16, wy: u32, result: &mut [u8; LOADED]) {
    let [upper, lower] = rows.map(|row| {
        let left: &[u8; LOADED] = row[..LOADED].try_into().expect("eight bytes");
        let right: &[u8; LOADED] = row[CHANNELS..][..LOADED].try_into().expect("eight bytes");
        let mut sum = [0u16; LOADED];
        for i in 0..LOADED {
            sum[i] = u16::from(left[i]) * (32 - wx) + u16::from(right[i]) * wx;
        }
        sum
    });
    for i in 0..LOADED {
        let sum = u32::from(upper[i]) * (32 - wy) + u32::from(lower[i]) * wy;
        result[i] = ((sum + 512) >> 10) as u8;
    }
}

/// The pixel that stands for coordinate `at`, 0..size: mirrored about the outermost pixels, as
/// often as it takes. `size` is at least 2.
#[inline(always)]
pub(super) fn mirrored(mut at: i32, size: usize) -> usize {
    let last = size as i32 - 1;
    loop {
        if at < 0 {
            at = -at;
        } else if at > last {
            at = 2 * last - at;
        } else {
            return at as usize;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrored_is_reflect_101() {
        let at = |i| mirrored(i, 4);
        assert_eq!(
            [-7, -6, -3, -1, 0, 3, 4, 5, 6, 7, 9].map(at),
            [1, 0, 3, 1, 0, 3, 2, 1, 0, 1, 3]
        );
        assert_eq!([-2, -1, 0, 1, 2].map(|i| mirrored(i, 2)), [0, 1, 0, 1, 0]);
    }
}
