//! The two LSTMs' hand-written forward and backward pass, over an interface that each device implements
//! ([`Ops`]).
//!
//! [`super::lstm`] computes the same with candle's operations and its autograd around our recurrence;
//! the tests compare the two. Here all directions of a layer run side by side, the input products and
//! the recurrence write to the same place, and each weight's gradient is one product. Of the second
//! LSTM's second layer, only what the study head reads is used: position 0, which is the forward
//! direction's first step.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use super::description::LSTM_LAYERS as LAYERS;
use super::ops::recurrence::{KEPT, Recurrence};
use super::{Classifier, Spec, buffers::BufferPool, encoder::WeightGradients, views::Views};
use candle_core::{Device, Result, Tensor};
use cpu::Cpu;
use std::borrow::Borrow;

/// Prefixes of both LSTMs' weights.
pub(crate) const NAMES: [&str; LSTMS] = ["lstm.", "lstm2."];
/// Weight tensors of a direction: w_ih, w_hh, b_ih, b_hh.
const WEIGHTS: usize = 4;
/// Directions of both LSTMs in a layer.
const SIDE_BY_SIDE: usize = 4;

/// The two LSTMs of a network.
pub struct Lstms<'a> {
    views: Views<'a>,
    #[cfg(feature = "cuda")]
    device: &'a Device,
    /// Pool of buffers on the CPU.
    pool: &'a BufferPool<f32>,
    layers: Layers,
}

/// Inputs of the heads: the first LSTM's output [B·T, 2H], and the second's at position 0, [B, 2H].
pub type Output = [Tensor; 2];

/// State kept by the forward pass for the backward pass.
pub struct Tape(OnDevice);

enum OnDevice {
    Cpu(Kept<Vec<f32>, cpu::Cells<f32>>),
    #[cfg(feature = "cuda")]
    Cuda(Kept<Tensor, cuda::Cells>),
}

impl<'a> Lstms<'a> {
    /// Takes the LSTMs of `model`. Locks the weights for reading while it lives.
    pub fn new(model: &'a Classifier, pool: &'a BufferPool<f32>) -> Self {
        let views =
            Views::new(model.parameters.under(NAMES).map(|i| &model.parameters.trainable[i]));
        Self {
            views,
            #[cfg(feature = "cuda")]
            device: model.parameters.trainable.first().map_or(&Device::Cpu, |p| p.var.device()),
            pool,
            layers: Layers::new(&model.spec),
        }
    }

    fn on_cpu(&self) -> Result<Cpu<'_, f32>> {
        Ok(Cpu { layers: self.layers, weights: self.views.slices()?, pool: self.pool })
    }

    #[cfg(feature = "cuda")]
    fn on_card(&self) -> Result<cuda::Cuda<'_>> {
        let (layers, weights) = (self.layers, self.views.on_card()?);
        Ok(cuda::Cuda { layers, weights, device: self.device.as_cuda_device()? })
    }

    /// Maps `features` [B·T, F] to the heads' inputs, and returns the tape for [`Self::backward`].
    ///
    /// Errors: when weights and features are not f32 on one device, or the device fails.
    pub fn forward(&self, features: &Tensor) -> Result<(Output, Tape)> {
        #[cfg(feature = "cuda")]
        if self.device.is_cuda() {
            let (read, kept) = self.layers.forward(&self.on_card()?, features)?;
            return Ok((read, Tape(OnDevice::Cuda(kept))));
        }
        let features = std::slice::from_ref(features);
        let (read, kept) =
            self.layers.forward(&self.on_cpu()?, Views::of(features).slices()?[0])?;
        let width = 2 * self.layers.hidden;
        let tensor = |values| Tensor::from_vec(values, ((), width), &Device::Cpu);
        let [all, first] = read;
        Ok(([tensor(all)?, tensor(first)?], Tape(OnDevice::Cpu(kept))))
    }

    /// From the gradients of the output, computes that of the features [B·T, F] and those of the
    /// weights: the LSTMs in the order of [`NAMES`], each in the parameters' order.
    ///
    /// Errors: when the tape or the gradients are from another device, or the device fails.
    pub fn backward(&self, tape: Tape, grad: &Output) -> Result<(Tensor, WeightGradients)> {
        let grad = [grad[0].contiguous()?, grad[1].contiguous()?];
        match tape.0 {
            OnDevice::Cpu(kept) => {
                let views = Views::of(&grad);
                let read = views.slices()?;
                let lengths = self.views.lengths();
                let mut sums: Vec<_> = lengths.into_iter().map(|n| self.pool.take(n)).collect();
                let read = [read[0], read[1]];
                let dx = self.layers.backward(&self.on_cpu()?, kept, read, &mut sums)?;
                let dx = Tensor::from_vec(dx, ((), self.layers.features), &Device::Cpu)?;
                Ok((dx, WeightGradients::Host(sums)))
            }
            #[cfg(feature = "cuda")]
            OnDevice::Cuda(kept) => {
                let card = self.on_card()?;
                let mut sums = card.sums(grad[1].dim(0)?)?;
                let dx = self.layers.backward(&card, kept, [&grad[0], &grad[1]], &mut sums)?;
                let sums = sums.finish(card.device, &self.views.shapes())?;
                Ok((dx, WeightGradients::Device(sums)))
            }
        }
    }

    /// Releases a tape that is not needed.
    pub fn forget(&self, tape: Tape) -> Result<()> {
        match tape.0 {
            OnDevice::Cpu(kept) => kept.give(&self.on_cpu()?),
            #[cfg(feature = "cuda")]
            OnDevice::Cuda(kept) => drop(kept),
        }
        Ok(())
    }
}

