//! The LSTM pass's operations on the CPU: a layer's directions run in parallel on its threads.

use super::{Grad, LSTMS, Layers, Ops, SIDE_BY_SIDE, WEIGHTS, place};
use crate::net::ops::recurrence::{GATES, KEPT, turn};
use crate::net::{buffers::BufferPool, ops::Float, ops::product::product};
use crate::simd::vectorised;
use candle_core::Result;
use rayon::prelude::*;
use std::ops::Range;

/// Rows of a product that justify packing the weight once more.
const ROWS: usize = 64;

/// The CPU, with the weights and the buffer pool.
pub(super) struct Cpu<'a, R> {
    pub layers: Layers,
    pub weights: Vec<&'a [R]>,
    pub pool: &'a BufferPool<R>,
}

/// Cells of each direction, [T, B, 6H], or of one step.
pub(super) type Cells<R> = [Vec<R>; SIDE_BY_SIDE];

/// Splits `rows` into one piece per thread, if the pieces are large enough.
fn pieces(rows: usize) -> impl Iterator<Item = Range<usize>> {
    let n = rayon::current_num_threads().min(rows / ROWS).max(1);
    (0..n).map(move |i| rows * i / n..rows * (i + 1) / n)
}

impl<'a, R: Float> Cpu<'a, R> {
    /// Weights of a direction: w_ih, w_hh, b_ih, b_hh.
    fn direction(&self, layer: usize, side: usize) -> [&'a [R]; WEIGHTS] {
        let at = place(layer, side);
        std::array::from_fn(|i| self.weights[at + i])
    }

    /// Rows of the batch, from the length of a layer's input.
    fn rows(&self, layer: usize, input: &[R]) -> usize {
        input.len() / (self.layers.steps * self.layers.width(layer))
    }

    /// Copies h of both directions of an LSTM to each row of `out` [.., 2H]; `row` gives the row in the
    /// cells.
    fn gather(&self, cells: &[Vec<R>], rows: usize, row: impl Fn(usize) -> usize) -> Vec<R> {
        let n = self.layers.hidden;
        let mut out = self.pool.take(rows * 2 * n);
        for (i, out) in out.chunks_exact_mut(2 * n).enumerate() {
            let at = row(i) * KEPT * n;
            out[..n].copy_from_slice(&cells[0][at..at + n]);
            out[n..].copy_from_slice(&cells[1][at..at + n]);
        }
        out
    }
}

