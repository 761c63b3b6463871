//! AdamW on a GPU: one launch for the squares of all gradients, which reveals values that are not
//! finite, and one for all weights, which includes the division by the loss scale.

use super::{AdamW, Moments, Parameter, Result};
use crate::net::ops::multi::Multi;
use candle_core::{Device, Tensor, bail};

/// Moments on the device.
#[derive(Debug)]
pub(super) struct State {
    first: Vec<Tensor>,
    second: Vec<Tensor>,
    /// The gradients' table for the kernels.
    table: Option<Multi>,
}

impl Clone for State {
    /// Shares the buffers.
    fn clone(&self) -> Self {
        Self { first: self.first.clone(), second: self.second.clone(), table: None }
    }
}

impl PartialEq for State {
    /// Whether both share the same buffers.
    fn eq(&self, other: &Self) -> bool {
        let ids = |s: &Self| s.first.iter().map(Tensor::id).collect::<Vec<_>>();
        ids(self) == ids(other)
    }
}

/// Returns Σ g² of each gradient.
pub(super) fn squares(optimizer: &mut AdamW, gradients: &[Tensor]) -> Result<Vec<f64>> {
    let Some(first) = gradients.first() else { return Ok(Vec::new()) };
    let device = first.device();
    State::of(optimizer, device)?
        .table(device, gradients)?
        .squares(device.as_cuda_device()?, gradients)
}

/// Makes one step in place.
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
    State::of(optimizer, &device)?.table(&device, gradients)?;
    let constants = optimizer.next(lr);
    let Some(State { first, second, table: Some(table) }) = &mut optimizer.device else {
        return Ok(());
    };
    let weights: Vec<Tensor> = parameters.iter().map(|p| p.var.as_tensor().clone()).collect();
    let device = device.as_cuda_device()?;
    table.adamw(device, [&weights, first, second], gradients, constants)
}

impl State {
    /// Returns the optimizer's state; the first call moves the moments to the device.
    fn of<'o>(optimizer: &'o mut AdamW, device: &Device) -> Result<&'o mut Self> {
        let state = match optimizer.device.take() {
            Some(state) => state,
            None => Self::from_host(&mut optimizer.moments, device)?,
        };
        Ok(optimizer.device.insert(state))
    }

    /// Returns the table, rebuilt unless it begins with these gradients.
    fn table(&mut self, device: &Device, gradients: &[Tensor]) -> Result<&mut Multi> {
        let table = match self.table.take().filter(|table| table.begins_with(gradients)) {
            Some(table) => table,
            None => {
                let lengths = gradients.iter().map(Tensor::elem_count).collect();
                Multi::new(device.as_cuda_device()?, lengths)?
            }
        };
        Ok(self.table.insert(table))
    }

    /// Moves the moments to the device. On an error they stay in host memory.
    fn from_host(moments: &mut [Moments], device: &Device) -> Result<Self> {
        let copy = |values: &Vec<f32>| Tensor::from_slice(values, values.len(), device);
        let first = moments.iter().map(|m| copy(&m.first)).collect::<Result<_>>()?;
        let second = moments.iter().map(|m| copy(&m.second)).collect::<Result<_>>()?;
        moments.fill_with(Moments::default);
        Ok(Self { first, second, table: None })
    }

    /// Copies the moments to host memory.
    pub(super) fn to_host(&self) -> Result<Vec<Moments>> {
        let pairs = self.first.iter().zip(&self.second);
        pairs.map(|(m, v)| Ok(Moments { first: m.to_vec1()?, second: v.to_vec1()? })).collect()
    }
}
