//! Products over s×s patches: the stem, and the downsampling between stages.

use super::block::add;
use super::space;
use super::weights::{Affine, Sum};
use crate::net::description::EPS;
use crate::net::ops::{Real, lanes::Lanes, layer_norm, product::shared_product};
use rayon::prelude::*;

/// What a group is worked on in.
#[derive(Default)]
pub(super) struct Work<R> {
    /// The threads that share it.
    pub(super) lanes: Lanes,
    /// After the norm, [n·h·w, C], and its gradient.
    z: Vec<R>,
    pub(super) dz: Vec<R>,
    /// A patch a row, and its gradient.
    pub(super) patches: Vec<R>,
    pub(super) d_patches: Vec<R>,
    /// Gradients of the norm's weight and bias.
    pub(super) norm: Vec<R>,
}

/// Calls `row` with the starts of a patch's row of s·C values among the patches and in the map.
fn each_row([n, h, w, c]: [usize; 4], s: usize, mut row: impl FnMut(usize, usize)) {
    let (ph, pw) = (h / s, w / s);
    for y in 0..n * ph {
        for x in 0..pw {
            for i in 0..s {
                row(((y * pw + x) * s + i) * s * c, ((y * s + i) * w + x * s) * c);
            }
        }
    }
}

/// `map` [n, h, w, C] → `patches` [n·h/s·w/s, s·s·C].
fn gather<R: Real>(map: &[R], shape: [usize; 4], s: usize, patches: &mut [R]) {
    let n = s * shape[3];
    each_row(shape, s, |to, from| patches[to..to + n].copy_from_slice(&map[from..from + n]));
}

/// patches · Wᵀ + b → `out` [n·h/s·w/s, C'].
pub(super) fn multiply<R: Real>(
    lanes: Lanes,
    weights: &Affine<&[R]>,
    patches: &[R],
    out: &mut [R],
) {
    let width = weights.bias.len();
    let rows = out.len() / width;
    let k = patches.len() / rows;
    let size = (rows, width, k);
    shared_product(lanes, size, out, width, patches, (k, 1), weights.weight, (1, k), false);
    for row in out.chunks_exact_mut(width) {
        add(row, weights.bias);
    }
}

/// Adds the gradients of [`multiply`]'s weights for the gradient `g` of its result.
pub(super) fn multiply_backward<R: Real>(
    lanes: Lanes,
    grads: &mut Affine<Sum<R>>,
    patches: &[R],
    g: &[R],
) {
    let bias = grads.bias.values();
    let width = bias.len();
    for row in g.chunks_exact(width) {
        add(bias, row);
    }
    let rows = g.len() / width;
    let k = patches.len() / rows;
    let (sum, add) = grads.weight.add_or_begin();
    shared_product(lanes, (width, k, rows), sum, k, g, (1, width), patches, (k, 1), add);
}

/// Images [n, S, S, in] → before the norm `pre`, after it `out`: [n, S/4, S/4, C].
pub(super) fn stem<R: Real>(
    weights: &Affine<&[R]>,
    norm: &Affine<&[R]>,
    shape: [usize; 4],
    images: &[R],
    (pre, out): (&mut [R], &mut [R]),
    work: &mut Work<R>,
) {
    let patches = space(&mut work.patches, images.len());
    gather(images, shape, 4, patches);
    multiply(work.lanes, weights, patches, pre);
    norm_forward(work.lanes, norm, pre, out);
}

/// Adds the gradients of the stem's weights for the gradient `g` of its result. The images need
/// none.
pub(super) fn stem_backward<R: Real>(
    (norm, norm_grads): (&Affine<&[R]>, &mut Affine<Sum<R>>),
    grads: &mut Affine<Sum<R>>,
    shape: [usize; 4],
    (images, pre): (&[R], &[R]),
    g: &[R],
    work: &mut Work<R>,
) {
    let dz = space(&mut work.dz, g.len());
    norm_backward(work.lanes, norm, norm_grads, pre, g, dz, &mut work.norm);
    let patches = space(&mut work.patches, images.len());
    gather(images, shape, 4, patches);
    multiply_backward(work.lanes, grads, patches, dz);
}

