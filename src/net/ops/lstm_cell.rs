//! The recurrence of several LSTM directions as one op, with backward through time by hand.

use super::{Kernel2, Kernel3, Real, cpu_op, product::product, vectorised};
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Device, Layout, Result, Shape, Tensor};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::sync::OnceLock;

/// What the forward pass keeps of each cell: h, c and the four activated gates i, f, g, o.
const KEPT: usize = 6;
/// Where the gates begin among them.
const GATES: usize = 2;

/// Runs D recurrences side by side, those with odd index backwards in time.
///
/// `gates_x` [D, T, B, 4H]: input products plus both biases, in PyTorch's order i, f, g, o;
/// `w_hh` [D, 4H, H] → h [D, T, B, H], initial states 0. Gradients for both. Formulas:
/// <https://pytorch.org/docs/stable/generated/torch.nn.LSTM.html>.
pub fn lstm_recurrence(gates_x: &Tensor, w_hh: &Tensor) -> Result<Tensor> {
    gates_x.apply_op2(w_hh, Forward::default())
}

/// → h [D, T, B, H].
#[derive(Default)]
struct Forward {
    /// [D, T, B, 6H]: all that the backward pass needs, from the forward pass of this op.
    kept: OnceLock<Tensor>,
}
/// (w_hh, kept, grad of h) → grad of gates_x.
struct GradGates;
/// (grad of gates_x, kept) → grad of w_hh.
struct GradWeight;

/// Directions, steps, rows and width.
#[derive(Clone, Copy)]
struct Dims {
    d: usize,
    t: usize,
    b: usize,
    h: usize,
}

impl Dims {
    fn of(layout: &Layout, parts: usize) -> Result<Self> {
        let (d, t, b, width) = layout.shape().dims4()?;
        Ok(Self { d, t, b, h: width / parts })
    }
    /// Elements of all kept cells of one step.
    fn kept(&self) -> usize {
        self.b * KEPT * self.h
    }
    fn gates(&self) -> usize {
        self.b * 4 * self.h
    }
    /// Position of the s-th step of direction `dir`.
    fn time(&self, dir: usize, s: usize) -> usize {
        if dir.is_multiple_of(2) { s } else { self.t - 1 - s }
    }
}

/// Activates the gates of one step and makes its c and h.
struct Cells<'a, R> {
    kept: &'a mut [R],
    previous: Option<&'a [R]>,
    h: usize,
}

impl<R: Real> WithSimd for Cells<'_, R> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let n = self.h;
        for (row, cell) in self.kept.chunks_exact_mut(KEPT * n).enumerate() {
            let (h, rest) = cell.split_at_mut(n);
            let (c, rest) = rest.split_at_mut(n);
            let (i, rest) = rest.split_at_mut(n);
            let (f, rest) = rest.split_at_mut(n);
            let (g, o) = rest.split_at_mut(n);
            let before = self.previous.map(|p| &p[row * KEPT * n + n..][..n]);
            for j in 0..n {
                i[j] = i[j].sigmoid::<S>();
                f[j] = f[j].sigmoid::<S>();
                g[j] = g[j].tanh::<S>();
                o[j] = o[j].sigmoid::<S>();
            }
            match before {
                Some(before) => {
                    for j in 0..n {
                        c[j] = f[j] * before[j] + i[j] * g[j];
                    }
                }
                None => {
                    for j in 0..n {
                        c[j] = i[j] * g[j];
                    }
                }
            }
            for j in 0..n {
                h[j] = o[j] * c[j].tanh::<S>();
            }
        }
    }
}

/// Gradients of one step's gates; carries those of c and h back in time.
struct CellGrads<'a, R> {
    kept: &'a [R],
    previous: Option<&'a [R]>,
    /// [B, H]
    grad: &'a [R],
    dh: &'a [R],
    dc: &'a mut [R],
    out: &'a mut [R],
    h: usize,
}

