//! Depthwise 7×7 convolution, stride 1, padding 3, channels last, with bias.

use super::{Float, float::mul_add, lanes::Lanes};
use crate::simd::vectorised;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

const K: usize = 7;
const PAD: usize = K / 2;
/// Channels of a tile: one AVX-512 register of f32, two AVX2 ones.
const LANES: usize = 16;

#[derive(Clone, Copy)]
struct Dims {
    n: usize,
    h: usize,
    w: usize,
    c: usize,
}

impl Dims {
    fn tiles(&self) -> usize {
        self.c.div_ceil(LANES)
    }
    /// Returns image, first channel and number of channels of the i-th tile.
    fn tile(&self, i: usize) -> (usize, usize, usize) {
        let c0 = (i % self.tiles()) * LANES;
        (i / self.tiles(), c0, LANES.min(self.c - c0))
    }
    /// Returns the first element of pixel `p` of the i-th tile, and the number of channels.
    fn at(&self, i: usize, p: usize) -> (usize, usize) {
        let (n, c0, valid) = self.tile(i);
        ((n * self.h * self.w + p) * self.c + c0, valid)
    }
}

/// Packs one image's channel tile with a border of zeros, [(H+6), (W+6), LANES].
fn pack<R: Float>(x: &[R], d: Dims, n: usize, c0: usize, valid: usize, out: &mut Vec<R>) {
    let wp = d.w + 2 * PAD;
    out.clear();
    out.resize((d.h + 2 * PAD) * wp * LANES, R::zero());
    for y in 0..d.h {
        for xx in 0..d.w {
            let from = ((n * d.h + y) * d.w + xx) * d.c + c0;
            let to = ((y + PAD) * wp + xx + PAD) * LANES;
            out[to..to + valid].copy_from_slice(&x[from..from + valid]);
        }
    }
}

#[inline(always)]
fn lanes<R>(x: &[R], at: usize) -> &[R; LANES] {
    x[at..at + LANES].try_into().expect("a slice of LANES elements")
}

/// a · b + c, each of [LANES].
#[inline(always)]
fn multiply_add<S: Simd, R: Float>(
    a: &[R; LANES],
    b: &[R; LANES],
    mut c: [R; LANES],
) -> [R; LANES] {
    for t in 0..LANES {
        c[t] = mul_add::<S, R>(a[t], b[t], c[t]);
    }
    c
}

/// Convolves one packed tile into `out` [H, W, LANES].
struct ConvTile<'a, R> {
    packed: &'a [R],
    weight: &'a [[R; LANES]; K * K],
    bias: [R; LANES],
    out: &'a mut [R],
    d: Dims,
}

/// Defines a method of [`ConvTile`] for a few neighbouring pixels of row `y` from column `x`, with one
/// variable per sum: the compiler would keep an array of sums in memory and work on single values.
macro_rules! pixels {
    ($name:ident: $($p:literal $sum:ident),*) => {
        #[inline(always)]
        fn $name<S: Simd>(&mut self, y: usize, x: usize) {
            let wp = self.d.w + 2 * PAD;
            $(let mut $sum = self.bias;)*
            let n = [$($p),*].len();
            for i in 0..K {
                let row = &self.packed[((y + i) * wp + x) * LANES..][..(n + K - 1) * LANES];
                for j in 0..K {
                    let w = &self.weight[i * K + j];
                    let row = &row[j * LANES..][..n * LANES];
                    $($sum = multiply_add::<S, R>(lanes(row, $p * LANES), w, $sum);)*
                }
            }
            let at = (y * self.d.w + x) * LANES;
            let out = &mut self.out[at..at + n * LANES];
            $(out[$p * LANES..($p + 1) * LANES].copy_from_slice(&$sum);)*
        }
    };
}

impl<R: Float> ConvTile<'_, R> {
    pixels!(one: 0 s0);
    pixels!(four: 0 s0, 1 s1, 2 s2, 3 s3);
    pixels!(seven: 0 s0, 1 s1, 2 s2, 3 s3, 4 s4, 5 s5, 6 s6);

    /// Works on as many pixels at once as have their sums in registers, next to the weights and pixels.
    #[inline(always)]
    fn run<S: Simd>(mut self) {
        let at_once = if S::F32_LANES >= 16 { 7 } else { 4 };
        let width = self.d.w;
        for y in 0..self.d.h {
            let mut x = 0;
            while x < width {
                if width < at_once {
                    self.one::<S>(y, x);
                    x += 1;
                    continue;
                }
                // At the end of a row, repeat some pixels instead of a loop for the rest.
                x = x.min(width - at_once);
                match at_once {
                    7 => self.seven::<S>(y, x),
                    _ => self.four::<S>(y, x),
                }
                x += at_once;
            }
        }
    }
}