/// `x` [n, h, w, C] → norm, 2×2 patches: [n·h/2·w/2, 4C].
fn normed_patches<R: Real>(
    lanes: Lanes,
    norm: &Affine<&[R]>,
    shape: [usize; 4],
    x: &[R],
    z: &mut Vec<R>,
    patches: &mut [R],
) {
    let z = space(z, x.len());
    norm_forward(lanes, norm, x, z);
    gather(z, shape, 2, patches);
}

/// `x` [n, h, w, C] → `out` [n, h/2, w/2, C']: norm, then the product over 2×2 patches.
pub(super) fn downsample<R: Real>(
    (norm, weights): (&Affine<&[R]>, &Affine<&[R]>),
    shape: [usize; 4],
    x: &[R],
    out: &mut [R],
    work: &mut Work<R>,
) {
    let patches = space(&mut work.patches, x.len());
    normed_patches(work.lanes, norm, shape, x, &mut work.z, patches);
    multiply(work.lanes, weights, patches, out);
}

/// The backward pass: from the gradient `g` of the result that by `x` into `dx`.
pub(super) fn downsample_backward<R: Real>(
    (norm, weights): (&Affine<&[R]>, &Affine<&[R]>),
    (norm_grads, grads): (&mut Affine<Sum<R>>, &mut Affine<Sum<R>>),
    shape: [usize; 4],
    x: &[R],
    g: &[R],
    dx: &mut [R],
    work: &mut Work<R>,
) {
    let patches = space(&mut work.patches, x.len());
    normed_patches(work.lanes, norm, shape, x, &mut work.z, patches);
    multiply_backward(work.lanes, grads, patches, g);
    let width = weights.bias.len();
    let (rows, k) = (g.len() / width, 4 * shape[3]);
    let d_patches = space(&mut work.d_patches, x.len());
    let (size, w) = ((rows, k, width), weights.weight);
    shared_product(work.lanes, size, d_patches, k, g, (width, 1), w, (k, 1), false);
    let dz = space(&mut work.dz, x.len());
    let n = 2 * shape[3];
    each_row(shape, 2, |from, to| dz[to..to + n].copy_from_slice(&d_patches[from..from + n]));
    norm_backward(work.lanes, norm, norm_grads, x, dz, dx, &mut work.norm);
}

/// Rows `x` → `out`.
pub(super) fn norm_forward<R: Real>(lanes: Lanes, norm: &Affine<&[R]>, x: &[R], out: &mut [R]) {
    let k = lanes.values(x.len(), norm.weight.len());
    let rows = x.par_chunks(k).zip(out.par_chunks_mut(k));
    rows.for_each(|(x, out)| layer_norm::forward_here(x, [norm.weight, norm.bias], EPS, out));
}

/// LayerNorm's backward pass, from `g` by its result to `dx` by `x`.
pub(super) fn norm_backward<R: Real>(
    lanes: Lanes,
    norm: &Affine<&[R]>,
    grads: &mut Affine<Sum<R>>,
    x: &[R],
    g: &[R],
    dx: &mut [R],
    sums: &mut Vec<R>,
) {
    let c = norm.weight.len();
    let sums = space(sums, 2 * c);
    sums.fill(R::zero());
    let k = lanes.values(x.len(), c);
    let rows = g.par_chunks(k).zip(dx.par_chunks_mut(k));
    lanes.summed(sums, x.par_chunks(k).zip(rows), |(x, (g, dx)), sums| {
        layer_norm::backward_here(x, norm.weight, g, EPS, dx, sums);
    });
    let (weight, bias) = sums.split_at(c);
    add(grads.weight.values(), weight);
    add(grads.bias.values(), bias);
}
