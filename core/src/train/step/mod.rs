//! One optimizer step, with the encoder in chunks and exact gradients.
//!
//! The encoder has no BatchNorm, so images are independent in it. Its first forward pass runs on all
//! images and keeps the activations of some. LSTMs and heads run on all features and give
//! ∂L/∂features. The backward pass goes through the kept images; the others are encoded again in
//! chunks, each followed by its backward pass. The gradients equal those of a single pass; the memory
//! is bounded by [`Plan`].
//!
//! A step that runs out of memory is repeated with half as many images at once.

pub mod clock;
mod data;
#[cfg(test)]
mod tests;

pub use crate::net::encoder::WeightGradients;
#[cfg(feature = "cuda")]
use crate::net::{
    device_ops::cuda::Compute,
    encoder::{Card, ImageSource},
    ops::gpu::by_type,
};
pub use data::{Bytes, Gradients, Images, StepOutput, Targets};

use super::{
    Error, Result,
    adamw::AdamW,
    loss::{self, TrainLoss, Weights},
    memory::Plan,
};
use crate::{
    device,
    net::{
        Classifier,
        encoder::{Arena, Encoder, Pass, Retention},
        head,
        recurrent::{self, Lstms},
        weights,
    },
    rng::Key,
};
use candle_core::{DType, Device, Tensor};
use clock::{Clock, Part};
use std::ops::Range;

/// Error for gradients on different devices; both should be on the network's.
const ON_TWO: &str = "the gradients of encoder and LSTMs are on two devices";

/// A network with its device, memory plan and buffers.
#[derive(Clone, Copy)]
pub struct Stepper<'a> {
    /// The network.
    pub model: &'a Classifier,
    /// The activations that it keeps in a training step, and the images it processes at once.
    pub plan: Plan,
    /// Device of the network.
    pub device: &'a Device,
    /// Type in which the encoder trains; f32 on the CPU. Everything else, and validation, is f32.
    pub compute: DType,
    /// Buffers reused from step to step.
    pub arena: &'a Arena,
    /// Clock to time the parts of a step.
    pub clock: Option<&'a Clock<'a>>,
}

/// A training batch and its loss settings.
#[derive(Clone, Copy)]
struct Task<'a> {
    images: &'a dyn Images,
    targets: Targets<'a>,
    weights: Weights,
    /// Key of dropout; `None` = no dropout.
    dropout: Option<Key>,
    /// Factor of the loss in the backward pass.
    scale: f64,
}

/// Loss of a batch, its gradients multiplied by the loss scale, and the slice and study logits.
type Scored = (TrainLoss, Vec<f32>, Vec<f32>);

/// Collects all gradients in the order of the parameters, which starts with the encoder's weights.
///
/// Errors: when a gradient is missing.
fn all_gradients<T>(
    model: &Classifier,
    encoder: Vec<T>,
    lstms: Vec<T>,
    heads: Vec<T>,
) -> Result<Vec<T>> {
    let parameters = &model.parameters.trainable;
    let mut all: Vec<Option<T>> = encoder.into_iter().map(Some).collect();
    all.resize_with(parameters.len(), || None);
    let of = |prefixes| model.parameters.under(prefixes);
    for (at, g) in of(recurrent::NAMES).zip(lstms).chain(of(head::NAMES).zip(heads)) {
        all[at] = Some(g);
    }
    let named = parameters.iter().zip(all);
    named.map(|(p, g)| g.ok_or_else(|| Error::NoGradient(p.name.clone()))).collect()
}

impl<'a> Stepper<'a> {
    /// Creates a stepper in f32 on the CPU.
    pub fn on_cpu(model: &'a Classifier, plan: Plan, arena: &'a Arena) -> Self {
        Self { model, plan, device: &Device::Cpu, compute: DType::F32, arena, clock: None }
    }
}

