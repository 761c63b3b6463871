//! The sequence of transforms, each with its probability.

use super::augmentation::{Apply, Draw, Settings, Stage};
use super::{Canvas, STAGES, Scratch};
use crate::rng::named_stream;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// A transform with drawn parameters, ready to be applied.
pub struct Drawn {
    /// Name of the transform in albumentations.
    pub name: &'static str,
    pub(super) apply: Apply,
}

/// A [`Stage`] with its settings.
struct Choice {
    stage: &'static Stage,
    probability: f64,
    /// Weight of each member, 1 for a single one, and its transform.
    members: Vec<(f64, Box<dyn Draw>)>,
}

impl Choice {
    fn new(stage: &'static Stage, settings: &Settings) -> Self {
        let weight = |i: usize| match stage.members.len() {
            1 => 1.0,
            _ => settings.number(stage.members[i].keys[0].0),
        };
        let members = stage.members.iter().enumerate();
        Self {
            stage,
            probability: settings.number(stage.probability),
            members: members.map(|(i, member)| (weight(i), (member.new)(settings))).collect(),
        }
    }

    /// Like albumentations' `OneOf`, or a single transform: the chosen one is always applied.
    fn draw(&self, size: usize, rng: &mut ChaCha8Rng) -> Option<Drawn> {
        if rng.random::<f64>() >= self.probability {
            return None;
        }
        let chosen = if let [_] = self.members[..] { 0 } else { self.choose(rng)? };
        let name = self.stage.members[chosen].name;
        Some(Drawn { name, apply: self.members[chosen].1.draw(size, rng) })
    }

    /// Draws a member by the weights; `None` if all are 0.
    fn choose(&self, rng: &mut ChaCha8Rng) -> Option<usize> {
        let total: f64 = self.members.iter().map(|(weight, _)| weight).sum();
        let mut left = rng.random::<f64>() * total;
        let mut possible = (0..self.members.len()).filter(|&i| self.members[i].0 > 0.0);
        let chosen = possible.clone().find(|&i| {
            left -= self.members[i].0;
            left < 0.0
        });
        // Rounding may leave the sum of the weights slightly below `total`.
        chosen.or_else(|| possible.next_back())
    }
}

/// Transforms of a training slice, in order.
pub struct Pipeline {
    choices: Vec<Choice>,
}

impl Pipeline {
    /// Creates the stages of the registry with their settings.
    pub fn new(settings: &Settings) -> Self {
        Self::of(STAGES, settings)
    }

    pub(super) fn of(
        stages: impl IntoIterator<Item = &'static Stage>,
        settings: &Settings,
    ) -> Self {
        Self { choices: stages.into_iter().map(|stage| Choice::new(stage, settings)).collect() }
    }

    /// Draws the transforms for one slice of `[size, size]`, in order. `rng`: the slice's generator.
    pub fn draw(&self, size: usize, rng: &mut ChaCha8Rng) -> Vec<Drawn> {
        let slice = rng.clone();
        let draw = |choice: &Choice| match choice.stage.own_stream {
            false => choice.draw(size, rng),
            true if choice.probability == 0.0 => None,
            true => choice.draw(size, &mut named_stream(&slice, choice.stage.probability)),
        };
        self.choices.iter().filter_map(draw).collect()
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