impl<R: Real> WithSimd for CellGrads<'_, R> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let n = self.h;
        let one = R::one();
        for (row, out) in self.out.chunks_exact_mut(4 * n).enumerate() {
            let cell = &self.kept[row * KEPT * n..][..KEPT * n];
            let part = |k: usize| &cell[k * n..][..n];
            let (c, i, f, g, o) = (part(1), part(2), part(3), part(4), part(5));
            let grad = &self.grad[row * n..][..n];
            let dh = &self.dh[row * n..][..n];
            let dc = &mut self.dc[row * n..][..n];
            let (di, rest) = out.split_at_mut(n);
            let (df, rest) = rest.split_at_mut(n);
            let (dg, do_) = rest.split_at_mut(n);
            for j in 0..n {
                let tc = c[j].tanh::<S>();
                let dhj = dh[j] + grad[j];
                let dcj = dc[j] + dhj * o[j] * (one - tc * tc);
                di[j] = dcj * g[j] * i[j] * (one - i[j]);
                dg[j] = dcj * i[j] * (one - g[j] * g[j]);
                do_[j] = dhj * tc * o[j] * (one - o[j]);
                dc[j] = dcj * f[j];
                // Times the previous c below; 0 where there is none.
                df[j] = dcj * f[j] * (one - f[j]);
            }
            match self.previous {
                Some(p) => {
                    let before = &p[row * KEPT * n + n..][..n];
                    for j in 0..n {
                        df[j] *= before[j];
                    }
                }
                None => df.fill(R::zero()),
            }
        }
    }
}

impl Kernel2 for Forward {
    fn cpu<R: Real>(
        &self,
        gates: &[R],
        l: &Layout,
        w: &[R],
        _: &Layout,
    ) -> Result<(Vec<R>, Shape)> {
        let n = Dims::of(l, 4)?;
        let mut out = vec![R::zero(); n.d * n.t * n.kept()];
        out.par_chunks_mut(n.t * n.kept()).enumerate().for_each(|(dir, kept)| {
            // Turned, [H, 4H]: as it stands the product would pack it anew for every step.
            let turned = turn(&w[dir * 4 * n.h * n.h..][..4 * n.h * n.h], n.h);
            for s in 0..n.t {
                let at = n.time(dir, s);
                let gates = &gates[(dir * n.t + at) * n.gates()..][..n.gates()];
                let (now, before) = step(kept, n, dir, s);
                let cells = now.chunks_exact_mut(KEPT * n.h);
                for (cell, gates) in cells.zip(gates.chunks_exact(4 * n.h)) {
                    cell[GATES * n.h..].copy_from_slice(gates);
                }
                if let Some(before) = before {
                    product(
                        (n.b, 4 * n.h, n.h),
                        &mut now[GATES * n.h..],
                        KEPT * n.h,
                        before,
                        (KEPT * n.h, 1),
                        &turned,
                        (4 * n.h, 1),
                        true,
                    );
                }
                vectorised(Cells { kept: now, previous: before, h: n.h });
            }
        });
        let mut h = Vec::with_capacity(n.d * n.t * n.b * n.h);
        for cell in out.chunks_exact(KEPT * n.h) {
            h.extend_from_slice(&cell[..n.h]);
        }
        let kept = Tensor::from_vec(out, (n.d, n.t, n.b, KEPT * n.h), &Device::Cpu)?;
        // Each op runs forward once.
        let _ = self.kept.set(kept);
        Ok((h, Shape::from((n.d, n.t, n.b, n.h))))
    }
}

/// [4H, H] → [H, 4H].
fn turn<R: Real>(w: &[R], h: usize) -> Vec<R> {
    let mut turned = vec![R::zero(); w.len()];
    for (j, row) in w.chunks_exact(h).enumerate() {
        for (k, &v) in row.iter().enumerate() {
            turned[k * 4 * h + j] = v;
        }
    }
    turned
}

