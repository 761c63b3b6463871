//! Blackens a square.

use super::augmentation::{Augmentation, SHARE, Transform};
use super::{CHANNELS, Canvas};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::ops::Range;

pub(super) const CUTOUT: Augmentation = Augmentation {
    name: "Cutout",
    keys: &[("cutout_size", SHARE)],
    new: |s| Box::new(Cutout { share: s.number("cutout_size") }),
};

/// Blackens a square in all channels including the mask: albumentations 1.3.1 `Cutout` with one hole.
///
/// The square is centred on a pixel drawn from 0..=size on each axis. At the top and left borders it is
/// moved inwards and keeps its size; at the bottom and right borders it is clipped.
#[derive(Debug, Clone, Copy)]
pub struct Cutout {
    /// Side as a share of the size, 0..=1; rounded down to pixels.
    pub share: f64,
}

/// One draw of [`Cutout`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    /// Columns.
    pub x: Range<usize>,
    /// Rows.
    pub y: Range<usize>,
}

impl Transform for Cutout {
    type Params = Hole;

    fn params(&self, size: usize, rng: &mut ChaCha8Rng) -> Hole {
        let side = (size as f64 * self.share) as usize;
        let mut range = || {
            let start = rng.random_range(0..=size).saturating_sub(side / 2);
            start..(start + side).min(size)
        };
        let y = range();
        Hole { x: range(), y }
    }

    fn apply(hole: &Hole, canvas: &mut Canvas) {
        let size = canvas.size();
        for row in canvas.pixels().chunks_exact_mut(size).take(hole.y.end).skip(hole.y.start) {
            row[hole.x.clone()].fill([0; CHANNELS]);
        }
    }
}
