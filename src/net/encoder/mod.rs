//! The encoder's forward and backward pass by hand.
//!
//! The pass of a group of images (`group` and the layers that it calls) is written over
//! [`super::device_ops`], for any device. The CPU is the only one so far: `layers` takes each group
//! through the whole network on one thread, in buffers that stay in its caches, and runs the groups
//! side by side. [`super::convnext`] computes the same network with candle's autograd through our
//! ops: that is what other devices run, and what the tests compare this with.
//!
//! Against autograd this spares zeros and sums for every edge, a pass through memory for each op,
//! and, since a layer keeps only its input, the second forward pass of chunking wherever the inputs
//! of all layers fit into memory.
//!
//! Where a block's inner values are not kept too, its backward pass computes the depthwise
//! convolution, the norm and the first product again: 7 products of M·C·4C instead of 6.
//!
//! The images are split among as many groups as there are threads, and a group's gradients are
//! summed in its own order, so the result is the same to the bit for one number of threads; with
//! another number the sums are rounded differently.

mod block;
mod group;
mod layers;
mod overlap;
mod patch;
#[cfg(test)]
mod tests;
mod weights;

use layers::{Layers, Scratch};
use weights::{net, views};

use super::{Classifier, Spec, Stem, device_ops::cpu::Fill, pool::Pool, views::Views};
use candle_core::Result;
use std::ops::Range;

/// Threads at most: each sums the gradients of all weights for itself.
pub const THREADS: usize = 16;

/// A network's encoder on the CPU, for images of one size, in f32.
pub struct Encoder<'a> {
    views: Views<'a>,
    layers: Layers,
    arena: &'a Arena,
}

/// Buffers that go from step to step.
#[derive(Default)]
pub struct Arena {
    /// Activations and gradients.
    pub pool: Pool<f32>,
    /// For the tests: bytes of activations that a step may plan with; more is refused as a card's
    /// allocator would refuse it, in mid-step.
    pub limit: Option<usize>,
    scratch: Scratch<f32>,
}

impl Arena {
    /// For the tests: with [`Self::limit`].
    pub fn limited(bytes: usize) -> Self {
        Self { limit: Some(bytes), ..Self::default() }
    }
}

/// How many of some images, the first ones, the forward pass keeps something of for the backward
/// pass. It is counted in whole groups: never more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keep {
    /// Images of which every layer's input is kept: no second forward pass.
    pub inputs: usize,
    /// Those among them of which each block's inner values are kept too: 6 products of M·C·4C a
    /// block in the backward pass's place of 7, for four and a half times the memory.
    pub inner: usize,
}

/// What the forward pass keeps of some images for the backward pass.
pub struct Tapes(layers::Tapes<f32>);

impl Tapes {
    /// The images that something was kept of.
    pub fn range(&self) -> Range<usize> {
        self.0.range()
    }
}

/// The encoder's gradients, summed over images.
pub struct Gradients {
    sums: Vec<Vec<f32>>,
    /// Nothing is added yet, and the sums hold any values.
    empty: bool,
}

impl<'a> Encoder<'a> {
    /// Of `model`, for images of `size`², on as many threads as rayon has. The weights are locked
    /// for reading as long as this lives.
    pub fn new(model: &'a Classifier, size: usize, arena: &'a Arena) -> Self {
        let layers = Layers::new(&model.spec, size, rayon::current_num_threads());
        let views = views(&model.parameters.trainable, layers.weights());
        Self { views, layers, arena }
    }

    /// Features [n, F] of images `range`, which `fill` writes as [n, S, S, in] in 0..=1; and what
    /// [`Self::backward`] needs of those kept.
    ///
    /// Errors: the weights are not f32 on the CPU.
    pub fn forward(
        &self,
        fill: Fill<f32>,
        range: Range<usize>,
        keep: Keep,
    ) -> Result<(Vec<f32>, Tapes)> {
        let arena = (&self.arena.pool, &self.arena.scratch);
        let net = net(&self.views, self.layers.weights())?;
        let (features, tapes) = self.layers.forward(&net, fill, range, keep, arena);
        Ok((features, Tapes(tapes)))
    }

