//! Gradients by candle's autograd, for tests to compare with.

use super::super::{Bytes, Error, Gradients, Images, Result, Stepper, Task, WeightGradients};
use crate::net::{graph, parameters::Parameter};
use candle_core::{Tensor, Var};

impl Stepper<'_> {
    /// Returns the images in the network's input format, [n, S, S, 6] in 0..=1, in the compute type.
    fn images(&self, images: &dyn Images, total: usize) -> Result<Tensor> {
        let (s, c) = (images.size(), self.model.spec.in_channels);
        let shape = (total, s, s, c);
        let Some(Bytes { pieces, mixed }) = images.bytes() else {
            let mut pixels = vec![0f32; total * s * s * c];
            images.fill(0..total, &mut pixels);
            return Ok(Tensor::from_vec(pixels, shape, self.device)?.to_dtype(self.compute)?);
        };
        let own = Tensor::from_vec(pieces.concat(), shape, self.device)?;
        let partner = match mixed {
            None => None,
            Some((partner, shares)) => {
                let at = Tensor::new(partner, self.device)?;
                Some((own.index_select(&at, 0)?, shares))
            }
        };
        Ok(graph::pixels(&own, partner.as_ref().map(|(p, s)| (p, *s)), self.compute)?)
    }

    /// [`Self::gradients`] by candle's autograd throughout, without dropout.
    pub(super) fn gradients_by_graph(&self, task: Task) -> Result<Gradients> {
        let images = self.images(task.images, task.targets.own.len())?;
        let features = self.model.encoder.forward(&images, true)?;
        let leaf = Var::from_tensor(&features.detach())?;
        let (t, f) = (self.model.spec.images, features.dim(1)?);
        let logits = self.model.tail_by_graph(&leaf.as_tensor().reshape(((), t, f))?)?;
        let (loss, slice_logits, study_logits) = self.scored(&logits, task)?;
        // Σ logits·∂L/∂logits has the same gradient as the loss.
        let dot =
            |x: &Tensor, g: &[f32]| (x * Tensor::from_slice(g, x.shape(), self.device)?)?.sum_all();
        let surrogate =
            (dot(&logits[0], &loss.grad_slices)? + dot(&logits[1], &loss.grad_studies)?)?;
        let of_tail = surrogate.backward()?;
        let none = || Error::NoGradient("the features".into());
        let grad = of_tail.get(&leaf).ok_or_else(none)?;
        let of_encoder = (features * grad)?.sum_all()?.backward()?;
        let of = |p: &Parameter| {
            let grad = of_encoder.get(&p.var).or_else(|| of_tail.get(&p.var));
            grad.cloned().ok_or_else(|| Error::NoGradient(p.name.clone()))
        };
        let all = self.model.parameters.trainable.iter().map(of).collect::<Result<_>>()?;
        let of_weights = WeightGradients::Host(WeightGradients::Device(all).to_host()?);
        Ok(Gradients { loss, slice_logits, study_logits, of_weights })
    }
}
