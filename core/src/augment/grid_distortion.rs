//! Distortion by a grid whose cells are stretched and squeezed.

use super::Canvas;
use super::augmentation::{Augmentation, Range, SHARE, Transform, WEIGHT, uniform};
use super::warp::{self, Map};
use rand_chacha::ChaCha8Rng;

pub(super) const GRID_DISTORTION: Augmentation = Augmentation {
    name: "GridDistortion",
    keys: &[
        ("grid_distortion_weight", WEIGHT),
        ("grid_distortion_limit", SHARE),
        ("grid_steps", Range::Cells),
    ],
    new: |s| {
        let (steps, limit) = (s.cells("grid_steps"), s.number("grid_distortion_limit"));
        Box::new(GridDistortion { steps, limit })
    },
};

/// Stretches each column and each row of a grid's cells by its own factor: albumentations 1.3.1
/// `GridDistortion`, not normalised, bilinear, with mirrored borders.
///
/// There are `steps` cells of ⌊size / steps⌋ pixels per axis, and another one for the remaining pixels.
/// Each cell starts in the source where the previous one ended, so coordinates may lie far outside
/// the image; the last cell ends at the image's edge.
#[derive(Debug, Clone, Copy)]
pub struct GridDistortion {
    /// Number of cells per axis, at least 1 and at most the size.
    pub steps: usize,
    /// Maximum deviation of a cell's factor from 1 in either direction.
    pub limit: f64,
}

/// One draw of [`GridDistortion`]: the factor of each column and of each row of cells, `steps` + 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// Factors of the columns from left to right.
    pub columns: Vec<f64>,
    /// Factors of the rows from top to bottom.
    pub rows: Vec<f64>,
}

impl Transform for GridDistortion {
    type Params = Grid;

    fn params(&self, _: usize, rng: &mut ChaCha8Rng) -> Grid {
        let mut axis =
            || (0..=self.steps).map(|_| 1.0 + uniform(rng, -self.limit, self.limit)).collect();
        Grid { columns: axis(), rows: axis() }
    }

    fn apply(grid: &Grid, canvas: &mut Canvas) {
        let size = canvas.size();
        let fixed = |factors: &[f64]| axis(factors, size).into_iter().map(warp::fixed).collect();
        warp::warp(canvas, GridMap { x: fixed(&grid.columns), y: fixed(&grid.rows) });
    }
}

/// x depends only on the column, y only on the row.
struct GridMap {
    x: Vec<i32>,
    y: Vec<i32>,
}

impl Map for GridMap {
    #[inline(always)]
    fn row(&self, y: usize, xs: &mut [i32], ys: &mut [i32]) {
        xs.copy_from_slice(&self.x);
        ys.fill(self.y[y]);
    }
}

/// Returns the source coordinate of each of `size` pixels along an axis, in float32 like OpenCV's map;
/// each cell includes both its start and its end (`np.linspace`).
pub(super) fn axis(factors: &[f64], size: usize) -> Vec<f32> {
    let cell = size / (factors.len() - 1);
    let mut map = vec![0.0; size];
    let mut previous = 0.0;
    for (i, factor) in factors.iter().enumerate() {
        let (start, end) = (i * cell, ((i + 1) * cell).min(size));
        let current = match (i + 1) * cell > size {
            true => size as f64,
            false => previous + cell as f64 * factor,
        };
        let n = end - start;
        let step = (current - previous) / n.saturating_sub(1) as f64;
        for (j, value) in map[start..end].iter_mut().enumerate() {
            *value = match j {
                0 => previous,
                _ if j + 1 == n => current,
                _ => j as f64 * step + previous,
            } as f32;
        }
        previous = current;
    }
    map
}
