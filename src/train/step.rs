//! One optimizer step, the encoder in chunks with exact gradients.
//!
//! The encoder has no BatchNorm: images are independent in it. So it may run on all of them and
//! keep what it needs for the gradients of some; LSTMs and heads run on all features; ∂L/∂features
//! is taken back through those images; the others are encoded again in chunks, and it is taken
//! back through each. The gradients are those of one pass; the memory is what [`Plan`] allows. On
//! the CPU encoder and LSTMs are computed by hand, [`crate::net::encoder`] and
//! [`crate::net::recurrent`], elsewhere by candle's autograd.

use super::{
    Error, Result,
    adamw::AdamW,
    loss::{self, TrainLoss, Weights},
    memory::Plan,
};
use crate::net::{
    Classifier, Mode,
    encoder::{Arena, Encoder, Keep},
    recurrent::{self, Lstms},
};
use candle_core::{Device, Tensor, Var, backprop::GradStore};
use rayon::prelude::*;
use std::ops::Range;

/// The images of a batch as the network takes them.
pub trait Images: Sync {
    /// Writes images `range` (flat over B·T) as [n, S, S, 6] in 0..=1 to `out`.
    fn fill(&self, range: Range<usize>, out: &mut [f32]);
    /// S.
    fn size(&self) -> usize;
    /// UIDs, as many as there are studies.
    fn studies(&self) -> Vec<String>;
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
    /// L2 norm of all gradients.
    pub grad_norm: f64,
}

/// A training batch's.
#[derive(Debug, Clone)]
pub struct Gradients {
    /// Losses.
    pub loss: TrainLoss,
    /// Slice logits [B·T].
    pub slice_logits: Vec<f32>,
    /// ∂L/∂weight of each, in the parameters' order and layout.
    pub of_weights: Vec<Vec<f32>>,
}

/// The network, and how it is fed.
pub struct Stepper<'a> {
    /// The network.
    pub model: &'a Classifier,
    /// What it keeps of a training step's images, and how many it takes at once.
    pub plan: Plan,
    /// Where it computes.
    pub device: &'a Device,
    /// Buffers from step to step.
    pub arena: &'a Arena,
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

    /// All of them, those of `by_hand` at their places; or the name of the one that is missing.
    fn finish(self, by_hand: impl IntoIterator<Item = (usize, Vec<f32>)>) -> Result<Vec<Vec<f32>>> {
        let mut all: Vec<Option<Vec<f32>>> = Vec::with_capacity(self.sums.len());
        for sum in self.sums {
            all.push(sum.map(|g| g.flatten_all()?.to_vec1()).transpose()?);
        }
        for (at, g) in by_hand {
            all[at] = Some(g);
        }
        let named = self.model.parameters.trainable.iter().zip(all);
        named.map(|(p, g)| g.ok_or_else(|| Error::NoGradient(p.name.clone()))).collect()
    }
}

