//! The encoder on the CPU: groups of images run in parallel.

use super::group::{self, Shapes};
use super::weights::{self, Net, Weight};
use super::{Retention, THREADS, overlap};
use crate::net::device_ops::cpu::{self, Cpu, Fill};
use crate::net::ops::{Float, depthwise::Space, lanes::Lanes};
use crate::net::{Spec, Stem, buffers::BufferPool};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Approximate number of pixels in a group's first maps: large enough that the last stage's few pixels
/// make good use of its large weights.
const GROUP_PIXELS: usize = 8192;
/// Fewest images of a group.
const GROUP_IMAGES: usize = 4;

/// The encoder's description, for images of one size.
#[derive(Debug, Clone)]
pub(super) struct Layers {
    shapes: Shapes,
    weights: Net<Weight>,
    threads: usize,
}

/// The tape of one group.
type Tape<R> = group::Tape<Vec<R>, Vec<R>>;

/// State kept by the forward pass for some images.
pub struct Tapes<R> {
    tapes: Vec<Tape<R>>,
    range: Range<usize>,
}

/// Returns the number of values that a tape holds per image.
pub(super) fn tape_values(spec: &Spec, size: usize) -> usize {
    let of_stage = |s: usize| {
        // Inputs of each block and of the next downsampling, and the stem's.
        spec.map(size, s) * (spec.depths[s] + usize::from(s < 3) + usize::from(s == 0))
    };
    (0..4).map(of_stage).sum::<usize>() + spec.dims[3]
}

/// Estimates the number of values in a thread's work buffers: images and their patches, a block's maps
/// before and after its convolution, maps between layers, and buffers for a piece of the rows.
pub(super) fn scratch_values(spec: &Spec, size: usize) -> usize {
    let pixels = spec.pixels(size, 0);
    let images = (GROUP_PIXELS / pixels).max(GROUP_IMAGES);
    let stem = match spec.stem {
        Stem::Patch => 0,
        Stem::Overlap { middle } => overlap::work_values(size, middle),
    };
    images * (2 * size * size * spec.in_channels + 6 * pixels * spec.dims[0]) + stem + (1 << 20)
}

/// Returns the number of values in [`block::Inner`] per image, for all blocks.
pub(super) fn inner_values(spec: &Spec, size: usize) -> usize {
    (0..4).map(|s| spec.map(size, s) * 5 * spec.depths[s]).sum()
}

impl<R> Tapes<R> {
    /// Images that have tapes.
    pub(super) fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// Number of values held.
    #[cfg(test)]
    pub(super) fn values(&self) -> usize {
        self.tapes.iter().map(Tape::values).sum()
    }
}

/// Work buffers of the threads, reused from step to step.
#[derive(Default)]
pub(super) struct Scratch<R>(Mutex<Vec<Work<R>>>);

/// Work buffers of one group.
#[derive(Default)]
struct Work<R> {
    group: group::Work<Vec<R>, Vec<R>>,
    spaces: Vec<Space<R>>,
}

impl<R: Float> Scratch<R> {
    /// Runs `f` with work buffers of its own, on this thread and, if there are several `lanes`, on
    /// others.
    fn with<'a, T: Send>(
        &self,
        lanes: Lanes,
        fill: Fill<'a, R>,
        pool: &'a BufferPool<R>,
        f: impl FnOnce(&mut Cpu<'a, R>, &mut group::Work<Vec<R>, Vec<R>>) -> T + Send,
    ) -> T {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Work { mut group, spaces } = lock().pop().unwrap_or_default();
        let mut cpu = Cpu { lanes, pool, fill, spaces };
        let result = match lanes.0 {
            1 => f(&mut cpu, &mut group),
            // Enter rayon's thread pool once, so that each kernel need not wake it from outside.
            _ => rayon::scope(|_| f(&mut cpu, &mut group)),
        };
        lock().push(Work { group, spaces: cpu.spaces });
        result
    }
}

impl Layers {
    /// Builds the encoder of `spec` for images of `size`², on `threads` threads, at most [`THREADS`].
    pub fn new(spec: &Spec, size: usize, threads: usize) -> Self {
        let threads = threads.clamp(1, THREADS);
        let shapes = Shapes { spec: spec.clone(), size };
        Self { shapes, weights: Net::new(spec), threads }
    }

    /// Returns the encoder's description.
    pub fn weights(&self) -> &Net<Weight> {
        &self.weights
    }

    /// Number of threads that share a group of `range`: all, if there are fewer images than threads.
    fn lanes(&self, range: &Range<usize>) -> Lanes {
        Lanes(if range.len() < self.threads { self.threads } else { 1 })
    }

