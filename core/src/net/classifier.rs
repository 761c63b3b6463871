//! The notebook's `TimmModelType2`.

use super::{
    convnext::ConvNeXt,
    head::{Head, Tape},
    lstm::Lstm,
    parameters::{Builder, Parameters},
    recurrent,
    spec::Spec,
};
use crate::rng::{Key, Purpose};
use candle_core::{DType, Device, Result, Tensor};
use rand::Rng;

/// Encoder, two LSTMs, two heads.
#[derive(Debug, Clone)]
pub struct Classifier {
    /// Sizes of the network.
    pub spec: Spec,
    /// Every weight, by PyTorch's name.
    pub parameters: Parameters,
    /// The encoder: images → features.
    pub encoder: ConvNeXt,
    lstm: Lstm,
    lstm2: Lstm,
    head: Head,
    head2: Head,
}

/// Output of the LSTMs and heads; the intermediate outputs are for the golden tests.
#[derive(Debug, Clone)]
pub struct Output {
    /// Slice logits [B·T].
    pub slices: Tensor,
    /// Study logits [B].
    pub studies: Tensor,
    /// First LSTM's output [B, T, 2H].
    pub lstm: Tensor,
    /// Second LSTM's output [B, T, 2H].
    pub lstm2: Tensor,
}

impl Classifier {
    /// Creates a fold's network with fresh weights.
    pub fn new(spec: &Spec, seed: u64, fold: usize, dtype: DType, device: &Device) -> Result<Self> {
        let mut b = Builder::new(seed, fold, dtype, device);
        let (f, h, m) = (spec.features(), spec.lstm_hidden, spec.head_hidden);
        let encoder = ConvNeXt::new(&mut b, spec)?;
        let lstm = Lstm::new(&mut b, "lstm", f, h)?;
        let head = Head::new(&mut b, "head", 2 * h, m)?;
        let lstm2 = Lstm::new(&mut b, "lstm2", f, h)?;
        let head2 = Head::new(&mut b, "head2", 2 * h, m)?;
        let parameters = b.parameters;
        Ok(Self { spec: spec.clone(), parameters, encoder, lstm, lstm2, head, head2 })
    }

    /// Maps features [B, T, F] to slice and study logits, with the running statistics and without
    /// dropout. The LSTMs run on candle's operations.
    pub fn tail(&self, features: &Tensor) -> Result<Output> {
        let (lstms, read) = self.lstms(features, false)?;
        let [slices, studies] = self.heads(&read)?;
        let [lstm, lstm2] = lstms;
        Ok(Output { slices, studies, lstm, lstm2 })
    }

    /// Maps features [B, T, F] to the LSTMs' outputs [B, T, 2H] and the heads' inputs; in candle's graph
    /// if `track`.
    fn lstms(&self, features: &Tensor, track: bool) -> Result<([Tensor; 2], recurrent::Output)> {
        let (b, t, _) = features.dims3()?;
        let [first, second] = [&self.lstm, &self.lstm2].map(|lstm| lstm.forward(features, track));
        let (lstm, lstm2) = (first?, second?);
        let width = 2 * self.spec.lstm_hidden;
        let rows = lstm.reshape((b * t, width))?;
        // The study head reads position 0 only.
        let at_0 = lstm2.narrow(1, 0, 1)?.reshape((b, width))?;
        Ok(([lstm, lstm2], [rows, at_0]))
    }

    /// Maps the heads' inputs to slice logits [B·T] and study logits [B], with the running statistics
    /// and without dropout.
    pub fn heads(&self, [all, first]: &recurrent::Output) -> Result<[Tensor; 2]> {
        Ok([self.head.eval(all)?, self.head2.eval(first)?])
    }

    /// Like [`Self::heads`], but with the batch's statistics, which update the running ones, and with
    /// dropout if `key` is given. Also returns the tape of each head.
    pub fn train_heads(
        &self,
        [all, first]: &recurrent::Output,
        key: Option<Key>,
    ) -> Result<([Tensor; 2], [Tape; 2])> {
        let mask =
            |x: &Tensor, head: usize| key.map(|k| self.dropout_mask(x, k.slice(head))).transpose();
        let (slices, of_slices) = self.head.train(all, mask(all, 0)?)?;
        let (studies, of_studies) = self.head2.train(first, mask(first, 1)?)?;
        Ok(([slices, studies], [of_slices, of_studies]))
    }

    /// Maps features [B, T, F] to slice logits [B·T] and study logits [B] as in training without
    /// dropout, in candle's graph.
    #[cfg(test)]
    pub(crate) fn tail_by_graph(&self, features: &Tensor) -> Result<[Tensor; 2]> {
        let (_, [all, first]) = self.lstms(features, true)?;
        Ok([self.head.train_by_graph(&all, None)?, self.head2.train_by_graph(&first, None)?])
    }

    /// Draws dropout factors [rows of `like`, hidden]: 0 with probability p, else 1/(1-p).
    fn dropout_mask(&self, like: &Tensor, key: Key) -> Result<Tensor> {
        let rows = like.dim(0)?;
        let p = self.spec.dropout;
        let keep = (1.0 / (1.0 - p)) as f32;
        let mut rng = key.rng();
        let n = rows * self.spec.head_hidden;
        let values: Vec<f32> =
            (0..n).map(|_| if rng.random::<f64>() < p { 0.0 } else { keep }).collect();
        Tensor::from_vec(values, (rows, self.spec.head_hidden), like.device())?
            .to_dtype(like.dtype())
    }

    /// Returns the key of a step's dropout; steps count from 0.
    pub fn dropout_key(seed: u64, fold: usize, epoch: usize, step: usize) -> Key {
        Key::new(seed, Purpose::Dropout).at(fold, epoch).study(step as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Set};

    #[test]
    fn a_spec_knows_how_many_parameters_there_are() {
        let ols = ["convnext_atto_ols", "convnext_nano_ols"];
        for backbone in [&["convnext_micro", "convnext_nano", "convnext_tiny"][..], &ols].concat() {
            let set = Set::new(format!("model.backbone={backbone}"));
            let spec = Spec::new(&Config::load(None, false, &[set]).unwrap());
            let model = Classifier::new(&spec, 0, 0, DType::F32, &Device::Cpu).unwrap();
            let (encoder, others) = spec.parameters();
            assert_eq!(encoder + others, model.parameters.count(), "{backbone}");
            let of_encoder = model.parameters.trainable.iter();
            let of_encoder = of_encoder.filter(|p| p.name.starts_with("encoder."));
            assert_eq!(
                encoder,
                of_encoder.map(|p| p.var.elem_count()).sum::<usize>(),
                "{backbone}"
            );
        }
    }
}
