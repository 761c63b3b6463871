//! The encoder's forward and backward pass by hand, on the CPU.
//!
//! [`super::convnext`] says the same network in candle's words, with candle's autograd through our
//! ops: that is what other devices run, and what the tests hold this against. Here a group of
//! images goes through the whole network on one thread, in buffers that stay in its caches, and
//! the groups run side by side. What that spares: autograd's zeros and sums for every edge, a
//! pass through memory for each op, and, since a layer keeps only its input, the second forward
//! pass of chunking wherever the inputs of all layers fit into memory.
//!
//! Of a block's backward pass the depthwise convolution, the norm and the first product are
//! computed again: 7 products of M·C·4C instead of 6, for an eighth of the memory.
//!
//! The images are split among as many groups as there are threads, and a group's gradients are
//! summed in its own order, so the result is the same to the bit for one number of threads; with
//! another number the sums are rounded differently.

mod block;
mod layers;
mod patch;
#[cfg(test)]
mod tests;
mod weights;

use layers::{Fill, Layers};
use weights::{net, views};

use super::{Classifier, Spec, views::Views};
use candle_core::Result;
use std::ops::Range;

/// A network's encoder on the CPU, for images of one size, in f32.
pub struct Encoder<'a> {
    views: Views<'a>,
    spec: &'a Spec,
    layers: Layers,
}

/// What the forward pass keeps of some images for the backward pass: every layer's input.
pub struct Tapes(layers::Tapes<f32>);

/// The encoder's gradients, summed over images.
pub struct Gradients(Vec<Vec<f32>>);

impl<'a> Encoder<'a> {
    /// Of `model`, for images of `size`², on as many threads as rayon has. The weights are locked
    /// for reading as long as this lives.
    pub fn new(model: &'a Classifier, size: usize) -> Self {
        let views = views(&model.parameters.trainable, &model.spec);
        let layers = Layers::new(&model.spec, size, views.lengths(), rayon::current_num_threads());
        Self { views, spec: &model.spec, layers }
    }

    /// Features [n, F] of images `range`, which `fill` writes as [n, S, S, in] in 0..=1; with
    /// `keep` what [`Self::backward`] needs of them.
    ///
    /// Errors: the weights are not f32 on the CPU.
    pub fn forward(
        &self,
        fill: Fill<f32>,
        range: Range<usize>,
        keep: bool,
    ) -> Result<(Vec<f32>, Option<Tapes>)> {
        let (features, tapes) =
            self.layers.forward(&net(&self.views, self.spec)?, fill, range, keep);
        Ok((features, tapes.map(Tapes)))
    }

    /// No gradient yet.
    pub fn gradients(&self) -> Gradients {
        Gradients(self.layers.zeros())
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
        self.layers.backward(&net(&self.views, self.spec)?, fill, tapes.0, grad, &mut sums.0);
        Ok(())
    }

    /// The gradient of each weight, in the parameters' order, once all images are added.
    ///
    /// Errors: the weights are not f32 on the CPU.
    pub fn finish(&self, mut sums: Gradients) -> Result<Vec<Vec<f32>>> {
        self.layers.finish(&net(&self.views, self.spec)?, &mut sums.0);
        Ok(sums.0)
    }
}

/// Values that are kept of each image for the backward pass.
pub fn kept_per_image(spec: &Spec, size: usize) -> usize {
    layers::tape_values(spec, size)
}

/// timm's LayerNorm epsilon.
const EPS: f64 = 1e-6;

/// The first `n` elements of a buffer that grows and is never cleared.
fn space<R: super::ops::Real>(buffer: &mut Vec<R>, n: usize) -> &mut [R] {
    if buffer.len() < n {
        buffer.resize(n, R::zero());
    }
    &mut buffer[..n]
}
