//! The end of a ConvNeXt block in one pass: bias, layer scale and residual.

use super::Float;
use crate::simd::vectorised;

/// Computes residual + (x + bias) · gamma, for rows of `bias`'s and `gamma`'s length, on this thread alone.
pub(crate) fn forward_here<R: Float>(
    x: &[R],
    [bias, gamma]: [&[R]; 2],
    residual: &[R],
    out: &mut [R],
) {
    let c = gamma.len();
    let bias = &bias[..c];
    vectorised(move || {
        let rows = x.chunks_exact(c).zip(residual.chunks_exact(c));
        for ((x, r), out) in rows.zip(out.chunks_exact_mut(c)) {
            for i in 0..c {
                out[i] = r[i] + (x[i] + bias[i]) * gamma[i];
            }
        }
    });
}
