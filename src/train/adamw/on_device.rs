//! AdamW on a GPU: one launch for all weights, the scaler's division in it; and before it one for the
//! squares of all gradients, in which a value that is not finite shows.

use super::{AdamW, Moments, Parameter, Result};
use crate::net::ops::cuda::{Multi, adamw, grad_squares};
use candle_core::{Device, Tensor, bail};

/// The moments on the device.
#[derive(Debug, Clone)]
pub(super) struct State {
    first: Vec<Tensor>,
    second: Vec<Tensor>,
}

impl PartialEq for State {
    /// Whether they are the same buffers.
    fn eq(&self, other: &Self) -> bool {
        let ids = |s: &Self| s.first.iter().map(Tensor::id).collect::<Vec<_>>();
        ids(self) == ids(other)
    }
}

/// Σ g² of each.
pub(super) fn squares(gradients: &[Tensor]) -> Result<Vec<f64>> {
    let Some(first) = gradients.first() else { return Ok(Vec::new()) };
    let device = first.device().as_cuda_device()?;
    grad_squares(device, &Multi::new(device, &[gradients])?)
}

/// One step, in place.
pub(super) fn step(
    optimizer: &mut AdamW,
    parameters: &[Parameter],
    gradients: &[Tensor],
    lr: f64,
) -> Result<()> {
    let n = optimizer.moments.len();
    if parameters.len() != n || gradients.len() != n {
        let (parameters, gradients) = (parameters.len(), gradients.len());
        bail!("adamw: {parameters} parameters, {gradients} gradients, {n} moments")
    }
    let Some(device) = parameters.first().map(|p| p.var.device().clone()) else { return Ok(()) };
    if optimizer.device.is_none() {
        optimizer.device = Some(State::from_host(&mut optimizer.moments, &device)?);
    }
    let update = optimizer.next(lr);
    let Some(State { first, second }) = &optimizer.device else { return Ok(()) };
    let weights: Vec<Tensor> = parameters.iter().map(|p| p.var.as_tensor().clone()).collect();
    let device = device.as_cuda_device()?;
    let all = Multi::new(device, &[&weights, first, second, gradients])?;
    adamw(device, &all, update.constants())
}

impl State {
    /// Moves the moments to the device.
    fn from_host(moments: &mut [Moments], device: &Device) -> Result<Self> {
        let moved = |values: &mut Vec<f32>| {
            let values = std::mem::take(values);
            let n = values.len();
            Tensor::from_vec(values, n, device)
        };
        let first = moments.iter_mut().map(|m| moved(&mut m.first)).collect::<Result<_>>()?;
        let second = moments.iter_mut().map(|m| moved(&mut m.second)).collect::<Result<_>>()?;
        Ok(Self { first, second })
    }

    /// Copies of the moments in memory.
    pub(super) fn to_host(&self) -> Result<Vec<Moments>> {
        let pairs = self.first.iter().zip(&self.second);
        pairs.map(|(m, v)| Ok(Moments { first: m.to_vec1()?, second: v.to_vec1()? })).collect()
    }
}
