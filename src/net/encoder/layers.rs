//! All layers, over groups of images side by side.

use super::weights::{self, Net, Sum, Weight};
use super::{Keep, THREADS, block, overlap, patch};
use crate::net::ops::{Real, lanes::Lanes, layer_norm};
use crate::net::{Spec, Stem, description::EPS, pool::Pool};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Pixels of a group's first maps, about: so many that the last stage's few pixels are worth its
/// large weights.
const GROUP_PIXELS: usize = 8192;
/// Images of a group, at least.
const GROUP_IMAGES: usize = 4;

/// Writes images `range` as [n, S, S, in] into the slice.
pub type Fill<'a, R> = &'a (dyn Fn(Range<usize>, &mut [R]) + Sync);

/// The encoder's shape, for images of one size.
#[derive(Debug, Clone)]
pub(super) struct Layers {
    spec: Spec,
    size: usize,
    weights: Net<Weight>,
    threads: usize,
}

/// What the forward pass keeps of some images.
pub(super) struct Tapes<R> {
    tapes: Vec<Tape<R>>,
    range: Range<usize>,
}

/// Values that a tape holds of one image.
pub(super) fn tape_values(spec: &Spec, size: usize) -> usize {
    let of_stage = |s: usize| {
        // Each block's input, and the next downsampling's; the stem's beside.
        spec.map(size, s) * (spec.depths[s] + usize::from(s < 3) + usize::from(s == 0))
    };
    (0..4).map(of_stage).sum::<usize>() + spec.dims[3]
}

/// Values that a thread works in, about: images and their patches, a block's maps before and after
/// its convolution, the maps on their way, and what it takes of some rows.
pub(super) fn scratch_values(spec: &Spec, size: usize) -> usize {
    let pixels = spec.pixels(size, 0);
    let images = (GROUP_PIXELS / pixels).max(GROUP_IMAGES);
    let stem = match spec.stem {
        Stem::Patch => 0,
        Stem::Overlap { middle } => overlap::work_values(size, middle),
    };
    images * (2 * size * size * spec.in_channels + 6 * pixels * spec.dims[0]) + stem + (1 << 20)
}

/// Values that [`block::Inner`] holds of one image, of all blocks.
pub(super) fn inner_values(spec: &Spec, size: usize) -> usize {
    (0..4).map(|s| spec.map(size, s) * 5 * spec.depths[s]).sum()
}

impl<R> Tapes<R> {
    /// The images they are of.
    pub(super) fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// Values held.
    #[cfg(test)]
    pub(super) fn values(&self) -> usize {
        let of = |t: &Tape<R>| {
            let inner = t.inner.iter().map(|i| i.y.len() + i.h.len());
            let maps = t.maps.iter().map(Vec::len);
            t.stem.len() + maps.chain(inner).sum::<usize>() + t.pooled.len()
        };
        self.tapes.iter().map(of).sum()
    }
}

/// A group's.
struct Tape<R> {
    range: Range<usize>,
    /// Before the stem's norm.
    stem: Vec<R>,
    /// The input of each block and each downsampling, in order.
    maps: Vec<Vec<R>>,
    /// Each block's, or none's.
    inner: Vec<block::Inner<R>>,
    /// The last map's means, [n, F].
    pooled: Vec<R>,
}

/// What threads work in, from step to step.
#[derive(Default)]
pub(super) struct Scratch<R>(Mutex<Vec<Work<R>>>);

impl<R: Real> Scratch<R> {
    /// Runs `f` in what no other group is worked on in, on this thread and, where `lanes` are
    /// more than one, on others.
    fn with<T: Send>(&self, lanes: Lanes, f: impl FnOnce(&mut Work<R>) -> T + Send) -> T {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut work = lock().pop().unwrap_or_default();
        (work.block.lanes, work.patch.lanes) = (lanes, lanes);
        let result = match lanes.0 {
            1 => f(&mut work),
            // Among rayon's threads, so that each kernel need not wake them from outside.
            _ => rayon::scope(|_| f(&mut work)),
        };
        lock().push(work);
        result
    }
}

