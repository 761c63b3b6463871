//! Resizes crops of another size.

use super::CHANNELS;

/// Fractional bits of a weight, as in OpenCV.
const BITS: u32 = 11;
const ONE: i32 = 1 << BITS;

/// Resizes `from`, uint8 `[height, width, 6]`, into `to`, uint8 `[size, size, 6]`, both in C
/// order: `cv2.resize` with INTER_LINEAR in its fixed point. At exactly half the size, each result is
/// the mean of 2 × 2 pixels, as in OpenCV.
///
/// # Panics
/// When a length does not fit its shape, or a side is 0.
pub fn resize(from: &[u8], height: usize, width: usize, to: &mut [u8], size: usize) {
    assert_eq!(from.len(), height * width * CHANNELS, "an image is [height, width, 6]");
    assert_eq!(to.len(), size * size * CHANNELS, "an image is [size, size, 6]");
    if (height, width) == (size, size) {
        to.copy_from_slice(from);
        return;
    }
    if (height, width) == (2 * size, 2 * size) {
        return halve(from, to, size);
    }
    let stride = width * CHANNELS;
    let columns: Vec<Tap> = (0..size).map(|x| Tap::new(x, size, width).at_edges(width)).collect();
    // Stretches source row `y` to the new width.
    let stretch = |y: usize, out: &mut [i32]| {
        let row = &from[y * stride..(y + 1) * stride];
        for (out, tap) in out.chunks_exact_mut(CHANNELS).zip(&columns) {
            let left = tap.at as usize * CHANNELS;
            let right = (tap.at as usize + 1).min(width - 1) * CHANNELS;
            for (c, out) in out.iter_mut().enumerate() {
                let [a, b] = tap.weights;
                *out = i32::from(row[left + c]) * a + i32::from(row[right + c]) * b;
            }
        }
    };
    let mut rows = [vec![0; size * CHANNELS], vec![0; size * CHANNELS]];
    let mut held = [None, None];
    for (y, out) in to.chunks_exact_mut(size * CHANNELS).enumerate() {
        let tap = Tap::new(y, size, height);
        let [upper, lower] = [tap.at, tap.at + 1].map(|y| y.clamp(0, height as i32 - 1) as usize);
        if held[1] == Some(upper) {
            rows.swap(0, 1);
            held.swap(0, 1);
        }
        for (i, y) in [upper, lower].into_iter().enumerate() {
            if held[i] != Some(y) {
                stretch(y, &mut rows[i]);
                held[i] = Some(y);
            }
        }
        let [a, b] = tap.weights;
        for (out, (upper, lower)) in out.iter_mut().zip(rows[0].iter().zip(&rows[1])) {
            // OpenCV drops bits in this order.
            let sum = ((a * (upper >> 4)) >> 16) + ((b * (lower >> 4)) >> 16);
            *out = ((sum + 2) >> 2) as u8;
        }
    }
}

/// The two source pixels of a pixel along an axis.
struct Tap {
    /// Index of the first pixel; may be outside the image.
    at: i32,
    /// Weights of both pixels in 1/2048.
    weights: [i32; 2],
}

impl Tap {
    fn new(i: usize, size: usize, source: usize) -> Self {
        let scale = 1.0 / (size as f64 / source as f64);
        let at = ((i as f64 + 0.5) * scale - 0.5) as f32;
        let floor = at.floor();
        Self { at: floor as i32, weights: weights(at - floor) }
    }

    /// Along a row, a pixel outside the image gives all its weight to the outermost pixel.
    fn at_edges(self, source: usize) -> Self {
        let last = source as i32 - 1;
        match self.at {
            at if at < 0 => Self { at: 0, weights: [ONE, 0] },
            at if at >= last => Self { at: last, weights: [ONE, 0] },
            _ => self,
        }
    }
}

fn weights(fraction: f32) -> [i32; 2] {
    [1.0 - fraction, fraction].map(|w| (w * ONE as f32).round_ties_even() as i32)
}

fn halve(from: &[u8], to: &mut [u8], size: usize) {
    let stride = 2 * size * CHANNELS;
    for (out, rows) in to.chunks_exact_mut(size * CHANNELS).zip(from.chunks_exact(2 * stride)) {
        let (upper, lower) = rows.split_at(stride);
        for (i, out) in out.iter_mut().enumerate() {
            let at = i / CHANNELS * 2 * CHANNELS + i % CHANNELS;
            let pair = |row: &[u8]| u16::from(row[at]) + u16::from(row[at + CHANNELS]);
            *out = ((pair(upper) + pair(lower) + 2) >> 2) as u8;
        }
    }
}
