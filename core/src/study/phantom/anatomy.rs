//! Shapes of the seven cervical vertebrae in axial section, as signed distances.
//!
//! Coordinates: the crop is −1..1 in x (right) and y (down, towards the patient's back); one
//! unit is half the crop. Everything is symmetric in x, so each shape describes both sides.
//! `t` is 0..1 from a vertebra's first slice to its last.

/// A point or direction in the plane.
pub type Point = [f32; 2];

/// Shape of one part of a vertebra.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// Centre and radii.
    Ellipse(Point, Point),
    /// Ends and radius.
    Rod(Point, Point, f32),
    /// C1: an oval ring with centre and mean radii, thicker at the lateral masses.
    Ring(Point, Point),
    /// A foramen, subtracted from the parts before it: centre and radius.
    Hole(Point, f32),
}

impl Form {
    /// Half the thickness of the shape.
    fn radius(self) -> f32 {
        match self {
            Ellipse(_, [a, b]) => a.min(b),
            Rod(_, _, r) | Hole(_, r) => r,
            Ring(..) => RING,
        }
    }
}

/// A shape and the range of `t` where it has full size; it shrinks on either side.
type Part = (Form, f32, f32);

use Form::{Ellipse, Hole, Ring, Rod};

/// Half the thickness of C1's arches.
const RING: f32 = 0.07;

/// Limits beyond the first and the last slice, for parts that always have full size.
const A: f32 = -1.0;
const Z: f32 = 2.0;

const C1: &[Part] = &[
    (Ring([0.0, 0.02], [0.53, 0.52]), A, Z),
    (Ellipse([0.0, -0.52], [0.13, 0.09]), A, 0.9),
    (Ellipse([0.0, 0.56], [0.12, 0.08]), 0.2, Z),
    (Rod([0.58, -0.12], [0.84, -0.04], 0.085), 0.15, 0.85),
    (Hole([0.73, -0.08], 0.055), A, Z),
];

const C2: &[Part] = &[
    (Ellipse([0.0, -0.40], [0.17, 0.18]), A, Z),
    (Ellipse([0.0, -0.38], [0.36, 0.24]), 0.42, Z),
    (Ellipse([0.44, -0.20], [0.20, 0.15]), 0.30, 0.85),
    (Hole([0.52, -0.25], 0.055), A, Z),
    (Rod([0.46, -0.06], [0.46, 0.12], 0.09), 0.38, Z),
    (Rod([0.46, 0.14], [0.0, 0.46], 0.085), 0.40, Z),
    (Rod([0.0, 0.46], [0.0, 0.66], 0.10), 0.48, Z),
    (Rod([0.05, 0.66], [0.14, 0.80], 0.07), 0.52, Z),
];

const C3_TO_C6: &[Part] = &[
    (Ellipse([0.0, -0.42], [0.33, 0.24]), A, Z),
    (Rod([0.26, -0.32], [0.48, -0.08], 0.085), 0.08, 0.95),
    (Rod([0.30, -0.44], [0.62, -0.22], 0.08), 0.15, 0.80),
    (Hole([0.47, -0.28], 0.065), A, Z),
    (Ellipse([0.52, 0.02], [0.17, 0.20]), A, Z),
    (Rod([0.50, 0.14], [0.0, 0.48], 0.075), A, Z),
    (Rod([0.0, 0.48], [0.0, 0.68], 0.075), 0.25, Z),
    (Rod([0.03, 0.68], [0.10, 0.79], 0.055), 0.40, Z),
];

const C7: &[Part] = &[
    (Ellipse([0.0, -0.42], [0.37, 0.24]), A, Z),
    (Rod([0.28, -0.32], [0.48, -0.10], 0.09), 0.05, 0.95),
    (Rod([0.46, -0.12], [0.82, -0.20], 0.085), 0.10, 0.80),
    (Ellipse([0.50, 0.02], [0.15, 0.18]), A, Z),
    (Rod([0.48, 0.12], [0.0, 0.42], 0.08), A, Z),
    (Rod([0.0, 0.42], [0.0, 0.86], 0.08), 0.15, Z),
    (Ellipse([0.0, 0.87], [0.10, 0.09]), 0.30, Z),
];

/// The dens of C2 lies in C1's ring: bone, but of another vertebra.
const DENS_IN_C1: &[Part] = &[(Ellipse([0.0, -0.27], [0.12, 0.13]), A, Z)];

/// A possible place of a fracture.
#[derive(Debug, Clone, Copy)]
pub struct Site {
    /// Middle of the gap.
    pub at: Point,
    /// Angle between the gap's line and the y axis in radians.
    pub angle: f32,
    /// Half the length of the gap.
    pub reach: f32,
}

const fn site(at: Point, angle: f32, reach: f32) -> Site {
    Site { at, angle, reach }
}

