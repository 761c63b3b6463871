//! What a difficulty means: how fractures show, and how much there is that looks like one.

use crate::config::Difficulty;
use std::ops::Range;

/// The settings of a difficulty. Lengths: half the crop is 1. Heights: 0..1 from a vertebra's first
/// slice to its last.
#[derive(Debug)]
pub struct Level {
    /// Width of a gap.
    pub width: Range<f32>,
    /// How far the fragment slid along it.
    pub slide: Range<f32>,
    /// The height where the gap begins.
    pub from: Range<f32>,
    /// The height where it ends.
    pub to: Range<f32>,
    /// Grey value of a gap: 1 = fluid, 0 = the bone around it.
    pub contrast: f32,
    /// Noise of one pixel; 1: about −7..7 grey values.
    pub noise: f32,
    /// Vessels' channels in a vertebra, whole or fractured, at most; at least half as many.
    pub channels: usize,
    /// Cysts and pieces of sclerosed bone, likewise.
    pub spots: usize,
    /// Streaks through the picture, likewise.
    pub streaks: usize,
}

/// Wide, black gaps through 12 of 15 slices or more, and nothing else.
const EASY: Level = Level {
    width: 0.10..0.14,
    slide: 0.05..0.09,
    from: -0.3..0.05,
    to: 0.95..1.3,
    contrast: 1.0,
    noise: 1.0,
    channels: 0,
    spots: 0,
    streaks: 0,
};

const MEDIUM: Level = Level {
    width: 0.08..0.12,
    slide: 0.04..0.08,
    from: -0.1..0.2,
    to: 0.8..1.1,
    contrast: 0.9,
    noise: 1.5,
    channels: 1,
    spots: 1,
    streaks: 1,
};

const HARD: Level = Level {
    width: 0.04..0.07,
    slide: 0.0..0.03,
    from: 0.1..0.45,
    to: 0.65..0.95,
    contrast: 0.6,
    noise: 3.0,
    channels: 4,
    spots: 4,
    streaks: 5,
};

impl Level {
    /// Of a difficulty.
    pub fn of(difficulty: Difficulty) -> &'static Self {
        match difficulty {
            Difficulty::Easy => &EASY,
            Difficulty::Medium => &MEDIUM,
            Difficulty::Hard => &HARD,
        }
    }
}
