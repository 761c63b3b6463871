//! A drawn vertebra: a stack of grey planes in the bone window, with masks.

use super::anatomy::{Point, Section, Site, length, sites, smoothstep};
use super::{level::Level, lookalike::Lookalikes};
use crate::config::CHANNELS;
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use std::f32::consts::FRAC_PI_6;

/// Number of neighbouring CT planes on each side of a slice in its channels.
const NEIGHBOURS: usize = 2;
/// Side of the cube of random values for smooth noise; a power of two.
const LATTICE: usize = 16;
/// Grid spacing of the soft tissue's slow noise, in pixels.
const SOFT: usize = 8;
/// Tiles per side; see [`Patient::tiles_with_bone`].
const TILES: usize = 16;

pub struct Volume {
    size: usize,
    /// `[slices + 4, size, size]`; slice i uses planes i..i + 5.
    planes: Vec<u8>,
    /// `[slices, size, size]`, 0 or 255.
    masks: Vec<u8>,
}

impl Volume {
    pub fn bytes(size: usize, slices: usize) -> usize {
        (2 * slices + 2 * NEIGHBOURS) * size * size
    }

    /// Draws `vertebra` (0..7), `fractured` or intact.
    pub fn draw(
        size: usize,
        slices: usize,
        level: &Level,
        (vertebra, fractured): (usize, bool),
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let patient = Patient::draw(level, vertebra, fractured, rng);
        let area = size * size;
        let mut planes = vec![0; (slices + 2 * NEIGHBOURS) * area];
        let mut masks = vec![0; slices * area];
        for (i, plane) in planes.chunks_exact_mut(area).enumerate() {
            let z = i as f32 - NEIGHBOURS as f32;
            let t = if slices > 1 { z / (slices - 1) as f32 } else { 0.5 + z / 15.0 };
            let mask = i
                .checked_sub(NEIGHBOURS)
                .filter(|slice| *slice < slices)
                .map(|slice| &mut masks[slice * area..(slice + 1) * area]);
            patient.plane(size, t, i as u32, plane, mask);
        }
        Self { size, planes, masks }
    }

    /// Writes one slice to `out` as uint8 `[size, size, 6]`.
    pub fn slice(&self, slice: usize, out: &mut [u8]) {
        let area = self.size * self.size;
        let channels: [&[u8]; CHANNELS] = std::array::from_fn(|c| {
            let (stack, at) =
                if c < CHANNELS - 1 { (&self.planes, slice + c) } else { (&self.masks, slice) };
            &stack[at * area..(at + 1) * area]
        });
        for (i, pixel) in out.as_chunks_mut::<CHANNELS>().0.iter_mut().enumerate() {
            *pixel = channels.map(|channel| channel[i]);
        }
    }
}

/// Properties that vary between vertebrae.
struct Patient<'a> {
    level: &'a Level,
    vertebra: usize,
    seed: u32,
    /// `LATTICE³` random values, −1..1.
    lattice: Vec<f32>,
    /// Frequency and phase of the outline's waves in x and in y.
    wave: [Point; 2],
    shift: Point,
    /// Cosine and sine of the rotation, divided by the scale.
    turn: Point,
    aspect: f32,
    /// Grey values of soft tissue, spongy and cortical bone.
    soft: f32,
    spongy: f32,
    cortical: f32,
    gaps: Vec<Gap>,
    lookalikes: Lookalikes,
}

/// Returns the coordinates of a pixel in an image of `[size, size]`, −1..1 in x and y.
fn picture(size: usize, row: f32, column: f32) -> Point {
    [column, row].map(|at| (at + 0.5) * (2.0 / size as f32) - 1.0)
}

/// A fracture line: a dark gap, with the bone on one side shifted along it.
struct Gap {
    at: Point,
    /// Unit vector along the line.
    along: Point,
    reach: f32,
    width: f32,
    /// Distance that the fragment slid along the line.
    slide: f32,
    /// Distance that the line moves sideways from the first slice to the last.
    drift: f32,
    phase: f32,
    /// Range of `t` where the gap is visible.
    from: f32,
    to: f32,
}

impl Gap {
    fn draw(level: &Level, site: Site, side: f32, rng: &mut ChaCha8Rng) -> Self {
        let angle = side * site.angle + rng.random_range(-0.3f32..0.3);
        let mut jitter = || rng.random_range(-0.04..0.04);
        Self {
            at: [side * site.at[0] + jitter(), site.at[1] + jitter()],
            along: [angle.sin(), angle.cos()],
            reach: site.reach,
            width: rng.random_range(level.width.clone()),
            slide: rng.random_range(level.slide.clone()) * sign(rng),
            drift: rng.random_range(-0.08..0.08),
            phase: rng.random_range(0.0..6.0),
            from: rng.random_range(level.from.clone()),
            to: rng.random_range(level.to.clone()),
        }
    }

    /// Returns the coordinates along and across the line, relative to the middle of the gap.
    fn local(&self, p: Point, t: f32) -> (f32, f32) {
        let d = [p[0] - self.at[0], p[1] - self.at[1]];
        let along = d[0] * self.along[0] + d[1] * self.along[1];
        let across = d[0] * self.along[1] - d[1] * self.along[0];
        let jag = 0.018 * wave(along * 23.0 + self.phase);
        (along, across + jag + self.drift * (t - 0.5))
    }

