//! The notebook's sequence of transforms, each with its probability.

use super::{
    Canvas, Cutout, GaussNoise, GaussianBlur, GridDistortion, HorizontalFlip, MedianBlur,
    MotionBlur, OpticalDistortion, RandomBrightness, Scratch, ShiftScaleRotate, Transform,
    Transpose, VerticalFlip,
};
use crate::config;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// A transform with drawn parameters, ready to be applied.
pub struct Drawn {
    /// Name of the transform in albumentations.
    pub name: &'static str,
    apply: Box<dyn FnOnce(&mut Canvas) + Send>,
}

/// A named transform; hides the type of its parameters.
trait Draw: Send + Sync {
    fn draw(&self, size: usize, rng: &mut ChaCha8Rng) -> Drawn;
}

struct Named<T>(&'static str, T);

impl<T: Transform> Draw for Named<T> {
    fn draw(&self, size: usize, rng: &mut ChaCha8Rng) -> Drawn {
        let params = self.1.params(size, rng);
        Drawn { name: self.0, apply: Box::new(move |canvas| T::apply(&params, canvas)) }
    }
}

/// A stage of the pipeline: applies one of its transforms with some probability.
struct Stage {
    probability: f64,
    /// Transforms with their weights.
    members: Vec<(f64, Box<dyn Draw>)>,
}

impl Stage {
    /// Like albumentations' `OneOf`, or a single transform: the chosen one is always applied.
    fn draw(&self, size: usize, rng: &mut ChaCha8Rng) -> Option<Drawn> {
        if rng.random::<f64>() >= self.probability {
            return None;
        }
        let [(_, only)] = &self.members[..] else {
            let total: f64 = self.members.iter().map(|(weight, _)| weight).sum();
            let mut left = rng.random::<f64>() * total;
            let mut possible = self.members.iter().filter(|(weight, _)| *weight > 0.0);
            let chosen = possible.find(|(weight, _)| {
                left -= weight;
                left < 0.0
            });
            // Rounding may leave the sum of the weights slightly below `total`.
            let chosen = chosen.or_else(|| self.members.iter().rfind(|(w, _)| *w > 0.0));
            return chosen.map(|(_, member)| member.draw(size, rng));
        };
        Some(only.draw(size, rng))
    }
}

/// Transforms of a training slice, in order.
pub struct Pipeline {
    stages: Vec<Stage>,
}

impl Pipeline {
    /// Creates the notebook's stages with the probabilities and limits of `[augment]`. (Its first stage,
    /// Resize, is done when a slice is read.)
    pub fn new(c: &config::Augment) -> Self {
        fn named(name: &'static str, transform: impl Transform + 'static) -> Box<dyn Draw> {
            Box::new(Named(name, transform))
        }
        fn alone(p: f64, name: &'static str, transform: impl Transform + 'static) -> Stage {
            Stage { probability: p, members: vec![(1.0, named(name, transform))] }
        }
        let affine = ShiftScaleRotate {
            shift_limit: c.shift_limit,
            scale_limit: c.scale_limit,
            rotate_limit: c.rotate_limit,
        };
        let noise = GaussNoise { variance: c.gauss_noise_variance };
        let optical = OpticalDistortion { limit: c.optical_distortion_limit };
        let grid = GridDistortion { steps: c.grid_steps, limit: c.grid_distortion_limit };
        Self {
            stages: vec![
                alone(c.horizontal_flip, "HorizontalFlip", HorizontalFlip),
                alone(c.vertical_flip, "VerticalFlip", VerticalFlip),
                alone(c.transpose, "Transpose", Transpose),
                alone(
                    c.brightness,
                    "RandomBrightness",
                    RandomBrightness { limit: c.brightness_limit },
                ),
                alone(c.shift_scale_rotate, "ShiftScaleRotate", affine),
                Stage {
                    probability: c.blur_or_noise,
                    members: vec![
                        (c.motion_blur_weight, named("MotionBlur", MotionBlur)),
                        (c.median_blur_weight, named("MedianBlur", MedianBlur)),
                        (c.gaussian_blur_weight, named("GaussianBlur", GaussianBlur)),
                        (c.gauss_noise_weight, named("GaussNoise", noise)),
                    ],
                },
                Stage {
                    probability: c.distortion,
                    members: vec![
                        (c.optical_distortion_weight, named("OpticalDistortion", optical)),
                        (c.grid_distortion_weight, named("GridDistortion", grid)),
                    ],
                },
                alone(c.cutout, "Cutout", Cutout { share: c.cutout_size }),
            ],
        }
    }

    /// Draws the transforms for one slice of `[size, size]`, in order.
    pub fn draw(&self, size: usize, rng: &mut ChaCha8Rng) -> Vec<Drawn> {
        self.stages.iter().filter_map(|stage| stage.draw(size, rng)).collect()
    }

    /// Augments one slice in place: `image` is uint8 `[size, size, 6]`, C order.
    pub fn run(&self, image: &mut [u8], size: usize, scratch: &mut Scratch, rng: &mut ChaCha8Rng) {
        let mut canvas = Canvas::new(image, size, scratch);
        for drawn in self.draw(size, rng) {
            (drawn.apply)(&mut canvas);
        }
        canvas.finish();
    }
}
