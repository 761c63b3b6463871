//! The notebook's order of transforms, each with its probability.

use super::{HorizontalFlip, Pixel, RandomBrightness, Transform, Transpose, VerticalFlip};
use crate::config;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// A transform with its probability; hides the type of its parameters.
trait Step: Send + Sync {
    fn run(&self, pixels: &mut [Pixel], size: usize, rng: &mut ChaCha8Rng);
}

struct Sometimes<T> {
    probability: f64,
    transform: T,
}

impl<T: Transform> Step for Sometimes<T> {
    fn run(&self, pixels: &mut [Pixel], size: usize, rng: &mut ChaCha8Rng) {
        if rng.random::<f64>() < self.probability {
            T::apply(&self.transform.params(rng), pixels, size);
        }
    }
}

/// The transforms of a training slice, in order.
pub struct Pipeline {
    steps: Vec<Box<dyn Step>>,
}

impl Pipeline {
    /// As `[augment]` asks: horizontal flip, vertical flip, transpose, brightness.
    pub fn new(config: &config::Augment) -> Self {
        fn step(probability: f64, transform: impl Transform + 'static) -> Box<dyn Step> {
            Box::new(Sometimes { probability, transform })
        }
        let limit = config.brightness_limit;
        Self {
            steps: vec![
                step(config.horizontal_flip, HorizontalFlip),
                step(config.vertical_flip, VerticalFlip),
                step(config.transpose, Transpose),
                step(config.brightness, RandomBrightness { limit }),
            ],
        }
    }

    /// Augments one slice in place: `image` is uint8 `[size, size, 6]`, C order.
    pub fn run(&self, image: &mut [u8], size: usize, rng: &mut ChaCha8Rng) {
        let (pixels, _) = image.as_chunks_mut();
        for step in &self.steps {
            step.run(pixels, size, rng);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Set};
    use crate::rng::{Key, Purpose};
    use std::collections::HashSet;

    fn image() -> Vec<u8> {
        (0..4 * 4 * 6).collect()
    }

    fn run(sets: &[&str], draw: u64) -> Vec<u8> {
        let sets: Vec<_> = sets.iter().map(|s| Set::new(format!("augment.{s}"))).collect();
        let config = Config::load(None, false, &sets).unwrap();
        let mut image = image();
        let mut rng = Key::new(0, Purpose::Augment).study(draw).rng();
        Pipeline::new(&config.augment).run(&mut image, 4, &mut rng);
        image
    }

    #[test]
    fn probabilities_of_none_and_all() {
        let none = ["horizontal_flip=0.0", "vertical_flip=0.0", "transpose=0.0", "brightness=0.0"];
        let all = ["horizontal_flip=1.0", "vertical_flip=1.0", "transpose=0.0", "brightness=0.0"];
        for draw in 0..20 {
            assert_eq!(run(&none, draw), image());
            let turned: Vec<u8> = image().chunks_exact(6).rev().flatten().copied().collect();
            assert_eq!(run(&all, draw), turned);
        }
    }

    #[test]
    fn the_eight_symmetries_all_come() {
        let seen: HashSet<Vec<u8>> = (0..200).map(|d| run(&["brightness=0.0"], d)).collect();
        assert_eq!(seen.len(), 8);
    }
}
