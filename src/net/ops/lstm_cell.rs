//! The recurrence of several LSTM directions as one candle op.

use super::recurrence::{GATES, KEPT, Recurrence, turn};
use super::{Float, Kernel1, Kernel2, Kernel3, cpu_op};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Device, Layout};
use candle_core::{Result, Shape, Tensor};
use rayon::prelude::*;
use std::sync::OnceLock;

/// Runs D recurrences side by side; those of odd index run backward in time.
///
/// `gates_x` [D, T, B, 4H]: input products plus both biases, in PyTorch's order i, f, g, o;
/// `w_hh` [D, 4H, H] → h [D, T, B, H], initial states 0. Gradients for both.
pub fn lstm_recurrence(gates_x: &Tensor, w_hh: &Tensor) -> Result<Tensor> {
    gates_x.apply_op2(w_hh, Forward::default())
}

/// → h [D, T, B, H].
#[derive(Default)]
struct Forward {
    /// State for this op's backward pass, [D, T, B, 6H].
    kept: OnceLock<Tensor>,
}
/// (w_hh, kept, gradient of h) → kept, with the gates replaced by their gradients.
struct GradGates;
/// That state → gradient of w_hh.
struct GradWeight;

/// Returns the number of directions and their shape, from [D, T, B, parts·H].
fn directions(layout: &Layout, parts: usize) -> Result<(usize, Recurrence)> {
    let (d, steps, rows, width) = layout.shape().dims4()?;
    Ok((d, Recurrence { steps, rows, hidden: width / parts, reverse: false }))
}

/// Returns the shape of direction `dir`.
fn direction(of: Recurrence, dir: usize) -> Recurrence {
    Recurrence { reverse: !dir.is_multiple_of(2), ..of }
}

impl Kernel2 for Forward {
    fn cpu<R: Float>(
        &self,
        gates: &[R],
        l: &Layout,
        w: &[R],
        _: &Layout,
    ) -> Result<(Vec<R>, Shape)> {
        let (d, of) = directions(l, 4)?;
        let n = of.hidden;
        let mut out = vec![R::zero(); d * of.kept()];
        out.par_chunks_mut(of.kept()).enumerate().for_each(|(dir, kept)| {
            let gates = &gates[dir * of.steps * of.rows * 4 * n..];
            for (cell, gates) in kept.chunks_exact_mut(KEPT * n).zip(gates.chunks_exact(4 * n)) {
                cell[GATES * n..].copy_from_slice(gates);
            }
            let mut turned = vec![R::zero(); 4 * n * n];
            turn(&w[dir * 4 * n * n..][..4 * n * n], n, &mut turned);
            direction(of, dir).forward(kept, &vec![R::zero(); 4 * n], &turned);
        });
        let mut h = Vec::with_capacity(d * of.steps * of.rows * n);
        for cell in out.chunks_exact(KEPT * n) {
            h.extend_from_slice(&cell[..n]);
        }
        let kept = Tensor::from_vec(out, (d, of.steps, of.rows, KEPT * n), &Device::Cpu)?;
        // Cannot fail: each op runs forward once.
        let _ = self.kept.set(kept);
        Ok((h, Shape::from((d, of.steps, of.rows, n))))
    }
}

impl CustomOp2 for Forward {
    cpu_op!("lstm-recurrence", 2);
    fn bwd(
        &self,
        _gates: &Tensor,
        w: &Tensor,
        _h: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Some(kept) = self.kept.get() else {
            candle_core::bail!("lstm-recurrence: backward without a forward pass")
        };
        let spent = w.apply_op3_no_bwd(kept, &grad.contiguous()?, &GradGates)?;
        let n = grad.dim(3)?;
        let dz = spent.narrow(3, GATES * n, 4 * n)?.contiguous()?;
        let dw = match spent.device().is_cpu() {
            true => spent.apply_op1_no_bwd(&GradWeight)?,
            false => weight_grad(&spent)?,
        };
        Ok((Some(dz), Some(dw)))
    }
}