/// What a group is worked on in.
#[derive(Default)]
struct Work<R> {
    images: Vec<R>,
    block: block::Work<R>,
    patch: patch::Work<R>,
    overlap: overlap::Work<R>,
}

impl Layers {
    /// Of `spec` for images of `size`², on `threads` threads, at most [`THREADS`].
    pub fn new(spec: &Spec, size: usize, threads: usize) -> Self {
        let threads = threads.clamp(1, THREADS);
        Self { spec: spec.clone(), size, weights: Net::new(spec), threads }
    }

    /// The encoder's description.
    pub fn weights(&self) -> &Net<Weight> {
        &self.weights
    }

    /// [n, h, w, C] of stage s.
    fn shape(&self, n: usize, s: usize) -> [usize; 4] {
        let side = (self.size / 4) >> s;
        [n, side, side, self.spec.dims[s]]
    }

    fn image_shape(&self, n: usize) -> [usize; 4] {
        [n, self.size, self.size, self.spec.in_channels]
    }

    /// Threads that share a group of `range`: all of them, where each could not have an image.
    fn lanes(&self, range: &Range<usize>) -> Lanes {
        Lanes(if range.len() < self.threads { self.threads } else { 1 })
    }

    /// `range` in groups: as even as they can be, and as many as the threads can share.
    fn groups(&self, range: &Range<usize>) -> Vec<Range<usize>> {
        let pixels = (self.size / 4) * (self.size / 4);
        let images = (GROUP_PIXELS / pixels).max(GROUP_IMAGES);
        let n = range.len().div_ceil(images).next_multiple_of(self.threads).min(range.len());
        let n = if self.lanes(range).0 > 1 { 1 } else { n };
        let at = |i: usize| range.start + range.len() * i / n;
        (0..n).map(|i| at(i)..at(i + 1)).collect()
    }

    /// Features [n, F] of images `range`, and what is kept of the first of them.
    pub fn forward<R: Real>(
        &self,
        net: &Net<&[R]>,
        fill: Fill<R>,
        range: Range<usize>,
        keep: Keep,
        (pool, scratch): (&Pool<R>, &Scratch<R>),
    ) -> (Vec<R>, Tapes<R>) {
        let (start, lanes) = (range.start, self.lanes(&range));
        let done: Vec<(Vec<R>, Option<Tape<R>>)> = self
            .groups(&range)
            .into_par_iter()
            .with_max_len(1)
            .map(|group| {
                let end = group.end - start;
                let keep = (end <= keep.inputs, end <= keep.inner);
                scratch.with(lanes, |work| self.group_forward(net, fill, group, keep, pool, work))
            })
            .collect();
        let (features, tapes): (Vec<_>, Vec<_>) = done.into_iter().unzip();
        let tapes: Vec<_> = tapes.into_iter().flatten().collect();
        let end = tapes.last().map_or(start, |t| t.range.end);
        (features.concat(), Tapes { tapes, range: start..end })
    }

