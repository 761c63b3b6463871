//! The gradients by candle's autograd through our ops, for the tests to compare with.

use super::{Bytes, Error, Gradients, Images, OfWeights, Result, Stepper, Tail, Task};
use crate::net::{ops, parameters::Parameter};
use candle_core::Tensor;

impl Stepper<'_> {
    /// The images as the network takes them, [n, S, S, 6] in 0..=1, of the compute type.
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
        Ok(ops::pixels(&own, partner.as_ref().map(|(p, s)| (p, *s)), self.compute)?)
    }

    /// [`Self::gradients`] by candle's autograd throughout.
    pub(super) fn gradients_by_graph(&self, task: Task) -> Result<Gradients> {
        let images = self.images(task.images, task.targets.own.len())?;
        let features = self.model.encoder.forward(&images, true)?;
        let studies = features.dim(0)? / self.model.spec.images;
        let by_candle = |x: &[Tensor]| {
            let out = self.model.tail(&x[0].reshape((studies, (), x[0].dim(1)?))?, task.mode)?;
            Ok((out.slices, out.studies))
        };
        let tail = self.scored(std::slice::from_ref(&features), by_candle, task)?;
        let of_encoder = (features * &tail.grads[0])?.sum_all()?.backward()?;
        let of = |p: &Parameter| {
            let grad = of_encoder.get(&p.var).or_else(|| tail.of_weights.get(&p.var));
            grad.cloned().ok_or_else(|| Error::NoGradient(p.name.clone()))
        };
        let all = self.model.parameters.trainable.iter().map(of).collect::<Result<_>>()?;
        let of_weights = OfWeights::Host(OfWeights::Device(all).to_host()?);
        let Tail { loss, slice_logits, study_logits, .. } = tail;
        Ok(Gradients { loss, slice_logits, study_logits, of_weights })
    }
}
