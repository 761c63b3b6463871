//! One optimizer step, the encoder in chunks with exact gradients.
//!
//! The encoder has no BatchNorm: images are independent in it. So it may run on all of them and
//! keep what it needs for the gradients of some; LSTMs and heads run on all features; ∂L/∂features
//! is taken back through those images; the others are encoded again in chunks, and it is taken
//! back through each. The gradients are those of one pass; the memory is what [`Plan`] allows. On
//! the CPU encoder and LSTMs are computed by hand, [`crate::net::encoder`] and
//! [`crate::net::recurrent`], elsewhere by candle's autograd (`graph`).
//!
//! A step that runs out of memory is made again with half as many images at once.

pub mod clock;
mod graph;
#[cfg(test)]
mod tests;

use super::{
    Error, Result,
    adamw::AdamW,
    loss::{self, TrainLoss, Weights},
    memory::Plan,
};
use crate::{
    device,
    net::{
        Classifier, Mode,
        encoder::{Arena, Encoder, Keep},
        recurrent::{self, Lstms},
        weights,
    },
};
use candle_core::{DType, Device, Tensor, Var, backprop::GradStore};
use clock::{Clock, Part};
use std::ops::Range;

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

/// ∂L/∂weight of each, in the parameters' order and layout, f32.
#[derive(Debug, Clone)]
pub enum OfWeights {
    /// In memory.
    Host(Vec<Vec<f32>>),
    /// On the device.
    Device(Vec<Tensor>),
}

impl OfWeights {
    /// In memory.
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
    pub of_weights: OfWeights,
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
    /// Where somebody asks what takes how long; on a GPU the parts then wait for each other.
    pub clock: Option<&'a Clock>,
}

/// A training batch and how it is scored.
#[derive(Clone, Copy)]
struct Task<'a> {
    images: &'a dyn Images,
    targets: Targets<'a>,
    weights: Weights,
    mode: Mode,
    /// Factor of the loss in the backward pass.
    scale: f64,
}

/// Gradients in the parameters' order, summed over chunks.
struct Sums<'a> {
    model: &'a Classifier,
    sums: Vec<Option<Tensor>>,
}

/// What the loss gives, taken back to some tensors it was computed from.
struct Tail<'a> {
    /// The gradients of those.
    grads: Vec<Tensor>,
    loss: TrainLoss,
    slice_logits: Vec<f32>,
    study_logits: Vec<f32>,
    /// Of the weights in between.
    sums: Sums<'a>,
}

impl Sums<'_> {
    fn add(&mut self, grads: &GradStore) -> Result<()> {
        for (p, sum) in self.model.parameters.trainable.iter().zip(&mut self.sums) {
            if let Some(g) = grads.get(&p.var) {
                *sum = Some(match sum.take() {
                    Some(s) => (s + g)?,
                    None => g.clone(),
                });
            }
        }
        Ok(())
    }

    /// All of them in memory, those of `by_hand` at their places.
    ///
    /// Errors: one is missing.
    fn finish(self, by_hand: impl IntoIterator<Item = (usize, Vec<f32>)>) -> Result<OfWeights> {
        let mut all: Vec<Option<Vec<f32>>> = Vec::with_capacity(self.sums.len());
        for sum in self.sums {
            all.push(sum.map(|g| g.flatten_all()?.to_vec1()).transpose()?);
        }
        for (at, g) in by_hand {
            all[at] = Some(g);
        }
        Ok(OfWeights::Host(complete(self.model, all)?))
    }
}