impl Stepper<'_> {
    /// Images `range` as a tensor [n, S, S, 6].
    fn images(&self, images: &dyn Images, range: Range<usize>) -> Result<Tensor> {
        let (n, s, c) = (range.len(), images.size(), self.model.spec.in_channels);
        let mut pixels = vec![0f32; n * s * s * c];
        images.fill(range, &mut pixels);
        Ok(Tensor::from_vec(pixels, (n, s, s, c), self.device)?)
    }

    fn encoder(&self, images: &dyn Images) -> Encoder<'_> {
        Encoder::new(self.model, images.size(), self.arena)
    }

    /// All features [N, F] by candle, without a graph.
    fn encode(&self, images: &dyn Images, total: usize) -> Result<Tensor> {
        let parts = chunks(0..total, self.plan.chunk)
            .map(|range| Ok(self.model.encoder.forward(&self.images(images, range)?, false)?))
            .collect::<Result<Vec<_>>>()?;
        Ok(Tensor::cat(&parts, 0)?)
    }

    /// Validation's forward pass: slice logits [B·T] and study logits [B].
    pub fn predict(&self, images: &dyn Images, studies: usize) -> Result<(Tensor, Tensor)> {
        let t = self.model.spec.images;
        if !self.device.is_cpu() {
            let features = self.encode(images, studies * t)?;
            let out = self.model.tail(&features.reshape((studies, t, ()))?, Mode::Eval)?;
            return Ok((out.slices, out.studies));
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
        match self.device.is_cpu() {
            true => self.gradients_by_hand(images, targets, weights, mode),
            false => self.gradients_by_graph(images, targets, weights, mode),
        }
    }

    /// [`Self::gradients`] with encoder and LSTMs by hand.
    fn gradients_by_hand(
        &self,
        images: &dyn Images,
        targets: Targets,
        weights: Weights,
        mode: Mode,
    ) -> Result<Gradients> {
        let (total, pool) = (targets.own.len(), &self.arena.pool);
        let encoder = self.encoder(images);
        let fill = |range: Range<usize>, out: &mut [f32]| images.fill(range, out);
        let (features, tapes) = encoder.forward(&fill, 0..total, self.plan.keep)?;
        let width = features.len() / total;
        let lstms = Lstms::new(self.model, pool);
        let (out, recurrent_tape) = lstms.forward(&features)?;
        drop(features);
        let read = self.heads_read(out)?;
        let heads = |x: &[Tensor]| self.model.heads(&x[0], &x[1], mode);
        let tail = self.tail(&read, heads, images, targets, weights)?;
        let values = |t: &Tensor| t.flatten_all()?.to_vec1::<f32>();
        let grad =
            recurrent::Output { all: values(&tail.grads[0])?, first: values(&tail.grads[1])? };
        let (grad, of_lstms) = lstms.backward(recurrent_tape, &grad)?;
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
        Ok(Gradients { loss: tail.loss, slice_logits: tail.slice_logits, of_weights })
    }

    /// [`Self::gradients`] by candle's autograd throughout.
    fn gradients_by_graph(
        &self,
        images: &dyn Images,
        targets: Targets,
        weights: Weights,
        mode: Mode,
    ) -> Result<Gradients> {
        let total = targets.own.len();
        let one_pass = total <= self.plan.keep.inputs;
        let features = match one_pass {
            true => self.model.encoder.forward(&self.images(images, 0..total)?, true)?,
            false => self.encode(images, total)?,
        };
        let t = self.model.spec.images;
        let forward = |x: &[Tensor]| {
            let out = self.model.tail(&x[0].reshape((total / t, t, ()))?, mode)?;
            Ok((out.slices, out.studies))
        };
        let leaf = std::slice::from_ref(&features);
        let mut tail = self.tail(leaf, forward, images, targets, weights)?;
        let chunk = if one_pass { total } else { self.plan.chunk };
        for range in chunks(0..total, chunk) {
            let y = match one_pass {
                true => features.clone(),
                false => self.model.encoder.forward(&self.images(images, range.clone())?, true)?,
            };
            let g = tail.grads[0].narrow(0, range.start, range.len())?;
            tail.sums.add(&(y * g)?.sum_all()?.backward()?)?;
        }
        let of_weights = tail.sums.finish([])?;
        Ok(Gradients { loss: tail.loss, slice_logits: tail.slice_logits, of_weights })
    }

    /// The loss of what `forward` makes of `x`, slice and study logits, and its gradients by
    /// candle's autograd.
    fn tail(
        &self,
        x: &[Tensor],
        forward: impl Fn(&[Tensor]) -> candle_core::Result<(Tensor, Tensor)>,
        images: &dyn Images,
        targets: Targets,
        weights: Weights,
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
            Ok((x * Tensor::new(g, self.device)?)?.sum_all()?)
        };
        let surrogate = (dot(&slices, &loss.grad_slices)? + dot(&studies, &loss.grad_studies)?)?;
        let store = surrogate.backward()?;
        sums.add(&store)?;
        let of = |leaf: &Var| {
            let none = || Error::NoGradient("what the loss is computed from".into());
            Ok(store.get(leaf).ok_or_else(none)?.clone())
        };
        let grads = leaves.iter().map(of).collect::<Result<_>>()?;
        Ok(Tail { grads, loss, slice_logits, sums })
    }

    /// One step: gradients, then the optimizer. On an error the weights are as before.
    pub fn step(
        &self,
        optimizer: &mut AdamW,
        lr: f64,
        images: &dyn Images,
        targets: Targets,
        weights: Weights,
        mode: Mode,
    ) -> Result<StepOutput> {
        let statistics = self.save_buffers()?;
        let made = self.finite_gradients(images, targets, weights, mode);
        if made.is_err() {
            self.restore_buffers(&statistics)?;
        }
        let (made, grad_norm) = made?;
        optimizer.step(&self.model.parameters.trainable, &made.of_weights, lr)?;
        made.of_weights.into_iter().for_each(|g| self.arena.pool.give(g));
        self.arena.pool.end_round();
        Ok(StepOutput { loss: made.loss, slice_logits: made.slice_logits, grad_norm })
    }

    /// As [`Self::gradients`], with their L2 norm; one that is not finite is an error.
    fn finite_gradients(
        &self,
        images: &dyn Images,
        targets: Targets,
        weights: Weights,
        mode: Mode,
    ) -> Result<(Gradients, f64)> {
        let made = self.gradients(images, targets, weights, mode)?;
        let mut squares = 0.0;
        for (p, g) in self.model.parameters.trainable.iter().zip(&made.of_weights) {
            let s = sum_of_squares(g);
            if !s.is_finite() {
                let what = format!("the gradient of {}", p.name);
                return Err(Error::NonFinite { what, studies: images.studies() });
            }
            squares += s;
        }
        Ok((made, squares.sqrt()))
    }

    fn save_buffers(&self) -> Result<Vec<Tensor>> {
        let buffers = self.model.parameters.buffers.iter();
        Ok(buffers
            .map(|b| b.var.as_detached_tensor().copy())
            .collect::<candle_core::Result<_>>()?)
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

/// In pieces that do not depend on the number of threads.
fn sum_of_squares(values: &[f32]) -> f64 {
    let pieces: Vec<f64> = values
        .par_chunks(1 << 16)
        .map(|piece| {
            piece.chunks(256).map(|c| f64::from(c.iter().map(|v| v * v).sum::<f32>())).sum()
        })
        .collect();
    pieces.into_iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Config, config::Set, net::Spec};
    use candle_core::DType;

    /// Noise, and none of one colour: with fresh biases of 0 each norm of such an image makes its
    /// gradient a thousand times larger, and the study head's BatchNorm over two studies that are
    /// nearly the same makes rounding as large as anything else.
    struct Noise;
    impl Images for Noise {
        fn fill(&self, range: Range<usize>, out: &mut [f32]) {
            for (i, image) in range.zip(out.chunks_mut(32 * 32 * 6)) {
                let noise = |j: usize| (i * 6151 + j * j * 7919 + j * 104_729) % 1009;
                let dim = (i + 1) as f32 / 14.0;
                let values = (0..image.len()).map(|j| dim * noise(j) as f32 / 1008.0);
                image.iter_mut().zip(values).for_each(|(to, v)| *to = v);
            }
        }
        fn size(&self) -> usize {
            32
        }
        fn studies(&self) -> Vec<String> {
            vec!["study.a".into(), "study.b".into()]
        }
    }

    /// By hand and by autograd, in one pass and in chunks.
    #[test]
    fn gradients_do_not_depend_on_how_they_are_computed() {
        let sets = ["model.size=micro", "data.slices_per_vertebra=1", "model.lstm_hidden=8"];
        let config = Config::load(None, false, &sets.map(Set::new)).unwrap();
        let model = Classifier::new(&Spec::new(&config), 0, 0, DType::F32, &Device::Cpu).unwrap();
        // Layer scale begins at 1e-6: blocks would hardly show.
        for p in model.parameters.trainable.iter().filter(|p| p.name.ends_with("gamma")) {
            p.var.set(&Tensor::full(0.5f32, p.var.shape(), &Device::Cpu).unwrap()).unwrap();
        }
        let own = [1f32, 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 1., 0.];
        let arena = Arena::default();
        let run = |plan: Plan, by_hand: bool| {
            let stepper = Stepper { model: &model, plan, device: &Device::Cpu, arena: &arena };
            let targets = Targets { own: &own, mixed: None };
            let weights = Weights::from(&config.train);
            let mode = Mode::Train(None);
            let made = match by_hand {
                true => stepper.gradients_by_hand(&Noise, targets, weights, mode).unwrap(),
                false => stepper.gradients_by_graph(&Noise, targets, weights, mode).unwrap(),
            };
            (made.loss.loss, made.slice_logits, made.of_weights)
        };
        let (loss, logits, grads) = run(Plan::of_chunk(14, 14), false);
        let norm = |g: &[f32]| g.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        let whole = grads.iter().map(|g| norm(g).powi(2)).sum::<f64>().sqrt();
        let chunked = |n| Plan::of_chunk(n, 14);
        let inner = |inner| Plan { keep: Keep { inputs: 14, inner }, chunk: 14 };
        let ways = [chunked(14), inner(14), inner(7), chunked(5), chunked(1)].map(|p| (p, true));
        for (plan, by_hand) in ways.into_iter().chain([(chunked(5), false)]) {
            let (other_loss, other_logits, other) = run(plan, by_hand);
            assert!((loss - other_loss).abs() < 1e-6);
            assert!(logits.iter().zip(&other_logits).all(|(a, b)| (a - b).abs() < 1e-5));
            for ((p, a), b) in model.parameters.trainable.iter().zip(&grads).zip(&other) {
                // Before a BatchNorm a bias has no gradient but rounding.
                if matches!(&*p.name, "head.0.bias" | "head2.0.bias") {
                    continue;
                }
                let apart: Vec<f32> = a.iter().zip(b).map(|(a, b)| a - b).collect();
                let error = norm(&apart) / norm(a).max(1e-4 * whole);
                assert!(error < 1e-4, "{plan:?}, by hand {by_hand}: {} {error}", p.name);
            }
        }
    }

    #[test]
    fn a_step_that_is_not_finite_changes_nothing_and_names_the_studies() {
        let sets = ["model.size=micro", "data.slices_per_vertebra=1", "model.lstm_hidden=8"];
        let config = Config::load(None, false, &sets.map(Set::new)).unwrap();
        let spec = Spec::new(&config);
        let model = Classifier::new(&spec, 0, 0, DType::F32, &Device::Cpu).unwrap();
        let sizes = model.parameters.trainable.iter().map(|p| p.var.elem_count());
        let mut optimizer = AdamW::new(&config.train, sizes);
        let targets = [1f32, 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0.];
        let (plan, arena) = (Plan::of_chunk(4, 14), Arena::default());
        let stepper = Stepper { model: &model, plan, device: &Device::Cpu, arena: &arena };
        let step = |optimizer: &mut AdamW| {
            let targets = Targets { own: &targets, mixed: None };
            let weights = Weights::from(&config.train);
            stepper.step(optimizer, 1e-3, &Noise, targets, weights, Mode::Train(None))
        };
        step(&mut optimizer).unwrap();

        let bias = model.parameters.trainable.iter().find(|p| p.name == "head.4.bias").unwrap();
        bias.var.set(&Tensor::new(&[f32::NAN], &Device::Cpu).unwrap()).unwrap();
        let state = |model: &Classifier| -> Vec<Vec<u32>> {
            let trainable = model.parameters.trainable.iter().map(|p| &p.var);
            let statistics = model.parameters.buffers.iter().map(|b| &b.var);
            let values = trainable.chain(statistics).filter(|v| v.dtype() == DType::F32);
            let bits = |v: &Var| v.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            values.map(|v| bits(v).into_iter().map(f32::to_bits).collect()).collect()
        };
        let (before, moments) = (state(&model), optimizer.clone());
        let error = step(&mut optimizer).unwrap_err().to_string();
        assert!(error.contains("the loss is not finite"), "{error}");
        assert!(error.contains("study.a, study.b"), "{error}");
        assert_eq!(state(&model), before);
        assert_eq!(optimizer, moments);
    }
}
