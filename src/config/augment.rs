//! `[augment]`: the augmentations and their presets.

use super::layers::defaults;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

/// `[augment]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augment {
    /// Preset that supplies the probabilities not set by other keys.
    pub preset: Preset,
    /// Probability of a horizontal flip.
    pub horizontal_flip: f64,
    /// Probability of a vertical flip.
    pub vertical_flip: f64,
    /// Probability of a transpose.
    pub transpose: f64,
    /// Probability of a brightness change.
    pub brightness: f64,
    /// Largest brightness change, as a share of 255.
    pub brightness_limit: f64,
    /// Probability of a shift, scale and rotation.
    pub shift_scale_rotate: f64,
    /// Largest shift in either direction, as a share of the size.
    pub shift_limit: f64,
    /// Largest change of the scale from 1 in either direction.
    pub scale_limit: f64,
    /// Largest rotation in either direction, in degrees.
    pub rotate_limit: f64,
    /// Probability of one of the three blurs or the noise.
    pub blur_or_noise: f64,
    /// Relative probability of motion blur among the four.
    pub motion_blur_weight: f64,
    /// Relative probability of median blur among the four.
    pub median_blur_weight: f64,
    /// Relative probability of Gaussian blur among the four.
    pub gaussian_blur_weight: f64,
    /// Relative probability of Gaussian noise among the four.
    pub gauss_noise_weight: f64,
    /// Smallest and largest variance, in grey values squared.
    pub gauss_noise_variance: [f64; 2],
    /// Probability of one of the two distortions.
    pub distortion: f64,
    /// Relative probability of optical distortion among the two.
    pub optical_distortion_weight: f64,
    /// Largest |k| of the optical distortion.
    pub optical_distortion_limit: f64,
    /// Relative probability of grid distortion among the two.
    pub grid_distortion_weight: f64,
    /// Largest change of a grid cell's width from 1.
    pub grid_distortion_limit: f64,
    /// Grid cells per axis.
    pub grid_steps: usize,
    /// Probability of a cutout.
    pub cutout: f64,
    /// Side of the cutout's square, as a share of the size.
    pub cutout_size: f64,
}

/// A set of augmentations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// The notebook's augmentations.
    Seed,
    /// The notebook's flips, transpose and brightness.
    Light,
    /// No augmentation.
    None,
}

impl Preset {
    /// Returns the keys of `[augment]` that it sets.
    pub(super) fn layer(self) -> Table {
        let mut augment = defaults();
        let Some(Value::Table(mut augment)) = augment.remove("augment") else {
            unreachable!("the embedded config has a section [augment]")
        };
        augment.remove("preset");
        let light = ["shift_scale_rotate", "blur_or_noise", "distortion", "cutout"];
        let none = ["horizontal_flip", "vertical_flip", "transpose", "brightness"];
        let off = match self {
            Self::Seed => &[][..],
            Self::Light => &light[..],
            Self::None => &[light, none].concat(),
        };
        for key in off {
            augment.insert((*key).into(), Value::Float(0.0));
        }
        augment
    }
}
