//! Crops without a picture: a vertebra that is not in the scan is cropped all the same, as images
//! of ones. They are trained on as the notebook does, but nobody should take them for pictures.

use crate::config::{CHANNELS, VERTEBRAE};
use std::sync::Arc;

/// The CT planes of a slice; the mask comes after them.
const PLANES: usize = CHANNELS - 1;

/// A study with constant slices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constant {
    /// StudyInstanceUID.
    pub study: Arc<str>,
    /// Constant slices of C1..C7.
    pub slices: [usize; VERTEBRAE],
}

/// Whether no CT plane of a slice, uint8 `[H, W, 6]` or a piece of it, has two different pixels,
/// whatever its mask is.
pub fn is_constant(image: &[u8]) -> bool {
    let (pixels, _) = image.as_chunks::<CHANNELS>();
    let Some(first) = pixels.first() else { return false };
    // From the middle on: a crop's border may be empty, and most images are then told from a
    // constant one by a few pixels.
    let (before, after) = pixels.split_at(pixels.len() / 2);
    after.iter().chain(before).all(|pixel| pixel[..PLANES] == first[..PLANES])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_constant_where_none_of_its_planes_has_two_values() {
        let mut image: Vec<u8> = [9, 0, 255, 1, 1, 0].repeat(64);
        assert!(is_constant(&image), "planes may differ");
        for at in [0, 1, 4, 63 * CHANNELS, 32 * CHANNELS + 2] {
            let before = std::mem::replace(&mut image[at], 7);
            assert!(!is_constant(&image), "{at}");
            image[at] = before;
        }
        image[31 * CHANNELS + PLANES] = 1;
        assert!(is_constant(&image), "whatever the mask is");
        assert!(!is_constant(&[]));
    }
}
