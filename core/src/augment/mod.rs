//! Augmentations of one slice, uint8 `[H, W, 6]`: one transform per file, the registry of them
//! ([`STAGES`]), and the [`pipeline`] that draws and applies them as the notebook does.
//!
//! The results equal those of albumentations 1.3.1 with OpenCV 4.10 bit for bit, including
//! fixed-point warps, rounding and borders. Drawing a transform's parameters ([`Transform::params`])
//! is separate from applying them ([`Transform::apply`]), so that parameters can be replayed. The
//! draws follow the same distributions, but come from this crate's keyed generators ([`crate::rng`])
//! instead of Python's.
//!
//! To add one, write a file with the transform and its [`Augmentation`], declare it here with a line in
//! [`STAGES`], and add its keys to `[augment]` in `config.toml`.

mod augmentation;
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
mod settings;
pub mod shift_scale_rotate;
pub mod transpose;
mod warp;

use gauss_noise::GAUSS_NOISE;
use gaussian_blur::GAUSSIAN_BLUR;
use grid_distortion::GRID_DISTORTION;
use median_blur::MEDIAN_BLUR;
use motion_blur::MOTION_BLUR;
use optical_distortion::OPTICAL_DISTORTION;

pub use augmentation::{
    Augmentation, Draw, Key, Preset, Range, SHARE, Settings, Stage, Transform, WEIGHT,
};
pub use canvas::{CHANNELS, Canvas, Pixel, Scratch};

/// The stages of the pipeline in their order: the registry of all augmentations. The pipeline, the
/// presets, the keys of `[augment]` and their checks follow it.
///
/// (The notebook's first stage, Resize, is done when a slice is read.)
pub static STAGES: &[Stage] = &[
    Stage::new("horizontal_flip", &[flip::HORIZONTAL]).shared().light(),
    Stage::new("vertical_flip", &[flip::VERTICAL]).shared().light(),
    Stage::new("transpose", &[transpose::TRANSPOSE]).shared().light(),
    Stage::new("brightness", &[brightness::BRIGHTNESS]).shared().light(),
    Stage::new("shift_scale_rotate", &[shift_scale_rotate::SHIFT_SCALE_ROTATE]).shared(),
    Stage::new("blur_or_noise", &[MOTION_BLUR, MEDIAN_BLUR, GAUSSIAN_BLUR, GAUSS_NOISE]).shared(),
    Stage::new("distortion", &[OPTICAL_DISTORTION, GRID_DISTORTION]).shared(),
    Stage::new("cutout", &[cutout::CUTOUT]).shared(),
];

#[cfg(test)]
mod tests;