impl Stepper<'_> {
    fn mark(&self, ended: Option<Part>) -> Result<()> {
        Ok(self.clock.map_or(Ok(()), |clock| clock.mark(ended))?)
    }

    /// Runs validation's forward pass: slice logits [B·T] and study logits [B]. On a GPU, a pass that does
    /// not fit into memory is repeated with a smaller plan.
    pub fn predict(&self, images: &dyn Images, studies: usize) -> Result<(Tensor, Tensor)> {
        let t = self.model.spec.images;
        #[cfg(feature = "cuda")]
        if self.device.is_cuda() {
            let fill = |range: Range<usize>, out: &mut [f32]| images.fill(range, out);
            let on_card = |stepper: &Stepper| {
                let batch = (stepper.source(images, &fill)?, images.size());
                let at = (stepper.device, stepper.plan.chunk);
                stepper.predict_by(&Card::<f32>::new(stepper.model, batch, at)?, studies * t)
            };
            return Ok(self.fitting(on_card)?.0);
        }
        let fill = |range: Range<usize>, out: &mut [f32]| images.fill(range, out);
        let encoder = Encoder::new(self.model, images.size(), self.arena, &fill);
        let predicted = self.predict_by(&encoder, studies * t);
        self.arena.pool.end_round();
        predicted
    }

    /// [`Self::predict`] for `images` images with the given encoder pass.
    fn predict_by<P: Pass>(&self, encoder: &P, images: usize) -> Result<(Tensor, Tensor)> {
        let (features, _) = encoder.forward(0..images, Retention::default())?;
        let lstms = Lstms::new(self.model, &self.arena.pool);
        let (read, tape) = lstms.forward(&features)?;
        lstms.forget(tape)?;
        Ok(self.model.heads(&read)?.into())
    }

    /// Uploads the images to the device, as bytes if available.
    #[cfg(feature = "cuda")]
    fn source<'i>(
        &self,
        images: &dyn Images,
        fill: &'i (dyn Fn(Range<usize>, &mut [f32]) + Sync),
    ) -> Result<ImageSource<'i>> {
        let Some(Bytes { pieces, mixed }) = images.bytes() else {
            return Ok(ImageSource::Memory(fill));
        };
        let on_device = |(partners, shares): (Vec<u32>, [f32; 2])| {
            Ok::<_, Error>((Tensor::new(&partners[..], self.device)?, shares))
        };
        let mixed = mixed.map(on_device).transpose()?;
        let (s, c) = (images.size(), self.model.spec.in_channels);
        let own = ImageSource::upload(&pieces, [s, s, c], self.device)?;
        Ok(ImageSource::Bytes { own, mixed })
    }

    /// Computes loss and gradients of a training batch. Does not change the weights, but updates BatchNorm's
    /// running statistics.
    pub fn gradients(
        &self,
        images: &dyn Images,
        targets: Targets,
        weights: Weights,
        dropout: Option<Key>,
    ) -> Result<Gradients> {
        self.gradients_of(Task { images, targets, weights, dropout, scale: 1.0 })
    }

    fn gradients_of(&self, task: Task) -> Result<Gradients> {
        #[cfg(feature = "cuda")]
        if self.device.is_cuda() {
            let images = task.images;
            let fill = |range: Range<usize>, out: &mut [f32]| images.fill(range, out);
            let batch = (self.source(images, &fill)?, images.size());
            let at = (self.device, self.plan.chunk);
            return by_type!(self.compute, on_card(self, batch, at, task));
        }
        let fill = |range: Range<usize>, out: &mut [f32]| task.images.fill(range, out);
        let encoder = Encoder::new(self.model, task.images.size(), self.arena, &fill);
        self.gradients_by(&encoder, task)
    }

    /// [`Self::gradients`] with the given encoder pass.
    fn gradients_by<P: Pass>(&self, encoder: &P, task: Task) -> Result<Gradients> {
        let total = task.targets.own.len();
        self.mark(Some(Part::Upload))?;
        let (features, tapes) = encoder.forward(0..total, self.plan.retention)?;
        self.mark(Some(Part::Encode))?;
        let (scored, grad, of_lstms, of_heads) = self.tail(&features, task)?;
        drop(features);
        self.within_limit(task.images)?;
        self.mark(Some(Part::Tail))?;
        let (mut sums, kept) = (encoder.sums()?, P::kept(&tapes));
        if !kept.is_empty() {
            encoder.backward(tapes, &grad.narrow(0, 0, kept.end)?, &mut sums)?;
        }
        let chunk = self.plan.chunk.max(1);
        for start in (kept.end..total).step_by(chunk) {
            let range = start..(start + chunk).min(total);
            let retention = Retention { inputs: range.len(), inner: 0 };
            let grad = grad.narrow(0, range.start, range.len())?;
            let (_, tapes) = encoder.forward(range, retention)?;
            encoder.backward(tapes, &grad, &mut sums)?;
        }
        let of_weights = match (encoder.finish(sums)?, of_lstms) {
            (WeightGradients::Host(encoder), WeightGradients::Host(lstms)) => {
                let heads = WeightGradients::Device(of_heads).to_host()?;
                WeightGradients::Host(all_gradients(self.model, encoder, lstms, heads)?)
            }
            (WeightGradients::Device(encoder), WeightGradients::Device(lstms)) => {
                WeightGradients::Device(all_gradients(self.model, encoder, lstms, of_heads)?)
            }
            _ => return Err(candle_core::Error::Msg(ON_TWO.into()).into()),
        };
        let (loss, slice_logits, study_logits) = scored;
        self.mark(Some(Part::Backward))?;
        Ok(Gradients { loss, slice_logits, study_logits, of_weights })
    }

    /// Runs LSTMs, heads and loss on the features [B·T, F], forward and backward. Returns the gradients by
    /// the features, by the LSTMs' weights and by both heads' weights.
    fn tail(
        &self,
        features: &Tensor,
        task: Task,
    ) -> Result<(Scored, Tensor, WeightGradients, Vec<Tensor>)> {
        let lstms = Lstms::new(self.model, &self.arena.pool);
        let (read, tape) = lstms.forward(features)?;
        let (logits, [slices, studies]) = self.model.train_heads(&read, task.dropout)?;
        let scored = self.scored(&logits, task)?;
        let (all, mut of_heads) = slices.backward(&scored.0.grad_slices)?;
        let (first, of_second) = studies.backward(&scored.0.grad_studies)?;
        of_heads.extend(of_second);
        let (grad, of_lstms) = lstms.backward(tape, &[all, first])?;
        Ok((scored, grad, of_lstms, of_heads))
    }

    /// Computes the loss of slice logits [B·T] and study logits [B].
    fn scored(
        &self,
        [slices, studies]: &[Tensor; 2],
        Task { images, targets, weights, scale, .. }: Task,
    ) -> Result<Scored> {
        // Read both at once: the host waits for the device only once.
        let mut slice_logits = Tensor::cat(&[slices.detach(), studies.detach()], 0)?.to_vec1()?;
        let study_logits = slice_logits.split_off(targets.own.len());
        let mut loss =
            loss::train_loss(&slice_logits, &study_logits, targets.own, targets.mixed, weights);
        if !loss.loss.is_finite() {
            return Err(Error::NonFinite { what: "the loss".into(), studies: images.studies() });
        }
        let grads = loss.grad_slices.iter_mut().chain(&mut loss.grad_studies);
        grads.for_each(|g| *g *= scale as f32);
        Ok((loss, slice_logits, study_logits))
    }

    /// Makes one step: gradients, then the optimizer. On an error the weights are unchanged.
    ///
    /// A step that does not fit into memory is repeated with a smaller plan. If a gradient is not finite,
    /// the step is skipped if the optimizer has a scaler, and an error otherwise.
    pub fn step(
        &self,
        optimizer: &mut AdamW,
        lr: f64,
        images: &dyn Images,
        targets: Targets,
        weights: Weights,
        dropout: Option<Key>,
    ) -> Result<StepOutput> {
        self.mark(None)?;
        let scale = optimizer.scaler.map_or(1.0, |scaler| scaler.scale);
        let task = Task { images, targets, weights, dropout, scale };
        let statistics = self.save_buffers()?;
        let ((made, squares), plan) = self.fitting(|stepper| {
            let made = stepper.finite_gradients(optimizer, task);
            if made.is_err() {
                self.restore_buffers(&statistics)?;
            }
            made
        })?;
        let Gradients { loss, slice_logits, study_logits, of_weights } = made;
        let skipped = squares.iter().any(|s| !s.is_finite());
        if !skipped {
            optimizer.step(&self.model.parameters.trainable, &of_weights, lr)?;
        }
        if let Some(scaler) = &mut optimizer.scaler {
            scaler.update(!skipped);
        }
        if let WeightGradients::Host(values) = of_weights {
            values.into_iter().for_each(|g| self.arena.pool.give(g));
        }
        self.arena.pool.end_round();
        self.mark(Some(Part::Optimizer))?;
        let grad_norm = squares.iter().sum::<f64>().sqrt() / scale;
        Ok(StepOutput { loss, slice_logits, study_logits, grad_norm, skipped, plan })
    }

    /// Computes the gradients of `task`, and Σ g² of each weight's.
    ///
    /// Errors: when a running statistic is not finite, or without a scaler a gradient.
    fn finite_gradients(&self, optimizer: &mut AdamW, task: Task) -> Result<(Gradients, Vec<f64>)> {
        let made = self.gradients_of(task)?;
        let (squares, statistic) = self.squares(optimizer, &made.of_weights)?;
        let bad = squares.iter().position(|s| !s.is_finite());
        let what = match (statistic, bad, optimizer.scaler) {
            // An infinite variance does not show in the loss: values divided by it become 0.
            (Some(name), ..) => format!("the statistic {name}"),
            (None, Some(at), None) => {
                format!("the gradient of {}", self.model.parameters.trainable[at].name)
            }
            _ => return Ok((made, squares)),
        };
        Err(Error::NonFinite { what, studies: task.images.studies() })
    }

    /// Calls `make` with this plan and, each time the device runs out of memory, with a smaller one.
    /// Returns its result and that plan.
    fn fitting<T>(&self, mut make: impl FnMut(&Stepper) -> Result<T>) -> Result<(T, Plan)> {
        let mut plan = self.plan;
        loop {
            match make(&Stepper { plan, ..*self }) {
                Err(error) if error.is_out_of_memory() => {
                    device::trim(self.device);
                    plan = plan.smaller().ok_or(Error::OutOfMemory)?;
                }
                made => return Ok((made?, plan)),
            }
        }
    }

    /// Errors: when the plan exceeds the arena's limit; the same error as a GPU's allocator gives.
    fn within_limit(&self, images: &dyn Images) -> Result<()> {
        let need = self.plan.bytes(&self.model.spec, images.size());
        match self.arena.limit {
            Some(limit) if need > limit => Err(Error::OutOfMemory),
            _ => Ok(()),
        }
    }

    fn save_buffers(&self) -> Result<Vec<Tensor>> {
        let buffers = self.model.parameters.buffers.iter();
        Ok(buffers
            .map(|b| b.var.as_detached_tensor().copy())
            .collect::<candle_core::Result<_>>()?)
    }

    /// Returns Σ g² of each weight's gradient, and the name of a running statistic with a value that is
    /// NaN or infinite. On a GPU, one read gets both.
    fn squares(
        &self,
        optimizer: &mut AdamW,
        gradients: &WeightGradients,
    ) -> Result<(Vec<f64>, Option<String>)> {
        let statistics = self.model.parameters.buffers.iter().filter(|b| b.var.dtype().is_float());
        let WeightGradients::Device(tensors) = gradients else {
            let squares = optimizer.squares(gradients)?;
            for b in statistics {
                if weights::not_finite(&b.var.as_detached_tensor())? > 0 {
                    return Ok((squares, Some(b.name.clone())));
                }
            }
            return Ok((squares, None));
        };
        // Squares are summed in f64, so those of finite f32 values stay finite.
        let all = tensors.iter().cloned();
        let all = all.chain(statistics.clone().map(|b| b.var.as_detached_tensor())).collect();
        let mut squares = optimizer.squares(&WeightGradients::Device(all))?;
        let of_statistics = squares.split_off(tensors.len());
        let bad = statistics.zip(of_statistics).find(|(_, square)| !square.is_finite());
        Ok((squares, bad.map(|(b, _)| b.name.clone())))
    }

    fn restore_buffers(&self, saved: &[Tensor]) -> Result<()> {
        for (b, t) in self.model.parameters.buffers.iter().zip(saved) {
            b.var.set(t)?;
        }
        Ok(())
    }
}

/// [`Stepper::gradients_by`] for a batch on a GPU, in type `T`.
#[cfg(feature = "cuda")]
fn on_card<T: Compute>(
    stepper: &Stepper,
    batch: (ImageSource, usize),
    at: (&Device, usize),
    task: Task,
) -> Result<Gradients> {
    stepper.gradients_by(&Card::<T>::new(stepper.model, batch, at)?, task)
}