    /// Returns how open the gap is at height `t`, 0..1.
    fn open(&self, t: f32) -> f32 {
        smoothstep(self.from - 0.05, self.from + 0.05, t)
            * (1.0 - smoothstep(self.to - 0.05, self.to + 0.05, t))
    }
}

fn sign(rng: &mut ChaCha8Rng) -> f32 {
    if rng.random() { 1.0 } else { -1.0 }
}

impl<'a> Patient<'a> {
    fn draw(level: &'a Level, vertebra: usize, fractured: bool, rng: &mut ChaCha8Rng) -> Self {
        let mut within = |centre: f32, spread: f32| centre + rng.random_range(-spread..spread);
        let angle = within(0.0, FRAC_PI_6 / 2.0);
        let scale = within(1.04, 0.08);
        let shift = [within(0.0, 0.1), within(0.0, 0.1)];
        let wave = [[within(7.0, 2.0), within(0.0, 3.0)], [within(7.0, 2.0), within(0.0, 3.0)]];
        let aspect = within(1.0, 0.06);
        let (soft, spongy, cortical) = (within(90.0, 4.0), within(158.0, 8.0), within(226.0, 8.0));
        let gaps = if fractured { fracture(level, vertebra, rng) } else { Vec::new() };
        Self {
            level,
            vertebra,
            seed: rng.random(),
            lattice: (0..LATTICE.pow(3)).map(|_| rng.random_range(-1.0..1.0)).collect(),
            // Drawn last, so that a level without them changes nothing else.
            lookalikes: Lookalikes::draw(level, vertebra, rng),
            wave,
            shift,
            turn: [angle.cos() / scale, angle.sin() / scale],
            aspect,
            soft,
            spongy,
            cortical,
            gaps,
        }
    }

    /// Maps coordinates in the image to the anatomy's.
    fn point(&self, [x, y]: Point) -> Point {
        let Patient { shift, turn: [c, s], aspect, wave: [wave_x, wave_y], .. } = self;
        // Make outlines slightly wavy.
        let wavy = |[frequency, phase]: &Point, at: f32| 0.02 * wave(at * frequency + phase);
        let (x, y) = (x - shift[0] + wavy(wave_x, y), y - shift[1] + wavy(wave_y, x));
        [(x * c + y * s) * aspect, y * c - x * s]
    }

    /// Draws the plane at height `t`, and its mask if one is requested.
    fn plane(&self, size: usize, t: f32, z: u32, plane: &mut [u8], mut mask: Option<&mut [u8]>) {
        let section = Section::new(self.vertebra, t);
        let near = self.tiles_with_bone(size, &section);
        let soft = self.soft_tissue(size, t);
        let open: Vec<f32> = self.gaps.iter().map(|g| g.open(t)).collect();
        // Half the width of an outline, since a scanner's edges are never perfectly sharp.
        let edge = (0.75 * (2.0 / size as f32)).max(0.018);
        for row in 0..size {
            for column in 0..size {
                let at = row * size + column;
                let in_image = picture(size, row as f32, column as f32);
                let p = self.point(in_image);
                let canal = smoothstep(1.2, 0.9, length([p[0] / 0.27, (p[1] - 0.08) / 0.24]));
                let mut value = soft[at] - 9.0 * canal;
                if near[row * TILES / size * TILES + column * TILES / size] {
                    let own;
                    (value, own) = self.bone(value, p, t, &section, &open, edge);
                    if let Some(mask) = &mut mask {
                        mask[at] = if own < 0.0 { 255 } else { 0 };
                    }
                }
                value -= self.lookalikes.streaks(in_image, t);
                value += self.level.noise * self.grain(at as u32, z);
                plane[at] = value.clamp(0.0, 255.0) as u8;
            }
        }
    }

    /// Returns the grey value at `p`, where soft tissue would have `value`, and the distance to this
    /// vertebra's bone.
    fn bone(
        &self,
        mut value: f32,
        mut p: Point,
        t: f32,
        section: &Section,
        open: &[f32],
        edge: f32,
    ) -> (f32, f32) {
        let mut dark = 0.0f32;
        for (gap, &open) in self.gaps.iter().zip(open) {
            let (along, across) = gap.local(p, t);
            // The fragment on one side of the line slid; nothing moves further away.
            let near = 1.0 - smoothstep(gap.reach, gap.reach * 2.0, length([along, across]));
            if near == 0.0 {
                continue;
            }
            let end = 1.0 - smoothstep(gap.reach * 0.85, gap.reach * 1.1, along.abs());
            let half = gap.width * 0.5;
            let inside = 1.0 - smoothstep(half - edge, half + edge, across.abs());
            dark = dark.max(inside * end * open);
            let slid = gap.slide * near * open * smoothstep(0.0, half, across);
            p = [p[0] - slid * gap.along[0], p[1] - slid * gap.along[1]];
        }
        let own = section.distance(p);
        let distance = own.min(section.foreign(p));
        if distance < edge {
            let z = t * 6.0 + 1.0;
            let grain = 22.0 * self.noise([p[0] * 13.0, p[1] * 13.0, z])
                + 14.0 * self.noise([p[0] * 27.0, p[1] * 27.0, z * 2.0]);
            let rim = 1.0 - smoothstep(0.03, 0.08, -distance);
            let bone = lerp(self.spongy + grain, self.cortical + 0.3 * grain, rim);
            value = lerp(bone, value, smoothstep(-edge, edge, distance));
            value = self.lookalikes.in_bone(value, p, t, -own, edge);
        }
        // Only inside bone: fluid in the gap is darker than muscle.
        let gone = dark * (1.0 - smoothstep(0.0, 0.04, own));
        (lerp(value, 42.0, gone * self.level.contrast), own)
    }

