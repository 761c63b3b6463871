//! The parts of an augmentation: its transform, its keys in `[augment]`, and its stage.

use super::Canvas;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A transform of one slice.
pub trait Transform: Send + Sync {
    /// Parameters drawn for each slice, the same for its six channels; `()` if there are none.
    type Params: Send + 'static;

    /// Draws the parameters for one slice of `[size, size]`.
    fn params(&self, size: usize, rng: &mut ChaCha8Rng) -> Self::Params;

    /// Applies the transform to the slice.
    fn apply(params: &Self::Params, canvas: &mut Canvas);
}

/// Applies a transform with drawn parameters.
pub type Apply = Box<dyn FnOnce(&mut Canvas) + Send>;

/// A [`Transform`] with any type of parameters.
pub trait Draw: Send + Sync {
    /// Draws the parameters for one slice of `[size, size]`.
    fn draw(&self, size: usize, rng: &mut ChaCha8Rng) -> Apply;
}

impl<T: Transform> Draw for T {
    fn draw(&self, size: usize, rng: &mut ChaCha8Rng) -> Apply {
        let params = self.params(size, rng);
        Box::new(move |canvas| T::apply(&params, canvas))
    }
}

/// Like Python's `random.uniform(low, high)`: low + (high − low) · u, u in 0..1.
pub(super) fn uniform(rng: &mut ChaCha8Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * rng.random::<f64>()
}

/// A transform and its keys in `[augment]`.
pub struct Augmentation {
    /// Name of the transform in albumentations.
    pub name: &'static str,
    /// Its keys, in the order of `config.toml`. If it shares a stage, the first is its weight there.
    pub keys: &'static [Key],
    /// Creates the transform with the values of its keys.
    pub new: fn(&Settings) -> Box<dyn Draw>,
}

/// A stage of the pipeline: applies one of its augmentations with some probability.
pub struct Stage {
    /// Key of its probability.
    pub probability: &'static str,
    /// The augmentations among which it chooses by their weights.
    pub members: &'static [Augmentation],
    /// Whether the preset `light` has it.
    pub light: bool,
    /// Whether it draws from a stream of its own, so that the draws of other stages do not depend on it.
    pub own_stream: bool,
}

impl Stage {
    /// Creates a stage that draws from a stream of its own.
    pub const fn new(probability: &'static str, members: &'static [Augmentation]) -> Self {
        Self { probability, members, light: false, own_stream: true }
    }

    /// Lets the stage draw from the stream that the notebook's stages share, even if its probability is 0.
    pub(super) const fn shared(self) -> Self {
        Self { own_stream: false, ..self }
    }

    /// Adds the stage to the preset `light`.
    pub const fn light(self) -> Self {
        Self { light: true, ..self }
    }
}

/// Name and range of a key of `[augment]`.
pub type Key = (&'static str, Range);

/// Type and allowed values of a key.
#[derive(Debug, Clone, Copy)]
pub enum Range {
    /// A number from 0 to this, and its unit in messages, after a space.
    Number(f64, &'static str),
    /// Two numbers from 0 to this, the smaller one first.
    Pair(f64),
    /// A number of cells per axis, from 1 to the image size.
    Cells,
}

/// A probability, or another number from 0 to 1.
pub const SHARE: Range = Range::Number(1.0, "");
/// The relative probability of an augmentation that shares a stage.
pub const WEIGHT: Range = Range::Number(1e6, "");

/// `[augment]`: the values of the keys of all augmentations.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Preset that supplies the probabilities not set by other keys.
    pub preset: Preset,
    pub(super) values: BTreeMap<&'static str, Value>,
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

/// The value of a key.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Value {
    Number(f64),
    Pair([f64; 2]),
    Cells(usize),
}

/// # Panics
/// When no augmentation has such a key of this type.
impl Settings {
    /// Returns the value of a [`Range::Number`].
    pub fn number(&self, key: &str) -> f64 {
        let Value::Number(number) = self.values[key] else { panic!("{key} is not a number") };
        number
    }

    /// Returns the value of a [`Range::Pair`].
    pub fn pair(&self, key: &str) -> [f64; 2] {
        let Value::Pair(pair) = self.values[key] else { panic!("{key} is not a pair") };
        pair
    }

    /// Returns the value of a [`Range::Cells`].
    pub fn cells(&self, key: &str) -> usize {
        let Value::Cells(cells) = self.values[key] else { panic!("{key} is not a count") };
        cells
    }
}
