//! Structures that resemble fractures, in fractured and intact vertebrae alike.

use super::anatomy::{Point, length, segment, sites, smoothstep};
use super::level::Level;
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

/// Grey values: of vessels and cysts, and of sclerosed bone.
const DARK: f32 = 70.0;
const BRIGHT: f32 = 235.0;

/// Structures of one vertebra that resemble fractures.
#[derive(Debug, Default)]
pub struct Lookalikes {
    channels: Vec<Channel>,
    spots: Vec<Spot>,
    streaks: Vec<Streak>,
}

/// A vascular channel: dark and straight like a gap, but it ends within the bone, shows no shift, and
/// spans only a few slices.
#[derive(Debug)]
struct Channel {
    ends: [Point; 2],
    radius: f32,
    height: Height,
}

/// A round cyst or a round spot of sclerosed bone.
#[derive(Debug)]
struct Spot {
    at: Point,
    radius: f32,
    height: Height,
    grey: f32,
}

/// A scanner artefact: a dark band across one or two planes, in bone and elsewhere.
#[derive(Debug)]
struct Streak {
    /// Unit vector perpendicular to it, and its distance from the centre.
    across: Point,
    offset: f32,
    half: f32,
    height: Height,
    /// Darkening in grey values.
    depth: f32,
}

/// Range of heights in which a structure is visible.
#[derive(Debug)]
struct Height {
    middle: f32,
    half: f32,
}

impl Height {
    fn draw(half: std::ops::Range<f32>, rng: &mut ChaCha8Rng) -> Self {
        Self { middle: rng.random_range(0.0..1.0), half: rng.random_range(half) }
    }

    /// Returns its visibility at height `t`, 0..1.
    fn at(&self, t: f32) -> f32 {
        1.0 - smoothstep(self.half * 0.7, self.half * 1.3, (t - self.middle).abs())
    }
}

/// Draws a point in the bone of `vertebra`, near a possible fracture.
fn place(vertebra: usize, rng: &mut ChaCha8Rng) -> Point {
    let (first, second) = sites(vertebra);
    let site = if rng.random() { first } else { second };
    let [x, y] = site.choose(rng).map_or([0.0, 0.0], |site| site.at);
    let side = if rng.random() { 1.0 } else { -1.0 };
    [side * x + rng.random_range(-0.12..0.12), y + rng.random_range(-0.08..0.08)]
}

fn direction(rng: &mut ChaCha8Rng) -> Point {
    let angle = rng.random_range(0.0..std::f32::consts::PI);
    [angle.cos(), angle.sin()]
}

impl Lookalikes {
    /// Draws between half and all of the level's maximum numbers.
    pub fn draw(level: &Level, vertebra: usize, rng: &mut ChaCha8Rng) -> Self {
        let mut many = |most: usize| match most {
            0 => 0,
            most => rng.random_range(most.div_ceil(2)..=most),
        };
        let counts = [many(level.channels), many(level.spots), many(level.streaks)];
        let channel = |rng: &mut ChaCha8Rng| {
            let ([x, y], [dx, dy]) = (place(vertebra, rng), direction(rng));
            let half = rng.random_range(0.06..0.14);
            Channel {
                ends: [[x - half * dx, y - half * dy], [x + half * dx, y + half * dy]],
                radius: rng.random_range(0.018..0.03),
                height: Height::draw(0.12..0.25, rng),
            }
        };
        let spot = |rng: &mut ChaCha8Rng| Spot {
            at: place(vertebra, rng),
            radius: rng.random_range(0.03..0.06),
            height: Height::draw(0.08..0.2, rng),
            grey: if rng.random() { DARK } else { BRIGHT },
        };
        let streak = |rng: &mut ChaCha8Rng| Streak {
            across: direction(rng),
            offset: rng.random_range(-0.6..0.6),
            half: rng.random_range(0.015..0.04),
            height: Height::draw(0.03..0.08, rng),
            depth: rng.random_range(25.0..45.0),
        };
        Self {
            channels: (0..counts[0]).map(|_| channel(rng)).collect(),
            spots: (0..counts[1]).map(|_| spot(rng)).collect(),
            streaks: (0..counts[2]).map(|_| streak(rng)).collect(),
        }
    }

    /// Returns the grey value at `p` in the plane at height `t`, `depth` deep in bone whose value would be
    /// `value`. `edge`: half the width of an outline.
    pub fn in_bone(&self, mut value: f32, p: Point, t: f32, depth: f32, edge: f32) -> f32 {
        // The cortex stays intact.
        let within = smoothstep(0.02, 0.05, depth);
        if within == 0.0 {
            return value;
        }
        let inside = |distance: f32| 1.0 - smoothstep(-edge, edge, distance);
        for Channel { ends, radius, height } in &self.channels {
            let there = inside(segment(p, *ends) - radius) * height.at(t);
            value += (DARK - value) * there * within;
        }
        for Spot { at, radius, height, grey } in &self.spots {
            let there = inside(length([p[0] - at[0], p[1] - at[1]]) - radius) * height.at(t);
            value += (grey - value) * there * within;
        }
        value
    }

    /// Returns the darkening by streaks at image point `p` in the plane at height `t`.
    pub fn streaks(&self, p: Point, t: f32) -> f32 {
        let depth = |s: &Streak| {
            let height = s.height.at(t);
            if height == 0.0 {
                return 0.0;
            }
            let away = (p[0] * s.across[0] + p[1] * s.across[1] - s.offset).abs();
            s.depth * height * (1.0 - smoothstep(0.5 * s.half, 1.5 * s.half, away))
        };
        self.streaks.iter().map(depth).sum::<f32>()
    }
}
