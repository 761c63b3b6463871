//! Augmentations of one slice, uint8 `[H, W, 6]`: one transform a file, and the [`Pipeline`] that
//! strings them together as the notebook does.
//!
//! Each computes what albumentations 1.3.1 over OpenCV 4.10 computes, to the bit: fixed-point
//! warps, their rounding, their borders. A transform's draws ([`Transform::params`]) stand apart
//! from what it does ([`Transform::apply`]), so that a parameter set can be replayed. The draws
//! follow the same distributions; they come from this crate's keyed generators ([`crate::rng`])
//! and not from Python's.
//!
//! | file | transform | changes |
//! |---|---|---|
//! | [`resize`] | Resize | a crop of another size, as it is read |
//! | [`flip`] | HorizontalFlip, VerticalFlip | in place |
//! | [`transpose`] | Transpose | in place |
//! | [`brightness`] | RandomBrightness | in place |
//! | [`shift_scale_rotate`] | ShiftScaleRotate | redraws |
//! | [`motion_blur`], [`median_blur`], [`gaussian_blur`] | the 3 × 3 blurs | redraw |
//! | [`gauss_noise`] | GaussNoise | in place |
//! | [`optical_distortion`], [`grid_distortion`] | the warps of the lens and of a grid | redraw |
//! | [`cutout`] | Cutout | in place |
//!
//! To add one: a file with the transform, its keys in `[augment]`, a line in [`Pipeline::new`].

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
    /// What is drawn for each slice, the same for its six channels; `()` where nothing is.
    type Params: Send + 'static;

    /// Draws the parameters of one slice of `[size, size]`.
    fn params(&self, size: usize, rng: &mut ChaCha8Rng) -> Self::Params;

    /// Changes the slice.
    fn apply(params: &Self::Params, canvas: &mut Canvas);
}

/// As Python's `random.uniform(low, high)`: low + (high − low) · u, u in 0..1.
fn uniform(rng: &mut ChaCha8Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * rng.random::<f64>()
}

#[cfg(test)]
mod tests;
