//! One direction of an LSTM layer over its steps, and its hand-written backward pass through time.
//!
//! Formulas: <https://pytorch.org/docs/stable/generated/torch.nn.LSTM.html>.

use super::{Float, product::product};
use crate::simd::vectorised;
use pulp::{Simd, WithSimd};

/// Values kept per cell and unit: h, c and the four gates i, f, g, o.
pub(crate) const KEPT: usize = 6;
/// Index of the first gate among them.
pub(crate) const GATES: usize = 2;

/// Shape of a direction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recurrence {
    /// T
    pub steps: usize,
    /// B
    pub rows: usize,
    /// H
    pub hidden: usize,
    /// Whether it runs from the last step to the first.
    pub reverse: bool,
}

impl Recurrence {
    /// Number of elements of all steps' cells, [T, B, 6H].
    pub fn kept(&self) -> usize {
        self.steps * self.step()
    }

    /// Number of elements of one step's cells.
    pub fn step(&self) -> usize {
        self.rows * KEPT * self.hidden
    }

    /// Position in time of the s-th step.
    fn time(&self, s: usize) -> usize {
        if self.reverse { self.steps - 1 - s } else { s }
    }

    /// Returns the cells of the s-th step and of the step before it.
    fn at<'a, R>(&self, kept: &'a mut [R], s: usize) -> (&'a mut [R], Option<&'a [R]>) {
        let size = self.step();
        let at = self.time(s) * size;
        if s == 0 {
            (&mut kept[at..at + size], None)
        } else if self.reverse {
            let (now, before) = kept.split_at_mut(at + size);
            (&mut now[at..], Some(&before[..size]))
        } else {
            let (before, now) = kept.split_at_mut(at);
            (&mut now[..size], Some(&before[at - size..]))
        }
    }

    /// Runs all steps from initial states of 0. The gates of `kept` [T, B, 6H] hold the input products,
    /// in PyTorch's order i, f, g, o, and are activated in place; h and c are filled in. `bias` [4H] is
    /// added to the gates; `turned` is w_hh as [H, 4H], see [`turn`].
    pub fn forward<R: Float>(&self, kept: &mut [R], bias: &[R], turned: &[R]) {
        let n = self.hidden;
        for s in 0..self.steps {
            let (now, before) = self.at(kept, s);
            if let Some(before) = before {
                let (size, kept) = ((self.rows, 4 * n, n), KEPT * n);
                let gates = &mut now[GATES * n..];
                product(size, gates, kept, before, (kept, 1), turned, (4 * n, 1), true);
            }
            vectorised(Cells { kept: now, previous: before, bias, h: n });
        }
    }

    /// Runs backward through time, and turns the gates of `kept` into their gradients before activation.
    /// `w_hh` is [4H, H]. `grad` returns the gradient of h at a time, if any, as [B, H] and the distance
    /// of its rows. `carried` is a work buffer.
    pub fn backward<'g, R: Float>(
        &self,
        kept: &mut [R],
        w_hh: &[R],
        grad: impl Fn(usize) -> Option<(&'g [R], usize)>,
        carried: &mut Vec<R>,
    ) {
        let n = self.hidden;
        carried.clear();
        carried.resize(2 * self.rows * n, R::zero());
        let (dh, dc) = carried.split_at_mut(self.rows * n);
        for s in (0..self.steps).rev() {
            let (now, previous) = self.at(kept, s);
            if let Some((grad, stride)) = grad(self.time(s)) {
                for (dh, grad) in dh.chunks_exact_mut(n).zip(grad.chunks(stride)) {
                    dh.iter_mut().zip(grad).for_each(|(dh, &g)| *dh += g);
                }
            }
            vectorised(CellGrads { kept: now, previous, dh, dc, h: n });
            if s > 0 {
                let (size, gates) = ((self.rows, n, 4 * n), &now[GATES * n..]);
                product(size, dh, n, gates, (KEPT * n, 1), w_hh, (n, 1), false);
            }
        }
    }

    /// Writes the gradient of w_hh [4H, H] to `out`, after [`Self::backward`]: one product of all steps'
    /// gate gradients with the h of the step before each in time.
    pub fn weight_grad<R: Float>(&self, kept: &[R], out: &mut [R]) {
        let (n, steps) = (self.hidden, self.steps - 1);
        if steps == 0 {
            out.fill(R::zero());
            return;
        }
        let (now, before) = if self.reverse { (0, 1) } else { (1, 0) };
        let (gates, h) = (&kept[now * self.step() + GATES * n..], &kept[before * self.step()..]);
        let size = (4 * n, n, steps * self.rows);
        product(size, out, n, gates, (1, KEPT * n), h, (KEPT * n, 1), false);
    }
}

