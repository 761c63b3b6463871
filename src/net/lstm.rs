//! Two-layer bidirectional LSTMs, several side by side, on candle's operations and autograd. Training
//! and validation run [`super::recurrent`] instead; the tests compare the two.

use super::{
    description::{self, Direction, LSTM_LAYERS},
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
}

/// Runs all `lstms` on the same input, their directions side by side.
///
/// Maps `x` [B, T, in] to [B, T, 2H] for each LSTM, forward direction first; in candle's graph if
/// `track`.
pub fn forward(lstms: &[&Lstm], x: &Tensor, track: bool) -> Result<Vec<Tensor>> {
    let (b, t, input) = x.dims3()?;
    // Time first, so that a step's rows are adjacent: [T·B, in], shared by all LSTMs.
    let shared = x.transpose(0, 1)?.contiguous()?.reshape((t * b, input))?;
    let mut inputs = vec![shared];
    for layer in 0..LSTM_LAYERS {
        let directions = |of: &[&Lstm]| -> Vec<Direction<Var>> {
            of.iter().flat_map(|l| l.0.layers[layer].clone()).collect()
        };
        // LSTMs with the same input share one product.
        let gates = match inputs.as_slice() {
            [shared] => gates(shared, &directions(lstms), (t, b), track)?,
            own => {
                let each =
                    own.iter().zip(lstms).map(|(x, l)| gates(x, &directions(&[*l]), (t, b), track));
                Tensor::cat(&each.collect::<Result<Vec<_>>>()?, 0)?
            }
        };
        let all = directions(lstms);
        let w_hh: Vec<Tensor> = all.iter().map(|d| tensor(&d.w_hh, track)).collect();
        let h = graph::lstm_recurrence(&gates, &Tensor::stack(&w_hh, 0)?)?;
        inputs = (0..lstms.len())
            .map(|l| {
                let both = Tensor::cat(&[h.get(2 * l)?, h.get(2 * l + 1)?], 2)?;
                let width = both.dim(2)?;
                both.reshape((t * b, width))
            })
            .collect::<Result<_>>()?;
    }
    inputs
        .iter()
        .map(|y| {
            let width = y.dim(1)?;
            y.reshape((t, b, width))?.transpose(0, 1)?.contiguous()
        })
        .collect()
}

/// Computes input products and biases of D directions: x [T·B, in] → [D, T, B, 4H].
fn gates(
    x: &Tensor,
    directions: &[Direction<Var>],
    (t, b): (usize, usize),
    track: bool,
) -> Result<Tensor> {
    let cat = |part: fn(&Direction<Var>) -> &Var| {
        let parts: Vec<Tensor> = directions.iter().map(|d| tensor(part(d), track)).collect();
        Tensor::cat(&parts, 0)
    };
    let bias = (cat(|d| &d.b_ih)? + cat(|d| &d.b_hh)?)?;
    let g = graph::linear(x, &cat(|d| &d.w_ih)?, &bias)?;
    let width = g.dim(1)? / directions.len();
    g.reshape((t, b, directions.len(), width))?.permute((2, 0, 1, 3))?.contiguous()
}
