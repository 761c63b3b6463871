//! Constant crops: a vertebra outside the scan is cropped anyway, as images of ones. They are trained
//! on as in the notebook, but are reported so that nobody takes them for pictures.

use crate::config::{CHANNELS, VERTEBRAE};
use std::sync::Arc;

/// Number of CT planes of a slice; the mask comes after them.
const PLANES: usize = CHANNELS - 1;

/// A study with constant slices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constant {
    /// StudyInstanceUID.
    pub study: Arc<str>,
    /// Number of constant slices of C1..C7.
    pub slices: [usize; VERTEBRAE],
}

/// Whether each CT plane of a slice, uint8 `[H, W, 6]` or a part of it, has a single value, regardless
/// of its mask.
pub fn is_constant(image: &[u8]) -> bool {
    let (pixels, _) = image.as_chunks::<CHANNELS>();
    let Some(first) = pixels.first() else { return false };
    // Start in the middle: a crop's border may be empty, whereas a few pixels of the middle usually show
    // that an image is not constant.
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
