//! AdamW (Loshchilov & Hutter 2019, <https://arxiv.org/abs/1711.05101>) as PyTorch computes it,
//! with moments that can be saved and restored.

use super::scaler::Scaler;
use crate::net::encoder::WeightGradients;
use crate::{
    config::{self, Precision},
    net::parameters::Parameter,
};
use candle_core::{CpuStorage, InplaceOp1, Layout, Result};
use rayon::prelude::*;
use std::{borrow::Cow, cell::RefCell};

#[cfg(feature = "cuda")]
mod on_device;

/// Elements that a thread processes at once.
const PIECE: usize = 1 << 15;

/// First and second moment of one parameter, in the parameter's layout.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Moments {
    /// PyTorch's `exp_avg`.
    pub first: Vec<f32>,
    /// PyTorch's `exp_avg_sq`.
    pub second: Vec<f32>,
}

/// The optimizer and its state.
#[derive(Debug, Clone, PartialEq)]
pub struct AdamW {
    betas: [f64; 2],
    eps: f64,
    weight_decay: f64,
    /// Steps done.
    pub steps: u64,
    /// Moments in the order of the parameters.
    pub moments: Vec<Moments>,
    /// Loss scaler, with f16 only.
    pub scaler: Option<Scaler>,
    /// Moments on a GPU; `moments` is then empty.
    #[cfg(feature = "cuda")]
    device: Option<on_device::State>,
}

impl AdamW {
    /// Creates an optimizer with zero moments for parameters of these sizes.
    pub fn new(train: &config::Train, sizes: impl Iterator<Item = usize>) -> Self {
        let moments =
            sizes.map(|n| Moments { first: vec![0.0; n], second: vec![0.0; n] }).collect();
        let (betas, eps, weight_decay) = (train.betas, train.eps, train.weight_decay);
        let scaler = (train.precision == Precision::F16).then(Scaler::default);
        Self {
            betas,
            eps,
            weight_decay,
            steps: 0,
            moments,
            scaler,
            #[cfg(feature = "cuda")]
            device: None,
        }
    }

    /// Returns the moments in host memory, in the order of the parameters.
    pub fn host_moments(&self) -> Result<Cow<'_, [Moments]>> {
        #[cfg(feature = "cuda")]
        if let Some(device) = &self.device {
            return Ok(Cow::Owned(device.to_host()?));
        }
        Ok(Cow::Borrowed(&self.moments))
    }

    /// Restores a saved state.
    pub fn restore(&mut self, steps: u64, moments: Vec<Moments>, scaler: Option<Scaler>) {
        (self.steps, self.moments, self.scaler) = (steps, moments, scaler);
        #[cfg(feature = "cuda")]
        {
            self.device = None;
        }
    }

    /// Returns Σ g² of each tensor of `gradients` (still scaled); not finite if one of its values is not.
    pub fn squares(&mut self, gradients: &WeightGradients) -> Result<Vec<f64>> {
        #[cfg(feature = "cuda")]
        if let WeightGradients::Device(tensors) = gradients {
            return on_device::squares(self, tensors);
        }
        Ok(in_host_memory(gradients)?.iter().map(|g| sum_of_squares(g)).collect())
    }

    /// Makes one step. `gradients` are in the order and layout of the parameters, and are divided by the
    /// scaler's scale.
    pub fn step(
        &mut self,
        parameters: &[Parameter],
        gradients: &WeightGradients,
        lr: f64,
    ) -> Result<()> {
        let n = self.moments.len();
        #[cfg(feature = "cuda")]
        if let WeightGradients::Device(tensors) = gradients {
            return on_device::step(self, parameters, tensors, lr);
        }
        let gradients = in_host_memory(gradients)?;
        if parameters.len() != n || gradients.len() != n {
            let (parameters, gradients) = (parameters.len(), gradients.len());
            candle_core::bail!("adamw: {parameters} parameters, {gradients} gradients, {n} moments")
        }
        let constants = self.next(lr);
        for ((p, g), m) in parameters.iter().zip(gradients).zip(&mut self.moments) {
            p.var.inplace_op1(&InPlace { constants, gradient: g, moments: RefCell::new(m) })?;
        }
        Ok(())
    }

    /// Counts a step and returns its constants.
    fn next(&mut self, lr: f64) -> Constants {
        self.steps += 1;
        let t = self.steps as f64;
        let [beta1, beta2] = self.betas;
        [
            1.0 - lr * self.weight_decay,
            1.0 - beta1,
            beta2,
            1.0 - beta2,
            lr / (1.0 - beta1.powf(t)),
            (1.0 - beta2.powf(t)).sqrt(),
            self.eps,
            1.0 / self.scaler.map_or(1.0, |scaler| scaler.scale),
        ]
        .map(|constant| constant as f32)
    }
}

/// The constants of one step, in the order of the kernel's arguments: 1 − η·λ, 1 − β₁, β₂, 1 − β₂,
/// η / (1 − β₁ᵗ), √(1 − β₂ᵗ), ε, and 1 / loss scale.
type Constants = [f32; 8];

/// Updates weights and moments, with the operations and their order from `torch.optim.AdamW`
/// (single-tensor form).
fn update(constants: Constants, p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32]) {
    let [decay, rest1, beta2, rest2, step_size, correction2, eps, inverse_scale] = constants;
    for (((p, m), v), &g) in p.iter_mut().zip(m).zip(v).zip(g) {
        let g = g * inverse_scale;
        *p *= decay;
        *m += (g - *m) * rest1;
        *v = *v * beta2 + g * g * rest2;
        *p -= step_size * *m / (v.sqrt() / correction2 + eps);
    }
}

struct InPlace<'a> {
    constants: Constants,
    gradient: &'a [f32],
    /// In a `RefCell` because candle passes the op itself by shared reference.
    moments: RefCell<&'a mut Moments>,
}

impl InplaceOp1 for InPlace<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(&self, param: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("adamw takes contiguous tensors")
        };
        let CpuStorage::F32(param) = param else { candle_core::bail!("adamw works in f32") };
        let (param, grad) = (&mut param[start..end], self.gradient);
        let mut moments = self.moments.borrow_mut();
        let Moments { first, second } = &mut **moments;
        if param.len() != grad.len() || param.len() != first.len() {
            candle_core::bail!("adamw: gradient of {} for {} values", grad.len(), param.len())
        }
        let constants = self.constants;
        param
            .par_chunks_mut(PIECE)
            .zip(first.par_chunks_mut(PIECE))
            .zip(second.par_chunks_mut(PIECE))
            .zip(grad.par_chunks(PIECE))
            .for_each(|(((p, m), v), g)| update(constants, p, m, v, g));
        Ok(())
    }
}

fn in_host_memory(gradients: &WeightGradients) -> Result<&[Vec<f32>]> {
    match gradients {
        WeightGradients::Host(values) => Ok(values),
        WeightGradients::Device(_) => candle_core::bail!("this rsna-tui was built without CUDA"),
    }
}

/// Sums in pieces whose size does not depend on the number of threads, so that the result does not.
fn sum_of_squares(values: &[f32]) -> f64 {
    let pieces: Vec<f64> = values
        .par_chunks(1 << 16)
        .map(|piece| {
            piece.chunks(256).map(|c| f64::from(c.iter().map(|v| v * v).sum::<f32>())).sum()
        })
        .collect();
    pieces.into_iter().sum()
}
