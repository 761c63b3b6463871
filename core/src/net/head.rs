//! A head: Linear – BatchNorm – Dropout – LeakyReLU – Linear.

use super::{description, ops::head::Middle, parameters::Builder};
use candle_core::{Result, Tensor, Var, bail};

/// Prefixes of both heads' weights.
pub(crate) const NAMES: [&str; 2] = ["head.", "head2."];

/// PyTorch's names of BatchNorm's state: running mean, running variance, and the number of batches.
pub(super) const MEAN: &str = "running_mean";
pub(super) const VARIANCE: &str = "running_var";
const BATCHES: &str = "num_batches_tracked";
/// Rows of the new running mean and variance in a batch's statistics.
const MEAN_ROW: usize = 2;
const VARIANCE_ROW: usize = 3;

/// `nn.Sequential(Linear(in, M), BatchNorm1d(M), Dropout, LeakyReLU(.1), Linear(M, 1))`.
#[derive(Debug, Clone)]
pub struct Head {
    weights: description::Head<Var>,
    running_mean: Var,
    running_var: Var,
    batches: Var,
}

/// State kept by a training forward pass for the backward pass.
#[derive(Debug)]
pub struct Tape {
    /// Input, [M, in].
    x: Tensor,
    weights: description::Head<Tensor>,
    /// Result of the first product, [M, hidden].
    hidden: Tensor,
    middle: Middle,
    /// Statistics of the batch, [4, hidden].
    statistics: Tensor,
}

impl Head {
    /// Creates fresh weights under `name.…`.
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

    /// Maps x [M, in] to logits [M], with the running statistics and without dropout.
    pub fn eval(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.forward(x, None, false)?.0)
    }

    /// Maps x [M, in], M ≥ 2, to logits [M], with the batch's statistics, which update the running ones.
    /// Also returns the tape for [`Self::backward`]. `dropout` [M, hidden]: factors 0 or 1/(1-p).
    pub fn train(&self, x: &Tensor, dropout: Option<Tensor>) -> Result<(Tensor, Tape)> {
        let (logits, Some(tape)) = self.forward(x, dropout, true)? else {
            bail!("a training pass has the batch's statistics")
        };
        for (running, row) in [(&self.running_mean, MEAN_ROW), (&self.running_var, VARIANCE_ROW)] {
            running.set(&tape.statistics.get(row)?)?;
        }
        let count = self.batches.as_detached_tensor().to_scalar::<i64>()? + 1;
        self.batches.set(&Tensor::new(count, self.batches.device())?)?;
        Ok((logits, tape))
    }

    fn forward(
        &self,
        x: &Tensor,
        mask: Option<Tensor>,
        batch: bool,
    ) -> Result<(Tensor, Option<Tape>)> {
        let weights = self.weights.map(Var::as_detached_tensor);
        let hidden = x.matmul(&weights.hidden.weight.t()?)?;
        let [bias, weight, shift] =
            [&weights.hidden.bias, &weights.norm.weight, &weights.norm.bias];
        let [bias, weight, shift] = [bias, weight, shift].map(Tensor::clone);
        let middle = Middle { bias, weight, shift, mask };
        let running = [&self.running_mean, &self.running_var].map(|var| var.as_detached_tensor());
        let (y, statistics) = middle.forward(&hidden, running.each_ref(), batch)?;
        let logits =
            y.matmul(&weights.out.weight.t()?)?.broadcast_add(&weights.out.bias)?.squeeze(1)?;
        let tape =
            statistics.map(|statistics| Tape { x: x.clone(), weights, hidden, middle, statistics });
        Ok((logits, tape))
    }
}

