//! One optimizer step, the encoder in chunks with exact gradients.
//!
//! The encoder has no BatchNorm: images are independent in it. So it may run on all of them and
//! keep what it needs for the gradients of some; LSTMs and heads run on all features; ∂L/∂features
//! is taken back through those images; the others are encoded again in chunks, and it is taken
//! back through each. The gradients are those of one pass; the memory is what [`Plan`] allows.
//!
//! A step that runs out of memory is made again with half as many images at once.

pub mod clock;
#[cfg(test)]
mod graph;
#[cfg(test)]
mod tests;

pub use crate::net::encoder::WeightGradients;
#[cfg(feature = "cuda")]
use crate::net::{
    device_ops::cuda::Compute,
    encoder::{Card, ImageSource},
    ops::gpu::by_type,
};

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
        encoder::{Arena, Encoder, OnCpu, Pass, Retention},
        head,
        recurrent::{self, Lstms},
        weights,
    },
    rng::Key,
};
use candle_core::{DType, Device, Tensor};
use clock::{Clock, Part};
use std::ops::Range;

/// Both are on the network's device; this says it where they are not.
const ON_TWO: &str = "the gradients of encoder and LSTMs are on two devices";

/// The images of a batch as the network takes them.
pub trait Images: Sync {
    /// Writes images `range` (flat over B·T) as [n, S, S, 6] in 0..=1 to `out`.
    fn fill(&self, range: Range<usize>, out: &mut [f32]);
    /// S.
    fn size(&self) -> usize;
    /// UIDs, as many as there are studies.
    fn studies(&self) -> Vec<String>;
    /// The images before they become floats, where there are such: a quarter of what has to
    /// travel to a GPU.
    fn bytes(&self) -> Option<Bytes<'_>> {
        None
    }
}

/// Images as bytes: value · share / 255, plus as much of a partner where they are mixed.
#[derive(Debug, Clone)]
pub struct Bytes<'a> {
    /// All of them in order, [.., S, S, 6], in pieces.
    pub pieces: Vec<&'a [u8]>,
    /// The partner of each image, flat over B·T, and the shares of both.
    pub mixed: Option<(Vec<u32>, [f32; 2])>,
}

/// What the loss is taken against.
#[derive(Debug, Clone, Copy)]
pub struct Targets<'a> {
    /// [B·T], 0 or 1.
    pub own: &'a [f32],
    /// The mixup partners' [B·T], and λ.
    pub mixed: Option<(&'a [f32], f64)>,
}

/// What a step gives.
#[derive(Debug, Clone)]
pub struct StepOutput {
    /// Losses.
    pub loss: TrainLoss,
    /// Slice logits [B·T], from before the step.
    pub slice_logits: Vec<f32>,
    /// Study logits [B], from before the step.
    pub study_logits: Vec<f32>,
    /// L2 norm of all gradients; not finite where the step was skipped.
    pub grad_norm: f64,
    /// The scaler skipped it: a gradient was not finite, and weights and optimizer are as before.
    pub skipped: bool,
    /// What it was made with: [`Stepper::plan`], or less where that did not fit into memory.
    pub plan: Plan,
}

impl WeightGradients {
    /// In memory.
    ///
    /// Errors: the device's.
    pub fn to_host(self) -> Result<Vec<Vec<f32>>> {
        match self {
            Self::Host(values) => Ok(values),
            Self::Device(tensors) => {
                tensors.iter().map(|t| Ok(t.flatten_all()?.to_vec1()?)).collect()
            }
        }
    }
}

/// A training batch's.
#[derive(Debug, Clone)]
pub struct Gradients {
    /// Losses.
    pub loss: TrainLoss,
    /// Slice logits [B·T].
    pub slice_logits: Vec<f32>,
    /// Study logits [B].
    pub study_logits: Vec<f32>,
    /// Times what the loss was scaled by.
    pub of_weights: WeightGradients,
}

/// The network, and how it is fed.
#[derive(Clone, Copy)]
pub struct Stepper<'a> {
    /// The network.
    pub model: &'a Classifier,
    /// What it keeps of a training step's images, and how many it takes at once.
    pub plan: Plan,
    /// Where it computes.
    pub device: &'a Device,
    /// What the encoder computes training in; f32 on the CPU. The rest, and validation, is f32.
    pub compute: DType,
    /// Buffers from step to step.
    pub arena: &'a Arena,
    /// Where somebody asks what takes how long.
    pub clock: Option<&'a Clock<'a>>,
}

/// A training batch and how it is scored.
#[derive(Clone, Copy)]
struct Task<'a> {
    images: &'a dyn Images,
    targets: Targets<'a>,
    weights: Weights,
    /// The key of dropout; without it, none.
    dropout: Option<Key>,
    /// Factor of the loss in the backward pass.
    scale: f64,
}