impl<R: Float> WithSimd for ConvTile<'_, R> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.run::<S>();
    }
}

/// Sums over the pixels g · shifted x, and g: [50, LANES].
struct WeightTile<'a, R> {
    packed: &'a [R],
    /// [H, W, LANES]
    grad: &'a [R],
    d: Dims,
}

impl<R: Float> WithSimd for WeightTile<'_, R> {
    type Output = [[R; LANES]; K * K + 1];
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Self::Output {
        let wp = self.d.w + 2 * PAD;
        let mut out = [[R::zero(); LANES]; K * K + 1];
        for i in 0..K {
            // Separate variables, so that each stays in a register.
            let [mut s0, mut s1, mut s2, mut s3, mut s4, mut s5, mut s6] = [[R::zero(); LANES]; K];
            for y in 0..self.d.h {
                let row = &self.packed[(y + i) * wp * LANES..][..wp * LANES];
                let grads = &self.grad[y * self.d.w * LANES..][..self.d.w * LANES];
                let windows = row.windows(K * LANES).step_by(LANES);
                for (g, pixels) in grads.chunks_exact(LANES).zip(windows) {
                    let g = lanes(g, 0);
                    s0 = multiply_add::<S, R>(g, lanes(pixels, 0), s0);
                    s1 = multiply_add::<S, R>(g, lanes(pixels, LANES), s1);
                    s2 = multiply_add::<S, R>(g, lanes(pixels, 2 * LANES), s2);
                    s3 = multiply_add::<S, R>(g, lanes(pixels, 3 * LANES), s3);
                    s4 = multiply_add::<S, R>(g, lanes(pixels, 4 * LANES), s4);
                    s5 = multiply_add::<S, R>(g, lanes(pixels, 5 * LANES), s5);
                    s6 = multiply_add::<S, R>(g, lanes(pixels, 6 * LANES), s6);
                }
            }
            let sums = [s0, s1, s2, s3, s4, s5, s6];
            out[i * K..(i + 1) * K].copy_from_slice(&sums);
        }
        for g in self.grad.chunks_exact(LANES) {
            for t in 0..LANES {
                out[K * K][t] += g[t];
            }
        }
        out
    }
}

/// A pointer that rayon's threads share; each writes its own channels.
#[derive(Clone, Copy)]
struct Shared<R>(*mut R);
// SAFETY: tiles write disjoint elements (see the uses).
unsafe impl<R> Send for Shared<R> {}
unsafe impl<R> Sync for Shared<R> {}
impl<R> Shared<R> {
    fn get(&self) -> *mut R {
        self.0
    }
}

/// Work buffers of a thread.
#[derive(Debug, Default)]
pub(crate) struct Space<R> {
    /// A packed tile of the input.
    packed: Vec<R>,
    /// A tile of the output, or of its gradient, [H, W, LANES].
    tile: Vec<R>,
}

impl<R: Float> Space<R> {
    fn fit(&mut self, d: Dims) {
        self.tile.resize(d.h * d.w * LANES, R::zero());
    }
}

/// Constants of all tiles of the convolution, or with `flip` of its input's gradient.
#[derive(Clone, Copy)]
struct Convolution<'a, R> {
    x: &'a [R],
    weight: &'a [R],
    bias: Option<&'a [R]>,
    d: Dims,
    flip: bool,
}

impl<R: Float> Convolution<'_, R> {
    /// Computes tile `i` into `space`.
    fn tile(&self, i: usize, space: &mut Space<R>) {
        let d = self.d;
        let (n, c0, valid) = d.tile(i);
        space.fit(d);
        pack(self.x, d, n, c0, valid, &mut space.packed);
        let mut w = [[R::zero(); LANES]; K * K];
        for (k, w) in w.iter_mut().enumerate() {
            let from = if self.flip { K * K - 1 - k } else { k } * d.c + c0;
            w[..valid].copy_from_slice(&self.weight[from..from + valid]);
        }
        let mut b = [R::zero(); LANES];
        if let Some(bias) = self.bias {
            b[..valid].copy_from_slice(&bias[c0..c0 + valid]);
        }
        let (packed, out) = (&space.packed[..], &mut space.tile[..]);
        vectorised(ConvTile { packed, weight: &w, bias: b, out, d });
    }

    /// Computes all tiles into `out`.
    fn run(&self, lanes: Lanes, spaces: &mut Vec<Space<R>>, out: &mut [R]) {
        let d = self.d;
        assert_eq!([self.x.len(), out.len()], [d.n * d.h * d.w * d.c; 2]);
        let out = Shared(out.as_mut_ptr());
        each_lane(lanes, spaces, |lane, space| {
            for i in lanes.range(lane, d.n * d.tiles()) {
                self.tile(i, space);
                for (p, from) in space.tile.chunks_exact(LANES).enumerate() {
                    let (at, valid) = d.at(i, p);
                    // SAFETY: pixel p of tile i, `valid` channels, is inside `out`, and only this tile
                    // writes it.
                    let to = unsafe { std::slice::from_raw_parts_mut(out.get().add(at), valid) };
                    to.copy_from_slice(&from[..valid]);
                }
            }
        });
    }
}

