//! Augmentations of one slice, uint8 `[H, W, 6]`: one transform per file, and the [`Pipeline`] that
//! combines them as the notebook does.
//!
//! The results equal those of albumentations 1.3.1 with OpenCV 4.10 bit for bit, including
//! fixed-point warps, rounding and borders. Drawing a transform's parameters ([`Transform::params`])
//! is separate from applying them ([`Transform::apply`]), so that parameters can be replayed. The
//! draws follow the same distributions, but come from this crate's keyed generators ([`crate::rng`])
//! instead of Python's.
//!
//! | file | transform | changes |
//! |---|---|---|
//! | [`resize`] | Resize | a crop of another size, when it is read |
//! | [`flip`] | HorizontalFlip, VerticalFlip | in place |
//! | [`transpose`] | Transpose | in place |
//! | [`brightness`] | RandomBrightness | in place |
//! | [`shift_scale_rotate`] | ShiftScaleRotate | into a new buffer |
//! | [`motion_blur`], [`median_blur`], [`gaussian_blur`] | the 3 × 3 blurs | into a new buffer |
//! | [`gauss_noise`] | GaussNoise | in place |
//! | [`optical_distortion`], [`grid_distortion`] | warps by a lens and by a grid | into a new buffer |
//! | [`cutout`] | Cutout | in place |
//!
//! To add one, write a file with the transform, its keys in `[augment]`, and a line in [`Pipeline::new`].

pub mod brightness;
pub mod canvas;
pub mod cutout;
pub mod flip;
pub mod gauss_noise;
pub mod gaussian_blur;
pub mod grid_distortion;
pub mod median_blur;
pub mod motion_blur;
mod neighbours;
pub mod optical_distortion;
pub mod pipeline;
pub mod resize;
pub mod shift_scale_rotate;
mod taps;
pub mod transpose;
mod warp;

pub use brightness::RandomBrightness;
pub use canvas::{Canvas, Scratch};
pub use cutout::Cutout;
pub use flip::{HorizontalFlip, VerticalFlip};
pub use gauss_noise::GaussNoise;
pub use gaussian_blur::GaussianBlur;
pub use grid_distortion::GridDistortion;
pub use median_blur::MedianBlur;
pub use motion_blur::MotionBlur;
pub use optical_distortion::OpticalDistortion;
pub use pipeline::Pipeline;
pub use shift_scale_rotate::ShiftScaleRotate;
pub use transpose::Transpose;

use crate::config::CHANNELS;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// The six channels of one pixel.
pub type Pixel = [u8; CHANNELS];

/// One augmentation.
pub trait Transform: Send + Sync {
    /// Parameters drawn for each slice, the same for its six channels; `()` if there are none.
    type Params: Send + 'static;

    /// Draws the parameters for one slice of `[size, size]`.
    fn params(&self, size: usize, rng: &mut ChaCha8Rng) -> Self::Params;

    /// Applies the transform to the slice.
    fn apply(params: &Self::Params, canvas: &mut Canvas);
}

/// Like Python's `random.uniform(low, high)`: low + (high − low) · u, u in 0..1.
fn uniform(rng: &mut ChaCha8Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * rng.random::<f64>()
}

#[cfg(test)]
mod tests;
