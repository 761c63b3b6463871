//! Inputs and results of a step.

use super::{Plan, Result, TrainLoss, WeightGradients};
use std::ops::Range;

/// Images of a batch in the network's input format.
pub trait Images: Sync {
    /// Writes images `range` (flat over B·T) as [n, S, S, 6] in 0..=1 to `out`.
    fn fill(&self, range: Range<usize>, out: &mut [f32]);
    /// Returns S, the image size.
    fn size(&self) -> usize;
    /// Returns the UIDs, one per study.
    fn studies(&self) -> Vec<String>;
    /// Returns the images as bytes if they are available in that form, which is a quarter of the size for
    /// the transfer to a GPU.
    fn bytes(&self) -> Option<Bytes<'_>> {
        None
    }
}

/// Images as bytes: value · share / 255, plus the same of a partner if they are mixed.
#[derive(Debug, Clone)]
pub struct Bytes<'a> {
    /// All images in order, [.., S, S, 6], in pieces.
    pub pieces: Vec<&'a [u8]>,
    /// The partner of each image, flat over B·T, and the shares of image and partner.
    pub mixed: Option<(Vec<u32>, [f32; 2])>,
}

/// Targets of the loss.
#[derive(Debug, Clone, Copy)]
pub struct Targets<'a> {
    /// [B·T], 0 or 1.
    pub own: &'a [f32],
    /// The mixup partners' [B·T], and λ.
    pub mixed: Option<(&'a [f32], f64)>,
}

/// Result of a step.
#[derive(Debug, Clone)]
pub struct StepOutput {
    /// Losses.
    pub loss: TrainLoss,
    /// Slice logits [B·T], from before the step.
    pub slice_logits: Vec<f32>,
    /// Study logits [B], from before the step.
    pub study_logits: Vec<f32>,
    /// L2 norm of all gradients; not finite if the step was skipped.
    pub grad_norm: f64,
    /// Whether the scaler skipped the step: a gradient was not finite; weights and moments are unchanged.
    pub skipped: bool,
    /// The plan that was used: [`Stepper::plan`], or a smaller one if that did not fit into memory.
    pub plan: Plan,
}

impl WeightGradients {
    /// Copies the gradients to host memory.
    ///
    /// Errors: when the device fails.
    pub fn to_host(self) -> Result<Vec<Vec<f32>>> {
        match self {
            Self::Host(values) => Ok(values),
            Self::Device(tensors) => {
                tensors.iter().map(|t| Ok(t.flatten_all()?.to_vec1()?)).collect()
            }
        }
    }
}

/// Loss and gradients of a training batch.
#[derive(Debug, Clone)]
pub struct Gradients {
    /// Losses.
    pub loss: TrainLoss,
    /// Slice logits [B·T].
    pub slice_logits: Vec<f32>,
    /// Study logits [B].
    pub study_logits: Vec<f32>,
    /// Gradients of the weights, multiplied by the loss scale.
    pub of_weights: WeightGradients,
}