    /// Returns which of `TILES²` tiles may contain bone or a gap. The other tiles, about half of a crop,
    /// need no distances per pixel.
    fn tiles_with_bone(&self, size: usize, section: &Section) -> Vec<bool> {
        let side = size as f32 / TILES as f32;
        // From a tile's centre to its corner, plus margins for the stretch of the shapes, the width
        // of an edge and a fragment's shift.
        let slide: f32 = self.gaps.iter().map(|g| g.slide.abs()).sum();
        let most = 1.5 * side * (2.0 / size as f32) + 0.05 + slide;
        let middle = |at: usize| (at as f32 + 0.5) * side - 0.5;
        (0..TILES * TILES)
            .map(|i| {
                let p = self.point(picture(size, middle(i / TILES), middle(i % TILES)));
                section.distance(p).min(section.foreign(p)) < most
            })
            .collect()
    }

    /// Draws muscle and fat without edges, `[size, size]`, interpolated from a coarse grid.
    fn soft_tissue(&self, size: usize, t: f32) -> Vec<f32> {
        let cells = size.div_ceil(SOFT) + 1;
        let scale = 6.0 * SOFT as f32 / size as f32;
        let grid: Vec<f32> = (0..cells * cells)
            .map(|i| {
                let [x, y] = [(i % cells) as f32 * scale, (i / cells) as f32 * scale];
                self.soft
                    + 8.0 * self.noise([x, y, t * 2.0 + 1.0])
                    + 6.0 * self.noise([x * 2.3, y * 2.3, t * 2.0 + 5.0])
            })
            .collect();
        (0..size * size)
            .map(|i| {
                let [x, y] = [i % size, i / size];
                let [fx, fy] = [x, y].map(|a| (a % SOFT) as f32 / SOFT as f32);
                let corner = y / SOFT * cells + x / SOFT;
                let row = |at: usize| lerp(grid[at], grid[at + 1], fx);
                lerp(row(corner), row(corner + cells), fy)
            })
            .collect()
    }

    /// Noise of one pixel, about −7..7.
    fn grain(&self, at: u32, z: u32) -> f32 {
        let h = mix(at ^ mix(z ^ self.seed));
        ((h & 0xff) + (h >> 8 & 0xff) + (h >> 16 & 0xff)) as f32 * (14.0 / 765.0) - 7.0
    }

    /// Smooth noise, −1..1, on a lattice of spacing 1.
    fn noise(&self, p: [f32; 3]) -> f32 {
        let floor = p.map(f32::floor);
        let [fx, fy, fz]: [f32; 3] = std::array::from_fn(|i| smooth(p[i] - floor[i]));
        let [x, y, z] = floor.map(|x| x as i32 as usize);
        let at = |x: usize, y: usize, z: usize| {
            self.lattice[(z % LATTICE * LATTICE + y % LATTICE) * LATTICE + x % LATTICE]
        };
        let row = |y: usize, z: usize| lerp(at(x, y, z), at(x.wrapping_add(1), y, z), fx);
        let layer = |z: usize| lerp(row(y, z), row(y.wrapping_add(1), z), fy);
        lerp(layer(z), layer(z.wrapping_add(1)), fz)
    }
}

/// Draws one or two gaps: the first through the body (C1: the front of its ring), the second through
/// the arch. C1's ring always breaks in two places.
fn fracture(level: &Level, vertebra: usize, rng: &mut ChaCha8Rng) -> Vec<Gap> {
    let (first, second) = sites(vertebra);
    let second = if vertebra == 0 || rng.random() { second } else { &[] };
    [first, second]
        .into_iter()
        .filter_map(|sites| {
            sites.choose(rng).copied().map(|site| Gap::draw(level, site, sign(rng), rng))
        })
        .collect()
}

/// A fast approximation of a sine, −1..1, with the same period.
fn wave(x: f32) -> f32 {
    let turn = x * (0.5 / std::f32::consts::PI);
    let t = turn - turn.floor() - 0.5;
    16.0 * t * (t.abs() - 0.5)
}

fn lerp(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

fn smooth(t: f32) -> f32 {
    t * t * (3.0 - 2.0 * t)
}

/// Scrambles 32 bits (Chris Wellons, "Prospecting for hash functions": lowbias32).
fn mix(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x7feb_352d);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846c_a68b);
    x ^ x >> 16
}
