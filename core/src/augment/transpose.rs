//! Swaps x and y.

use super::Canvas;
use super::augmentation::{Augmentation, Transform};
use rand_chacha::ChaCha8Rng;

pub(super) const TRANSPOSE: Augmentation =
    Augmentation { name: "Transpose", keys: &[], new: |_| Box::new(Transpose) };

/// Swaps rows and columns (albumentations `Transpose`).
#[derive(Debug, Clone, Copy)]
pub struct Transpose;

/// Side of the square tiles: two of 16 × 16 × 6 bytes fit into the L1 cache.
const TILE: usize = 16;

impl Transform for Transpose {
    type Params = ();

    fn params(&self, _: usize, _: &mut ChaCha8Rng) {}

    fn apply(_: &(), canvas: &mut Canvas) {
        let size = canvas.size();
        let pixels = canvas.pixels();
        for top in (0..size).step_by(TILE) {
            for left in (top..size).step_by(TILE) {
                for y in top..(top + TILE).min(size) {
                    for x in left.max(y + 1)..(left + TILE).min(size) {
                        pixels.swap(y * size + x, x * size + y);
                    }
                }
            }
        }
    }
}