/// Returns the bytes of features, states and gradients for a batch of `studies`, the heads' included.
pub fn bytes(spec: &Spec, studies: usize) -> usize {
    let cells = (SIDE_BY_SIDE * LAYERS - 1) * KEPT * spec.lstm_hidden;
    // Input and its gradient, by time and by study; both layers' outputs and gradients; the heads.
    let others = 4 * spec.features() + 12 * spec.lstm_hidden + 8 * spec.head_hidden;
    4 * studies * spec.images * (cells + others)
}

/// Index of a direction's first weight: ordered by LSTM, layer, direction.
fn place(layer: usize, side: usize) -> usize {
    WEIGHTS * (side / 2 * 2 * LAYERS + layer * 2 + side % 2)
}

/// Gradient of the h of a layer's directions.
enum Grad<'g, V: ?Sized> {
    /// Of the first layer: the gradient of each second layer's input, [T·B, 2H].
    Between([&'g V; LSTMS]),
    /// Of the second layer: the gradient of the heads' inputs, [B·T, 2H] and [B, 2H].
    Read([&'g V; LSTMS]),
}

/// Number of LSTMs, which run side by side.
const LSTMS: usize = 2;

/// Operations that a device implements for the LSTM pass, over its own copy of the weights. "By time"
/// means row t·B + b; "by study" means row b·T + t. Of a layer's four directions (sides), the first
/// LSTM's come first.
trait Ops {
    /// Values to read.
    type In: ?Sized;
    /// Values returned by an operation.
    type Values: Borrow<Self::In>;
    /// The cells of a layer's directions, or their gates' gradients.
    type Cells;
    /// The gradients of all weights.
    type Sums: ?Sized;

    /// Reorders [B·T, F] by study to by time.
    fn by_time(&self, x: &Self::In) -> Result<Self::Values>;
    /// Reorders [T·B, F] by time to by study.
    fn by_study(&self, x: &Self::In) -> Result<Self::Values>;
    /// Computes the cells of a layer's directions from each LSTM's input [T·B, in].
    fn layer(&self, layer: usize, inputs: [&Self::In; LSTMS]) -> Result<Self::Cells>;
    /// Returns the h of a layer's directions, [T·B, 2H] for each LSTM.
    fn between(&self, cells: &Self::Cells) -> Result<[Self::Values; LSTMS]>;
    /// Returns the h that the heads read: the first LSTM's by study [B·T, 2H], the second's at position
    /// 0.
    fn read(&self, cells: &Self::Cells) -> Result<[Self::Values; LSTMS]>;
    /// Runs a layer's directions backward through time, which turns their gates into gradients; writes
    /// the gradients of its weights into `sums`.
    fn layer_grad(
        &self,
        layer: usize,
        cells: &mut Self::Cells,
        inputs: [&Self::In; LSTMS],
        grad: Grad<Self::In>,
        sums: &mut Self::Sums,
    ) -> Result<()>;
    /// Computes the gradient of the input [T·B, in] of some directions of a layer; the first of them has
    /// all steps.
    fn input_grad(
        &self,
        layer: usize,
        cells: &Self::Cells,
        sides: &[usize],
    ) -> Result<Self::Values>;
    /// Releases buffers.
    fn give(&self, _: Self::Values) {}
    fn give_cells(&self, _: Self::Cells) {}
}

/// State kept by the forward pass, all by time.
struct Kept<V, C> {
    /// [T·B, F]
    x: V,
    /// Input of each LSTM's second layer, [T·B, 2H].
    between: [V; LSTMS],
    /// Cells of each layer.
    cells: [C; LAYERS],
}

impl<V, C> Kept<V, C> {
    fn give<O: Ops<Values = V, Cells = C>>(self, ops: &O) {
        self.between.into_iter().chain([self.x]).for_each(|values| ops.give(values));
        self.cells.into_iter().for_each(|cells| ops.give_cells(cells));
    }
}

/// Inputs of the heads, and the kept state.
type Forward<V, C> = ([V; LSTMS], Kept<V, C>);

/// Sizes of the LSTMs.
#[derive(Debug, Clone, Copy)]
struct Layers {
    /// T
    steps: usize,
    /// F
    features: usize,
    /// H
    hidden: usize,
}

impl Layers {
    fn new(spec: &Spec) -> Self {
        Self { steps: spec.images, features: spec.features(), hidden: spec.lstm_hidden }
    }

    /// Shape of a direction. The second layer of the second LSTM is read at position 0 only.
    fn shape(&self, layer: usize, side: usize, rows: usize) -> Recurrence {
        let steps = if layer + 1 == LAYERS && side == 2 { 1 } else { self.steps };
        Recurrence { steps, rows, hidden: self.hidden, reverse: side % 2 == 1 }
    }

    /// Width of a layer's input.
    fn width(&self, layer: usize) -> usize {
        if layer == 0 { self.features } else { 2 * self.hidden }
    }

    /// Maps `x` [B·T, F] to [B·T, 2H] of the first LSTM and [B, 2H] of the second at position 0.
    fn forward<O: Ops>(&self, ops: &O, x: &O::In) -> Result<Forward<O::Values, O::Cells>> {
        let x = ops.by_time(x)?;
        let first = ops.layer(0, [x.borrow(), x.borrow()])?;
        let between = ops.between(&first)?;
        let second = ops.layer(1, between.each_ref().map(|values| values.borrow()))?;
        Ok((ops.read(&second)?, Kept { x, between, cells: [first, second] }))
    }

    /// Computes the gradient of `x` [B·T, F] from those of [`Self::forward`]'s results; writes the
    /// weights' gradients into `sums`.
    fn backward<O: Ops>(
        &self,
        ops: &O,
        mut kept: Kept<O::Values, O::Cells>,
        read: [&O::In; LSTMS],
        sums: &mut O::Sums,
    ) -> Result<O::Values> {
        let [first, second] = &mut kept.cells;
        let inputs = kept.between.each_ref().map(|values| values.borrow());
        ops.layer_grad(1, second, inputs, Grad::Read(read), sums)?;
        // The direction with all steps comes first; the other one adds to its rows.
        let between = [ops.input_grad(1, second, &[0, 1])?, ops.input_grad(1, second, &[3, 2])?];
        let inputs = [kept.x.borrow(), kept.x.borrow()];
        let grad = Grad::Between(between.each_ref().map(|values| values.borrow()));
        ops.layer_grad(0, first, inputs, grad, sums)?;
        between.into_iter().for_each(|values| ops.give(values));
        let by_time = ops.input_grad(0, first, &[0, 1, 2, 3])?;
        let dx = ops.by_study(by_time.borrow())?;
        ops.give(by_time);
        kept.give(ops);
        Ok(dx)
    }
}
