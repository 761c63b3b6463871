//! A ConvNeXt block: depthwise 7×7, norm, fourfold MLP with GELU, layer scale, residual.

use crate::net::description::Block;
use crate::net::device_ops::{In, Ops, Out};
use std::ops::Range;

/// Work buffers of a block.
#[derive(Default)]
pub(super) struct Work<B, W> {
    /// After the convolution, [M, C].
    y: B,
    /// Gradient of `y`, [M, C].
    dy: B,
    /// After the norm, for a piece of the rows.
    z: B,
    /// Gradient of `z`, for a piece of the rows.
    dz: B,
    /// Before the GELU, after it, and its gradient, for a piece of the rows, [rows, 4C].
    h: B,
    a: B,
    da: B,
    /// After the MLP, or the gradient times gamma, for a piece of the rows, [rows, C].
    o: B,
    /// Gradients of the norm's weight and bias.
    norm: W,
}

impl<B, W> Work<B, W> {
    /// Releases the buffers until the next block.
    fn spare(&mut self, ops: &mut impl Ops<Inner = B>) {
        let Self { y, dy, z, dz, h, a, da, o, norm: _ } = self;
        [y, dy, z, dz, h, a, da, o].into_iter().for_each(|buffer| ops.spare(buffer));
    }
}

/// Splits the rows into ranges of nearly equal length.
fn pieces<O: Ops>(ops: &O, rows: usize, c: usize) -> impl Iterator<Item = Range<usize>> + use<O> {
    let n = ops.pieces(rows, c);
    (0..n).map(move |i| rows * i / n..rows * (i + 1) / n)
}

/// Maps rows after the convolution, `y` [n, C], to those after the norm, `z` [n, C], and after the first
/// product without its bias, `h` [n, 4C].
fn hidden<O: Ops>(
    ops: &mut O,
    weights: &Block<O::Weight>,
    [n, c]: [usize; 2],
    y: In<O::Inner>,
    z: &mut O::Inner,
    h: Out<O::Inner>,
) {
    ops.fit(z, n * c);
    ops.norm(&weights.norm, c, y, (z, 0..n * c));
    ops.product([n, 4 * c, c], (z, 0..n * c), weights.fc1.weight, h);
}

/// Intermediate values that a forward pass may keep for its backward pass; otherwise that recomputes
/// them.
pub(super) struct Inner<B> {
    /// After the convolution, [M, C].
    pub(super) y: B,
    /// After the first product, without its bias, [M, 4C].
    pub(super) h: B,
}

/// Maps `x` to `out`, both of `shape` [n, h, w, C], and fills `inner`.
pub(super) fn forward<O: Ops>(
    ops: &mut O,
    weights: &Block<O::Weight>,
    shape: [usize; 4],
    (x, out): (&O::Inner, &mut O::Inner),
    work: &mut Work<O::Inner, O::Wide>,
    mut inner: Option<&mut Inner<O::Inner>>,
) {
    let (c, m) = (shape[3], shape.iter().product::<usize>());
    let y = match &mut inner {
        Some(inner) => &mut inner.y,
        None => &mut work.y,
    };
    ops.fit(y, m);
    ops.depthwise(x, &weights.depthwise, shape, y);
    for rows in pieces(ops, m / c, c) {
        let (n, range) = (rows.len(), rows.start * c..rows.end * c);
        let (all, z) = (0..n * 4 * c, &mut work.z);
        let b1 = weights.fc1.bias;
        let a = match &mut inner {
            Some(Inner { y, h }) => {
                let wide = 4 * range.start..4 * range.end;
                hidden(ops, weights, [n, c], (y, range.clone()), z, (h, wide.clone()));
                ops.fit(&mut work.a, n * 4 * c);
                ops.gelu((h, wide), b1, 4 * c, (&mut work.a, all.clone()));
                &work.a
            }
            None => {
                ops.fit(&mut work.h, n * 4 * c);
                let (y, h) = ((&work.y, range.clone()), (&mut work.h, all.clone()));
                hidden(ops, weights, [n, c], y, z, h);
                ops.gelu_in_place((&mut work.h, all.clone()), b1, 4 * c);
                &work.h
            }
        };
        ops.fit(&mut work.o, n * c);
        ops.product([n, c, 4 * c], (a, all), weights.fc2.weight, (&mut work.o, 0..n * c));
        let bias_gamma = [weights.fc2.bias, weights.gamma];
        ops.scale_residual((&work.o, 0..n * c), bias_gamma, c, (x, range.clone()), (out, range));
    }
    work.spare(ops);
}

