//! The windows of a 3×3 convolution of stride 2, by candle's own ops: only copies, whose gradients are
//! correct in candle.

use candle_core::{Result, Tensor};

/// Maps `x` [N, H, W, C], H and W even, to [N·H/2·W/2, 9·C]: the pixels of each window row by row, with
/// a border of zeros around the map. The product with a weight [out, 9·C] is the convolution.
pub fn windows(x: &Tensor) -> Result<Tensor> {
    let (n, h, w, c) = x.dims4()?;
    let (rows, columns) = (h / 2, w / 2);
    let x = threes(&x.reshape((n, rows, 2, w * c))?)?;
    let x = threes(&x.reshape((n * rows * 3, columns, 2, c))?)?;
    x.reshape(&[n, rows, 3, columns, 3, c][..])?
        .permute([0, 1, 3, 2, 4, 5])?
        .reshape((n * rows * columns, 9 * c))
}

/// Maps pairs of neighbours [A, P, 2, B] to [A, P, 3, B]: each pair follows the last element of the pair
/// before it, the first pair a zero. No window leaves the map below or to the right.
fn threes(pairs: &Tensor) -> Result<Tensor> {
    let last = pairs.dim(1)? - 1;
    let before = pairs.narrow(2, 1, 1)?.narrow(1, 0, last)?.pad_with_zeros(1, 1, 0)?;
    Tensor::cat(&[&before, pairs], 2)
}
