//! Tests of all transforms: against albumentations, over many draws, and of the distributions.

mod distributions;
mod golden;
mod many_draws;

use super::brightness::RandomBrightness;
use super::cutout::Cutout;
use super::flip::{HorizontalFlip, VerticalFlip};
use super::gauss_noise::GaussNoise;
use super::gaussian_blur::GaussianBlur;
use super::grid_distortion::GridDistortion;
use super::median_blur::MedianBlur;
use super::motion_blur::{Line, MotionBlur};
use super::optical_distortion::OpticalDistortion;
use super::pipeline::Pipeline;
use super::shift_scale_rotate::ShiftScaleRotate;
use super::transpose::Transpose;
use super::*;
use crate::config::{Config, Set};
use crate::rng::{Key, Purpose};
use rand_chacha::ChaCha8Rng;

/// Applies `transform` to uint8 `[size, size, 6]`.
fn applied<T: Transform>(params: &T::Params, image: &[u8], size: usize) -> Vec<u8> {
    let (mut image, mut scratch) = (image.to_vec(), Scratch::default());
    let mut canvas = Canvas::new(&mut image, size, &mut scratch);
    T::apply(params, &mut canvas);
    canvas.finish();
    image
}

fn generator(stream: u64) -> ChaCha8Rng {
    Key::new(0, Purpose::Augment).study(stream).rng()
}

fn config(sets: &[&str]) -> Settings {
    let sets: Vec<_> = sets.iter().map(|s| Set::new(format!("augment.{s}"))).collect();
    Config::load(None, false, &sets).unwrap().augment
}

/// The kernel as nine digits, 1 for the pixels of the line.
fn kernel(line: Line) -> String {
    let pixels = match line {
        Line::Two(pixels) => pixels.to_vec(),
        Line::Three(pixels) => pixels.to_vec(),
    };
    let at = |i: usize| pixels.contains(&(i % 3, i / 3));
    (0..9).map(|i| if at(i) { '1' } else { '0' }).collect()
}
