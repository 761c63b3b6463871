//! The part of a head between its two products, in one pass over the rows: bias, BatchNorm, dropout,
//! LeakyReLU.

use super::Float;
use crate::net::views::Views;
use candle_core::{DType, Device, Result, Tensor, bail};

/// BatchNorm1d's epsilon and momentum, PyTorch's defaults.
pub(crate) const EPS: f64 = 1e-5;
const MOMENTUM: f64 = 0.1;
/// LeakyReLU's slope.
pub(crate) const SLOPE: f64 = 0.1;

/// Inputs of the pass besides the rows [M, C]; all contiguous, of one type, on one device.
#[derive(Debug, Clone)]
pub(crate) struct Middle {
    /// Bias of the first product, [C].
    pub bias: Tensor,
    /// BatchNorm's weight and bias, [C].
    pub weight: Tensor,
    pub shift: Tensor,
    /// Dropout factors, [M, C], 0 or 1/(1-p).
    pub mask: Option<Tensor>,
}

impl Middle {
    /// Maps `x` [M, C] to LeakyReLU(mask · BatchNorm(x + bias)) [M, C], with the `running` mean and
    /// variance, [C] each. If `batch`, uses the mean and variance of the rows, M ≥ 2, and also returns
    /// [4, C]: mean, 1/√(variance + ε), and the updated running mean and variance.
    ///
    /// Errors: when there are too few rows, or types or devices differ.
    pub fn forward(
        &self,
        x: &Tensor,
        running: [&Tensor; 2],
        batch: bool,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let (rows, c) = x.dims2()?;
        if batch && rows < 2 {
            bail!("BatchNorm in training needs at least 2 rows, got {rows}");
        }
        let Self { bias, weight, shift, mask } = self;
        let all = [x, bias, weight, shift, running[0], running[1]];
        let views = &Views::of(all.into_iter().chain(mask));
        match x.dtype() {
            #[cfg(feature = "cuda")]
            _ if x.device().is_cuda() => {
                let constants = [MOMENTUM, EPS, SLOPE];
                super::cuda::head_forward(
                    x.device(),
                    &views.on_card()?,
                    [rows, c],
                    constants,
                    batch,
                )
            }
            DType::F64 => on_cpu::forward::<f64>(&views.slices()?, c, batch),
            _ => on_cpu::forward::<f32>(&views.slices()?, c, batch),
        }
    }

    /// The backward pass of [`Self::forward`], with the `statistics` that it returned, and of the
    /// following product with `out` [1, C]. From `g` [M], the gradient of the logits, computes that of
    /// `x` [M, C], and those of bias, weight, shift and `out`, [4, C].
    ///
    /// Errors: when types or devices differ.
    pub fn backward(
        &self,
        x: &Tensor,
        statistics: &Tensor,
        out: &Tensor,
        g: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let (rows, c) = x.dims2()?;
        debug_assert_eq!(rows, g.elem_count());
        let Self { bias, weight, shift, mask } = self;
        let all = [x, bias, weight, shift, statistics, out, g];
        let views = &Views::of(all.into_iter().chain(mask));
        match x.dtype() {
            #[cfg(feature = "cuda")]
            _ if x.device().is_cuda() => {
                super::cuda::head_grad(x.device(), &views.on_card()?, [rows, c], SLOPE)
            }
            DType::F64 => on_cpu::backward::<f64>(&views.slices()?, c),
            _ => on_cpu::backward::<f32>(&views.slices()?, c),
        }
    }
}

/// The CPU version, which sums over rows in f64.
mod on_cpu {
    use super::*;

    /// Computes M means per column of the values that `value` returns for each element [row·c + column].
    fn means<R: Float, const M: usize>(
        n: usize,
        c: usize,
        value: impl Fn(usize, usize) -> [R; M],
    ) -> [Vec<f64>; M] {
        let mut sums = std::array::from_fn(|_| vec![0.0; c]);
        for row in 0..n / c {
            for column in 0..c {
                let values = value(row * c + column, column);
                for (sum, value) in sums.iter_mut().zip(values) {
                    sum[column] += value.to_f64();
                }
            }
        }
        let rows = (n / c) as f64;
        sums.map(|sum| sum.into_iter().map(|sum| sum / rows).collect())
    }

    fn rounded<R: Float>(values: &[f64]) -> Vec<R> {
        values.iter().map(|&v| R::of(v)).collect()
    }

    fn tensor<R: Float>(values: Vec<R>, c: usize) -> Result<Tensor> {
        Tensor::from_vec(values, ((), c), &Device::Cpu)
    }

