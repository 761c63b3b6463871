//! The whole encoder, forward and backward, over a group of images on any device.

use super::overlap::{self, Sizes};
use super::{block, patch};
use crate::net::description::{Encoder as Net, Stage};
use crate::net::device_ops::Ops;
use crate::net::{Spec, Stem};
use std::ops::Range;

/// The encoder's shape, for images of one size.
#[derive(Debug, Clone)]
pub(super) struct Shapes {
    pub(super) spec: Spec,
    pub(super) size: usize,
}

/// State kept for a group's backward pass.
pub(super) struct Tape<B, W> {
    pub(super) range: Range<usize>,
    /// The input of the stem's norm.
    stem: B,
    /// The input of each block and each downsampling, in order.
    maps: Vec<B>,
    /// Inner values of the last blocks: of all, some or none.
    inner: Vec<block::Inner<B>>,
    /// Means of the last map, [n, F].
    pooled: W,
}

#[cfg(test)]
impl<R> Tape<Vec<R>, Vec<R>> {
    /// Number of values held.
    pub(super) fn values(&self) -> usize {
        let inner = self.inner.iter().map(|i| i.y.len() + i.h.len());
        let maps = self.maps.iter().map(Vec::len);
        self.stem.len() + maps.chain(inner).sum::<usize>() + self.pooled.len()
    }
}

/// Work buffers of a group.
#[derive(Default)]
pub(super) struct Work<B, W> {
    images: B,
    block: block::Work<B, W>,
    patch: patch::Work<B, W>,
    overlap: overlap::Work<B>,
}

/// The tape and work buffers on the device `O`.
type TapeOf<O> = Tape<<O as Ops>::Inner, <O as Ops>::Wide>;
type WorkOf<O> = Work<<O as Ops>::Inner, <O as Ops>::Wide>;

fn length(shape: [usize; 4]) -> usize {
    shape.iter().product()
}

impl Shapes {
    /// Shape of stage s, [n, h, w, C].
    fn stage(&self, n: usize, s: usize) -> [usize; 4] {
        let side = (self.size / 4) >> s;
        [n, side, side, self.spec.dims[s]]
    }

    fn images(&self, n: usize) -> [usize; 4] {
        [n, self.size, self.size, self.spec.in_channels]
    }

    /// Sizes of an overlapping stem.
    fn overlap(&self, n: usize) -> Sizes {
        let middle = match self.spec.stem {
            Stem::Overlap { middle } => middle,
            Stem::Patch => 0,
        };
        Sizes { images: self.images(n), middle, out: self.spec.dims[0] }
    }

    /// Shape of the last map, [n, pixels, C].
    fn last(&self, n: usize) -> [usize; 3] {
        let [n, h, w, c] = self.stage(n, 3);
        [n, h * w, c]
    }

    /// Computes the features [n, F] of images `range`. If `keep`, also returns the tape for the backward
    /// pass: the layers' inputs, and the inner values of all blocks from `inner_from`, counted over all
    /// stages.
    pub(super) fn forward<O: Ops>(
        &self,
        ops: &mut O,
        net: &Net<O::Weight>,
        range: Range<usize>,
        (keep, inner_from): (bool, usize),
        work: &mut WorkOf<O>,
    ) -> (O::Wide, Option<TapeOf<O>>) {
        let n = range.len();
        let (pre, mut map) = self.stem(ops, net, range.clone(), work);
        let (mut maps, mut inner) = (Vec::new(), Vec::new());
        let mut next = |ops: &mut O, map: &mut O::Inner, out: O::Inner| {
            let input = std::mem::replace(map, out);
            match keep {
                true => maps.push(ops.keep(input)),
                false => ops.give(input),
            }
        };
        let mut block = 0;
        for (s, stage) in net.stages.iter().enumerate() {
            let shape = self.stage(n, s);
            let m = length(shape);
            if let Some((norm, product)) = &stage.downsample {
                let mut out = ops.take_map(m);
                let sizes = (self.stage(n, s - 1), shape[3]);
                patch::downsample(ops, (norm, product), sizes, (&map, &mut out), &mut work.patch);
                next(ops, &mut map, out);
            }
            for weights in &stage.blocks {
                let mut out = ops.take_map(m);
                let keep_inner = block >= inner_from;
                let mut kept =
                    keep_inner.then(|| block::Inner { y: ops.take(m), h: ops.take(4 * m) });
                block += 1;
                let maps = (&map, &mut out);
                block::forward(ops, weights, shape, maps, &mut work.block, kept.as_mut());
                inner.extend(kept);
                next(ops, &mut map, out);
            }
        }
        let pooled = ops.pool(&map, self.last(n));
        ops.give(map);
        let features = ops.norm_wide(&net.head_norm, self.spec.dims[3], &pooled, n);
        if keep {
            return (features, Some(Tape { range, stem: pre, maps, inner, pooled }));
        }
        ops.give(pre);
        ops.give_wide(pooled);
        (features, None)
    }