/// A batch's loss and logits, and the loss's gradients by those.
struct Scored {
    loss: TrainLoss,
    slice_logits: Vec<f32>,
    study_logits: Vec<f32>,
    /// [B·T] and [B], times the loss's scale.
    grads: [Vec<f32>; 2],
}

/// What comes back from the loss to the features.
struct Tail {
    scored: Scored,
    /// By the features [B·T, F].
    grad: Tensor,
    of_lstms: WeightGradients,
    /// Of both heads.
    of_heads: Vec<Tensor>,
}

/// All gradients in the parameters' order, in which the encoder's weights come first.
///
/// Errors: one is missing.
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
    /// In f32 on the CPU.
    pub fn on_cpu(model: &'a Classifier, plan: Plan, arena: &'a Arena) -> Self {
        Self { model, plan, device: &Device::Cpu, compute: DType::F32, arena, clock: None }
    }
}

impl Stepper<'_> {
    fn lap(&self, part: Part) -> Result<()> {
        Ok(self.clock.map_or(Ok(()), |clock| clock.lap(part))?)
    }

    fn encoder(&self, images: &dyn Images) -> Encoder<'_> {
        Encoder::new(self.model, images.size(), self.arena)
    }

    /// Validation's forward pass: slice logits [B·T] and study logits [B]. One that does not fit
    /// into memory is made again with a smaller plan.
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
        let encoder = OnCpu { encoder: self.encoder(images), fill: &fill };
        let predicted = self.predict_by(&encoder, studies * t);
        self.arena.pool.end_round();
        predicted
    }

    /// [`Self::predict`] of so many images with the encoder's pass on some device.
    fn predict_by<P: Pass>(&self, encoder: &P, images: usize) -> Result<(Tensor, Tensor)> {
        let (features, _) = encoder.forward(0..images, Retention::default())?;
        let lstms = Lstms::new(self.model, &self.arena.pool);
        let (read, tape) = lstms.forward(&features)?;
        lstms.forget(tape)?;
        Ok(self.model.heads(&read)?.into())
    }

    /// Brings the images to the device, as bytes where there are such.
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

    /// Loss and gradients of a training batch; the weights untouched. BatchNorm's running statistics move.
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
        let encoder = OnCpu { encoder: self.encoder(task.images), fill: &fill };
        self.gradients_by(&encoder, task)
    }

    /// [`Self::gradients`] with the encoder's pass on some device.
    fn gradients_by<P: Pass>(&self, encoder: &P, task: Task) -> Result<Gradients> {
        let total = task.targets.own.len();
        self.lap(Part::Upload)?;
        let (features, tapes) = encoder.forward(0..total, self.plan.retention)?;
        self.lap(Part::Encode)?;
        let Tail { scored, grad, of_lstms, of_heads } = self.tail(&features, task)?;
        drop(features);
        self.within_limit(task.images)?;
        self.lap(Part::Tail)?;
        let (mut sums, kept) = (encoder.sums()?, P::kept(&tapes));
        if !kept.is_empty() {
            encoder.backward(tapes, &grad.narrow(0, 0, kept.end)?, &mut sums)?;
        }
        for range in chunks(kept.end..total, self.plan.chunk) {
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
        let Scored { loss, slice_logits, study_logits, .. } = scored;
        self.lap(Part::Backward)?;
        Ok(Gradients { loss, slice_logits, study_logits, of_weights })
    }

    /// LSTMs, heads and loss of the features [B·T, F], forward and backward.
    fn tail(&self, features: &Tensor, task: Task) -> Result<Tail> {
        let lstms = Lstms::new(self.model, &self.arena.pool);
        let (read, tape) = lstms.forward(features)?;
        let (logits, [slices, studies]) = self.model.train_heads(&read, task.dropout)?;
        let scored = self.scored(&logits, task)?;
        let (all, mut of_heads) = slices.backward(&scored.grads[0])?;
        let (first, of_second) = studies.backward(&scored.grads[1])?;
        of_heads.extend(of_second);
        let (grad, of_lstms) = lstms.backward(tape, &[all, first])?;
        Ok(Tail { scored, grad, of_lstms, of_heads })
    }

    /// The loss of slice logits [B·T] and study logits [B].
    fn scored(
        &self,
        [slices, studies]: &[Tensor; 2],
        Task { images, targets, weights, scale, .. }: Task,
    ) -> Result<Scored> {
        // One read, for which the host waits once.
        let mut slice_logits = Tensor::cat(&[slices.detach(), studies.detach()], 0)?.to_vec1()?;
        let study_logits = slice_logits.split_off(targets.own.len());
        let loss =
            loss::train_loss(&slice_logits, &study_logits, targets.own, targets.mixed, weights);
        if !loss.loss.is_finite() {
            return Err(Error::NonFinite { what: "the loss".into(), studies: images.studies() });
        }
        let scaled = |g: &Vec<f32>| g.iter().map(|g| g * scale as f32).collect();
        let grads = [&loss.grad_slices, &loss.grad_studies].map(scaled);
        Ok(Scored { loss, slice_logits, study_logits, grads })
    }

    /// One step: gradients, then the optimizer. On an error the weights are as before.
    ///
    /// A step that does not fit into memory is made again with a smaller plan. A gradient that is
    /// not finite is an error, or, where the optimizer has a scaler, a step that is skipped.
    pub fn step(
        &self,
        optimizer: &mut AdamW,
        lr: f64,
        images: &dyn Images,
        targets: Targets,
        weights: Weights,
        dropout: Option<Key>,
    ) -> Result<StepOutput> {
        if let Some(clock) = self.clock {
            clock.start()?;
        }
        let scale = optimizer.scaler.map_or(1.0, |scaler| scaler.scale);
        let task = Task { images, targets, weights, dropout, scale };
        let statistics = self.save_buffers()?;
        let ((made, (squares, statistic)), plan) = self.fitting(|stepper| {
            let made = stepper.gradients_of(task).and_then(|made| {
                let squares = self.squares(optimizer, &made.of_weights)?;
                Ok((made, squares))
            });
            if made.is_err() {
                self.restore_buffers(&statistics)?;
            }
            made
        })?;
        let Gradients { loss, slice_logits, study_logits, of_weights } = made;
        // A variance that overflows hides in the loss: what is divided by it becomes 0.
        if let Some(name) = statistic {
            self.restore_buffers(&statistics)?;
            let what = format!("the statistic {name}");
            return Err(Error::NonFinite { what, studies: images.studies() });
        }
        let bad = squares.iter().position(|s| !s.is_finite());
        if let (Some(at), None) = (bad, optimizer.scaler) {
            self.restore_buffers(&statistics)?;
            let what = format!("the gradient of {}", self.model.parameters.trainable[at].name);
            return Err(Error::NonFinite { what, studies: images.studies() });
        }
        if bad.is_none() {
            optimizer.step(&self.model.parameters.trainable, &of_weights, lr)?;
        }
        if let Some(scaler) = &mut optimizer.scaler {
            scaler.update(bad.is_none());
        }
        if let WeightGradients::Host(values) = of_weights {
            values.into_iter().for_each(|g| self.arena.pool.give(g));
        }
        self.arena.pool.end_round();
        self.lap(Part::Optimizer)?;
        let grad_norm = squares.iter().sum::<f64>().sqrt() / scale;
        let skipped = bad.is_some();
        Ok(StepOutput { loss, slice_logits, study_logits, grad_norm, skipped, plan })
    }

    /// What `make` makes with this plan or, each time the device's memory does not suffice, with a
    /// smaller one; and that plan.
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

    /// Errors: the arena's limit would be passed, as a card's allocator says it.
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

    /// Σ g² of each weight's gradient; and the name of a running statistic with a value that is NaN
    /// or infinite. On a GPU both in one read.
    fn squares(
        &self,
        optimizer: &mut AdamW,
        gradients: &WeightGradients,
    ) -> Result<(Vec<f64>, Option<String>)> {
        let statistics = self.model.parameters.buffers.iter().filter(|b| b.var.dtype().is_float());
        let WeightGradients::Device(tensors) = gradients else {
            let mut bad = None;
            for b in statistics {
                if bad.is_none() && weights::not_finite(&b.var.as_detached_tensor())? > 0 {
                    bad = Some(b.name.clone());
                }
            }
            return Ok((optimizer.squares(gradients)?, bad));
        };
        // The squares are summed in f64, in which those of finite values in f32 stay finite.
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

/// [`Stepper::gradients_by`] of a batch on a GPU, in type `T`.
#[cfg(feature = "cuda")]
fn on_card<T: Compute>(
    stepper: &Stepper,
    batch: (ImageSource, usize),
    at: (&Device, usize),
    task: Task,
) -> Result<Gradients> {
    stepper.gradients_by(&Card::<T>::new(stepper.model, batch, at)?, task)
}

/// `range` in pieces of `chunk`.
fn chunks(range: Range<usize>, chunk: usize) -> impl Iterator<Item = Range<usize>> {
    let (chunk, end) = (chunk.max(1), range.end);
    range.step_by(chunk).map(move |i| i..(i + chunk).min(end))
}