const BODY: &[Site] = &[site([0.06, -0.40], 0.0, 0.34)];
/// Fractures through a lamina and through an articular pillar.
const ARCH: &[Site] = &[site([0.28, 0.30], -0.95, 0.20), site([0.50, 0.04], 1.3, 0.26)];
/// A Jefferson fracture breaks the ring at the front and the back.
const RING_FRONT: &[Site] = &[site([0.24, -0.45], -0.5, 0.20)];
const RING_BACK: &[Site] = &[site([0.30, 0.46], 0.55, 0.20)];

/// Returns the possible sites of the first and of a second gap in `vertebra` (0..7).
pub fn sites(vertebra: usize) -> (&'static [Site], &'static [Site]) {
    match vertebra {
        0 => (RING_FRONT, RING_BACK),
        _ => (BODY, ARCH),
    }
}

/// Cross-section of a vertebra, as signed distances to bone: negative inside.
pub struct Section {
    own: Vec<(Form, f32)>,
    foreign: Vec<(Form, f32)>,
}

impl Section {
    /// Creates a cross-section. `vertebra`: 0..7 for C1..C7; `t`: the height, 0..1 and a little beyond.
    pub fn new(vertebra: usize, t: f32) -> Self {
        let parts = match vertebra {
            0 => C1,
            1 => C2,
            6 => C7,
            _ => C3_TO_C6,
        };
        let foreign = if vertebra == 0 { DENS_IN_C1 } else { &[] };
        // All parts get slightly thinner towards the vertebra's ends.
        let thin = 0.05 * (1.0 - smoothstep(-0.2, 0.2, t.min(1.0 - t)));
        let cut = |parts: &[Part], thin: f32| {
            parts
                .iter()
                .map(|&(form, from, to)| (form, thin + 0.9 * (from - t).max(t - to).max(0.0)))
                // If thinner than this, the soft edge of a vanished part would still show.
                .filter(|(form, shrink)| form.radius() - shrink > 0.025)
                .collect()
        };
        Self { own: cut(parts, thin), foreign: cut(foreign, 0.0) }
    }

    pub fn distance(&self, p: Point) -> f32 {
        distance(&self.own, p)
    }

    /// Returns the signed distance to a neighbour's bone.
    pub fn foreign(&self, p: Point) -> f32 {
        distance(&self.foreign, p)
    }
}

fn distance(parts: &[(Form, f32)], [x, y]: Point) -> f32 {
    let p = [x.abs(), y];
    let mut nearest = f32::INFINITY;
    for &(form, shrink) in parts {
        let d = match form {
            Ellipse(c, r) => ellipse(sub(p, c), r),
            Rod(a, b, r) => segment(p, [a, b]) - r,
            Ring(c, r) => ring(sub(p, c), r),
            Hole(c, r) => {
                nearest = nearest.max(r - shrink * 0.5 - length(sub(p, c)));
                continue;
            }
        };
        nearest = smooth_min(nearest, d + shrink);
    }
    nearest
}

fn ellipse(p: Point, r: Point) -> f32 {
    // First-order distance: (k − 1) / |∇k|, accurate at the rim, where it matters.
    let q = [p[0] / r[0], p[1] / r[1]];
    let k = length(q);
    let gradient = length([q[0] / r[0], q[1] / r[1]]);
    if gradient < 1e-6 { -r[0].min(r[1]) } else { k * (k - 1.0) / gradient }
}

/// Returns the distance from a segment between two points.
pub fn segment(p: Point, [a, b]: [Point; 2]) -> f32 {
    let (pa, ba) = (sub(p, a), sub(b, a));
    let h = ((pa[0] * ba[0] + pa[1] * ba[1]) / (ba[0] * ba[0] + ba[1] * ba[1])).clamp(0.0, 1.0);
    length([pa[0] - ba[0] * h, pa[1] - ba[1] * h])
}

fn ring(p: Point, r: Point) -> f32 {
    // The lateral masses lie at the sides, slightly to the front.
    let side = (p[0] * 0.95 - p[1] * 0.3) / length(p).max(1e-6);
    let thick = RING + 0.085 * smoothstep(0.72, 0.97, side);
    ellipse(p, r).abs() - thick
}

/// Union of two shapes with filled corners.
fn smooth_min(a: f32, b: f32) -> f32 {
    const K: f32 = 0.07;
    let h = (K - (a - b).abs()).max(0.0) / K;
    a.min(b) - h * h * K * 0.25
}

fn sub(a: Point, b: Point) -> Point {
    [a[0] - b[0], a[1] - b[1]]
}

pub fn length(p: Point) -> f32 {
    (p[0] * p[0] + p[1] * p[1]).sqrt()
}

/// Smooth step: 0 below `from`, 1 above `to`.
pub fn smoothstep(from: f32, to: f32, x: f32) -> f32 {
    let t = ((x - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}