/// The kept cells of the s-th step of a direction, and those of the step before it.
fn step<R>(kept: &mut [R], n: Dims, dir: usize, s: usize) -> (&mut [R], Option<&[R]>) {
    let size = n.kept();
    let at = n.time(dir, s) * size;
    if s == 0 {
        (&mut kept[at..at + size], None)
    } else if dir.is_multiple_of(2) {
        let (before, now) = kept.split_at_mut(at);
        (&mut now[..size], Some(&before[at - size..]))
    } else {
        let (now, before) = kept.split_at_mut(at + size);
        (&mut now[at..], Some(&before[..size]))
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
        let dz = w.apply_op3_no_bwd(kept, &grad.contiguous()?, &GradGates)?;
        let gw = dz.apply_op2_no_bwd(kept, &GradWeight)?;
        Ok((Some(dz), Some(gw)))
    }
}

impl Kernel3 for GradGates {
    fn cpu<R: Real>(
        &self,
        (w, _): (&[R], &Layout),
        (kept, l): (&[R], &Layout),
        (grad, _): (&[R], &Layout),
    ) -> Result<(Vec<R>, Shape)> {
        let n = Dims::of(l, KEPT)?;
        let mut out = vec![R::zero(); n.d * n.t * n.gates()];
        out.par_chunks_mut(n.t * n.gates()).enumerate().for_each(|(dir, out)| {
            let w = &w[dir * 4 * n.h * n.h..][..4 * n.h * n.h];
            let cells = |t: usize| &kept[(dir * n.t + t) * n.kept()..][..n.kept()];
            let mut dh = vec![R::zero(); n.b * n.h];
            let mut dc = dh.clone();
            for s in (0..n.t).rev() {
                let at = n.time(dir, s);
                let dz = &mut out[at * n.gates()..][..n.gates()];
                vectorised(CellGrads {
                    kept: cells(at),
                    previous: (s > 0).then(|| cells(n.time(dir, s - 1))),
                    grad: &grad[(dir * n.t + at) * n.b * n.h..][..n.b * n.h],
                    dh: &dh,
                    dc: &mut dc,
                    out: dz,
                    h: n.h,
                });
                if s > 0 {
                    let size = (n.b, n.h, 4 * n.h);
                    product(size, &mut dh, n.h, dz, (4 * n.h, 1), w, (n.h, 1), false);
                }
            }
        });
        Ok((out, Shape::from((n.d, n.t, n.b, 4 * n.h))))
    }
}

impl CustomOp3 for GradGates {
    cpu_op!("lstm-recurrence-grad-gates", 3);
}

impl Kernel2 for GradWeight {
    fn cpu<R: Real>(
        &self,
        dz: &[R],
        l: &Layout,
        kept: &[R],
        _: &Layout,
    ) -> Result<(Vec<R>, Shape)> {
        let n = Dims::of(l, 4)?;
        let mut out = vec![R::zero(); n.d * 4 * n.h * n.h];
        // One product a direction: every step's dz with the h of the step before it in time.
        let steps = n.t - 1;
        if steps > 0 {
            out.par_chunks_mut(4 * n.h * n.h).enumerate().for_each(|(dir, out)| {
                let (now, before) = if dir.is_multiple_of(2) { (1, 0) } else { (0, 1) };
                product(
                    (4 * n.h, n.h, steps * n.b),
                    out,
                    n.h,
                    &dz[(dir * n.t + now) * n.gates()..][..steps * n.gates()],
                    (1, 4 * n.h),
                    &kept[(dir * n.t + before) * n.kept()..][..steps * n.kept()],
                    (KEPT * n.h, 1),
                    false,
                );
            });
        }
        Ok((out, Shape::from((n.d, 4 * n.h, n.h))))
    }
}

impl CustomOp2 for GradWeight {
    cpu_op!("lstm-recurrence-grad-weight", 2);
}