    fn group_forward<R: Real>(
        &self,
        net: &Net<&[R]>,
        fill: Fill<R>,
        range: Range<usize>,
        (keep, keep_inner): (bool, bool),
        pool: &Pool<R>,
        work: &mut Work<R>,
    ) -> (Vec<R>, Option<Tape<R>>) {
        let n = range.len();
        let length = |shape: [usize; 4]| shape.iter().product::<usize>();
        let images = super::space(&mut work.images, length(self.image_shape(n)));
        fill(range.clone(), images);
        let first = length(self.shape(n, 0));
        let (mut pre, mut map) = (pool.take(first), pool.take(first));
        let shape = self.image_shape(n);
        let out = (&mut pre[..], &mut map[..]);
        match &net.second {
            None => patch::stem(&net.stem, &net.stem_norm, shape, images, out, &mut work.patch),
            Some(second) => {
                let (products, work) = ((&net.stem, second), (&mut work.overlap, &mut work.patch));
                overlap::stem(products, &net.stem_norm, shape, images, out, work);
            }
        }
        let (mut maps, mut inner) = (Vec::new(), Vec::new());
        let mut next = |map: &mut Vec<R>, out: Vec<R>| {
            let input = std::mem::replace(map, out);
            match keep {
                true => maps.push(input),
                false => pool.give(input),
            }
        };
        for (s, stage) in net.stages.iter().enumerate() {
            let shape = self.shape(n, s);
            let m = length(shape);
            if let Some((norm, product)) = &stage.downsample {
                let mut out = pool.take(m);
                let from = self.shape(n, s - 1);
                patch::downsample((norm, product), from, &map, &mut out, &mut work.patch);
                next(&mut map, out);
            }
            for weights in &stage.blocks {
                let mut out = pool.take(m);
                let mut kept =
                    keep_inner.then(|| block::Inner { y: pool.take(m), h: pool.take(4 * m) });
                block::forward(weights, shape, &map, &mut out, &mut work.block, kept.as_mut());
                inner.extend(kept);
                next(&mut map, out);
            }
        }
        let width = self.spec.dims[3];
        let pixels = map.len() / n / width;
        let mut pooled = pool.zeros(n * width);
        for (out, map) in pooled.chunks_exact_mut(width).zip(map.chunks_exact(pixels * width)) {
            map.chunks_exact(width).for_each(|pixel| block::add(out, pixel));
            out.iter_mut().for_each(|v| *v /= R::of(pixels as f64));
        }
        pool.give(map);
        let mut features = vec![R::zero(); n * width];
        let norm = [net.head_norm.weight, net.head_norm.bias];
        layer_norm::forward_here(&pooled, norm, EPS, &mut features);
        if keep {
            return (features, Some(Tape { range, stem: pre, maps, inner, pooled }));
        }
        pool.give(pre);
        pool.give(pooled);
        (features, None)
    }

    /// For the gradient of each weight: any values at all.
    pub fn empty<R: Real>(&self, pool: &Pool<R>) -> Vec<Vec<R>> {
        let mut sums = Vec::new();
        self.weights.each(|weight| sums.push(pool.take(weight.count())));
        sums
    }

    /// Adds the gradients of all weights to `sums` (or begins with them if `empty`), from that of the
    /// features of the tapes' images, `grad` [n, F]. They are right after [`Self::finish`].
    pub fn backward<R: Real>(
        &self,
        net: &Net<&[R]>,
        fill: Fill<R>,
        tapes: Tapes<R>,
        grad: &[R],
        (sums, empty): (&mut [Vec<R>], bool),
        (pool, scratch): (&Pool<R>, &Scratch<R>),
    ) {
        let (width, start) = (self.spec.dims[3], tapes.range.start);
        let lanes = self.lanes(&tapes.range);
        // Each thread's groups are those of its turn: the sums do not depend on who is faster.
        let mut turns: Vec<Vec<Tape<R>>> = (0..self.threads).map(|_| Vec::new()).collect();
        for (i, tape) in tapes.tapes.into_iter().enumerate() {
            turns[i % self.threads].push(tape);
        }
        let turn = |tapes: Vec<Tape<R>>, sums: &mut [Vec<R>], mut empty: bool| {
            for tape in tapes {
                let range = tape.range.start - start..tape.range.end - start;
                let grad = &grad[range.start * width..range.end * width];
                let sums = weights::sums(sums, &self.weights, empty);
                scratch.with(lanes, |work| {
                    self.group_backward(net, fill, tape, grad, sums, pool, work);
                });
                empty = false;
            }
        };
        let others = turns.split_off(1);
        let first = turns.pop().expect("at least one thread");
        let ((), parts) = rayon::join(
            || turn(first, sums, empty),
            || -> Vec<Vec<Vec<R>>> {
                let others = others.into_par_iter().with_max_len(1);
                let others = others.filter(|tapes| !tapes.is_empty());
                let sum = |tapes| {
                    let mut sums = self.empty(pool);
                    turn(tapes, &mut sums, true);
                    sums
                };
                others.map(sum).collect()
            },
        );
        sums.par_iter_mut().enumerate().for_each(|(i, sum)| {
            for part in &parts {
                block::add(sum, &part[i]);
            }
        });
        parts.into_iter().flatten().for_each(|buffer| pool.give(buffer));
    }