    /// Splits `range` into groups of nearly equal size, as many as keep all threads busy.
    fn groups(&self, range: &Range<usize>) -> Vec<Range<usize>> {
        let pixels = self.shapes.spec.pixels(self.shapes.size, 0);
        let images = (GROUP_PIXELS / pixels).max(GROUP_IMAGES);
        let n = range.len().div_ceil(images).next_multiple_of(self.threads).min(range.len());
        let n = if self.lanes(range).0 > 1 { 1 } else { n };
        let at = |i: usize| range.start + range.len() * i / n;
        (0..n).map(|i| at(i)..at(i + 1)).collect()
    }

    /// Computes the features [n, F] of images `range`, and keeps the state of the first of them.
    pub fn forward<R: Float>(
        &self,
        net: &Net<&[R]>,
        fill: Fill<R>,
        range: Range<usize>,
        retention: Retention,
        (pool, scratch): (&BufferPool<R>, &Scratch<R>),
    ) -> (Vec<R>, Tapes<R>) {
        let (start, lanes) = (range.start, self.lanes(&range));
        let done: Vec<(Vec<R>, Option<Tape<R>>)> = self
            .groups(&range)
            .into_par_iter()
            .with_max_len(1)
            .map(|group| {
                let end = group.end - start;
                let inner_from = if end <= retention.inner { 0 } else { usize::MAX };
                let keep = (end <= retention.inputs, inner_from);
                scratch.with(lanes, fill, pool, |cpu, work| {
                    self.shapes.forward(cpu, net, group, keep, work)
                })
            })
            .collect();
        let (features, tapes): (Vec<Vec<R>>, Vec<_>) = done.into_iter().unzip();
        let tapes: Vec<_> = tapes.into_iter().flatten().collect();
        let end = tapes.last().map_or(start, |t| t.range.end);
        let all = features.concat();
        features.into_iter().for_each(|buffer| pool.give(buffer));
        (all, Tapes { tapes, range: start..end })
    }

    /// Allocates a buffer of arbitrary values for the gradient of each weight.
    pub fn empty<R: Float>(&self, pool: &BufferPool<R>) -> Vec<Vec<R>> {
        let mut sums = Vec::new();
        self.weights.each(|weight| sums.push(pool.take(weight.count())));
        sums
    }

    /// Adds the gradients of all weights to `sums` (or overwrites them if `empty`), given `grad` [n, F],
    /// the gradient of the features of the tapes' images. They are correct after [`Self::finish`].
    pub fn backward<R: Float>(
        &self,
        net: &Net<&[R]>,
        fill: Fill<R>,
        tapes: Tapes<R>,
        grad: &[R],
        (sums, empty): (&mut [Vec<R>], bool),
        (pool, scratch): (&BufferPool<R>, &Scratch<R>),
    ) {
        let (width, start) = (self.shapes.spec.dims[3], tapes.range.start);
        let lanes = self.lanes(&tapes.range);
        // Groups are assigned to threads in turn, so the sums do not depend on timing.
        let mut turns: Vec<Vec<Tape<R>>> = (0..self.threads).map(|_| Vec::new()).collect();
        for (i, tape) in tapes.tapes.into_iter().enumerate() {
            turns[i % self.threads].push(tape);
        }
        let turn = |tapes: Vec<Tape<R>>, sums: &mut [Vec<R>], mut empty: bool| {
            for tape in tapes {
                let range = tape.range.start - start..tape.range.end - start;
                let mut of_group = pool.take(range.len() * width);
                of_group.copy_from_slice(&grad[range.start * width..range.end * width]);
                let mut sums = weights::sums(sums, &self.weights, empty);
                scratch.with(lanes, fill, pool, |cpu, work| {
                    self.shapes.backward(cpu, net, tape, of_group, &mut sums, work);
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
                cpu::add(sum, &part[i]);
            }
        });
        parts.into_iter().flatten().for_each(|buffer| pool.give(buffer));
    }

    /// Completes the gradients in `sums`, once [`Self::backward`] has added all images.
    pub fn finish<R: Float>(&self, net: &Net<&[R]>, sums: &mut [Vec<R>]) {
        let mut grads = weights::sums(sums, &self.weights, false);
        let blocks = net.stages.iter().flat_map(|stage| &stage.blocks);
        let grads = grads.stages.iter_mut().flat_map(|stage| &mut stage.blocks);
        let blocks: Vec<_> = blocks.zip(grads).collect();
        let blocks = blocks.into_par_iter().with_max_len(1);
        blocks.for_each(|(weights, grads)| cpu::finish(weights, grads));
    }
}