/// Convolves `x` [n, h, w, c] with `weight` [49, c], and adds `bias` [c]; `out` has the length of `x`.
pub(crate) fn forward_shared<R: Float>(
    lanes: Lanes,
    x: &[R],
    [weight, bias]: [&[R]; 2],
    [n, h, w, c]: [usize; 4],
    spaces: &mut Vec<Space<R>>,
    out: &mut [R],
) {
    let d = Dims { n, h, w, c };
    Convolution { x, weight, bias: Some(bias), d, flip: false }.run(lanes, spaces, out);
}

/// Its backward pass: adds the gradient of `x` to `grad_x`, and those of weight and bias to
/// `grad_weight` [49, c] and `grad_bias` [c].
#[allow(clippy::too_many_arguments)]
pub(crate) fn backward_shared<R: Float>(
    lanes: Lanes,
    x: &[R],
    weight: &[R],
    grad: &[R],
    [n, h, w, c]: [usize; 4],
    spaces: &mut Vec<Space<R>>,
    grad_x: &mut [R],
    [grad_weight, grad_bias]: [&mut [R]; 2],
) {
    let d = Dims { n, h, w, c };
    assert_eq!([x.len(), grad.len(), grad_x.len()], [n * h * w * c; 3]);
    assert_eq!([grad_weight.len(), grad_bias.len()], [K * K * c, c]);
    let convolution = Convolution { x: grad, weight, bias: None, d, flip: true };
    let shared = [grad_x, grad_weight, grad_bias].map(|to| Shared(to.as_mut_ptr()));
    // SAFETY: each lane has its own channels, for all images and in all three buffers; `at` and `valid`
    // below stay inside the lengths asserted above.
    let add = |to: &Shared<R>, at: usize, values: &[R]| unsafe {
        let to = std::slice::from_raw_parts_mut(to.get().add(at), values.len());
        to.iter_mut().zip(values).for_each(|(to, &v)| *to += v);
    };
    each_lane(lanes, spaces, |lane, space| {
        let [grad_x, grad_weight, grad_bias] = &shared;
        let tiles = lanes.range(lane, d.tiles());
        for i in (0..n).flat_map(|n| tiles.clone().map(move |t| n * d.tiles() + t)) {
            let (_, c0, valid) = d.tile(i);
            convolution.tile(i, space);
            for (p, from) in space.tile.chunks_exact(LANES).enumerate() {
                add(grad_x, d.at(i, p).0, &from[..valid]);
            }
            let part = weight_tile(x, grad, d, i, space);
            let (bias, weights) = part.split_last().expect("50 rows");
            for (k, row) in weights.iter().enumerate() {
                add(grad_weight, k * c + c0, &row[..valid]);
            }
            add(grad_bias, c0, &bias[..valid]);
        }
    });
}

/// Runs `f` for each lane, each with its own work buffers.
fn each_lane<R: Float>(
    lanes: Lanes,
    spaces: &mut Vec<Space<R>>,
    f: impl Fn(usize, &mut Space<R>) + Sync,
) {
    if spaces.len() < lanes.0 {
        spaces.resize_with(lanes.0, Space::default);
    }
    let spaces = spaces[..lanes.0].par_iter_mut().with_max_len(1).enumerate();
    spaces.for_each(|(lane, space)| f(lane, space));
}

/// Runs [`WeightTile`] on tile `i`.
fn weight_tile<R: Float>(
    x: &[R],
    grad: &[R],
    d: Dims,
    i: usize,
    space: &mut Space<R>,
) -> [[R; LANES]; K * K + 1] {
    let (n, c0, valid) = d.tile(i);
    space.fit(d);
    pack(x, d, n, c0, valid, &mut space.packed);
    for (p, to) in space.tile.chunks_exact_mut(LANES).enumerate() {
        let (at, valid) = d.at(i, p);
        to[..valid].copy_from_slice(&grad[at..at + valid]);
        to[valid..].fill(R::zero());
    }
    vectorised(WeightTile { packed: &space.packed, grad: &space.tile, d })
}
