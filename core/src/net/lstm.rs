//! A two-layer bidirectional LSTM on candle's operations and autograd. Training and validation run
//! [`super::recurrent`] instead; the tests compare the two.

use super::{
    description::{self, Direction},
    graph,
    parameters::{Builder, tensor},
};
use candle_core::{Result, Tensor, Var};

/// `nn.LSTM(in, H, num_layers=2, bidirectional=True, batch_first=True)`.
#[derive(Debug, Clone)]
pub struct Lstm(description::Lstm<Var>);

impl Lstm {
    /// Creates fresh weights under `name.…`.
    pub fn new(b: &mut Builder, name: &str, input: usize, hidden: usize) -> Result<Self> {
        let lstm = description::Lstm::new(name, input, hidden);
        Ok(Self(lstm.try_map(&mut |weight| b.weight(weight))?))
    }

    /// Maps `x` [B, T, in] to [B, T, 2H], forward direction first; in candle's graph if `track`.
    pub fn forward(&self, x: &Tensor, track: bool) -> Result<Tensor> {
        let (b, t, _) = x.dims3()?;
        // Time first, so that a step's rows are adjacent.
        let mut by_time = x.transpose(0, 1)?.contiguous()?;
        for directions in &self.0.layers {
            let both = |part: fn(&Direction<Var>) -> &Var| {
                directions.each_ref().map(|d| tensor(part(d), track))
            };
            let bias = (Tensor::cat(&both(|d| &d.b_ih), 0)? + Tensor::cat(&both(|d| &d.b_hh), 0)?)?;
            let weight = Tensor::cat(&both(|d| &d.w_ih), 0)?;
            let gates = graph::linear(&by_time.flatten_to(1)?, &weight, &bias)?;
            let gates = gates.reshape((t, b, 2, ()))?.permute((2, 0, 1, 3))?.contiguous()?;
            let h = graph::lstm_recurrence(&gates, &Tensor::stack(&both(|d| &d.w_hh), 0)?)?;
            by_time = Tensor::cat(&[h.get(0)?, h.get(1)?], 2)?;
        }
        by_time.transpose(0, 1)?.contiguous()
    }
}