/// The backward pass: turns `g`, the gradient of the block's result, into that of `x`, and adds the
/// weights' gradients to `grads`. Those of `fc2` and `gamma` are summed without gamma and are correct
/// only after `finish`. Uses up `inner` if it was kept.
pub(super) fn backward<O: Ops>(
    ops: &mut O,
    weights: &Block<O::Weight>,
    grads: &mut Block<O::Sum>,
    shape: [usize; 4],
    (x, g): (&O::Inner, &mut O::Inner),
    work: &mut Work<O::Inner, O::Wide>,
    mut inner: Option<&mut Inner<O::Inner>>,
) {
    let (c, m) = (shape[3], shape.iter().product::<usize>());
    if inner.is_none() {
        ops.fit(&mut work.y, m);
        ops.depthwise(x, &weights.depthwise, shape, &mut work.y);
    }
    ops.fit(&mut work.dy, m);
    ops.begin_norm(&mut work.norm, c);
    for rows in pieces(ops, m / c, c) {
        let (n, range) = (rows.len(), rows.start * c..rows.end * c);
        // Ranges of rows of C and of 4C.
        let (all, wide) = (0..n * c, 0..4 * n * c);
        for buffer in [&mut work.a, &mut work.da] {
            ops.fit(buffer, 4 * n * c);
        }
        for buffer in [&mut work.o, &mut work.dz] {
            ops.fit(buffer, n * c);
        }
        let sizes = [[n, 4 * c, c], [n, c, 4 * c]];
        let (second, gamma) = (weights.fc2.weight, weights.gamma);
        let scaled = (&mut work.o, all.clone());
        ops.scale_backward((&*g, range.clone()), gamma, c, scaled, &mut grads.fc2.bias);
        let to = (&mut work.da, wide.clone());
        ops.product_by_input(sizes[1], (&work.o, all.clone()), second, to);
        // Computed last, so that the hidden values are still in the caches when they are used.
        let (y, h, at) = match &mut inner {
            Some(Inner { y, h }) => {
                let y = (&*y, range.clone());
                ops.fit(&mut work.z, n * c);
                ops.norm(&weights.norm, c, y.clone(), (&mut work.z, all.clone()));
                (y, h, 4 * range.start..4 * range.end)
            }
            None => {
                ops.fit(&mut work.h, 4 * n * c);
                let (y, h) = ((&work.y, range.clone()), (&mut work.h, wide.clone()));
                hidden(ops, weights, [n, c], y.clone(), &mut work.z, h);
                (y, &mut work.h, wide.clone())
            }
        };
        let (a, da) = (&mut work.a, &mut work.da);
        let first = &weights.fc1;
        let (recomputed, of_a) = ((&mut *a, wide.clone()), (&mut *da, wide.clone()));
        ops.gelu_backward((h, at), first.bias, 4 * c, recomputed, of_a, &mut grads.fc1.bias);
        // `finish` multiplies by gamma.
        let of_rows = (&*g, range.clone());
        ops.product_by_weight(sizes[1], of_rows, (a, wide.clone()), &mut grads.fc2.weight);
        let z = (&work.z, all.clone());
        ops.product_by_weight(sizes[0], (da, wide.clone()), z, &mut grads.fc1.weight);
        ops.product_by_input(sizes[0], (da, wide), first.weight, (&mut work.dz, all.clone()));
        let (dz, dy) = ((&work.dz, all), (&mut work.dy, range));
        ops.norm_backward(weights.norm.weight, c, y, dz, dy, &mut work.norm);
    }
    ops.end_norm(&work.norm, &mut grads.norm);
    let (weight, sums) = (weights.depthwise.weight, &mut grads.depthwise);
    ops.depthwise_backward(x, weight, &work.dy, shape, g, sums);
    work.spare(ops);
}
