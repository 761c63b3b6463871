//! Bilinear sampling in fixed point, like `cv2.warpAffine` and `cv2.remap` for bytes.

use super::canvas::{PARTS, Work};
use super::{CHANNELS, Canvas, Pixel};
use crate::simd::vectorised;
use pulp::{Simd, WithSimd};

/// Converts a source coordinate to 1/32 pixel, rounded to the nearest, ties to even. `pixels` must be
/// within ±60,000.
#[inline(always)]
pub(super) fn fixed(pixels: f32) -> i32 {
    // The sum has no fractional bits, and the integer is in its lowest bits. (`as` would check
    // each value for NaN, one by one.)
    const SHIFT: f32 = 1.5 * (1 << 23) as f32;
    let limit = (1 << 21) as f32;
    let sum = (pixels * PARTS as f32).clamp(-limit, limit) + SHIFT;
    sum.to_bits() as i32 - SHIFT.to_bits() as i32
}

/// A map from the pixels of a result to their sources.
pub(super) trait Map {
    /// Writes the source coordinates of the pixels of row `y`, in 1/32 pixel; `xs` and `ys` have the
    /// length of a row. Always inlined, so that it is compiled for the vector instructions in use.
    fn row(&self, y: usize, xs: &mut [i32], ys: &mut [i32]);
}

/// Redraws the canvas through `map`. Coordinates outside the image are mirrored about the outermost
/// pixels (`BORDER_REFLECT_101`).
///
/// Each result is (Σ wᵢ·pᵢ + 512) / 1024 over the four surrounding pixels; the weights are products of
/// 1/32 parts. OpenCV's 15-bit weights are 32 times these and give the same bytes.
pub(super) fn warp(canvas: &mut Canvas, map: impl Map) {
    let size = canvas.size();
    canvas.redraw(|from, to, work| {
        for values in [&mut work.x, &mut work.y] {
            values.resize(size, 0);
        }
        work.taps.resize(size);
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = pulp::x86::V3::try_new() {
            simd.vectorize(Warp { from, to, size, work, map, blend: simd });
            return;
        }
        vectorised(Warp { from, to, size, work, map, blend: Portable });
    });
}

struct Warp<'a, M, B> {
    from: &'a [Pixel],
    to: &'a mut [Pixel],
    size: usize,
    work: &'a mut Work,
    map: M,
    blend: B,
}

impl<M: Map, B: Blend> Warp<'_, M, B> {
    #[inline(always)]
    fn run(self) {
        let Self { from, to, size, work, map, blend } = self;
        let (xs, ys, taps) = (&mut work.x[..], &mut work.y[..], &mut work.taps);
        let bytes = from.as_flattened();
        // All rows but the last, and all rows but the first.
        let n = (size - 1) * size * CHANNELS;
        let (upper, lower) = (&bytes[..n], &bytes[size * CHANNELS..][..n]);
        let last = size as i32 - 1;
        for (y, out) in to.chunks_exact_mut(size).enumerate() {
            map.row(y, xs, ys);
            mirror(xs, last * PARTS);
            mirror(ys, last * PARTS);
            taps.set(size, xs, ys);
            let weights = taps.across.iter().zip(&taps.down);
            let taps = taps.at.iter().zip(weights);
            for (out, (&at, (&across, &down))) in out.iter_mut().zip(taps) {
                let at = at as usize;
                let result = if at + LOADED <= n {
                    let [upper, lower] = [upper, lower]
                        .map(|row| row[at..at + LOADED].try_into().expect("16 bytes"));
                    blend.blend([upper, lower], across, down)
                } else {
                    // At the very end of the image there are only twelve bytes.
                    let [upper, lower] = [upper, lower].map(|row| {
                        let mut end = [0; LOADED];
                        end[..2 * CHANNELS].copy_from_slice(&row[at..at + 2 * CHANNELS]);
                        end
                    });
                    blend.blend([&upper, &lower], across, down)
                };
                out.copy_from_slice(&result[..CHANNELS]);
            }
        }
    }
}

impl<M: Map> WithSimd for Warp<'_, M, Portable> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.run();
    }
}

#[cfg(target_arch = "x86_64")]
impl<M: Map> pulp::NullaryFnOnce for Warp<'_, M, pulp::x86::V3> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.run();
    }
}

/// Mirrors coordinates about 0 and `last` as often as necessary until they lie between them: sampling a
/// mirrored image equals sampling the image at the mirrored coordinate.
#[inline(always)]
fn mirror(coordinates: &mut [i32], last: i32) {
    loop {
        let mut outside = false;
        for at in coordinates.iter_mut() {
            *at = last.wrapping_sub(last.wrapping_sub(at.wrapping_abs()).wrapping_abs());
            outside |= *at < 0;
        }
        if !outside {
            return;
        }
    }
}

