//! The encoder's hand-written forward and backward pass.
//!
//! The pass of a group of images (`group` and the layers it calls) is written over
//! [`super::device_ops`], for any device. On the CPU, `layers` takes each group through the whole
//! network on one thread, in buffers that stay in its caches, and runs the groups in parallel. On a GPU,
//! `card` takes the whole batch at once, or as many images as fit. [`super::convnext`] computes the same
//! network with candle's autograd; the tests compare the two.
//!
//! Compared with autograd, this saves zeroing and summing for every edge and a pass through memory for
//! each op. Since a layer keeps only its input, it also saves the second forward pass of gradient
//! checkpointing whenever the inputs of all layers fit into memory.
//!
//! If a block's inner values are not kept, its backward pass recomputes the depthwise convolution, the
//! norm and the first product: 7 products of M·C·4C instead of 6.
//!
//! Images are split into groups according to the number of threads, and gradients are summed in a fixed
//! order. The result is bit-identical for a given number of threads; another number rounds the sums
//! differently.

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
use layers::{Layers, Scratch, Tapes};
use weights::{Net, net, views};

use super::{
    Classifier, Spec, Stem, buffers::BufferPool, device_ops::HIDDEN, device_ops::cpu::Fill,
    views::Views,
};
#[cfg(feature = "cuda")]
use super::{device_ops::cuda::Compute, ops::gpu::by_type};
use candle_core::{DType, Device, Result, Tensor};
use std::ops::Range;

/// Maximum number of threads: each sums the gradients of all weights separately.
pub const THREADS: usize = 16;

/// ∂L/∂weight of each weight, in the parameters' order and layout, f32.
#[derive(Debug, Clone)]
pub enum WeightGradients {
    /// In host memory.
    Host(Vec<Vec<f32>>),
    /// On the device.
    Device(Vec<Tensor>),
}

/// The encoder's forward and backward pass over a batch's images, on one device.
pub trait Pass {
    /// State kept by the forward pass for some images.
    type Tapes;
    /// Gradients, summed over images.
    type Sums;

    /// Computes the features [n, F], f32, of images `range`, and the state that [`Self::backward`] needs
    /// of those kept.
    ///
    /// Errors: when the device fails.
    fn forward(&self, range: Range<usize>, retention: Retention) -> Result<(Tensor, Self::Tapes)>;
    /// Returns the images whose state was kept.
    fn kept(tapes: &Self::Tapes) -> Range<usize>;
    /// Starts sums without any gradient.
    ///
    /// Errors: when the device fails.
    fn sums(&self) -> Result<Self::Sums>;
    /// Adds the weights' gradients, given `grad` [n, F], f32, the gradient of the features of the tapes'
    /// images.
    ///
    /// Errors: when the device fails.
    fn backward(&self, tapes: Self::Tapes, grad: &Tensor, sums: &mut Self::Sums) -> Result<()>;
    /// Returns the gradient of each weight of the encoder, once all images are added.
    ///
    /// Errors: when the device fails.
    fn finish(&self, sums: Self::Sums) -> Result<WeightGradients>;
}

/// Runs the training pass once: computes the features [n, F] of `images` [n, S, S, in] in 0..=1, and the
/// gradient of each of the encoder's weights, given `grad` [n, F], the features' gradient. Runs on
/// `grad`'s device, in type `compute` on a GPU and in f32 on the CPU.
///
/// Errors: when the device fails.
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
    run(&Encoder::new(model, size, &arena, &fill), grad)
}

/// Buffers reused from step to step.
#[derive(Default)]
pub struct Arena {
    /// Activations and gradients.
    pub pool: BufferPool<f32>,
    /// For tests: limit of a step's planned activations, bytes. A larger plan fails in mid-step, like an
    /// allocation on a GPU.
    pub limit: Option<usize>,
    scratch: Scratch<f32>,
}

impl Arena {
    /// For tests: sets [`Self::limit`].
    pub fn limited(bytes: usize) -> Self {
        Self { limit: Some(bytes), ..Self::default() }
    }
}

/// How many images, counted from the first, keep state for the backward pass. Rounded down to whole
/// groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Images that keep every layer's input, and so need no second forward pass.
    pub inputs: usize,
    /// Images among them that keep each block's inner values too: 6 instead of 7 products of M·C·4C per
    /// block in the backward pass, for 4.5 times the memory.
    pub inner: usize,
}

/// A network's encoder on the CPU, in f32, with the images of a batch, which have one size.
pub struct Encoder<'a> {
    views: Views<'a>,
    layers: Layers,
    arena: &'a Arena,
    fill: Fill<'a, f32>,
}

/// The encoder's gradients, summed over images.
pub struct Gradients {
    sums: Vec<Vec<f32>>,
    /// Nothing is added yet, and the sums hold arbitrary values.
    empty: bool,
}

