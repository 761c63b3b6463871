//! All layers, over groups of images side by side.

use super::weights::{Net, each};
use super::{EPS, block, patch};
use crate::net::Spec;
use crate::net::ops::{Real, layer_norm};
use rayon::prelude::*;
use std::ops::Range;

/// Pixels of a group's first maps, about: so many that the last stage's few pixels are worth its
/// large weights.
const GROUP_PIXELS: usize = 8192;
/// Images of a group, at least.
const GROUP_IMAGES: usize = 4;

/// Threads at most: each sums the gradients of all weights for itself.
const THREADS: usize = 16;

/// Writes images `range` as [n, S, S, in] into the slice.
pub type Fill<'a, R> = &'a (dyn Fn(Range<usize>, &mut [R]) + Sync);

/// The encoder's shape, for images of one size.
#[derive(Debug, Clone)]
pub(super) struct Layers {
    spec: Spec,
    size: usize,
    lengths: Vec<usize>,
    threads: usize,
}

/// What the forward pass keeps of some images.
pub(super) struct Tapes<R> {
    tapes: Vec<Tape<R>>,
    range: Range<usize>,
}

/// Values that a tape holds of one image.
pub(super) fn tape_values(spec: &Spec, size: usize) -> usize {
    let pixels = (size / 4) * (size / 4);
    let of_stage = |s: usize| {
        let map = (pixels >> (2 * s)) * spec.dims[s];
        // Each block's input, and the next downsampling's; the stem's beside.
        map * (spec.depths[s] + usize::from(s < 3) + usize::from(s == 0))
    };
    (0..4).map(of_stage).sum::<usize>() + spec.dims[3]
}