/// Bytes of a row that are loaded per pixel: two neighbours of six bytes each, and four unused bytes.
const LOADED: usize = 16;
/// Bytes of a result, of which the last two are unused.
const STORED: usize = 8;

/// Computes a weighted mean of four pixels.
trait Blend: Copy {
    /// `across` and `down`: weights as in [`super::canvas::Taps`].
    fn blend(self, rows: [&[u8; LOADED]; 2], across: u32, down: u32) -> [u8; STORED];
}

/// Implementation without special instructions.
#[derive(Debug, Clone, Copy)]
struct Portable;

impl Blend for Portable {
    #[inline(always)]
    fn blend(self, rows: [&[u8; LOADED]; 2], across: u32, down: u32) -> [u8; STORED] {
        let [left, right, ..] = across.to_le_bytes().map(u16::from);
        let [upper, lower] = rows.map(|row| {
            std::array::from_fn::<_, STORED, _>(|i| {
                u16::from(row[i]) * left + u16::from(row[i + CHANNELS]) * right
            })
        });
        std::array::from_fn(|i| {
            let sum = u32::from(upper[i]) * (down & 0xffff) + u32::from(lower[i]) * (down >> 16);
            ((sum + 512) >> 10) as u8
        })
    }
}

#[cfg(target_arch = "x86_64")]
impl Blend for pulp::x86::V3 {
    #[inline(always)]
    fn blend(self, rows: [&[u8; LOADED]; 2], across: u32, down: u32) -> [u8; STORED] {
        use std::arch::x86_64::__m128i;
        const SIDE_BY_SIDE: [u8; LOADED] = [0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11, 12, 13, 14, 15];
        let order: __m128i = pulp::cast(SIDE_BY_SIDE);
        let across = self.sse2._mm_set1_epi32(across as i32);
        let [upper, lower] = rows.map(|row| {
            let pairs = self.ssse3._mm_shuffle_epi8(pulp::cast(*row), order);
            self.ssse3._mm_maddubs_epi16(pairs, across)
        });
        let down = self.sse2._mm_set1_epi32(down as i32);
        let half = self.sse2._mm_set1_epi32(512);
        let mean = |pairs: __m128i| {
            let sum = self.sse2._mm_add_epi32(self.sse2._mm_madd_epi16(pairs, down), half);
            self.sse2._mm_srli_epi32::<10>(sum)
        };
        let first = mean(self.sse2._mm_unpacklo_epi16(upper, lower));
        let rest = mean(self.sse2._mm_unpackhi_epi16(upper, lower));
        let words = self.sse2._mm_packs_epi32(first, rest);
        let bytes: [[u8; STORED]; 2] = pulp::cast(self.sse2._mm_packus_epi16(words, words));
        bytes[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirroring_is_reflect_101() {
        let mirrored = |at: i32, last| {
            let mut at = [at];
            mirror(&mut at, last);
            at[0]
        };
        let at = |i| mirrored(i, 3);
        assert_eq!(
            [-7, -6, -3, -1, 0, 3, 4, 5, 6, 7, 9].map(at),
            [1, 0, 3, 1, 0, 3, 2, 1, 0, 1, 3]
        );
        assert_eq!([-2, -1, 0, 1, 2].map(|i| mirrored(i, 1)), [0, 1, 0, 1, 0]);
        assert_eq!(mirrored(100 * 32 + 5, 31 * 32), 4 * 31 * 32 - (100 * 32 + 5));
    }

    #[test]
    fn fixed_rounds_halves_to_even() {
        for (i, halves) in (-4_000_000..4_000_000).step_by(7).enumerate() {
            let pixels = (halves as f32 + (i % 5) as f32 / 8.0) / 64.0;
            assert_eq!(fixed(pixels), (pixels * 32.0).round_ties_even() as i32, "{pixels}");
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn both_blends_agree() {
        let Some(simd) = pulp::x86::V3::try_new() else {
            println!("skipped: this processor has no AVX2");
            return;
        };
        let bytes: Vec<u8> = (0..4096u32).map(|i| ((i * i * 31 + i * 7) >> 3) as u8).collect();
        for (i, row) in bytes.windows(2 * LOADED).enumerate() {
            let (right, lower) = ((i % 33) as u32, (i / 33 % 33) as u32);
            let across = ((32 - right) | right << 8) * 0x10001;
            let down = (32 - lower) | lower << 16;
            let rows = [0, LOADED].map(|at| row[at..at + LOADED].try_into().unwrap());
            let (a, b) = (Portable.blend(rows, across, down), simd.blend(rows, across, down));
            assert_eq!(a[..CHANNELS], b[..CHANNELS]);
            let white = [255; LOADED];
            let white = simd.blend([&white, &white], across, down);
            assert_eq!(white[..CHANNELS], [255; CHANNELS]);
        }
    }
}