    /// No gradient yet.
    pub fn gradients(&self) -> Gradients {
        Gradients { sums: self.layers.empty(&self.arena.pool), empty: true }
    }

    /// Adds the gradients for `grad` [n, F], that of the features of the tapes' images.
    ///
    /// Errors: the weights are not f32 on the CPU.
    pub fn backward(
        &self,
        fill: Fill<f32>,
        tapes: Tapes,
        grad: &[f32],
        sums: &mut Gradients,
    ) -> Result<()> {
        if tapes.range().is_empty() {
            return Ok(());
        }
        let arena = (&self.arena.pool, &self.arena.scratch);
        let net = net(&self.views, self.layers.weights())?;
        let empty = std::mem::replace(&mut sums.empty, false);
        self.layers.backward(&net, fill, tapes.0, grad, (&mut sums.sums, empty), arena);
        Ok(())
    }

    /// The gradient of each weight, in the parameters' order, once all images are added.
    ///
    /// Errors: the weights are not f32 on the CPU.
    pub fn finish(&self, mut sums: Gradients) -> Result<Vec<Vec<f32>>> {
        if sums.empty {
            sums.sums.iter_mut().for_each(|sum| sum.fill(0.0));
        }
        self.layers.finish(&net(&self.views, self.layers.weights())?, &mut sums.sums);
        Ok(sums.sums)
    }
}

/// Bytes that [`Keep`] takes of one image: its layers' inputs, its blocks' inner values.
pub fn kept_bytes(spec: &Spec, size: usize) -> (usize, usize) {
    (4 * layers::tape_values(spec, size), 4 * layers::inner_values(spec, size))
}

/// Bytes that candle's autograd keeps of one image from the forward pass to the backward pass, and
/// those of the largest layer's gradients beside them, where a value of the compute type has `inner`
/// bytes; counted from the ops, not measured.
pub fn graph_bytes(spec: &Spec, size: usize, inner: usize) -> usize {
    let (pixels, wide) = (spec.pixels(size, 0), 4);
    // A copy in the other type, where there are two.
    let narrowed = if inner < wide { inner } else { 0 };
    let widened = if inner < wide { wide } else { 0 };
    let map = |s: usize| spec.map(size, s);
    // A block's: its input in the compute type, after the convolution, the norm, each product and
    // GELU (3 of C and 2 of 4C); and its result.
    let block = narrowed + 11 * inner + wide;
    let blocks: usize = (0..4).map(|s| map(s) * block * spec.depths[s]).sum();
    // A downsampling's norm, patches and result.
    let between = |s: usize| map(s - 1) * (wide + narrowed + inner) + map(s) * (inner + widened);
    let between: usize = (1..4).map(between).sum();
    let images = size * size * spec.in_channels;
    // Before the norm and after it.
    let norm = map(0) * (inner + widened + wide);
    let (stem, stem_gradients) = match spec.stem {
        Stem::Patch => (2 * images * inner + norm, 0),
        // The images' windows; of the map between, its product and bias, its two dimensions in
        // pairs and threes, its windows and the copy of them in a row; and gradients of the three
        // last at once.
        Stem::Overlap { middle } => {
            let between = 4 * pixels * middle;
            let values = images + images * 9 / 4 + between * 37 / 4;
            (values * inner + norm, 7 * between * inner)
        }
    };
    // In the backward pass two gradients of 4C and three of C at once.
    blocks + between + stem + stem_gradients.max(map(0) * (8 * inner + 3 * wide))
}

/// Bytes that a thread works in, about.
pub fn scratch_bytes(spec: &Spec, size: usize) -> usize {
    4 * layers::scratch_values(spec, size)
}