impl<R: Float> Ops for Cpu<'_, R> {
    type In = [R];
    type Values = Vec<R>;
    type Cells = Cells<R>;
    type Sums = [Vec<R>];

    fn by_time(&self, x: &[R]) -> Result<Vec<R>> {
        let Layers { steps, features, .. } = self.layers;
        let mut out = self.pool.take(x.len());
        turn_rows(x, (x.len() / (steps * features), steps), features, &mut out);
        Ok(out)
    }

    fn by_study(&self, x: &[R]) -> Result<Vec<R>> {
        let Layers { steps, features, .. } = self.layers;
        let mut out = self.pool.take(x.len());
        turn_rows(x, (steps, x.len() / (steps * features)), features, &mut out);
        Ok(out)
    }

    fn layer(&self, layer: usize, inputs: [&[R]; LSTMS]) -> Result<Cells<R>> {
        let (n, b) = (self.layers.hidden, self.rows(layer, inputs[0]));
        let width = self.layers.width(layer);
        let shape = |side| self.layers.shape(layer, side, b);
        let mut cells: [Vec<R>; SIDE_BY_SIDE] =
            std::array::from_fn(|side| self.pool.take(shape(side).kept()));
        rayon::scope_fifo(|scope| {
            for (side, cells) in cells.iter_mut().enumerate() {
                let [w_ih, ..] = self.direction(layer, side);
                let mut rest = &mut cells[..];
                for rows in pieces(shape(side).steps * b) {
                    let (piece, after) = rest.split_at_mut(rows.len() * KEPT * n);
                    rest = after;
                    let x = &inputs[side / 2][rows.start * width..rows.end * width];
                    scope.spawn_fifo(move |_| {
                        let (size, gates) = ((rows.len(), 4 * n, width), &mut piece[GATES * n..]);
                        product(size, gates, KEPT * n, x, (width, 1), w_ih, (1, width), false);
                    });
                }
            }
        });
        cells.par_iter_mut().with_max_len(1).enumerate().for_each(|(side, cells)| {
            let [_, w_hh, b_ih, b_hh] = self.direction(layer, side);
            let (mut turned, mut bias) = (self.pool.take(4 * n * n), self.pool.take(4 * n));
            turn(w_hh, n, &mut turned);
            for ((sum, &a), &b) in bias.iter_mut().zip(b_ih).zip(b_hh) {
                *sum = a + b;
            }
            shape(side).forward(cells, &bias, &turned);
            self.pool.give(turned);
            self.pool.give(bias);
        });
        Ok(cells)
    }

    fn between(&self, cells: &Cells<R>) -> Result<[Vec<R>; LSTMS]> {
        let rows = cells[0].len() / (KEPT * self.layers.hidden);
        Ok([0, 1].map(|lstm| self.gather(&cells[2 * lstm..], rows, |row| row)))
    }

    fn read(&self, cells: &Cells<R>) -> Result<[Vec<R>; LSTMS]> {
        let (t, rows) = (self.layers.steps, cells[0].len() / (KEPT * self.layers.hidden));
        let b = rows / t;
        let all = self.gather(&cells[..2], rows, |row| row % t * b + row / t);
        Ok([all, self.gather(&cells[2..], b, |row| row)])
    }

    fn layer_grad(
        &self,
        layer: usize,
        cells: &mut Cells<R>,
        inputs: [&[R]; LSTMS],
        grad: Grad<[R]>,
        sums: &mut [Vec<R>],
    ) -> Result<()> {
        let (t, n, pool) = (self.layers.steps, self.layers.hidden, self.pool);
        let (b, width) = (self.rows(layer, inputs[0]), self.layers.width(layer));
        // The gradient of one direction's h at one time, in the form that `Recurrence::backward` takes.
        let grad = |side: usize, time: usize| match grad {
            Grad::Between(of) => Some((&of[side / 2][time * b * 2 * n + side % 2 * n..], 2 * n)),
            Grad::Read([all, _]) if side < 2 => Some((&all[time * 2 * n + side * n..], t * 2 * n)),
            Grad::Read([_, first]) => (time == 0).then_some((&first[(side - 2) * n..], 2 * n)),
        };
        let mut of_side: Vec<_> = sums.chunks_exact_mut(WEIGHTS).map(Some).collect();
        let grad = &grad;
        // FIFO order, so that all recurrences start before any product.
        rayon::scope_fifo(|scope| {
            for (side, cells) in cells.iter_mut().enumerate() {
                let sums = of_side[place(layer, side) / WEIGHTS].take().expect("its own");
                let [w_ih, w_hh, b_ih, b_hh] = sums else { unreachable!("chunks of WEIGHTS") };
                let shape = self.layers.shape(layer, side, b);
                let [_, weight, ..] = self.direction(layer, side);
                scope.spawn_fifo(move |scope| {
                    let mut carried = pool.take(2 * b * n);
                    shape.backward(cells, weight, |time| grad(side, time), &mut carried);
                    pool.give(carried);
                    let cells = &cells[..];
                    scope.spawn_fifo(move |_| {
                        let rows = shape.steps * b;
                        let (size, gates) = ((4 * n, width, rows), &cells[GATES * n..]);
                        let x = &inputs[side / 2][..rows * width];
                        product(size, w_ih, width, gates, (1, KEPT * n), x, (width, 1), false);
                    });
                    scope.spawn_fifo(move |_| {
                        shape.weight_grad(cells, w_hh);
                        b_ih.fill(R::zero());
                        sum_gates(cells, b_ih, n);
                        b_hh.copy_from_slice(b_ih);
                    });
                });
            }
        });
        Ok(())
    }

    fn input_grad(&self, layer: usize, cells: &Cells<R>, sides: &[usize]) -> Result<Vec<R>> {
        let (n, width) = (self.layers.hidden, self.layers.width(layer));
        let rows = cells[sides[0]].len() / (KEPT * n);
        let b = rows / self.layers.steps;
        let mut dx = self.pool.take(rows * width);
        rayon::scope_fifo(|scope| {
            let mut rest = &mut dx[..];
            for piece in pieces(rows) {
                let (dx, after) = rest.split_at_mut(piece.len() * width);
                rest = after;
                scope.spawn_fifo(move |_| {
                    for (i, &side) in sides.iter().enumerate() {
                        let end = piece.end.min(self.layers.shape(layer, side, b).steps * b);
                        if piece.start >= end {
                            continue;
                        }
                        let [w_ih, ..] = self.direction(layer, side);
                        let gates = &cells[side][piece.start * KEPT * n + GATES * n..];
                        let size = (end - piece.start, width, 4 * n);
                        let (gate, weight) = ((KEPT * n, 1), (width, 1));
                        product(size, dx, width, gates, gate, w_ih, weight, i > 0);
                    }
                });
            }
        });
        Ok(dx)
    }

    fn give(&self, values: Vec<R>) {
        self.pool.give(values);
    }

    fn give_cells(&self, cells: Cells<R>) {
        cells.into_iter().for_each(|cells| self.pool.give(cells));
    }
}

/// Transposes [rows, columns] of `width` values each to [columns, rows].
fn turn_rows<R: Float>(x: &[R], (rows, columns): (usize, usize), width: usize, out: &mut [R]) {
    for (i, out) in out.chunks_exact_mut(width).enumerate() {
        let at = (i % rows * columns + i / rows) * width;
        out.copy_from_slice(&x[at..at + width]);
    }
}

/// Adds the gates' gradients of all rows to `sums` [4H].
fn sum_gates<R: Float>(cells: &[R], sums: &mut [R], h: usize) {
    vectorised(move || {
        for cell in cells.chunks_exact(KEPT * h) {
            for (sum, &g) in sums.iter_mut().zip(&cell[GATES * h..]) {
                *sum += g;
            }
        }
    });
}
