//! The encoder's forward and backward pass by hand.
//!
//! The pass of a group of images (`group` and the layers that it calls) is written over
//! [`super::device_ops`], for any device. On the CPU `layers` takes each group through the whole network
//! on one thread, in buffers that stay in its caches, and runs the groups side by side. On a GPU `card`
//! takes the whole batch at once, or as many images as fit. [`super::convnext`] computes the same
//! network with candle's autograd through our ops: that is what the tests compare this with.
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
#[cfg(feature = "cuda")]
mod card;
mod group;
mod layers;
mod overlap;
mod patch;
#[cfg(test)]
mod tests;
mod weights;

#[cfg(feature = "cuda")]
pub(crate) use card::{Card, ImageSource};
use layers::{Layers, Scratch};
use weights::{net, views};

use super::{
    Classifier, Spec, Stem, buffers::BufferPool, device_ops::HIDDEN, device_ops::cpu::Fill,
    views::Views,
};
#[cfg(feature = "cuda")]
use super::{device_ops::cuda::Compute, ops::gpu::by_type};
use candle_core::{DType, Device, Result, Tensor};
use std::ops::Range;

/// Threads at most: each sums the gradients of all weights for itself.
pub const THREADS: usize = 16;

/// ∂L/∂weight of each, in the parameters' order and layout, f32.
#[derive(Debug, Clone)]
pub enum WeightGradients {
    /// In memory.
    Host(Vec<Vec<f32>>),
    /// On the device.
    Device(Vec<Tensor>),
}

/// The encoder's forward and backward pass over a batch's images, on some device.
pub trait Pass {
    /// What the forward pass keeps of some images.
    type Tapes;
    /// Gradients, summed over images.
    type Sums;

    /// Features [n, F], f32, of images `range`; and what [`Self::backward`] needs of those kept.
    ///
    /// Errors: the device's.
    fn forward(&self, range: Range<usize>, retention: Retention) -> Result<(Tensor, Self::Tapes)>;
    /// The images that something was kept of.
    fn kept(tapes: &Self::Tapes) -> Range<usize>;
    /// No gradient yet.
    ///
    /// Errors: the device's.
    fn sums(&self) -> Result<Self::Sums>;
    /// Adds the gradients for `grad` [n, F], f32, that of the features of the tapes' images.
    ///
    /// Errors: the device's.
    fn backward(&self, tapes: Self::Tapes, grad: &Tensor, sums: &mut Self::Sums) -> Result<()>;
    /// The gradient of each weight of the encoder, once all images are added.
    ///
    /// Errors: the device's.
    fn finish(&self, sums: Self::Sums) -> Result<WeightGradients>;
}

/// An [`Encoder`] and the images of a batch.
pub struct OnCpu<'a> {
    /// The network's encoder.
    pub encoder: Encoder<'a>,
    /// Writes images [n, S, S, in] in 0..=1.
    pub fill: Fill<'a, f32>,
}

impl Pass for OnCpu<'_> {
    type Tapes = Tapes;
    type Sums = Gradients;

    fn forward(&self, range: Range<usize>, retention: Retention) -> Result<(Tensor, Tapes)> {
        let n = range.len();
        let (features, tapes) = self.encoder.forward(self.fill, range, retention)?;
        Ok((Tensor::from_vec(features, (n, ()), &Device::Cpu)?, tapes))
    }

    fn kept(tapes: &Tapes) -> Range<usize> {
        tapes.range()
    }

    fn sums(&self) -> Result<Gradients> {
        Ok(self.encoder.gradients())
    }

    fn backward(&self, tapes: Tapes, grad: &Tensor, sums: &mut Gradients) -> Result<()> {
        let grad = [grad.contiguous()?];
        self.encoder.backward(self.fill, tapes, Views::of(&grad).slices()?[0], sums)
    }

    fn finish(&self, sums: Gradients) -> Result<WeightGradients> {
        Ok(WeightGradients::Host(self.encoder.finish(sums)?))
    }
}

