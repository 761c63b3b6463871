//! Products over s×s patches: the stem, and the downsampling between stages.

use crate::net::description::Affine;
use crate::net::device_ops::{In, Ops, Out};
use std::ops::Range;

/// Work buffers of a patch layer.
#[derive(Default)]
pub(super) struct Work<B, W> {
    /// After the norm, [n·h·w, C], and its gradient.
    z: B,
    pub(super) dz: B,
    /// One patch per row, and its gradient.
    pub(super) patches: B,
    pub(super) d_patches: B,
    /// Gradients of the norm's weight and bias.
    pub(super) norm: W,
}

impl<B, W> Work<B, W> {
    /// Releases the buffers until the next layer.
    pub(super) fn spare(&mut self, ops: &mut impl Ops<Inner = B>) {
        let Self { z, dz, patches, d_patches, norm: _ } = self;
        [z, dz, patches, d_patches].into_iter().for_each(|buffer| ops.spare(buffer));
    }
}

/// Computes patches · Wᵀ + b into `out` [n·h/s·w/s, C']; `size`: rows, C', s·s·C.
pub(super) fn multiply<O: Ops>(
    ops: &mut O,
    weights: &Affine<O::Weight>,
    size: [usize; 3],
    patches: &O::Inner,
    (out, to): Out<O::Inner>,
) {
    let [rows, width, k] = size;
    ops.product(size, (patches, 0..rows * k), weights.weight, (out, to.clone()));
    ops.add_bias(weights.bias, width, (out, to));
}

/// Adds the gradients of [`multiply`]'s weights, given `g`, the gradient of its result.
pub(super) fn multiply_backward<O: Ops>(
    ops: &mut O,
    grads: &mut Affine<O::Sum>,
    size: [usize; 3],
    patches: &O::Inner,
    g: In<O::Inner>,
) {
    let [rows, width, k] = size;
    ops.column_sums(g.clone(), width, &mut grads.bias);
    ops.product_by_weight(size, g, (patches, 0..rows * k), &mut grads.weight);
}

/// Size of the product over s×s patches of a map of this shape, to `width` channels: rows, width, s·s·C.
fn size([n, h, w, c]: [usize; 4], s: usize, width: usize) -> [usize; 3] {
    [n * (h / s) * (w / s), width, s * s * c]
}

/// Maps images [n, S, S, in] to [n, S/4, S/4, C]: `pre` before the norm, `out` after it.
pub(super) fn stem<O: Ops>(
    ops: &mut O,
    (weights, norm): (&Affine<O::Weight>, &Affine<O::Weight>),
    (shape, width): ([usize; 4], usize),
    (range, images): (Range<usize>, &mut O::Inner),
    (pre, out): (&mut O::Inner, &mut O::Inner),
    work: &mut Work<O::Inner, O::Wide>,
) {
    let size = size(shape, 4, width);
    ops.fit(&mut work.patches, shape.iter().product());
    ops.image_patches(range, shape, 4, images, &mut work.patches);
    let all = 0..size[0] * width;
    multiply(ops, weights, size, &work.patches, (pre, all.clone()));
    work.spare(ops);
    ops.norm(norm, width, (pre, all.clone()), (out, all));
}

/// Adds the gradients of the stem's weights, given `g`, the gradient of its result; the images need no
/// gradient.
pub(super) fn stem_backward<O: Ops>(
    ops: &mut O,
    (norm, norm_grads): (O::Weight, &mut Affine<O::Sum>),
    grads: &mut Affine<O::Sum>,
    (shape, width): ([usize; 4], usize),
    (range, images): (Range<usize>, &mut O::Inner),
    (pre, g): (&O::Inner, &O::Inner),
    work: &mut Work<O::Inner, O::Wide>,
) {
    let size = size(shape, 4, width);
    stem_norm_backward(ops, (norm, norm_grads), (size[0], width), pre, g, work);
    ops.fit(&mut work.patches, shape.iter().product());
    ops.image_patches(range, shape, 4, images, &mut work.patches);
    multiply_backward(ops, grads, size, &work.patches, (&work.dz, 0..size[0] * width));
    work.spare(ops);
}

/// From `g`, the gradient of the stem's result, computes that of its norm's input into the work's `dz`;
/// `n` rows of `c`.
pub(super) fn stem_norm_backward<O: Ops>(
    ops: &mut O,
    (norm, grads): (O::Weight, &mut Affine<O::Sum>),
    (n, c): (usize, usize),
    pre: &O::Inner,
    g: &O::Inner,
    work: &mut Work<O::Inner, O::Wide>,
) {
    let all = 0..n * c;
    ops.fit(&mut work.dz, n * c);
    ops.begin_norm(&mut work.norm, c);
    let (g, dz) = ((g, all.clone()), (&mut work.dz, all.clone()));
    ops.norm_backward(norm, c, (pre, all), g, dz, &mut work.norm);
    ops.end_norm(&work.norm, grads);
}

/// Normalises `x` [n, h, w, C] and writes its 2×2 patches [n·h/2·w/2, 4C] into the work's `patches`.
fn normed_patches<O: Ops>(
    ops: &mut O,
    norm: &Affine<O::Weight>,
    shape: [usize; 4],
    x: &O::Inner,
    work: &mut Work<O::Inner, O::Wide>,
) {
    ops.fit(&mut work.patches, shape.iter().product());
    ops.norm_to_patches(norm, shape, 2, x, &mut work.z, &mut work.patches);
}

/// Maps `x` [n, h, w, C] to `out` [n, h/2, w/2, C']: the norm, then the product over 2×2 patches.
pub(super) fn downsample<O: Ops>(
    ops: &mut O,
    (norm, weights): (&Affine<O::Weight>, &Affine<O::Weight>),
    (shape, width): ([usize; 4], usize),
    (x, out): (&O::Inner, &mut O::Inner),
    work: &mut Work<O::Inner, O::Wide>,
) {
    let size = size(shape, 2, width);
    normed_patches(ops, norm, shape, x, work);
    multiply(ops, weights, size, &work.patches, (out, 0..size[0] * width));
    work.spare(ops);
}

/// The backward pass: from `g`, the gradient of the result, computes that of `x` into `dx`.
pub(super) fn downsample_backward<O: Ops>(
    ops: &mut O,
    (norm, weights): (&Affine<O::Weight>, &Affine<O::Weight>),
    (norm_grads, grads): (&mut Affine<O::Sum>, &mut Affine<O::Sum>),
    (shape, width): ([usize; 4], usize),
    x: &O::Inner,
    (g, dx): (&O::Inner, &mut O::Inner),
    work: &mut Work<O::Inner, O::Wide>,
) {
    let (size, m, c) = (size(shape, 2, width), shape.iter().product::<usize>(), shape[3]);
    normed_patches(ops, norm, shape, x, work);
    let g = (g, 0..size[0] * width);
    multiply_backward(ops, grads, size, &work.patches, g.clone());
    ops.fit(&mut work.d_patches, m);
    ops.product_by_input(size, g, weights.weight, (&mut work.d_patches, 0..m));
    ops.begin_norm(&mut work.norm, c);
    let (xg, dx) = ([x, &work.d_patches], dx);
    let (dz, sums) = (&mut work.dz, &mut work.norm);
    ops.norm_to_patches_backward(norm.weight, (shape, 2), xg, dz, dx, sums);
    ops.end_norm(&work.norm, norm_grads);
    work.spare(ops);
}
