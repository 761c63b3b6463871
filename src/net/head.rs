//! A head: Linear – BatchNorm – Dropout – LeakyReLU – Linear.

use super::{
    description::{self, Affine},
    ops,
    parameters::{Builder, tensor},
};
use candle_core::{Result, Tensor, Var};

/// BatchNorm1d's epsilon and momentum, PyTorch's defaults.
pub(super) const EPS: f64 = 1e-5;
const MOMENTUM: f64 = 0.1;
/// LeakyReLU's slope.
pub(super) const SLOPE: f64 = 0.1;

/// What BatchNorm keeps beside its weights, by PyTorch's names: the running statistics, and how many
/// batches there were.
pub(super) const MEAN: &str = "running_mean";
pub(super) const VARIANCE: &str = "running_var";
const BATCHES: &str = "num_batches_tracked";

/// `nn.Sequential(Linear(in, M), BatchNorm1d(M), Dropout, LeakyReLU(.1), Linear(M, 1))`.
#[derive(Debug, Clone)]
pub struct Head {
    weights: description::Head<Var>,
    running_mean: Var,
    running_var: Var,
    batches: Var,
}

impl Head {
    /// Fresh weights under `name.…`.
    pub fn new(b: &mut Builder, name: &str, input: usize, hidden: usize) -> Result<Self> {
        let head = description::Head::new(name, input, hidden);
        let norm = head.norm.weight.module();
        Ok(Self {
            weights: head.try_map(&mut |weight| b.weight(weight))?,
            running_mean: b.buffer(&format!("{norm}.{MEAN}"), hidden, 0.0)?,
            running_var: b.buffer(&format!("{norm}.{VARIANCE}"), hidden, 1.0)?,
            batches: b.counter(&format!("{norm}.{BATCHES}"))?,
        })
    }

    /// x [M, in] → logits [M], with the running statistics and without dropout.
    pub fn eval(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.hidden(x, false)?;
        let y = self.normalise(
            &y.broadcast_sub(&self.running_mean.as_detached_tensor())?,
            &self.running_var.as_detached_tensor(),
            false,
        )?;
        self.output(&y, false)
    }

    /// x [M, in], M ≥ 2 → logits [M], with the batch's statistics, which move the running ones.
    /// `dropout` [M, hidden]: factors 0 or 1/(1-p).
    pub fn train(&self, x: &Tensor, dropout: Option<&Tensor>) -> Result<Tensor> {
        let y = self.hidden(x, true)?;
        let rows = y.dim(0)?;
        if rows < 2 {
            candle_core::bail!("BatchNorm in training needs at least 2 rows, got {rows}");
        }
        let mean = y.mean_keepdim(0)?;
        let centred = y.broadcast_sub(&mean)?;
        let var = centred.sqr()?.mean_keepdim(0)?;
        self.track(&mean.detach().squeeze(0)?, &var.detach().squeeze(0)?, rows)?;
        let y = self.normalise(&centred, &var, true)?;
        let y = match dropout {
            Some(mask) => (y * mask)?,
            None => y,
        };
        self.output(&y, true)
    }

    fn hidden(&self, x: &Tensor, track: bool) -> Result<Tensor> {
        let Affine { weight, bias } = &self.weights.hidden;
        ops::linear(x, &tensor(weight, track), &tensor(bias, track))
    }

    fn normalise(&self, centred: &Tensor, var: &Tensor, track: bool) -> Result<Tensor> {
        let Affine { weight, bias } = &self.weights.norm;
        let std = (var + EPS)?.sqrt()?;
        centred
            .broadcast_div(&std)?
            .broadcast_mul(&tensor(weight, track))?
            .broadcast_add(&tensor(bias, track))
    }

    fn output(&self, y: &Tensor, track: bool) -> Result<Tensor> {
        // Not candle's `relu`, which turns NaN into 0: here NaN is not above 0, and stays NaN.
        let y = y.gt(0.0)?.where_cond(y, &(y * SLOPE)?)?;
        let Affine { weight, bias } = &self.weights.out;
        ops::linear(&y, &tensor(weight, track), &tensor(bias, track))?.squeeze(1)
    }

    /// Running statistics: (1-m)·old + m·new, the variance unbiased.
    fn track(&self, mean: &Tensor, var: &Tensor, rows: usize) -> Result<()> {
        let unbiased = rows as f64 / (rows - 1) as f64;
        for (running, new, scale) in
            [(&self.running_mean, mean, 1.0), (&self.running_var, var, unbiased)]
        {
            let old = running.as_detached_tensor().affine(1.0 - MOMENTUM, 0.0)?;
            running.set(&(old + new.affine(MOMENTUM * scale, 0.0)?)?)?;
        }
        let count = self.batches.as_detached_tensor().to_scalar::<i64>()? + 1;
        self.batches.set(&Tensor::new(count, self.batches.device())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    /// The values that PyTorch's LeakyReLU(.1) has, and of each the slope.
    #[test]
    fn what_is_not_a_number_stays_so_and_the_rest_is_pytorchs() {
        let device = Device::Cpu;
        let fresh =
            || Head::new(&mut Builder::new(0, 0, DType::F32, &device), "head", 3, 4).unwrap();
        let head = fresh();
        head.weights.out.weight.set(&Tensor::ones((1, 4), DType::F32, &device).unwrap()).unwrap();
        head.weights.out.bias.set(&Tensor::zeros(1, DType::F32, &device).unwrap()).unwrap();
        for (x, y, slope) in [(2.0f32, 2.0, 1.0), (-2.0, -0.2, 0.1), (0.0, 0.0, 0.1)] {
            let hidden = Var::from_tensor(&Tensor::full(x, (1, 4), &device).unwrap()).unwrap();
            let out = head.output(hidden.as_tensor(), false).unwrap();
            assert_eq!(out.to_vec1::<f32>().unwrap(), [4.0 * y]);
            let grads = out.sum_all().unwrap().backward().unwrap();
            let grad = grads.get(&hidden).unwrap().flatten_all().unwrap();
            assert_eq!(grad.to_vec1::<f32>().unwrap(), [slope; 4]);
        }
        for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in 0..6 {
                let mut values = [0.25; 6];
                values[at] = x;
                let rows = Tensor::from_slice(&values, (2, 3), &device).unwrap();
                // Training moves the statistics.
                let head = fresh();
                let eval = head.eval(&rows).unwrap().to_vec1::<f32>().unwrap();
                assert!(!eval[at / 3].is_finite() && eval[1 - at / 3].is_finite(), "{eval:?}");
                let train = head.train(&rows, None).unwrap().to_vec1::<f32>().unwrap();
                assert!(train.iter().all(|y| !y.is_finite()), "{train:?}");
            }
        }
    }
}
