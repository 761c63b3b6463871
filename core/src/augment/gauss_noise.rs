//! Gaussian noise.

use super::augmentation::{Augmentation, Range, Transform, WEIGHT, uniform};
use super::{CHANNELS, Canvas};
use crate::simd::vectorised;
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_xoshiro::Xoshiro256PlusPlus;

/// Maximum variance, so that 9.3 σ fit into a signed byte.
const MAX_VARIANCE: f64 = 100.0;

pub(super) const GAUSS_NOISE: Augmentation = Augmentation {
    name: "GaussNoise",
    keys: &[("gauss_noise_weight", WEIGHT), ("gauss_noise_variance", Range::Pair(MAX_VARIANCE))],
    new: |s| Box::new(GaussNoise { variance: s.pair("gauss_noise_variance") }),
};

/// Adds normal noise to each value of each channel independently: albumentations 1.3.1 `GaussNoise`,
/// which adds in float64, clips to 0..=255 and truncates.
///
/// A byte v becomes ⌊v + g⌋, clipped, which equals v + ⌊g⌋, clipped. So only ⌊g⌋ is drawn, an
/// integer with P(n) = Φ((n + 1) / σ) − Φ(n / σ).
#[derive(Debug, Clone, Copy)]
pub struct GaussNoise {
    /// Range of the variance σ², which is drawn uniformly; 0..=100.
    pub variance: [f64; 2],
}

impl Transform for GaussNoise {
    /// ⌊g⌋ for each value, `[size, size, 6]`.
    type Params = Vec<i8>;

    fn params(&self, size: usize, rng: &mut ChaCha8Rng) -> Vec<i8> {
        let variance = uniform(rng, self.variance[0], self.variance[1]);
        // Two numbers per clock instead of ChaCha's one in three clocks: 300,000 are needed.
        let mut bits = Xoshiro256PlusPlus::from_rng(rng);
        Floor::new(variance.sqrt()).draw(size * size * CHANNELS, &mut bits)
    }

    fn apply(noise: &Vec<i8>, canvas: &mut Canvas) {
        let values = canvas.pixels().as_flattened_mut();
        vectorised(|| {
            for (value, &n) in values.iter_mut().zip(noise) {
                let (up, down) = (n.max(0) as u8, n.min(0).unsigned_abs());
                *value = value.saturating_add(up).saturating_sub(down);
            }
        });
    }
}

/// Distribution of ⌊g⌋, with g normal and mean 0.
struct Floor {
    /// Smallest value.
    first: i8,
    /// P(⌊g⌋ ≤ first + i) · 2⁶⁴, up to the largest value.
    cumulative: Vec<u64>,
    /// ⌊g⌋ by the highest bits of a uniform number; [`BETWEEN`] if those are not enough.
    table: Box<[i8; CELLS]>,
}

/// Number of table cells: that many leading bits decide nearly always.
const CELLS: usize = 1 << CELL_BITS;
const CELL_BITS: u32 = 12;
const BETWEEN: i8 = i8::MIN;

impl Floor {
    fn new(sigma: f64) -> Self {
        // The probability beyond 9.3 σ is less than 2⁻⁶⁴.
        let most = (9.3 * sigma).ceil().min(126.0) as i8;
        let first = -most - 1;
        let cumulative: Vec<u64> = (first..most)
            .map(|n| (normal_cdf((f64::from(n) + 1.0) / sigma) * 2f64.powi(64)) as u64)
            .collect();
        let mut floor = Self { first, cumulative, table: Box::new([BETWEEN; CELLS]) };
        let shift = 64 - CELL_BITS;
        for cell in 0..CELLS {
            let (low, high) =
                ((cell as u64) << shift, ((cell as u64) << shift) | ((1 << shift) - 1));
            let n = floor.of(low);
            if n == floor.of(high) {
                floor.table[cell] = n;
            }
        }
        floor
    }

    /// Returns the quantile of `uniform` / 2⁶⁴.
    fn of(&self, uniform: u64) -> i8 {
        let above = self.cumulative.partition_point(|&c| c <= uniform) as i16;
        (i16::from(self.first) + above) as i8
    }

    /// Draws `n` values.
    fn draw(&self, n: usize, bits: &mut Xoshiro256PlusPlus) -> Vec<i8> {
        let mut noise = vec![0; n.next_multiple_of(4)];
        for four in noise.as_chunks_mut::<4>().0 {
            let word = bits.next_u64();
            let sixteen = [0, 16, 32, 48].map(|shift| word >> shift & 0xffff);
            *four = sixteen.map(|bits| self.table[(bits >> (16 - CELL_BITS)) as usize]);
            if four.contains(&BETWEEN) {
                for (out, sixteen) in four.iter_mut().zip(sixteen) {
                    if *out == BETWEEN {
                        // Extend the sixteen bits by 48 bits of another number.
                        *out = self.of(sixteen << 48 | bits.next_u64() >> 16);
                    }
                }
            }
        }
        noise.truncate(n);
        noise
    }
}

/// Φ(x).
fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x / std::f64::consts::SQRT_2)
}
