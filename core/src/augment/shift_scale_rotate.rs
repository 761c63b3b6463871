//! An affine warp about the centre.

use super::Canvas;
use super::augmentation::{Augmentation, Range, SHARE, Transform, uniform};
use super::warp::{self, Map};
use rand_chacha::ChaCha8Rng;

pub(super) const SHIFT_SCALE_ROTATE: Augmentation = Augmentation {
    name: "ShiftScaleRotate",
    keys: &[
        ("shift_limit", SHARE),
        ("scale_limit", Range::Number(0.95, "")),
        ("rotate_limit", Range::Number(180.0, " degrees")),
    ],
    new: |s| {
        Box::new(ShiftScaleRotate {
            shift_limit: s.number("shift_limit"),
            scale_limit: s.number("scale_limit"),
            rotate_limit: s.number("rotate_limit"),
        })
    },
};

/// Rotates, scales and shifts, with mirrored borders: albumentations 1.3.1 `ShiftScaleRotate` with
/// bilinear sampling and `BORDER_REFLECT_101`, that is `cv2.warpAffine`.
#[derive(Debug, Clone, Copy)]
pub struct ShiftScaleRotate {
    /// Maximum shift in either direction, as a share of the size.
    pub shift_limit: f64,
    /// Maximum deviation of the scale from 1 in either direction; below 1.
    pub scale_limit: f64,
    /// Maximum angle in either direction, in degrees.
    pub rotate_limit: f64,
}

/// One draw of [`ShiftScaleRotate`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine {
    /// Angle in degrees, anti-clockwise.
    pub angle: f64,
    /// Scale; above 1 magnifies.
    pub scale: f64,
    /// Shift to the right, as a share of the width.
    pub dx: f64,
    /// Shift downwards, as a share of the height.
    pub dy: f64,
}

impl Transform for ShiftScaleRotate {
    type Params = Affine;

    fn params(&self, _: usize, rng: &mut ChaCha8Rng) -> Affine {
        let mut within = |limit: f64| uniform(rng, -limit, limit);
        Affine {
            angle: within(self.rotate_limit),
            scale: 1.0 + within(self.scale_limit),
            dx: within(self.shift_limit),
            dy: within(self.shift_limit),
        }
    }

    fn apply(affine: &Affine, canvas: &mut Canvas) {
        let size = canvas.size();
        let [xx, xy, x0, yx, yy, y0] = inverse(forward(affine, size as f64));
        let column = |slope: f64| (0..size).map(|x| fixed(slope * x as f64)).collect();
        let map = AffineMap { columns: [column(xx), column(yx)], rows: [[xy, x0], [yy, y0]] };
        warp::warp(canvas, map);
    }
}

/// Coordinates as in `cv2.warpAffine`: the column's and the row's terms, each rounded separately to 10
/// fractional bits; half of 1/32 pixel is added and the lowest 5 bits are dropped.
struct AffineMap {
    /// Term of each column, for x and for y.
    columns: [Vec<i32>; 2],
    /// Slope and offset of the row's term, for x and for y.
    rows: [[f64; 2]; 2],
}

impl Map for AffineMap {
    #[inline(always)]
    fn row(&self, y: usize, xs: &mut [i32], ys: &mut [i32]) {
        let y = y as f64;
        for ((out, columns), [slope, offset]) in
            [xs, ys].into_iter().zip(&self.columns).zip(self.rows)
        {
            let row = fixed(slope * y + offset).wrapping_add(16);
            for (out, column) in out.iter_mut().zip(columns) {
                *out = row.wrapping_add(*column) >> 5;
            }
        }
    }
}

/// Converts to fixed point with 10 fractional bits.
#[inline(always)]
fn fixed(pixels: f64) -> i32 {
    (pixels * 1024.0).round_ties_even() as i32
}

/// Returns the matrix from source to result, two rows of three: `cv2.getRotationMatrix2D` about the
/// centre of the pixel grid, then the shift.
fn forward(affine: &Affine, size: f64) -> [f64; 6] {
    let centre = size / 2.0 - 0.5;
    let angle = affine.angle * (std::f64::consts::PI / 180.0);
    let (cos, sin) = (angle.cos() * affine.scale, angle.sin() * affine.scale);
    [
        cos,
        sin,
        (1.0 - cos) * centre - sin * centre + affine.dx * size,
        -sin,
        cos,
        sin * centre + (1.0 - cos) * centre + affine.dy * size,
    ]
}

/// Returns the matrix from result to source, in `cv2.warpAffine`'s order of operations.
fn inverse([a, b, c, d, e, f]: [f64; 6]) -> [f64; 6] {
    let determinant = a * e - b * d;
    let scale = if determinant != 0.0 { 1.0 / determinant } else { 0.0 };
    let (a, e) = (e * scale, a * scale);
    let (b, d) = (b * -scale, d * -scale);
    [a, b, -a * c - b * f, d, e, -d * c - e * f]
}