/// Computes [`GradWeight`] with candle's products: [D, T, B, 6H] → [D, 4H, H].
fn weight_grad(spent: &Tensor) -> Result<Tensor> {
    let (d, t, b, width) = spent.dims4()?;
    let n = width / KEPT;
    if t == 1 {
        return Tensor::zeros((d, 4 * n, n), spent.dtype(), spent.device());
    }
    let of = |dir: usize| {
        // Pair the gates' gradients with h of the step before in time.
        let (now, before) = if dir.is_multiple_of(2) { (1, 0) } else { (0, 1) };
        let part = |at: usize, from: usize, width: usize| {
            let part = spent.get(dir)?.narrow(0, at, t - 1)?.narrow(2, from, width)?;
            part.contiguous()?.reshape(((t - 1) * b, width))
        };
        part(now, GATES * n, 4 * n)?.t()?.matmul(&part(before, 0, n)?)
    };
    Tensor::stack(&(0..d).map(of).collect::<Result<Vec<_>>>()?, 0)
}

impl Kernel3 for GradGates {
    fn cpu<R: Float>(
        &self,
        (w, _): (&[R], &Layout),
        (kept, l): (&[R], &Layout),
        (grad, _): (&[R], &Layout),
    ) -> Result<(Vec<R>, Shape)> {
        let (_, of) = directions(l, KEPT)?;
        let n = of.hidden;
        let mut out = kept.to_vec();
        out.par_chunks_mut(of.kept()).enumerate().for_each(|(dir, kept)| {
            let w = &w[dir * 4 * n * n..][..4 * n * n];
            let grad = |t: usize| {
                let step = of.rows * n;
                Some((&grad[(dir * of.steps + t) * step..][..step], n))
            };
            direction(of, dir).backward(kept, w, grad, &mut Vec::new());
        });
        Ok((out, l.shape().clone()))
    }
}

impl CustomOp3 for GradGates {
    cpu_op!("lstm-recurrence-grad-gates", 3);
}

impl Kernel1 for GradWeight {
    fn cpu<R: Float>(&self, spent: &[R], l: &Layout) -> Result<(Vec<R>, Shape)> {
        let (d, of) = directions(l, KEPT)?;
        let n = of.hidden;
        let mut out = vec![R::zero(); d * 4 * n * n];
        let each = out.par_chunks_mut(4 * n * n).zip(spent.par_chunks(of.kept()));
        each.enumerate().for_each(|(dir, (out, spent))| direction(of, dir).weight_grad(spent, out));
        Ok((out, Shape::from((d, 4 * n, n))))
    }
}

impl CustomOp1 for GradWeight {
    cpu_op!("lstm-recurrence-grad-weight", 1);
}

#[cfg(feature = "cuda")]
mod on_cuda {
    use super::super::cuda::{self, Input};
    use candle_core::{CudaStorage, Result, Shape, bail};

    type Output = Result<(CudaStorage, Shape)>;

    impl super::Forward {
        pub(super) fn on_cuda(&self, gates: Input, w_hh: Input) -> Output {
            let (h, kept) = cuda::lstm(gates, w_hh)?;
            // Cannot fail: each op runs forward once.
            let _ = self.kept.set(kept);
            Ok(h)
        }
    }

    impl super::GradGates {
        pub(super) fn on_cuda(&self, w_hh: Input, kept: Input, grad: Input) -> Output {
            cuda::lstm_grad(w_hh, kept, grad)
        }
    }

    impl super::GradWeight {
        pub(super) fn on_cuda(&self, _: Input) -> Output {
            bail!("on a GPU the gradient of w_hh is a product of candle's")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::DType;

    #[test]
    fn the_weights_gradient_by_candles_products() {
        for t in [1, 5] {
            let spent = Tensor::randn(0f64, 1.0, (4, t, 3, KEPT * 7), &Device::Cpu).unwrap();
            let ours = spent.apply_op1_no_bwd(&GradWeight).unwrap();
            let products = weight_grad(&spent).unwrap();
            assert_eq!(ours.dims(), products.dims());
            let far = (ours - products).unwrap().abs().unwrap().sum_all().unwrap();
            assert!(far.to_dtype(DType::F64).unwrap().to_scalar::<f64>().unwrap() < 1e-10);
        }
    }
}
