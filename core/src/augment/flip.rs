//! Horizontal and vertical flips.

use super::Canvas;
use super::augmentation::{Augmentation, Transform};
use rand_chacha::ChaCha8Rng;

pub(super) const HORIZONTAL: Augmentation =
    Augmentation { name: "HorizontalFlip", keys: &[], new: |_| Box::new(HorizontalFlip) };

pub(super) const VERTICAL: Augmentation =
    Augmentation { name: "VerticalFlip", keys: &[], new: |_| Box::new(VerticalFlip) };

/// Swaps left and right (albumentations `HorizontalFlip`).
#[derive(Debug, Clone, Copy)]
pub struct HorizontalFlip;

impl Transform for HorizontalFlip {
    type Params = ();

    fn params(&self, _: usize, _: &mut ChaCha8Rng) {}

    fn apply(_: &(), canvas: &mut Canvas) {
        let size = canvas.size();
        for row in canvas.pixels().chunks_exact_mut(size) {
            row.reverse();
        }
    }
}

/// Swaps top and bottom (albumentations `VerticalFlip`).
#[derive(Debug, Clone, Copy)]
pub struct VerticalFlip;

impl Transform for VerticalFlip {
    type Params = ();

    fn params(&self, _: usize, _: &mut ChaCha8Rng) {}

    fn apply(_: &(), canvas: &mut Canvas) {
        let size = canvas.size();
        // The middle row of an odd height stays.
        let (top, bottom) = canvas.pixels().split_at_mut(size / 2 * size);
        for (a, b) in top.chunks_exact_mut(size).zip(bottom.rchunks_exact_mut(size)) {
            a.swap_with_slice(b);
        }
    }
}
