//! Difficulty levels: how visible fractures are, and the number of structures that resemble them.

use crate::config::Difficulty;
use std::ops::Range;

/// Settings of a difficulty level. Lengths are in units of half the crop; heights are 0..1 from a
/// vertebra's first slice to its last.
#[derive(Debug)]
pub struct Level {
    /// Width of a gap.
    pub width: Range<f32>,
    /// Distance that the fragment slid along the gap.
    pub slide: Range<f32>,
    /// Height where the gap starts.
    pub from: Range<f32>,
    /// Height where the gap ends.
    pub to: Range<f32>,
    /// Contrast of a gap: 1 = fluid, 0 = the surrounding bone.
    pub contrast: f32,
    /// Amplitude of pixel noise; 1 = about −7..7 grey values.
    pub noise: f32,
    /// Maximum number of vascular channels in a vertebra, fractured or not; the minimum is half of it.
    pub channels: usize,
    /// Maximum number of cysts and spots of sclerosed bone, likewise.
    pub spots: usize,
    /// Maximum number of streaks through the image, likewise.
    pub streaks: usize,
}

impl Level {
    pub fn of(difficulty: Difficulty) -> &'static Self {
        match difficulty {
            // Wide, black gaps through at least 12 of 15 slices, and no similar structures.
            Difficulty::Easy => &Self {
                width: 0.10..0.14,
                slide: 0.05..0.09,
                from: -0.3..0.05,
                to: 0.95..1.3,
                contrast: 1.0,
                noise: 1.0,
                channels: 0,
                spots: 0,
                streaks: 0,
            },
            Difficulty::Medium => &Self {
                width: 0.08..0.12,
                slide: 0.04..0.08,
                from: -0.1..0.2,
                to: 0.8..1.1,
                contrast: 0.9,
                noise: 1.5,
                channels: 1,
                spots: 1,
                streaks: 1,
            },
            Difficulty::Hard => &Self {
                width: 0.04..0.07,
                slide: 0.0..0.03,
                from: 0.1..0.45,
                to: 0.65..0.95,
                contrast: 0.6,
                noise: 3.0,
                channels: 4,
                spots: 4,
                streaks: 5,
            },
        }
    }
}
