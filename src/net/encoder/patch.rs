//! Products over s×s patches: the stem, and the downsampling between stages.

use super::block::add;
use super::weights::Affine;
use super::{EPS, space};
use crate::net::ops::{Real, layer_norm, product::product};

/// What a thread works in.
#[derive(Default)]
pub(super) struct Work<R> {
    /// After the norm, [n·h·w, C], and its gradient.
    z: Vec<R>,
    dz: Vec<R>,
    /// A patch a row, and its gradient.
    patches: Vec<R>,
    d_patches: Vec<R>,
    /// Gradients of the norm's weight and bias.
    norm: Vec<R>,
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
fn multiply<R: Real>(weights: &Affine<&[R]>, patches: &[R], out: &mut [R]) {
    let width = weights.bias.len();
    let rows = out.len() / width;
    let k = patches.len() / rows;
    product((rows, width, k), out, width, patches, (k, 1), weights.weight, (1, k), false);
    for row in out.chunks_exact_mut(width) {
        add(row, weights.bias);
    }
}

/// Adds the gradients of [`multiply`]'s weights for the gradient `g` of its result.
fn multiply_backward<R: Real>(grads: &mut Affine<&mut [R]>, patches: &[R], g: &[R]) {
    let width = grads.bias.len();
    let rows = g.len() / width;
    let k = patches.len() / rows;
    product((width, k, rows), grads.weight, k, g, (1, width), patches, (k, 1), true);
    for row in g.chunks_exact(width) {
        add(grads.bias, row);
    }
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
    multiply(weights, patches, pre);
    layer_norm::forward_here(pre, [norm.weight, norm.bias], EPS, out);
}

/// Adds the gradients of the stem's weights for the gradient `g` of its result. The images need
/// none.
pub(super) fn stem_backward<R: Real>(
    norm: &Affine<&[R]>,
    (grads, norm_grads): (&mut Affine<&mut [R]>, &mut Affine<&mut [R]>),
    shape: [usize; 4],
    (images, pre): (&[R], &[R]),
    g: &[R],
    work: &mut Work<R>,
) {
    let dz = space(&mut work.dz, g.len());
    norm_backward(norm, norm_grads, pre, g, dz, &mut work.norm);
    let patches = space(&mut work.patches, images.len());
    gather(images, shape, 4, patches);
    multiply_backward(grads, patches, dz);
}

/// `x` [n, h, w, C] → norm, 2×2 patches: [n·h/2·w/2, 4C].
fn normed_patches<R: Real>(
    norm: &Affine<&[R]>,
    shape: [usize; 4],
    x: &[R],
    z: &mut Vec<R>,
    patches: &mut [R],
) {
    let z = space(z, x.len());
    layer_norm::forward_here(x, [norm.weight, norm.bias], EPS, z);
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
    normed_patches(norm, shape, x, &mut work.z, patches);
    multiply(weights, patches, out);
}

/// The backward pass: from the gradient `g` of the result that by `x` into `dx`.
pub(super) fn downsample_backward<R: Real>(
    (norm, weights): (&Affine<&[R]>, &Affine<&[R]>),
    (norm_grads, grads): (&mut Affine<&mut [R]>, &mut Affine<&mut [R]>),
    shape: [usize; 4],
    x: &[R],
    g: &[R],
    dx: &mut [R],
    work: &mut Work<R>,
) {
    let patches = space(&mut work.patches, x.len());
    normed_patches(norm, shape, x, &mut work.z, patches);
    multiply_backward(grads, patches, g);
    let width = weights.bias.len();
    let (rows, k) = (g.len() / width, 4 * shape[3]);
    let d_patches = space(&mut work.d_patches, x.len());
    product((rows, k, width), d_patches, k, g, (width, 1), weights.weight, (k, 1), false);
    let dz = space(&mut work.dz, x.len());
    let n = 2 * shape[3];
    each_row(shape, 2, |from, to| dz[to..to + n].copy_from_slice(&d_patches[from..from + n]));
    norm_backward(norm, norm_grads, x, dz, dx, &mut work.norm);
}

/// LayerNorm's backward pass, from `g` by its result to `dx` by `x`.
pub(super) fn norm_backward<R: Real>(
    norm: &Affine<&[R]>,
    grads: &mut Affine<&mut [R]>,
    x: &[R],
    g: &[R],
    dx: &mut [R],
    sums: &mut Vec<R>,
) {
    let c = norm.weight.len();
    let sums = space(sums, 2 * c);
    sums.fill(R::zero());
    layer_norm::backward_here(x, norm.weight, g, EPS, dx, sums);
    let (weight, bias) = sums.split_at(c);
    add(grads.weight, weight);
    add(grads.bias, bias);
}
