//! A step by candle's autograd, through our ops: what a GPU computes.

use super::{
    Bytes, Gradients, Images, OfWeights, Result, Stepper, Tail, Task, chunks, clock::Part, complete,
};
use crate::net::{Mode, ops};
use candle_core::{DType, Tensor};
use std::ops::Range;

/// A batch's images on their way to the network.
enum Source<'a> {
    /// On the device, uint8 [B·T, S, S, 6]; each image's partner and the shares where they are mixed.
    Bytes { own: Tensor, mixed: Option<(Vec<u32>, [f32; 2])> },
    /// From memory, as they are asked for.
    Floats(&'a dyn Images),
}

impl Stepper<'_> {
    /// Brings the images to the device, as bytes where there are such.
    fn source<'a>(&self, images: &'a dyn Images) -> Result<Source<'a>> {
        let Some(Bytes { pieces, mixed }) = images.bytes() else {
            return Ok(Source::Floats(images));
        };
        let (s, c) = (images.size(), self.model.spec.in_channels);
        let piece = |bytes: &&[u8]| {
            Tensor::from_slice(bytes, (bytes.len() / (s * s * c), s, s, c), self.device)
        };
        let pieces = pieces.iter().map(piece).collect::<candle_core::Result<Vec<_>>>()?;
        Ok(Source::Bytes { own: Tensor::cat(&pieces, 0)?, mixed })
    }

    /// Images `range` as the network takes them, [n, S, S, 6] in 0..=1.
    fn images(&self, source: &Source, range: Range<usize>, dtype: DType) -> Result<Tensor> {
        match source {
            Source::Floats(images) => {
                let (n, s, c) = (range.len(), images.size(), self.model.spec.in_channels);
                let mut pixels = vec![0f32; n * s * s * c];
                images.fill(range, &mut pixels);
                Ok(Tensor::from_vec(pixels, (n, s, s, c), self.device)?.to_dtype(dtype)?)
            }
            Source::Bytes { own, mixed } => {
                let these = own.narrow(0, range.start, range.len())?;
                let partner = match mixed {
                    None => None,
                    Some((partner, shares)) => {
                        let at = Tensor::new(&partner[range], self.device)?;
                        Some((own.index_select(&at, 0)?, *shares))
                    }
                };
                Ok(ops::pixels(&these, partner.as_ref().map(|(p, s)| (p, *s)), dtype)?)
            }
        }
    }

    /// All features [N, F], f32, without a graph.
    fn encode(&self, source: &Source, total: usize, dtype: DType) -> Result<Tensor> {
        let encode = |range| -> Result<Tensor> {
            let images = self.images(source, range, dtype)?;
            Ok(self.model.encoder.forward(&images, false)?)
        };
        let parts = chunks(0..total, self.plan.chunk).map(encode).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::cat(&parts, 0)?)
    }

    /// [`Self::predict`] by candle.
    pub(super) fn predict_by_graph(
        &self,
        images: &dyn Images,
        studies: usize,
    ) -> Result<(Tensor, Tensor)> {
        let t = self.model.spec.images;
        let source = self.source(images)?;
        let features = self.encode(&source, studies * t, DType::F32)?;
        let out = self.model.tail(&features.reshape((studies, t, ()))?, Mode::Eval)?;
        Ok((out.slices, out.studies))
    }

    /// [`Self::gradients`] by candle's autograd throughout.
    pub(super) fn gradients_by_graph(&self, task: Task) -> Result<Gradients> {
        let total = task.targets.own.len();
        let source = self.source(task.images)?;
        self.lap(Part::Upload)?;
        let one_pass = total <= self.plan.keep.inputs;
        let with_graph = |range| -> Result<Tensor> {
            let images = self.images(&source, range, self.compute)?;
            Ok(self.model.encoder.forward(&images, true)?)
        };
        let features = match one_pass {
            true => with_graph(0..total)?,
            false => self.encode(&source, total, self.compute)?,
        };
        self.lap(Part::Encode)?;
        let t = self.model.spec.images;
        let forward = |x: &[Tensor]| {
            let out = self.model.tail(&x[0].reshape((total / t, t, ()))?, task.mode)?;
            Ok((out.slices, out.studies))
        };
        let leaf = std::slice::from_ref(&features);
        let mut tail = self.tail(leaf, forward, task)?;
        self.within_limit(task.images)?;
        self.lap(Part::Tail)?;
        let chunk = if one_pass { total } else { self.plan.chunk };
        for range in chunks(0..total, chunk) {
            let y = match one_pass {
                true => features.clone(),
                false => with_graph(range.clone())?,
            };
            let g = tail.grads[0].narrow(0, range.start, range.len())?;
            tail.sums.add(&(y * g)?.sum_all()?.backward()?)?;
        }
        let of_weights = match self.device.is_cpu() {
            true => tail.sums.finish([])?,
            false => {
                let contiguous = |g: Tensor| Ok(g.contiguous()?);
                let all = complete(self.model, tail.sums.sums)?;
                OfWeights::Device(all.into_iter().map(contiguous).collect::<Result<_>>()?)
            }
        };
        self.lap(Part::Backward)?;
        let Tail { loss, slice_logits, study_logits, .. } = tail;
        Ok(Gradients { loss, slice_logits, study_logits, of_weights })
    }
}
