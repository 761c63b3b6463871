//! The stem of two 3×3 convolutions of stride 2. Each is a product over windows, for some images and
//! some rows of their maps at a time, so that the windows stay in a thread's caches or fit into GPU
//! memory.

use super::patch::{self, multiply, multiply_backward};
use crate::net::description::Affine;
use crate::net::device_ops::{In, Ops, Out, Windows, cpu::WINDOWS};
use std::ops::Range;

/// Work buffers, except the windows.
#[derive(Default)]
pub(super) struct Work<B> {
    /// After the first convolution, [images, S/2, S/2, M], and its gradient.
    middle: B,
    d_middle: B,
}

/// Those buffers, and the patches'.
type Works<'w, O> =
    (&'w mut Work<<O as Ops>::Inner>, &'w mut patch::Work<<O as Ops>::Inner, <O as Ops>::Wide>);

/// Shape of the images, and the channels between the convolutions and after them.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) images: [usize; 4],
    pub(super) middle: usize,
    pub(super) out: usize,
}

/// Number of values in [`Work`] and the windows, for an image of `size`² on the CPU.
pub(super) fn work_values(size: usize, middle: usize) -> usize {
    2 * (size / 2) * (size / 2) * middle + 2 * (WINDOWS + size / 4) * 9 * middle
}

/// Splits the windows of `images` maps [h, w, c] by rows into pieces.
fn pieces<O: Ops>(
    ops: &O,
    images: usize,
    [h, w, c]: [usize; 3],
) -> impl Iterator<Item = Windows> + use<O> {
    let all = images * (h / 2);
    let (_, rows) = ops.windows_at_once(images, h / 2, w / 2);
    (0..all).step_by(rows).map(move |y| Windows { h, w, c, rows: y..(y + rows).min(all) })
}

/// Splits the images into groups that run together.
fn groups<O: Ops>(
    ops: &O,
    [n, h, w, _]: [usize; 4],
) -> impl Iterator<Item = Range<usize>> + use<O> {
    let (images, _) = ops.windows_at_once(n, h / 2, w / 2);
    (0..n).step_by(images).map(move |i| i..(i + images).min(n))
}

/// Maps [h, w, c] to [h/2, w/2, width], for some maps.
fn convolve<O: Ops>(
    ops: &mut O,
    weights: &Affine<O::Weight>,
    maps: (usize, [usize; 3], usize),
    map: In<O::Inner>,
    (out, to): Out<O::Inner>,
    rows: &mut O::Inner,
) {
    let (images, shape, width) = maps;
    for windows in pieces(ops, images, shape) {
        ops.fit(rows, windows.values());
        ops.windows(map.clone(), &windows, rows);
        let to = places(&windows, to.start, width);
        multiply(ops, weights, [windows.count(), width, 9 * windows.c], rows, (out, to));
    }
}

/// Range of the windows' results, `width` values each, if all results start at `start`.
fn places(windows: &Windows, start: usize, width: usize) -> Range<usize> {
    let row = windows.w / 2 * width;
    start + windows.rows.start * row..start + windows.rows.end * row
}

/// Maps images [n, S, S, in] to [n, S/4, S/4, C]: `pre` before the norm, `out` after it.
pub(super) fn stem<O: Ops>(
    ops: &mut O,
    (first, second): (&Affine<O::Weight>, &Affine<O::Weight>),
    norm: &Affine<O::Weight>,
    sizes: Sizes,
    images: &O::Inner,
    (pre, out): (&mut O::Inner, &mut O::Inner),
    (own, work): Works<O>,
) {
    let Sizes { images: [n, h, w, c], middle: m, out: width } = sizes;
    let (h2, w2, each) = (h / 2, w / 2, h / 4 * (w / 4) * width);
    for group in groups(ops, sizes.images) {
        let (k, middle) = (group.len(), &mut own.middle);
        let between = 0..k * h2 * w2 * m;
        ops.fit(middle, between.end);
        let (of, rows) = (h * w * c, &mut work.patches);
        let image = (images, group.start * of..group.end * of);
        convolve(ops, first, (k, [h, w, c], m), image, (middle, between.clone()), rows);
        let to = (&mut *pre, group.start * each..group.end * each);
        convolve(ops, second, (k, [h2, w2, m], width), (middle, between), to, rows);
    }
    ops.spare(&mut own.middle);
    work.spare(ops);
    ops.norm(norm, width, (pre, 0..n * each), (out, 0..n * each));
}

/// Adds the gradients of the stem's weights, given `g`, the gradient of its result; the images need no
/// gradient. Recomputes the first convolution, which costs a fiftieth of the encoder's products, rather
/// than keep the largest map.
pub(super) fn stem_backward<O: Ops>(
    ops: &mut O,
    (first, second): (&Affine<O::Weight>, &Affine<O::Weight>),
    (first_grads, second_grads): (&mut Affine<O::Sum>, &mut Affine<O::Sum>),
    norms: (O::Weight, &mut Affine<O::Sum>),
    sizes: Sizes,
    (images, pre, g): (&O::Inner, &O::Inner, &O::Inner),
    (own, work): Works<O>,
) {
    let Sizes { images: [n, h, w, c], middle: m, out: width } = sizes;
    let (h2, w2, each) = (h / 2, w / 2, h / 4 * (w / 4) * width);
    patch::stem_norm_backward(ops, norms, (n * each / width, width), pre, g, work);
    let Work { middle, d_middle } = own;
    for group in groups(ops, sizes.images) {
        let (k, of) = (group.len(), h * w * c);
        let between = 0..k * h2 * w2 * m;
        let image = (images, group.start * of..group.end * of);
        ops.fit(middle, between.end);
        ops.fit(d_middle, between.end);
        let to = (&mut *middle, between.clone());
        convolve(ops, first, (k, [h, w, c], m), image.clone(), to, &mut work.patches);
        ops.zero((d_middle, between.clone()));
        for windows in pieces(ops, k, [h2, w2, m]) {
            let size = [windows.count(), width, 9 * m];
            let dz = (&work.dz, places(&windows, group.start * each, width));
            ops.fit(&mut work.patches, windows.values());
            ops.windows((middle, between.clone()), &windows, &mut work.patches);
            multiply_backward(ops, second_grads, size, &work.patches, dz.clone());
            ops.fit(&mut work.d_patches, windows.values());
            let to = (&mut work.d_patches, 0..windows.values());
            ops.product_by_input(size, dz, second.weight, to);
            ops.add_windows(&work.d_patches, &windows, (d_middle, between.clone()));
        }
        for windows in pieces(ops, k, [h, w, c]) {
            let g = (&*d_middle, places(&windows, 0, m));
            ops.fit(&mut work.patches, windows.values());
            ops.windows(image.clone(), &windows, &mut work.patches);
            multiply_backward(ops, first_grads, [windows.count(), m, 9 * c], &work.patches, g);
        }
    }
    [middle, d_middle].into_iter().for_each(|buffer| ops.spare(buffer));
    work.spare(ops);
}
