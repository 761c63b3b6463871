//! Barrel and pincushion distortion.

use super::Canvas;
use super::augmentation::{Augmentation, SHARE, Transform, WEIGHT, uniform};
use super::warp::{self, Map};
use rand_chacha::ChaCha8Rng;

pub(super) const OPTICAL_DISTORTION: Augmentation = Augmentation {
    name: "OpticalDistortion",
    keys: &[("optical_distortion_weight", WEIGHT), ("optical_distortion_limit", SHARE)],
    new: |s| Box::new(OpticalDistortion { limit: s.number("optical_distortion_limit") }),
};

/// Distortion by a lens: albumentations 1.3.1 `OpticalDistortion`, that is
/// `cv2.initUndistortRectifyMap` with k₁ = k₂ = k and `cv2.remap`, bilinear, with mirrored borders.
///
/// The camera's centre is size / 2 and the result's is (size − 1) / 2, so k = 0 shifts by half a
/// pixel. albumentations rounds its `shift_limit` of 0.05 pixel to 0; it is omitted here.
#[derive(Debug, Clone, Copy)]
pub struct OpticalDistortion {
    /// Maximum |k|.
    pub limit: f64,
}

impl Transform for OpticalDistortion {
    /// k, −limit..limit; positive values pinch.
    type Params = f64;

    fn params(&self, _: usize, rng: &mut ChaCha8Rng) -> f64 {
        uniform(rng, -self.limit, self.limit)
    }

    fn apply(&k: &f64, canvas: &mut Canvas) {
        warp::warp(canvas, Lens::new(k, canvas.size()));
    }
}

impl Map for Lens {
    #[inline(always)]
    fn row(&self, y: usize, xs: &mut [i32], ys: &mut [i32]) {
        let y = self.rays[y];
        for ((&x, out_x), out_y) in self.rays.iter().zip(xs).zip(ys) {
            let (u, v) = self.source(x, y);
            (*out_x, *out_y) = (warp::fixed(u), warp::fixed(v));
        }
    }
}

/// Map from the pixels of the result to their sources.
pub(super) struct Lens {
    k: f64,
    /// Focal length in pixels.
    focal: f64,
    /// The camera's centre in pixels.
    centre: f64,
    /// Ray of each column, and of each row, in focal lengths.
    pub(super) rays: Vec<f64>,
}

impl Lens {
    pub(super) fn new(k: f64, size: usize) -> Self {
        let side = size as f64;
        // cv2.invert of [[side, 0, c], [0, side, c], [0, 0, 1]], by determinants.
        let inverse_determinant = 1.0 / (side * side);
        let c = (side - 1.0) * 0.5;
        let (scale, offset) = (side * inverse_determinant, -(c * side) * inverse_determinant);
        let depth = side * side * inverse_determinant;
        Self {
            // albumentations passes it as float32.
            k: f64::from(k as f32),
            focal: side,
            centre: side * 0.5,
            rays: (0..size).map(|i| (i as f64 * scale + offset) * (1.0 / depth)).collect(),
        }
    }

    /// Returns the source of the pixel at two rays, in pixels, in float32 like OpenCV's map.
    #[inline(always)]
    pub(super) fn source(&self, x: f64, y: f64) -> (f32, f32) {
        let r2 = x * x + y * y;
        let radial = 1.0 + (self.k * r2 + self.k) * r2;
        let u = self.focal * (x * radial) + self.centre;
        let v = self.focal * (y * radial) + self.centre;
        (u as f32, v as f32)
    }
}