/// Features [n, F] of `images` [n, S, S, in] in 0..=1, and the gradient of each of the encoder's
/// weights for `grad` [n, F], that of the features, by the pass that trains: on `grad`'s device and in
/// type `compute`, on the CPU f32.
///
/// Errors: the device's.
pub fn once(
    model: &Classifier,
    images: &[f32],
    size: usize,
    grad: &Tensor,
    compute: DType,
) -> Result<(Tensor, WeightGradients)> {
    fn run<P: Pass>(pass: &P, grad: &Tensor) -> Result<(Tensor, WeightGradients)> {
        let n = grad.dim(0)?;
        let (features, tapes) = pass.forward(0..n, Retention { inputs: n, inner: 0 })?;
        let mut sums = pass.sums()?;
        pass.backward(tapes, grad, &mut sums)?;
        Ok((features, pass.finish(sums)?))
    }
    #[cfg(feature = "cuda")]
    fn on_card<T: Compute>(
        model: &Classifier,
        batch: (ImageSource, usize),
        at: (&Device, usize),
        grad: &Tensor,
    ) -> Result<(Tensor, WeightGradients)> {
        run(&Card::<T>::new(model, batch, at)?, grad)
    }
    let image = size * size * model.spec.in_channels;
    let fill = |range: Range<usize>, out: &mut [f32]| {
        out.copy_from_slice(&images[range.start * image..range.end * image]);
    };
    #[cfg(feature = "cuda")]
    if grad.device().is_cuda() {
        let (batch, at) = ((ImageSource::Memory(&fill), size), (grad.device(), grad.dim(0)?));
        return by_type!(compute, on_card(model, batch, at, grad));
    }
    if compute != DType::F32 {
        candle_core::bail!("on the CPU the encoder's pass is computed in f32, not {compute:?}")
    }
    let arena = Arena::default();
    run(&OnCpu { encoder: Encoder::new(model, size, &arena), fill: &fill }, grad)
}

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
    pub pool: BufferPool<f32>,
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
pub struct Retention {
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
        retention: Retention,
    ) -> Result<(Vec<f32>, Tapes)> {
        let arena = (&self.arena.pool, &self.arena.scratch);
        let net = net(&self.views, self.layers.weights())?;
        let (features, tapes) = self.layers.forward(&net, fill, range, retention, arena);
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

/// Bytes that [`Retention`] takes of one image: its layers' inputs, its blocks' inner values.
pub fn kept_bytes(spec: &Spec, size: usize) -> (usize, usize) {
    (4 * layers::tape_values(spec, size), 4 * layers::inner_values(spec, size))
}

/// Bytes that a step takes on a GPU, where a value of the compute type has `inner` bytes.
#[derive(Debug, Clone, Copy)]
pub struct OnCard {
    /// The inputs of one image's layers.
    pub inputs: usize,
    /// The inner values of its blocks.
    pub inner: usize,
    /// One image's part of what a block of the first stage is worked on in, in the backward pass.
    block: usize,
    /// The same beside that of each image's hidden values and rows, which are worked on in pieces.
    rows: usize,
    /// That of as many images as a piece has at the most.
    most_rows: usize,
    /// One image's part of what the stem and the first downsampling are worked on in, at the most.
    between: usize,
}

impl OnCard {
    /// For images of `size`².
    pub fn new(spec: &Spec, size: usize, inner: usize) -> Self {
        let (wide, map) = (4, spec.map(size, 0));
        // A map, or a gradient by one.
        let copied = if inner < wide { wide + inner } else { wide };
        let stem = match spec.stem {
            Stem::Patch => 0,
            Stem::Overlap { middle } => 2 * 4 * spec.pixels(size, 0) * middle * inner,
        };
        let images = 2 * size * size * spec.in_channels * inner;
        // The inputs of the stem's norm, of the stage's blocks and of the downsampling.
        let kept = map * inner * (spec.depths[0] + 2);
        // The gradients on both sides of the downsampling, its patches and their gradient.
        let downsampling = map * (copied + copied / 2 + 2 * inner) + kept;
        Self {
            inputs: inner * layers::tape_values(spec, size),
            inner: inner * layers::inner_values(spec, size),
            block: map * (copied + 2 * inner) + kept,
            // Three buffers of 4C and three of C.
            rows: 15 * map * inner,
            most_rows: 15 * HIDDEN / 4 * inner,
            between: downsampling.max(map * (2 * copied + inner) + images + stem),
        }
    }

    /// What `n` images take that are worked on together, with their layers' inputs.
    pub fn at_once(&self, n: usize) -> usize {
        let block = n * self.block + (n * self.rows).min(self.most_rows);
        block.max(n * self.between.max(self.inputs))
    }
}

/// Bytes that a thread works in, about.
pub fn scratch_bytes(spec: &Spec, size: usize) -> usize {
    4 * layers::scratch_values(spec, size)
}
