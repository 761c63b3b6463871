//! The recurrence of several LSTM directions in candle's graph.

use super::Node;
use crate::net::ops::recurrence::{GATES, KEPT, Recurrence, turn};
use crate::net::{ops::Float, views::Views};
use candle_core::{DType, Device, Result, Tensor};
use rayon::prelude::*;

/// Runs D recurrences side by side; those of odd index run backward in time.
///
/// `gates_x` [D, T, B, 4H]: input products plus both biases, in PyTorch's order i, f, g, o;
/// `w_hh` [D, 4H, H] → h [D, T, B, H], initial states 0. Gradients for both.
pub fn lstm_recurrence(gates_x: &Tensor, w_hh: &Tensor) -> Result<Tensor> {
    let (d, t, b, width) = gates_x.dims4()?;
    let n = width / 4;
    let states = Tensor::zeros((d, t, b, GATES * n), gates_x.dtype(), gates_x.device())?;
    let kept = steps(&Tensor::cat(&[&states, &gates_x.detach()], 3)?, w_hh, None)?;
    let value = kept.narrow(3, 0, n)?.contiguous()?;
    let backward = move |[_, w_hh, _]: [&Tensor; 3], grad: Tensor| {
        let spent = steps(&kept, w_hh, Some(&grad))?;
        let of_gates = spent.narrow(3, GATES * n, 4 * n)?.contiguous()?;
        Ok([Some(of_gates), Some(weight_grad(&spent)?), None])
    };
    gates_x.apply_op3(w_hh, gates_x, Node { value, backward })
}

/// Runs all steps on a copy of `kept` [D, T, B, 6H]: forward, or given the gradient of h backward, which
/// replaces the gates by their gradients.
fn steps(kept: &Tensor, w_hh: &Tensor, grad: Option<&Tensor>) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if kept.device().is_cuda() {
        return super::cuda::steps(kept, w_hh, grad);
    }
    match kept.dtype() {
        DType::F64 => steps_on_cpu::<f64>(kept, w_hh, grad),
        _ => steps_on_cpu::<f32>(kept, w_hh, grad),
    }
}

fn steps_on_cpu<R: Float>(kept: &Tensor, w_hh: &Tensor, grad: Option<&Tensor>) -> Result<Tensor> {
    let (_, steps, rows, width) = kept.dims4()?;
    let hidden = width / KEPT;
    let views = Views::of([kept, w_hh].into_iter().chain(grad));
    let slices = views.slices::<R>()?;
    let mut cells = slices[0].to_vec();
    let (weights, step) = (4 * hidden * hidden, rows * hidden);
    cells.par_chunks_mut(steps * rows * width).enumerate().for_each(|(dir, cells)| {
        let of = Recurrence { steps, rows, hidden, reverse: !dir.is_multiple_of(2) };
        let w = &slices[1][dir * weights..][..weights];
        match slices.get(2) {
            None => {
                let mut turned = vec![R::zero(); weights];
                turn(w, hidden, &mut turned);
                of.forward(cells, &vec![R::zero(); 4 * hidden], &turned);
            }
            Some(grad) => {
                let grad = |t| Some((&grad[(dir * steps + t) * step..][..step], hidden));
                of.backward(cells, w, grad, &mut Vec::new());
            }
        }
    });
    Tensor::from_vec(cells, kept.shape(), &Device::Cpu)
}

/// Computes the gradient of w_hh [D, 4H, H] from what [`steps`] leaves of `kept`.
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
