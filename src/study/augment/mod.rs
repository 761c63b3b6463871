//! Augmentations of one slice, uint8 `[H, W, 6]`: one transform a file, and the [`Pipeline`] that
//! strings them together as the notebook does.
//!
//! A transform's draws ([`Transform::params`]) stand apart from what it does
//! ([`Transform::apply`]), so that the latter can be held against albumentations exactly. To add
//! one: a file with the transform, a key in `[augment]`, a line in [`Pipeline::new`].

pub mod brightness;
pub mod flip;
pub mod pipeline;
pub mod transpose;

pub use brightness::RandomBrightness;
pub use flip::{HorizontalFlip, VerticalFlip};
pub use pipeline::Pipeline;
pub use transpose::Transpose;

use crate::config::CHANNELS;
use rand_chacha::ChaCha8Rng;

/// The six channels of one pixel.
pub type Pixel = [u8; CHANNELS];

/// One augmentation.
pub trait Transform: Send + Sync {
    /// What is drawn for each slice; `()` where nothing is.
    type Params;

    /// Draws the parameters of one slice.
    fn params(&self, rng: &mut ChaCha8Rng) -> Self::Params;

    /// Changes `pixels`, row by row, `[size, size]`, in place.
    fn apply(params: &Self::Params, pixels: &mut [Pixel], size: usize);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::golden;
    use safetensors::SafeTensors;

    /// Applies `T` to the golden image and compares with `case`, bit by bit.
    fn check<T: Transform>(tensors: &SafeTensors, case: &str, params: T::Params) {
        let image = tensors.tensor("img").unwrap();
        let size = image.shape()[0];
        let mut bytes = image.data().to_vec();
        T::apply(&params, bytes.as_chunks_mut().0, size);
        assert!(bytes == tensors.tensor(case).unwrap().data(), "{case} differs");
    }

    #[test]
    fn every_transform_is_albumentations_to_the_bit() {
        let Some(bytes) = golden::read("aug.safetensors") else { return };
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        check::<HorizontalFlip>(&tensors, "hflip", ());
        check::<VerticalFlip>(&tensors, "vflip", ());
        check::<Transpose>(&tensors, "transpose", ());
        for beta in ["-0.0642", "-0.1", "0.0", "0.0371", "0.1"] {
            let case = format!("brightness_{beta}");
            check::<RandomBrightness>(&tensors, &case, beta.parse().unwrap());
        }
    }
}
