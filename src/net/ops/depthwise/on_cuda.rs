//! The same on a GPU.

use crate::net::ops::cuda::{self, Input};
use candle_core::{CudaStorage, Result, Shape};

type Output = Result<(CudaStorage, Shape)>;

impl super::Forward {
    pub(super) fn on_cuda(&self, x: Input, w: Input, b: Input) -> Output {
        cuda::depthwise(x, w, b)
    }
}

impl super::GradInput {
    pub(super) fn on_cuda(&self, g: Input, w: Input) -> Output {
        cuda::depthwise_grad_input(g, w)
    }
}

impl super::GradWeight {
    pub(super) fn on_cuda(&self, x: Input, g: Input) -> Output {
        cuda::depthwise_grad_weight(x, g)
    }
}
