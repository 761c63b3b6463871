//! Test-time augmentation by the flips and the transposition used in training.

use crate::{config::CHANNELS, study::Batch};

/// A symmetry of the square: flips and transposition. [`FLIPS`] has all eight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flip {
    /// Reverses each row.
    horizontal: bool,
    /// Reverses each column.
    vertical: bool,
    /// Swaps rows and columns, after the flips.
    transpose: bool,
}

/// The identity; the horizontal, the vertical and both flips; and the same four transposed.
pub const FLIPS: [Flip; 8] = {
    let mut flips = [Flip { horizontal: false, vertical: false, transpose: false }; 8];
    let mut i = 0;
    while i < 8 {
        let (horizontal, vertical, transpose) = (i & 1 > 0, i & 2 > 0, i & 4 > 0);
        flips[i] = Flip { horizontal, vertical, transpose };
        i += 1;
    }
    flips
};

/// Flips every image of `batch`, which must not be mixed; `None` for the identity.
pub fn flipped(batch: &Batch, flip: Flip) -> Option<Batch> {
    if flip == FLIPS[0] {
        return None;
    }
    let flip_all = |images: &[u8]| {
        let mut flipped = vec![0; images.len()];
        let bytes = batch.size * batch.size * CHANNELS;
        let pairs = images.chunks_exact(bytes).zip(flipped.chunks_exact_mut(bytes));
        pairs.for_each(|(from, to)| image(from, batch.size, flip, to));
        flipped.into()
    };
    Some(Batch {
        images: batch.images.iter().map(|images| flip_all(images)).collect(),
        size: batch.size,
        images_per_study: batch.images_per_study,
        studies: batch.studies.clone(),
        targets: batch.targets.clone(),
        places: batch.places.clone(),
        mixup: None,
    })
}

/// Flips one image, uint8 `[size, size, 6]`.
fn image(from: &[u8], size: usize, flip: Flip, to: &mut [u8]) {
    let mirrored = |i: usize, mirror: bool| if mirror { size - 1 - i } else { i };
    for (i, pixel) in to.chunks_exact_mut(CHANNELS).enumerate() {
        let (y, x) = (i / size, i % size);
        let (y, x) = if flip.transpose { (x, y) } else { (y, x) };
        let at = (mirrored(y, flip.vertical) * size + mirrored(x, flip.horizontal)) * CHANNELS;
        pixel.copy_from_slice(&from[at..at + CHANNELS]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// An image of 3 × 3 whose first channel counts the pixels.
    fn picture() -> Vec<u8> {
        (0..9).flat_map(|i| [i, 50 + i, 0, 0, 0, 200]).collect()
    }

    fn flipped(flip: Flip) -> Vec<u8> {
        let mut to = vec![0; 9 * CHANNELS];
        image(&picture(), 3, flip, &mut to);
        assert!(to.chunks(CHANNELS).all(|p| p[1] == 50 + p[0] && p[5] == 200));
        to.chunks(CHANNELS).map(|pixel| pixel[0]).collect()
    }

    #[test]
    fn the_flips_are_the_eight_symmetries_of_a_square() {
        assert_eq!(flipped(FLIPS[0]), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(flipped(FLIPS[1]), [2, 1, 0, 5, 4, 3, 8, 7, 6]);
        assert_eq!(flipped(FLIPS[2]), [6, 7, 8, 3, 4, 5, 0, 1, 2]);
        assert_eq!(flipped(FLIPS[3]), [8, 7, 6, 5, 4, 3, 2, 1, 0]);
        assert_eq!(flipped(FLIPS[4]), [0, 3, 6, 1, 4, 7, 2, 5, 8]);
        assert_eq!(HashSet::from(FLIPS.map(flipped)).len(), 8);
    }
}