    /// Makes `sums` the gradients, once [`Self::backward`] has added all images.
    pub fn finish<R: Real>(&self, net: &Net<&[R]>, sums: &mut [Vec<R>]) {
        let mut grads = weights::sums(sums, &self.weights, false);
        let blocks = net.stages.iter().flat_map(|stage| &stage.blocks);
        let grads = grads.stages.iter_mut().flat_map(|stage| &mut stage.blocks);
        let blocks: Vec<_> = blocks.zip(grads).collect();
        let blocks = blocks.into_par_iter().with_max_len(1);
        blocks.for_each(|(weights, grads)| block::finish(weights, grads));
    }

    #[allow(clippy::too_many_arguments)]
    fn group_backward<R: Real>(
        &self,
        net: &Net<&[R]>,
        fill: Fill<R>,
        mut tape: Tape<R>,
        grad: &[R],
        mut grads: Net<Sum<R>>,
        pool: &Pool<R>,
        work: &mut Work<R>,
    ) {
        let n = tape.range.len();
        let width = self.spec.dims[3];
        let mut d_pooled = vec![R::zero(); n * width];
        let mut norm = Vec::new();
        patch::norm_backward(
            work.patch.lanes,
            &net.head_norm,
            &mut grads.head_norm,
            &tape.pooled,
            grad,
            &mut d_pooled,
            &mut norm,
        );
        let [_, h, w, _] = self.shape(n, 3);
        let pixels = h * w;
        pool.give(std::mem::take(&mut tape.pooled));
        let mut g = pool.take(n * pixels * width);
        let maps = g.chunks_exact_mut(pixels * width);
        for (row, map) in d_pooled.chunks_exact_mut(width).zip(maps) {
            row.iter_mut().for_each(|v| *v /= R::of(pixels as f64));
            map.chunks_exact_mut(width).for_each(|pixel| pixel.copy_from_slice(row));
        }
        for (s, (stage, grads)) in net.stages.iter().zip(&mut grads.stages).enumerate().rev() {
            let shape = self.shape(n, s);
            for (weights, grads) in stage.blocks.iter().zip(&mut grads.blocks).rev() {
                let x = tape.maps.pop().expect("a map for each layer");
                let mut inner = tape.inner.pop();
                let work = &mut work.block;
                block::backward(weights, grads, shape, &x, &mut g, work, inner.as_mut());
                pool.give(x);
                if let Some(block::Inner { y, h }) = inner {
                    pool.give(y);
                    pool.give(h);
                }
            }
            if let (Some((norm, product)), Some((norm_grads, grads))) =
                (&stage.downsample, &mut grads.downsample)
            {
                let x = tape.maps.pop().expect("a map for each layer");
                let mut dx = pool.take(x.len());
                patch::downsample_backward(
                    (norm, product),
                    (norm_grads, grads),
                    self.shape(n, s - 1),
                    &x,
                    &g,
                    &mut dx,
                    &mut work.patch,
                );
                pool.give(x);
                pool.give(std::mem::replace(&mut g, dx));
            }
        }
        let shape = self.image_shape(n);
        let images = super::space(&mut work.images, shape.iter().product());
        fill(tape.range.clone(), images);
        let norms = (&net.stem_norm, &mut grads.stem_norm);
        let maps = (&*images, &tape.stem[..]);
        match (&net.second, &mut grads.second) {
            (Some(second), Some(grads_second)) => overlap::stem_backward(
                (&net.stem, second),
                (&mut grads.stem, grads_second),
                norms,
                shape,
                maps,
                &g,
                (&mut work.overlap, &mut work.patch),
            ),
            _ => {
                patch::stem_backward(norms, &mut grads.stem, shape, maps, &g, &mut work.patch);
            }
        }
        pool.give(tape.stem);
        pool.give(g);
    }
}