/// One for each weight, or the name of the weight that has none.
fn complete<T>(model: &Classifier, all: Vec<Option<T>>) -> Result<Vec<T>> {
    let named = model.parameters.trainable.iter().zip(all);
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
        if let Some(clock) = self.clock {
            self.device.synchronize()?;
            clock.lap(part);
        }
        Ok(())
    }

    fn encoder(&self, images: &dyn Images) -> Encoder<'_> {
        Encoder::new(self.model, images.size(), self.arena)
    }

    /// Validation's forward pass: slice logits [B·T] and study logits [B]. One that does not fit
    /// into memory is made again with a smaller plan.
    pub fn predict(&self, images: &dyn Images, studies: usize) -> Result<(Tensor, Tensor)> {
        let t = self.model.spec.images;
        if !self.device.is_cpu() {
            return Ok(self.fitting(|stepper| stepper.predict_by_graph(images, studies))?.0);
        }
        let fill = |range: Range<usize>, out: &mut [f32]| images.fill(range, out);
        let (features, _) = self.encoder(images).forward(&fill, 0..studies * t, Keep::default())?;
        let lstms = Lstms::new(self.model, &self.arena.pool);
        let (out, tape) = lstms.forward(&features)?;
        lstms.forget(tape);
        self.arena.pool.end_round();
        let [all, first] = self.heads_read(out)?;
        Ok(self.model.heads(&all, &first, Mode::Eval)?)
    }

    /// As tensors.
    fn heads_read(&self, out: recurrent::Output) -> Result<[Tensor; 2]> {
        let tensor = |v| Tensor::from_vec(v, ((), 2 * self.model.spec.lstm_hidden), self.device);
        Ok([tensor(out.all)?, tensor(out.first)?])
    }

    /// Loss and gradients of a training batch; the weights untouched. BatchNorm's running statistics move.
    pub fn gradients(
        &self,
        images: &dyn Images,
        targets: Targets,
        weights: Weights,
        mode: Mode,
    ) -> Result<Gradients> {
        self.gradients_of(Task { images, targets, weights, mode, scale: 1.0 })
    }

    fn gradients_of(&self, task: Task) -> Result<Gradients> {
        match self.device.is_cpu() {
            true => self.gradients_by_hand(task),
            false => self.gradients_by_graph(task),
        }
    }

    /// [`Self::gradients`] with encoder and LSTMs by hand.
    fn gradients_by_hand(&self, task: Task) -> Result<Gradients> {
        let Task { images, targets, mode, .. } = task;
        let (total, pool) = (targets.own.len(), &self.arena.pool);
        let encoder = self.encoder(images);
        let fill = |range: Range<usize>, out: &mut [f32]| images.fill(range, out);
        let (features, tapes) = encoder.forward(&fill, 0..total, self.plan.keep)?;
        self.lap(Part::Encode)?;
        let width = features.len() / total;
        let lstms = Lstms::new(self.model, pool);
        let (out, recurrent_tape) = lstms.forward(&features)?;
        drop(features);
        let read = self.heads_read(out)?;
        let heads = |x: &[Tensor]| self.model.heads(&x[0], &x[1], mode);
        let tail = self.tail(&read, heads, task)?;
        self.within_limit(images)?;
        let values = |t: &Tensor| t.flatten_all()?.to_vec1::<f32>();
        let grad =
            recurrent::Output { all: values(&tail.grads[0])?, first: values(&tail.grads[1])? };
        let (grad, of_lstms) = lstms.backward(recurrent_tape, &grad)?;
        self.lap(Part::Tail)?;
        let mut sums = encoder.gradients();
        let kept = tapes.range();
        encoder.backward(&fill, tapes, &grad[..kept.end * width], &mut sums)?;
        for range in chunks(kept.end..total, self.plan.chunk) {
            let keep = Keep { inputs: range.len(), inner: 0 };
            let grad = &grad[range.start * width..range.end * width];
            let (_, tapes) = encoder.forward(&fill, range, keep)?;
            encoder.backward(&fill, tapes, grad, &mut sums)?;
        }
        pool.give(grad);
        let of_encoder = encoder.finish(sums)?.into_iter().enumerate();
        let of_lstms = recurrent::members(self.model).zip(of_lstms);
        let of_weights = tail.sums.finish(of_encoder.chain(of_lstms))?;
        self.lap(Part::Backward)?;
        let Tail { loss, slice_logits, study_logits, .. } = tail;
        Ok(Gradients { loss, slice_logits, study_logits, of_weights })
    }

    /// The loss of what `forward` makes of `x`, slice and study logits, and its gradients by
    /// candle's autograd.
    fn tail(
        &self,
        x: &[Tensor],
        forward: impl Fn(&[Tensor]) -> candle_core::Result<(Tensor, Tensor)>,
        Task { images, targets, weights, scale, .. }: Task,
    ) -> Result<Tail<'_>> {
        // Leaves of their own, so that the backward pass ends here.
        let leaves: Vec<Var> =
            x.iter().map(|x| Var::from_tensor(&x.detach())).collect::<candle_core::Result<_>>()?;
        let tracked: Vec<Tensor> = leaves.iter().map(|leaf| leaf.as_tensor().clone()).collect();
        let (slices, studies) = forward(&tracked)?;
        let slice_logits = slices.to_vec1::<f32>()?;
        let study_logits = studies.to_vec1::<f32>()?;
        let loss =
            loss::train_loss(&slice_logits, &study_logits, targets.own, targets.mixed, weights);
        if !loss.loss.is_finite() {
            return Err(Error::NonFinite { what: "the loss".into(), studies: images.studies() });
        }
        let mut sums =
            Sums { model: self.model, sums: vec![None; self.model.parameters.trainable.len()] };
        // Σ logits·∂L/∂logits has the loss's gradient.
        let dot = |x: &Tensor, g: &[f32]| -> Result<Tensor> {
            let g: Vec<f32> = g.iter().map(|g| g * scale as f32).collect();
            Ok((x * Tensor::from_vec(g, x.shape(), self.device)?)?.sum_all()?)
        };
        let surrogate = (dot(&slices, &loss.grad_slices)? + dot(&studies, &loss.grad_studies)?)?;
        let store = surrogate.backward()?;
        sums.add(&store)?;
        let of = |leaf: &Var| {
            let none = || Error::NoGradient("what the loss is computed from".into());
            Ok(store.get(leaf).ok_or_else(none)?.clone())
        };
        let grads = leaves.iter().map(of).collect::<Result<_>>()?;
        Ok(Tail { grads, loss, slice_logits, study_logits, sums })
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
        mode: Mode,
    ) -> Result<StepOutput> {
        if let Some(clock) = self.clock {
            clock.start();
        }
        let scale = optimizer.scaler.map_or(1.0, |scaler| scaler.scale);
        let task = Task { images, targets, weights, mode, scale };
        let statistics = self.save_buffers()?;
        let (made, plan) = self.fitting(|stepper| {
            let made = stepper.gradients_of(task);
            if made.is_err() {
                self.restore_buffers(&statistics)?;
            }
            made
        })?;
        let Gradients { loss, slice_logits, study_logits, of_weights } = made;
        // A variance that overflows hides in the loss: what is divided by it becomes 0.
        if let Some(what) = self.statistic_not_finite()? {
            self.restore_buffers(&statistics)?;
            return Err(Error::NonFinite { what, studies: images.studies() });
        }
        let squares = optimizer.squares(&of_weights)?;
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
        if let OfWeights::Host(values) = of_weights {
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
    fn fitting<T>(&self, make: impl Fn(&Stepper) -> Result<T>) -> Result<(T, Plan)> {
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

    /// A running statistic with a value that is NaN or infinite.
    fn statistic_not_finite(&self) -> Result<Option<String>> {
        for b in &self.model.parameters.buffers {
            if weights::not_finite(&b.var.as_detached_tensor())? > 0 {
                return Ok(Some(format!("the statistic {}", b.name)));
            }
        }
        Ok(None)
    }

    fn restore_buffers(&self, saved: &[Tensor]) -> Result<()> {
        for (b, t) in self.model.parameters.buffers.iter().zip(saved) {
            b.var.set(t)?;
        }
        Ok(())
    }
}

/// `range` in pieces of `chunk`.
fn chunks(range: Range<usize>, chunk: usize) -> impl Iterator<Item = Range<usize>> {
    let (chunk, end) = (chunk.max(1), range.end);
    range.step_by(chunk).map(move |i| i..(i + chunk).min(end))
}