impl<'a> Encoder<'a> {
    /// Prepares the encoder of `model` for images of `size`², which `fill` writes as [n, S, S, in] in
    /// 0..=1, on rayon's threads. Locks the weights for reading while it lives.
    pub fn new(model: &'a Classifier, size: usize, arena: &'a Arena, fill: Fill<'a, f32>) -> Self {
        let layers = Layers::new(&model.spec, size, rayon::current_num_threads());
        let views = views(&model.parameters.trainable, layers.weights());
        Self { views, layers, arena, fill }
    }

    fn net(&self) -> Result<Net<&[f32]>> {
        net(&self.views, self.layers.weights())
    }

    fn buffers(&self) -> (&BufferPool<f32>, &Scratch<f32>) {
        (&self.arena.pool, &self.arena.scratch)
    }
}

/// Fails when the weights are not f32 on the CPU.
impl Pass for Encoder<'_> {
    type Tapes = Tapes<f32>;
    type Sums = Gradients;

    fn forward(&self, range: Range<usize>, retention: Retention) -> Result<(Tensor, Tapes<f32>)> {
        let (n, net) = (range.len(), self.net()?);
        let (features, tapes) =
            self.layers.forward(&net, self.fill, range, retention, self.buffers());
        Ok((Tensor::from_vec(features, (n, ()), &Device::Cpu)?, tapes))
    }

    fn kept(tapes: &Tapes<f32>) -> Range<usize> {
        tapes.range()
    }

    fn sums(&self) -> Result<Gradients> {
        Ok(Gradients { sums: self.layers.empty(&self.arena.pool), empty: true })
    }

    fn backward(&self, tapes: Tapes<f32>, grad: &Tensor, sums: &mut Gradients) -> Result<()> {
        if tapes.range().is_empty() {
            return Ok(());
        }
        let grad = [grad.contiguous()?];
        let (views, net) = (Views::of(&grad), self.net()?);
        let (grad, empty) = (views.slices()?[0], std::mem::replace(&mut sums.empty, false));
        self.layers.backward(&net, self.fill, tapes, grad, (&mut sums.sums, empty), self.buffers());
        Ok(())
    }

    fn finish(&self, mut sums: Gradients) -> Result<WeightGradients> {
        if sums.empty {
            sums.sums.iter_mut().for_each(|sum| sum.fill(0.0));
        }
        self.layers.finish(&self.net()?, &mut sums.sums);
        Ok(WeightGradients::Host(sums.sums))
    }
}

/// Returns the bytes that [`Retention`] takes per image for layers' inputs, and for blocks' inner
/// values.
pub fn kept_bytes(spec: &Spec, size: usize) -> (usize, usize) {
    (4 * layers::tape_values(spec, size), 4 * layers::inner_values(spec, size))
}

/// Bytes of GPU memory that a step takes.
#[derive(Debug, Clone, Copy)]
pub struct OnCard {
    /// Inputs of the layers, per image.
    pub inputs: usize,
    /// Inner values of the blocks, per image.
    pub inner: usize,
    /// A first-stage block's backward pass, per image: its work buffers and all inputs kept then,
    /// without `rows`.
    block: usize,
    /// Buffers of its hidden values and rows, per image; a block works on them in pieces.
    rows: usize,
    /// Upper limit of those buffers: one piece.
    most_rows: usize,
    /// The stem or the first downsampling, whichever takes more, per image.
    between: usize,
}

impl OnCard {
    /// Computes the sizes for images of `size`² and a compute type of `inner` bytes.
    pub fn new(spec: &Spec, size: usize, inner: usize) -> Self {
        let (wide, map) = (4, spec.map(size, 0));
        // Bytes per value of a map, or of its gradient.
        let copied = if inner < wide { wide + inner } else { wide };
        let stem = match spec.stem {
            Stem::Patch => 0,
            Stem::Overlap { middle } => 2 * 4 * spec.pixels(size, 0) * middle * inner,
        };
        let images = 2 * size * size * spec.in_channels * inner;
        // Inputs of the stem's norm, of the stage's blocks and of the downsampling.
        let kept = map * inner * (spec.depths[0] + 2);
        // Gradients on both sides of the downsampling, its patches and their gradient.
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

    /// Returns the bytes that `n` images take that run together, including their layers' inputs.
    pub fn at_once(&self, n: usize) -> usize {
        let block = n * self.block + (n * self.rows).min(self.most_rows);
        block.max(n * self.between.max(self.inputs))
    }
}

/// Estimates the bytes of a thread's work buffers.
pub fn scratch_bytes(spec: &Spec, size: usize) -> usize {
    4 * layers::scratch_values(spec, size)
}