    /// Maps images `range` to the input of the stem's norm and the first map.
    fn stem<O: Ops>(
        &self,
        ops: &mut O,
        net: &Net<O::Weight>,
        range: Range<usize>,
        work: &mut WorkOf<O>,
    ) -> (O::Inner, O::Inner) {
        let (n, images) = (range.len(), &mut work.images);
        let (shape, first) = (self.images(n), length(self.stage(n, 0)));
        let (mut pre, mut map) = (ops.take(first), ops.take_map(first));
        let out = (&mut pre, &mut map);
        match &net.second {
            None => {
                let (sizes, images) = ((shape, self.spec.dims[0]), (range, images));
                let weights = (&net.stem, &net.stem_norm);
                patch::stem(ops, weights, sizes, images, out, &mut work.patch);
            }
            Some(second) => {
                ops.fit(images, length(shape));
                ops.images(range, (images, 0..length(shape)));
                let (weights, norm) = ((&net.stem, second), &net.stem_norm);
                let work = (&mut work.overlap, &mut work.patch);
                overlap::stem(ops, weights, norm, self.overlap(n), images, out, work);
            }
        }
        ops.spare(&mut work.images);
        (pre, map)
    }

    /// Adds the gradients of all weights to `grads`, given `grad` [n, F], the gradient of the features
    /// of the tape's images.
    pub(super) fn backward<O: Ops>(
        &self,
        ops: &mut O,
        net: &Net<O::Weight>,
        mut tape: TapeOf<O>,
        grad: O::Wide,
        grads: &mut Net<O::Sum>,
        work: &mut WorkOf<O>,
    ) {
        let (n, width) = (tape.range.len(), self.spec.dims[3]);
        let norm = net.head_norm.weight;
        let g = ops.norm_wide_backward(norm, width, &tape.pooled, (grad, n), &mut grads.head_norm);
        ops.give_wide(tape.pooled);
        let mut g = ops.pool_backward(g, self.last(n));
        for (s, (stage, grads)) in net.stages.iter().zip(&mut grads.stages).enumerate().rev() {
            let kept = (&mut tape.maps, &mut tape.inner);
            g = self.stage_backward(ops, (stage, grads), (n, s), kept, g, work);
        }
        let (shape, images) = (self.images(n), &mut work.images);
        let norms = (net.stem_norm.weight, &mut grads.stem_norm);
        match (&net.second, &mut grads.second) {
            (Some(second), Some(grads_second)) => {
                ops.fit(images, length(shape));
                ops.images(tape.range, (images, 0..length(shape)));
                let (weights, grads) = ((&net.stem, second), (&mut grads.stem, grads_second));
                let maps = (&*images, &tape.stem, &g);
                let work = (&mut work.overlap, &mut work.patch);
                overlap::stem_backward(ops, weights, grads, norms, self.overlap(n), maps, work);
            }
            _ => {
                let (sizes, images) = ((shape, self.spec.dims[0]), (tape.range, images));
                let (grads, maps) = (&mut grads.stem, (&tape.stem, &g));
                patch::stem_backward(ops, norms, grads, sizes, images, maps, &mut work.patch);
            }
        }
        ops.spare(&mut work.images);
        ops.give(tape.stem);
        ops.give(g);
    }

    /// Turns the gradient `g` of a stage's result into that of its input; uses up the kept state of its
    /// layers from the end. `at`: number of images, and stage.
    fn stage_backward<O: Ops>(
        &self,
        ops: &mut O,
        (stage, grads): (&Stage<O::Weight>, &mut Stage<O::Sum>),
        (n, s): (usize, usize),
        (maps, inner): (&mut Vec<O::Inner>, &mut Vec<block::Inner<O::Inner>>),
        mut g: O::Inner,
        work: &mut WorkOf<O>,
    ) -> O::Inner {
        let shape = self.stage(n, s);
        for (weights, grads) in stage.blocks.iter().zip(&mut grads.blocks).rev() {
            let x = maps.pop().expect("a map for each layer");
            let mut inner = inner.pop();
            let work = &mut work.block;
            block::backward(ops, weights, grads, shape, (&x, &mut g), work, inner.as_mut());
            ops.give(x);
            if let Some(block::Inner { y, h }) = inner {
                ops.give(y);
                ops.give(h);
            }
        }
        let (Some((norm, product)), Some((norm_grads, grads))) =
            (&stage.downsample, &mut grads.downsample)
        else {
            return g;
        };
        let x = maps.pop().expect("a map for each layer");
        let before = self.stage(n, s - 1);
        let mut dx = ops.take_map(length(before));
        patch::downsample_backward(
            ops,
            (norm, product),
            (norm_grads, grads),
            (before, shape[3]),
            &x,
            (&g, &mut dx),
            &mut work.patch,
        );
        ops.give(x);
        ops.give(g);
        dx
    }
}