/// Transposes w_hh [4H, H] to [H, 4H]; otherwise the product would pack it anew for every step.
pub(crate) fn turn<R: Float>(w: &[R], h: usize, turned: &mut [R]) {
    // In squares whose rows fit into the L1 cache, for reading and writing.
    const SIDE: usize = 16;
    for j in (0..4 * h).step_by(SIDE) {
        for k in (0..h).step_by(SIDE) {
            for k in k..(k + SIDE).min(h) {
                for j in j..(j + SIDE).min(4 * h) {
                    turned[k * 4 * h + j] = w[j * h + k];
                }
            }
        }
    }
}

/// Activates the gates of one step and computes its c and h.
struct Cells<'a, R> {
    kept: &'a mut [R],
    previous: Option<&'a [R]>,
    bias: &'a [R],
    h: usize,
}

impl<R: Float> WithSimd for Cells<'_, R> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let n = self.h;
        let bias = |k: usize| &self.bias[k * n..][..n];
        let (bi, bf, bg, bo) = (bias(0), bias(1), bias(2), bias(3));
        for (row, cell) in self.kept.chunks_exact_mut(KEPT * n).enumerate() {
            let (h, rest) = cell.split_at_mut(n);
            let (c, rest) = rest.split_at_mut(n);
            let (i, rest) = rest.split_at_mut(n);
            let (f, rest) = rest.split_at_mut(n);
            let (g, o) = rest.split_at_mut(n);
            let before = self.previous.map(|p| &p[row * KEPT * n + n..][..n]);
            for j in 0..n {
                i[j] = (i[j] + bi[j]).sigmoid::<S>();
                f[j] = (f[j] + bf[j]).sigmoid::<S>();
                g[j] = (g[j] + bg[j]).tanh::<S>();
                o[j] = (o[j] + bo[j]).sigmoid::<S>();
            }
            match before {
                Some(before) => {
                    for j in 0..n {
                        c[j] = f[j] * before[j] + i[j] * g[j];
                    }
                }
                None => {
                    for j in 0..n {
                        // The previous c is 0, but a NaN forget gate must stay NaN.
                        c[j] = f[j] * R::zero() + i[j] * g[j];
                    }
                }
            }
            for j in 0..n {
                h[j] = o[j] * c[j].tanh::<S>();
            }
        }
    }
}

/// Turns the gates of one step into their gradients, given that of h; carries the gradient of c back in
/// time.
struct CellGrads<'a, R> {
    kept: &'a mut [R],
    previous: Option<&'a [R]>,
    /// [B, H] each.
    dh: &'a [R],
    dc: &'a mut [R],
    h: usize,
}

impl<R: Float> WithSimd for CellGrads<'_, R> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let n = self.h;
        let one = R::one();
        for (row, cell) in self.kept.chunks_exact_mut(KEPT * n).enumerate() {
            let (states, rest) = cell.split_at_mut(GATES * n);
            let c = &states[n..];
            let (i, rest) = rest.split_at_mut(n);
            let (f, rest) = rest.split_at_mut(n);
            let (g, o) = rest.split_at_mut(n);
            let dh = &self.dh[row * n..][..n];
            let dc = &mut self.dc[row * n..][..n];
            for j in 0..n {
                let tc = c[j].tanh::<S>();
                let (ij, fj, gj, oj) = (i[j], f[j], g[j], o[j]);
                let dcj = dc[j] + dh[j] * oj * (one - tc * tc);
                i[j] = dcj * gj * ij * (one - ij);
                g[j] = dcj * ij * (one - gj * gj);
                o[j] = dh[j] * tc * oj * (one - oj);
                dc[j] = dcj * fj;
                // Multiplied by the previous c below; 0 if there is none.
                f[j] = dcj * fj * (one - fj);
            }
            match self.previous {
                Some(p) => {
                    let before = &p[row * KEPT * n + n..][..n];
                    f.iter_mut().zip(before).for_each(|(f, &c)| *f *= c);
                }
                None => f.fill(R::zero()),
            }
        }
    }
}