    /// Applies weight, shift and dropout to a value.
    struct Affine<'a, R> {
        weight: &'a [R],
        shift: &'a [R],
        mask: Option<&'a &'a [R]>,
    }

    impl<R: Float> Affine<'_, R> {
        fn mask(&self, at: usize) -> R {
            self.mask.map_or(R::one(), |mask| mask[at])
        }

        fn of(&self, normal: R, at: usize, column: usize) -> R {
            (normal * self.weight[column] + self.shift[column]) * self.mask(at)
        }
    }

    /// LeakyReLU's factor. NaN is not above 0 and stays NaN.
    fn leak<R: Float>(v: R) -> R {
        if v > R::zero() { R::one() } else { R::of(SLOPE) }
    }

    pub fn forward<R: Float>(
        views: &[&[R]],
        c: usize,
        batch: bool,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let &[x, bias, weight, shift, running_mean, running_var, ref mask @ ..] = views else {
            unreachable!("six and a mask")
        };
        let affine = Affine { weight, shift, mask: mask.first() };
        let (mut mean, mut var) = (running_mean.to_vec(), running_var.to_vec());
        let mut moved = None;
        if batch {
            let [of_rows] = means(x.len(), c, |at, column| [x[at] + bias[column]]);
            mean = rounded(&of_rows);
            let deviation = |at: usize, column: usize| x[at] + bias[column] - mean[column];
            let [of_rows_var] = means(x.len(), c, |at, j| [deviation(at, j) * deviation(at, j)]);
            var = rounded(&of_rows_var);
            let rows = (x.len() / c) as f64;
            // PyTorch's running variance is unbiased.
            let unbiased = rows / (rows - 1.0);
            let towards = |old: &[R], new: &[f64], times: f64| -> Vec<R> {
                let of = |(&old, &new): (&R, &f64)| {
                    R::of(1.0 - MOMENTUM) * old + R::of(MOMENTUM * times * new)
                };
                old.iter().zip(new).map(of).collect()
            };
            moved = Some([
                towards(running_mean, &of_rows, 1.0),
                towards(running_var, &of_rows_var, unbiased),
            ]);
        }
        let scale: Vec<R> = var.iter().map(|&v| R::one() / (v + R::of(EPS)).root()).collect();
        let mut y = vec![R::zero(); x.len()];
        for (row, y) in y.chunks_exact_mut(c).enumerate() {
            for (column, y) in y.iter_mut().enumerate() {
                let at = row * c + column;
                let normal = (x[at] + bias[column] - mean[column]) * scale[column];
                let v = affine.of(normal, at, column);
                *y = v * leak(v);
            }
        }
        let statistics = moved
            .map(|moved| tensor([mean, scale].into_iter().chain(moved).flatten().collect(), c));
        Ok((tensor(y, c)?, statistics.transpose()?))
    }

    pub fn backward<R: Float>(views: &[&[R]], c: usize) -> Result<(Tensor, Tensor)> {
        let &[x, bias, weight, shift, statistics, out, g, ref mask @ ..] = views else {
            unreachable!("seven and a mask")
        };
        let affine = Affine { weight, shift, mask: mask.first() };
        let (mean, scale) = (&statistics[..c], &statistics[c..2 * c]);
        let normal = |at: usize, j: usize| (x[at] + bias[j] - mean[j]) * scale[j];
        // Gradient of the value after weight and shift, given that value.
        let grad = |at: usize, j: usize, v: R| g[at / c] * out[j] * leak(v) * affine.mask(at);
        let [of_weight, of_shift, of_out] = means(x.len(), c, |at, j| {
            let n = normal(at, j);
            let v = affine.of(n, at, j);
            let d = grad(at, j, v);
            [d * n, d, g[at / c] * v * leak(v)]
        });
        let [weight_mean, shift_mean] = [&of_weight, &of_shift].map(|mean| rounded::<R>(mean));
        let mut dx = vec![R::zero(); x.len()];
        for (row, dx) in dx.chunks_exact_mut(c).enumerate() {
            for (j, dx) in dx.iter_mut().enumerate() {
                let at = row * c + j;
                let n = normal(at, j);
                let d = grad(at, j, affine.of(n, at, j));
                *dx = (d - shift_mean[j] - n * weight_mean[j]) * (weight[j] * scale[j]);
            }
        }
        let [of_bias] = means(x.len(), c, |at, _| [dx[at]]);
        let rows = (x.len() / c) as f64;
        let all = [of_bias, of_weight, of_shift, of_out].into_iter().flatten();
        let grads = all.map(|mean| R::of(mean * rows)).collect();
        Ok((tensor(dx, c)?, tensor(grads, c)?))
    }
}
