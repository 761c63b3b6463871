//! Barrel and pincushion.

use super::{Canvas, Transform, uniform, warp};
use rand_chacha::ChaCha8Rng;

/// A lens's distortion: albumentations 1.3.1 `OpticalDistortion`, that is
/// `cv2.initUndistortRectifyMap` with k₁ = k₂ = k and `cv2.remap`, bilinear, the outside mirrored.
///
/// The camera's centre is size / 2, the result's (size − 1) / 2, so that k = 0 shifts by half a
/// pixel. Its `shift_limit` of 0.05 pixel is rounded to 0 there and is left out here.
#[derive(Debug, Clone, Copy)]
pub struct OpticalDistortion {
    /// Largest |k|.
    pub limit: f64,
}

impl Transform for OpticalDistortion {
    /// k, −limit..limit; above 0 pinches.
    type Params = f64;

    fn params(&self, _: usize, rng: &mut ChaCha8Rng) -> f64 {
        uniform(rng, -self.limit, self.limit)
    }

    fn apply(&k: &f64, canvas: &mut Canvas) {
        let size = canvas.size();
        let map = Map::new(k, size);
        canvas.redraw(|from, to, work| {
            warp::warp(from, to, size, work, |y, xs, ys| {
                for (x, (out_x, out_y)) in xs.iter_mut().zip(ys).enumerate() {
                    let (u, v) = map.at(x, y);
                    (*out_x, *out_y) = (warp::fixed(u), warp::fixed(v));
                }
            });
        });
    }
}

/// Where each pixel of the result comes from.
pub(super) struct Map {
    k: f64,
    /// Focal length, pixels.
    focal: f64,
    /// The camera's centre, pixels.
    centre: f64,
    /// The ray of each column, and of each row, in focal lengths.
    rays: Vec<f64>,
    /// By which the rays are divided: 1 but for rounding.
    depth: f64,
}

impl Map {
    pub(super) fn new(k: f64, size: usize) -> Self {
        let side = size as f64;
        // cv2.invert of [[side, 0, c], [0, side, c], [0, 0, 1]], by determinants.
        let inverse_determinant = 1.0 / (side * side);
        let c = (side - 1.0) * 0.5;
        let (scale, offset) = (side * inverse_determinant, -(c * side) * inverse_determinant);
        Self {
            // albumentations hands it over as float32.
            k: f64::from(k as f32),
            focal: side,
            centre: side * 0.5,
            rays: (0..size).map(|i| i as f64 * scale + offset).collect(),
            depth: side * side * inverse_determinant,
        }
    }

    /// The source of pixel (x, y), pixels, float32 as OpenCV's map.
    #[inline(always)]
    pub(super) fn at(&self, x: usize, y: usize) -> (f32, f32) {
        let scale = 1.0 / self.depth;
        let (x, y) = (self.rays[x] * scale, self.rays[y] * scale);
        let r2 = x * x + y * y;
        let radial = 1.0 + (self.k * r2 + self.k) * r2;
        let u = self.focal * (x * radial) + self.centre;
        let v = self.focal * (y * radial) + self.centre;
        (u as f32, v as f32)
    }
}