impl Tape {
    /// From the logits' gradient `g` [M], computes the gradient of x [M, in] and those of the weights,
    /// in order.
    pub fn backward(self, g: &[f32]) -> Result<(Tensor, Vec<Tensor>)> {
        let Self { x, weights, hidden, middle, statistics } = self;
        // Append the sum, which is the last bias's gradient, so that one upload suffices.
        let sum = g.iter().map(|&g| f64::from(g)).sum::<f64>() as f32;
        let g: Vec<f32> = g.iter().copied().chain([sum]).collect();
        let g = Tensor::new(g, x.device())?.to_dtype(x.dtype())?;
        let (rows, bias) = (g.narrow(0, 0, x.dim(0)?)?, g.narrow(0, x.dim(0)?, 1)?);
        let (dz, sums) = middle.backward(&hidden, &statistics, &weights.out.weight, &rows)?;
        let row = |i: usize| sums.get(i);
        let of_weights =
            vec![dz.t()?.matmul(&x)?, row(0)?, row(1)?, row(2)?, row(3)?.unsqueeze(0)?, bias];
        Ok((dz.matmul(&weights.hidden.weight)?, of_weights))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::ops::head::{EPS, SLOPE};
    use crate::net::{graph, parameters::tensor};
    use candle_core::{DType, Device};
    use rand::Rng;

    impl Head {
        /// [`Self::train`] in candle's graph, for its autograd; leaves the running statistics alone.
        pub(crate) fn train_by_graph(&self, x: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
            let description::Head { hidden, norm, out } = self.weights.map(|var| tensor(var, true));
            let y = graph::linear(x, &hidden.weight, &hidden.bias)?;
            let centred = y.broadcast_sub(&y.mean_keepdim(0)?)?;
            let std = (centred.sqr()?.mean_keepdim(0)? + EPS)?.sqrt()?;
            let y = centred.broadcast_div(&std)?.broadcast_mul(&norm.weight)?;
            let y = y.broadcast_add(&norm.bias)?;
            let y = mask.map_or(Ok(y.clone()), |mask| y * mask)?;
            let y = y.gt(0.0)?.where_cond(&y, &(&y * SLOPE)?)?;
            graph::linear(&y, &out.weight, &out.bias)?.squeeze(1)
        }
    }

    const INPUT: usize = 3;
    const HIDDEN: usize = 5;

    fn head(dtype: DType) -> (Builder, Head) {
        let mut b = Builder::new(0, 0, dtype, &Device::Cpu);
        let head = Head::new(&mut b, "head", INPUT, HIDDEN).unwrap();
        (b, head)
    }

    fn flat(t: &Tensor) -> Vec<f64> {
        t.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
    }

    #[track_caller]
    fn same(name: &str, a: &Tensor, b: &Tensor) {
        assert_eq!(a.dims(), b.dims(), "{name}");
        let far = flat(a).iter().zip(flat(b)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(far < 1e-12, "{name}: {far}");
    }

    #[test]
    fn the_backward_pass_is_that_of_autograd() {
        let mut rng = crate::rng::Key::new(7, crate::rng::Purpose::Init).rng();
        let mut random = |shape: (usize, usize)| {
            let values = (0..shape.0 * shape.1).map(|_| rng.random_range(-1.0..1.0)).collect();
            Tensor::from_vec::<_, f64>(values, shape, &Device::Cpu).unwrap()
        };
        let (b, head) = head(DType::F64);
        // Away from 1 and 0, which would hide mistakes.
        for var in [&head.weights.norm.weight, &head.weights.norm.bias] {
            var.set(&random((1, HIDDEN)).squeeze(0).unwrap()).unwrap();
        }
        for rows in [2, 9] {
            let mask =
                (random((rows, HIDDEN)).gt(0.0).unwrap().to_dtype(DType::F64)).unwrap() * 2.0;
            for mask in [None, Some(mask.unwrap())] {
                let x = Var::from_tensor(&random((rows, INPUT))).unwrap();
                // Rounded to f32: the loss's gradients come from the host as f32.
                let g: Vec<f32> = flat(&random((rows, 1))).iter().map(|&g| g as f32).collect();
                let expected = head.train_by_graph(x.as_tensor(), mask.as_ref()).unwrap();
                let by_logits = Tensor::new(&g[..], &Device::Cpu).unwrap();
                let by_logits = by_logits.to_dtype(DType::F64).unwrap();
                let loss = (&expected * by_logits).unwrap().sum_all().unwrap();
                let grads = loss.backward().unwrap();

                let (logits, tape) = head.train(&x.as_detached_tensor(), mask).unwrap();
                same("logits", &logits, &expected);
                let (dx, of_weights) = tape.backward(&g).unwrap();
                same("x", &dx, grads.get(&x).unwrap());
                assert_eq!(of_weights.len(), b.parameters.trainable.len());
                for (p, grad) in b.parameters.trainable.iter().zip(&of_weights) {
                    // The last bias's gradient is summed in f64 and rounded to f32.
                    let expected = grads.get(&p.var).unwrap();
                    let far = (flat(grad)[0] - flat(expected)[0]).abs();
                    match p.name.as_str() {
                        "head.4.bias" => assert!(far < 1e-6, "{far}"),
                        name => same(name, grad, expected),
                    }
                }
            }
        }
    }

    /// PyTorch's BatchNorm1d: momentum 0.1, the unbiased variance.
    #[test]
    fn a_batch_moves_the_running_statistics() {
        let (_, head) = head(DType::F64);
        let weight = &head.weights.hidden.weight;
        weight.set(&Tensor::ones((HIDDEN, INPUT), DType::F64, &Device::Cpu).unwrap()).unwrap();
        head.weights.hidden.bias.set(&Tensor::new(&[0.5; HIDDEN], &Device::Cpu).unwrap()).unwrap();
        let x = Tensor::new(&[[1.0, 0.0, 0.0], [3.0, 0.0, 0.0]], &Device::Cpu).unwrap();
        for (mean, var, batches) in [(0.25, 0.9 + 0.2, 1), (0.475, 0.9 * 1.1 + 0.2, 2)] {
            head.train(&x, None).unwrap();
            for (running, expected) in [(&head.running_mean, mean), (&head.running_var, var)] {
                let running = flat(running.as_tensor());
                assert!(running.iter().all(|r| (r - expected).abs() < 1e-12), "{running:?}");
            }
            assert_eq!(head.batches.to_scalar::<i64>().unwrap(), batches);
        }
        let one = x.narrow(0, 0, 1).unwrap();
        assert!(head.train(&one, None).unwrap_err().to_string().contains("at least 2 rows"));
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in 0..2 * INPUT {
                let mut values = [0.25; 2 * INPUT];
                values[at] = x;
                let rows = Tensor::from_slice(&values, (2, INPUT), &Device::Cpu).unwrap();
                // A fresh head, because training changes the statistics.
                let (_, head) = head(DType::F32);
                let eval = head.eval(&rows).unwrap().to_vec1::<f32>().unwrap();
                assert!(!eval[at / 3].is_finite() && eval[1 - at / 3].is_finite(), "{eval:?}");
                let train = head.train(&rows, None).unwrap().0.to_vec1::<f32>().unwrap();
                assert!(train.iter().all(|y| !y.is_finite()), "{train:?}");
            }
        }
    }

    /// LeakyReLU's values and slopes are PyTorch's, with slope 0.1 at 0 too.
    #[test]
    fn the_slope_is_that_of_pytorch() {
        let device = Device::Cpu;
        let ones = Tensor::ones(1, DType::F64, &device).unwrap();
        let zeros = ones.zeros_like().unwrap();
        let (bias, weight, shift) = (zeros.clone(), ones.clone(), zeros.clone());
        let middle = Middle { bias, weight, shift, mask: None };
        let of = |x: f64| Tensor::new(&[[x]], &device).unwrap();
        let running = [&zeros, &(&ones - EPS).unwrap()];
        for (x, y) in [(2.0, 2.0), (-2.0, -0.2), (0.0, 0.0)] {
            let (out, _) = middle.forward(&of(x), running, false).unwrap();
            assert_eq!(flat(&out), [y]);
        }
        // With these statistics x is already normalised, and the gradient of the shift is LeakyReLU's
        // slope.
        let statistics = Tensor::new(&[[0.0], [1.0], [0.0], [0.0]], &device).unwrap();
        for (x, slope) in [(2.0, 1.0), (-2.0, 0.1), (0.0, 0.1)] {
            let (_, grads) = middle.backward(&of(x), &statistics, &ones, &ones).unwrap();
            assert_eq!(flat(&grads)[2], slope);
        }
    }
}