impl<R> Tapes<R> {
    /// Values held.
    #[cfg(test)]
    pub(super) fn values(&self) -> usize {
        let of = |t: &Tape<R>| {
            t.stem.len() + t.maps.iter().map(Vec::len).sum::<usize>() + t.pooled.len()
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
    /// The last map's means, [n, F].
    pooled: Vec<R>,
}

/// What a thread works in.
#[derive(Default)]
struct Work<R> {
    images: Vec<R>,
    block: block::Work<R>,
    patch: patch::Work<R>,
}

impl Layers {
    /// Of `spec` for images of `size`², `lengths` the number of values of each weight in order, on
    /// `threads` threads, at most [`THREADS`].
    pub fn new(spec: &Spec, size: usize, lengths: Vec<usize>, threads: usize) -> Self {
        Self { spec: spec.clone(), size, lengths, threads: threads.clamp(1, THREADS) }
    }

    /// [n, h, w, C] of stage s.
    fn shape(&self, n: usize, s: usize) -> [usize; 4] {
        let side = (self.size / 4) >> s;
        [n, side, side, self.spec.dims[s]]
    }

    fn image_shape(&self, n: usize) -> [usize; 4] {
        [n, self.size, self.size, self.spec.in_channels]
    }

    /// `range` in groups: as even as they can be, and as many as the threads can share.
    fn groups(&self, range: &Range<usize>) -> Vec<Range<usize>> {
        let pixels = (self.size / 4) * (self.size / 4);
        let images = (GROUP_PIXELS / pixels).max(GROUP_IMAGES);
        let n = range.len().div_ceil(images).next_multiple_of(self.threads).min(range.len());
        let at = |i: usize| range.start + range.len() * i / n;
        (0..n).map(|i| at(i)..at(i + 1)).collect()
    }

    /// Features [n, F] of images `range`, and with `keep` what the backward pass needs.
    pub fn forward<R: Real>(
        &self,
        net: &Net<&[R]>,
        fill: Fill<R>,
        range: Range<usize>,
        keep: bool,
    ) -> (Vec<R>, Option<Tapes<R>>) {
        let groups = self.groups(&range);
        let done: Vec<(Vec<R>, Tape<R>)> = groups
            .into_par_iter()
            .with_max_len(1)
            .map_init(Work::default, |work, group| self.group_forward(net, fill, group, keep, work))
            .collect();
        let (features, tapes): (Vec<_>, Vec<_>) = done.into_iter().unzip();
        (features.concat(), keep.then_some(Tapes { tapes, range }))
    }

    fn group_forward<R: Real>(
        &self,
        net: &Net<&[R]>,
        fill: Fill<R>,
        range: Range<usize>,
        keep: bool,
        work: &mut Work<R>,
    ) -> (Vec<R>, Tape<R>) {
        let n = range.len();
        let length = |shape: [usize; 4]| shape.iter().product::<usize>();
        let images = super::space(&mut work.images, length(self.image_shape(n)));
        fill(range.clone(), images);
        let first = length(self.shape(n, 0));
        let (mut pre, mut map) = (vec![R::zero(); first], vec![R::zero(); first]);
        let shape = self.image_shape(n);
        let out = (&mut pre[..], &mut map[..]);
        patch::stem(&net.stem, &net.stem_norm, shape, images, out, &mut work.patch);
        let mut tape = Tape { range, stem: Vec::new(), maps: Vec::new(), pooled: Vec::new() };
        if keep {
            tape.stem = pre;
        }
        let mut next = |map: &mut Vec<R>, out: Vec<R>| {
            let input = std::mem::replace(map, out);
            if keep {
                tape.maps.push(input);
            }
        };
        for (s, stage) in net.stages.iter().enumerate() {
            let shape = self.shape(n, s);
            if let Some((norm, product)) = &stage.downsample {
                let mut out = vec![R::zero(); length(shape)];
                let from = self.shape(n, s - 1);
                patch::downsample((norm, product), from, &map, &mut out, &mut work.patch);
                next(&mut map, out);
            }
            for weights in &stage.blocks {
                let mut out = vec![R::zero(); length(shape)];
                block::forward(weights, shape, &map, &mut out, &mut work.block);
                next(&mut map, out);
            }
        }
        let width = self.spec.dims[3];
        let pixels = map.len() / n / width;
        let mut pooled = vec![R::zero(); n * width];
        for (out, map) in pooled.chunks_exact_mut(width).zip(map.chunks_exact(pixels * width)) {
            map.chunks_exact(width).for_each(|pixel| block::add(out, pixel));
            out.iter_mut().for_each(|v| *v /= R::of(pixels as f64));
        }
        let mut features = vec![R::zero(); n * width];
        let norm = [net.head_norm.weight, net.head_norm.bias];
        layer_norm::forward_here(&pooled, norm, EPS, &mut features);
        tape.pooled = pooled;
        (features, tape)
    }

    /// No gradient yet: zeros for each weight.
    pub fn zeros<R: Real>(&self) -> Vec<Vec<R>> {
        self.lengths.iter().map(|&n| vec![R::zero(); n]).collect()
    }

    /// Adds the gradients of all weights to `sums`, from that of the features of the tapes'
    /// images, `grad` [n, F]. They are right after [`Self::finish`].
    pub fn backward<R: Real>(
        &self,
        net: &Net<&[R]>,
        fill: Fill<R>,
        tapes: Tapes<R>,
        grad: &[R],
        sums: &mut [Vec<R>],
    ) {
        let (width, start) = (self.spec.dims[3], tapes.range.start);
        // Each thread's groups are those of its turn: the sums do not depend on who is faster.
        let mut turns: Vec<Vec<Tape<R>>> = (0..self.threads).map(|_| Vec::new()).collect();
        for (i, tape) in tapes.tapes.into_iter().enumerate() {
            turns[i % self.threads].push(tape);
        }
        let turn = |tapes: Vec<Tape<R>>, sums: &mut [Vec<R>]| {
            let mut work = Work::default();
            for tape in tapes {
                let range = tape.range.start - start..tape.range.end - start;
                let grad = &grad[range.start * width..range.end * width];
                self.group_backward(net, fill, tape, grad, sums, &mut work);
            }
        };
        let others = turns.split_off(1);
        let first = turns.pop().expect("at least one thread");
        let ((), parts) = rayon::join(
            || turn(first, sums),
            || -> Vec<Vec<Vec<R>>> {
                let others = others.into_par_iter().with_max_len(1);
                let others = others.filter(|tapes| !tapes.is_empty());
                let sum = |tapes| {
                    let mut sums = self.zeros();
                    turn(tapes, &mut sums);
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
    }

    /// Makes `sums` the gradients, once [`Self::backward`] has added all images.
    pub fn finish<R: Real>(&self, net: &Net<&[R]>, sums: &mut [Vec<R>]) {
        let mut grads = each(sums, &self.spec.depths);
        for (stage, grads) in net.stages.iter().zip(&mut grads.stages) {
            for (weights, grads) in stage.blocks.iter().zip(&mut grads.blocks) {
                block::finish(weights, grads);
            }
        }
    }

    fn group_backward<R: Real>(
        &self,
        net: &Net<&[R]>,
        fill: Fill<R>,
        mut tape: Tape<R>,
        grad: &[R],
        sums: &mut [Vec<R>],
        work: &mut Work<R>,
    ) {
        let n = tape.range.len();
        let mut grads = each(sums, &self.spec.depths);
        let width = self.spec.dims[3];
        let mut d_pooled = vec![R::zero(); n * width];
        let mut norm = Vec::new();
        patch::norm_backward(
            &net.head_norm,
            &mut grads.head_norm,
            &tape.pooled,
            grad,
            &mut d_pooled,
            &mut norm,
        );
        let [_, h, w, _] = self.shape(n, 3);
        let pixels = h * w;
        let mut g = Vec::with_capacity(n * pixels * width);
        for row in d_pooled.chunks_exact_mut(width) {
            row.iter_mut().for_each(|v| *v /= R::of(pixels as f64));
            (0..pixels).for_each(|_| g.extend_from_slice(row));
        }
        for (s, (stage, grads)) in net.stages.iter().zip(&mut grads.stages).enumerate().rev() {
            let shape = self.shape(n, s);
            for (weights, grads) in stage.blocks.iter().zip(&mut grads.blocks).rev() {
                let x = tape.maps.pop().expect("a map for each layer");
                block::backward(weights, grads, shape, &x, &mut g, &mut work.block);
            }
            if let (Some((norm, product)), Some((norm_grads, grads))) =
                (&stage.downsample, &mut grads.downsample)
            {
                let x = tape.maps.pop().expect("a map for each layer");
                let mut dx = vec![R::zero(); x.len()];
                patch::downsample_backward(
                    (norm, product),
                    (norm_grads, grads),
                    self.shape(n, s - 1),
                    &x,
                    &g,
                    &mut dx,
                    &mut work.patch,
                );
                g = dx;
            }
        }
        let shape = self.image_shape(n);
        let images = super::space(&mut work.images, shape.iter().product());
        fill(tape.range.clone(), images);
        patch::stem_backward(
            &net.stem_norm,
            (&mut grads.stem, &mut grads.stem_norm),
            shape,
            (images, &tape.stem),
            &g,
            &mut work.patch,
        );
    }
}
