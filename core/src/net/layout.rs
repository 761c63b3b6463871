//! Converts weights between PyTorch's layouts and ours.

use super::description::Layout;
use candle_core::{Result, Tensor};

/// Converts from PyTorch's layout to ours.
pub fn from_torch(t: &Tensor, layout: Layout) -> Result<Tensor> {
    match layout {
        Layout::Plain => Ok(t.clone()),
        Layout::Depthwise => t.flatten_from(1)?.t()?.contiguous(),
        Layout::Patch => t.permute((0, 2, 3, 1))?.contiguous()?.flatten_from(1),
        Layout::Pointwise => t.flatten_from(1),
    }
}

/// Converts from our layout to PyTorch's `shape`.
pub fn to_torch(t: &Tensor, layout: Layout, shape: &[usize]) -> Result<Tensor> {
    match layout {
        Layout::Plain => Ok(t.clone()),
        Layout::Depthwise => t.t()?.contiguous()?.reshape(shape),
        Layout::Patch => {
            let &[out, input, h, w] = shape else {
                candle_core::bail!("a patch weight has four dimensions, not {shape:?}")
            };
            t.reshape((out, h, w, input))?.permute((0, 3, 1, 2))?.contiguous()
        }
        Layout::Pointwise => t.reshape(shape),
    }
}
