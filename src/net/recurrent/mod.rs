//! The two LSTMs' forward and backward pass by hand, on the CPU.
//!
//! [`super::lstm`] says the same in candle's words, with candle's autograd around our recurrence:
//! that is what other devices run, and what the tests hold this against. Here all directions of a
//! layer run side by side, the input products and the recurrence write to one place, each weight
//! has one product for its gradient, and of the second LSTM's second layer only what the study
//! head reads is computed: position 0, which is the forward direction's first step.

#[cfg(test)]
mod tests;

use super::description::LSTM_LAYERS as LAYERS;
use super::ops::recurrence::{GATES, KEPT, Recurrence, turn};
use super::{Classifier, Spec, ops::Real, ops::product::product, pool::Pool, views::Views};
use crate::simd::vectorised;
use candle_core::Result;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// Weight tensors of a direction: w_ih, w_hh, b_ih, b_hh.
const WEIGHTS: usize = 4;
/// Directions of both LSTMs in a layer.
const SIDE_BY_SIDE: usize = 4;
/// Rows of a product that are worth packing a weight for.
const ROWS: usize = 64;

/// A network's two LSTMs on the CPU.
pub struct Lstms<'a> {
    views: Views<'a>,
    pool: &'a Pool<f32>,
    layers: Layers,
}

/// What the heads read.
pub struct Output {
    /// The first LSTM's, [B·T, 2H].
    pub all: Vec<f32>,
    /// The second's at position 0, [B, 2H].
    pub first: Vec<f32>,
}

/// What the forward pass keeps for the backward pass.
pub struct Tape(Kept<f32>);

impl<'a> Lstms<'a> {
    /// Of `model`. The weights are locked for reading as long as this lives.
    pub fn new(model: &'a Classifier, pool: &'a Pool<f32>) -> Self {
        let views = Views::new(members(model).map(|i| &model.parameters.trainable[i]));
        Self { views, pool, layers: Layers::new(&model.spec) }
    }

    /// `features` [B·T, F] → what the heads read, and what [`Self::backward`] needs.
    ///
    /// Errors: the weights are not f32 on the CPU.
    pub fn forward(&self, features: &[f32]) -> Result<(Output, Tape)> {
        let weights = self.views.slices()?;
        let (all, first, kept) = self.layers.forward(&weights, self.pool, features);
        Ok((Output { all, first }, Tape(kept)))
    }

    /// From the gradients of the output, those of the features [B·T, F] and of each weight, with
    /// its place among the parameters.
    ///
    /// Errors: the weights are not f32 on the CPU.
    pub fn backward(&self, tape: Tape, grad: &Output) -> Result<(Vec<f32>, Vec<Vec<f32>>)> {
        let weights = self.views.slices()?;
        let mut grads: Vec<_> =
            self.views.lengths().into_iter().map(|n| self.pool.take(n)).collect();
        let (all, first) = (&grad.all, &grad.first);
        let dx = self.layers.backward(&weights, self.pool, tape.0, (all, first), &mut grads);
        Ok((dx, grads))
    }

    /// Takes back what a forward pass has kept and nothing needs.
    pub fn forget(&self, tape: Tape) {
        tape.0.give(self.pool);
    }
}

/// Bytes that features, states and gradients take for a batch of so many studies, the heads'
/// beside them.
pub fn bytes(spec: &Spec, studies: usize) -> usize {
    let cells = (SIDE_BY_SIDE * LAYERS - 1) * KEPT * spec.lstm_hidden;
    // Input and its gradient by time and by study; both layers' outputs and gradients; the head.
    let others = 4 * spec.features() + 12 * spec.lstm_hidden + 8 * spec.head_hidden;
    4 * studies * spec.images * (cells + others)
}

/// Places of both LSTMs' weights among a network's parameters, in the order of
/// [`Lstms::backward`]'s gradients.
pub fn members(model: &Classifier) -> impl Iterator<Item = usize> {
    let of = |prefix: &'static str| {
        let all = model.parameters.trainable.iter().enumerate();
        all.filter(move |(_, p)| p.name.starts_with(prefix)).map(|(i, _)| i)
    };
    of("lstm.").chain(of("lstm2."))
}

/// The LSTMs' shape.
#[derive(Debug, Clone, Copy)]
struct Layers {
    /// T
    steps: usize,
    /// F
    features: usize,
    /// H
    hidden: usize,
}

/// What the forward pass keeps, everything by time: row t·B + b.
struct Kept<R> {
    /// [T·B, F]
    x: Vec<R>,
    /// What each LSTM's second layer reads, [T·B, 2H].
    between: [Vec<R>; 2],
    /// Each layer's directions, first LSTM's first: [T, B, 6H], or of one step.
    cells: [[Vec<R>; SIDE_BY_SIDE]; LAYERS],
}

impl<R: Real> Kept<R> {
    fn give(self, pool: &Pool<R>) {
        let cells = self.cells.into_iter().flatten();
        cells.chain(self.between).chain([self.x]).for_each(|buffer| pool.give(buffer));
    }
}

/// A direction's weights.
struct Direction<'a, R> {
    w_ih: &'a [R],
    w_hh: &'a [R],
    b_ih: &'a [R],
    b_hh: &'a [R],
}

impl<'a, R> Direction<'a, R> {
    /// The `side`-th direction of `layer`.
    fn of(weights: &[&'a [R]], layer: usize, side: usize) -> Self {
        let at = place(layer, side);
        Self {
            w_ih: weights[at],
            w_hh: weights[at + 1],
            b_ih: weights[at + 2],
            b_hh: weights[at + 3],
        }
    }
}

/// Where a direction's weights begin: by LSTM, layer, direction.
fn place(layer: usize, side: usize) -> usize {
    WEIGHTS * (side / 2 * 2 * LAYERS + layer * 2 + side % 2)
}

/// `rows` in as many pieces as there are threads, if they are worth it.
fn pieces(rows: usize) -> impl Iterator<Item = Range<usize>> {
    let n = rayon::current_num_threads().min(rows / ROWS).max(1);
    (0..n).map(move |i| rows * i / n..rows * (i + 1) / n)
}

impl Layers {
    fn new(spec: &Spec) -> Self {
        Self { steps: spec.images, features: spec.features(), hidden: spec.lstm_hidden }
    }

    /// The shape of a direction. The second layer of the second LSTM is read at position 0 only.
    fn shape(&self, layer: usize, side: usize, rows: usize) -> Recurrence {
        let steps = if layer + 1 == LAYERS && side == 2 { 1 } else { self.steps };
        Recurrence { steps, rows, hidden: self.hidden, reverse: side % 2 == 1 }
    }

    /// `x` [B·T, F] → [B·T, 2H] of the first LSTM, [B, 2H] of the second at position 0.
    fn forward<R: Real>(
        &self,
        weights: &[&[R]],
        pool: &Pool<R>,
        x: &[R],
    ) -> (Vec<R>, Vec<R>, Kept<R>) {
        let (t, f, n) = (self.steps, self.features, self.hidden);
        let b = x.len() / (t * f);
        let mut by_time = pool.take(x.len());
        turn_rows(x, (b, t), f, &mut by_time);
        let first = self.layer_forward(weights, pool, 0, b, [&by_time, &by_time]);
        let between = [0, 1].map(|lstm| {
            let mut out = pool.take(t * b * 2 * n);
            let sides = first[2 * lstm].chunks_exact(KEPT * n);
            let sides = sides.zip(first[2 * lstm + 1].chunks_exact(KEPT * n));
            for (out, (forward, backward)) in out.chunks_exact_mut(2 * n).zip(sides) {
                out[..n].copy_from_slice(&forward[..n]);
                out[n..].copy_from_slice(&backward[..n]);
            }
            out
        });
        let second = self.layer_forward(weights, pool, 1, b, [&between[0], &between[1]]);
        let mut all = pool.take(b * t * 2 * n);
        for (row, out) in all.chunks_exact_mut(2 * n).enumerate() {
            let at = (row % t * b + row / t) * KEPT * n;
            out[..n].copy_from_slice(&second[0][at..at + n]);
            out[n..].copy_from_slice(&second[1][at..at + n]);
        }
        let mut position0 = pool.take(b * 2 * n);
        for (row, out) in position0.chunks_exact_mut(2 * n).enumerate() {
            let at = row * KEPT * n;
            out[..n].copy_from_slice(&second[2][at..at + n]);
            out[n..].copy_from_slice(&second[3][at..at + n]);
        }
        (all, position0, Kept { x: by_time, between, cells: [first, second] })
    }

    /// The cells of a layer's directions, from each LSTM's input [T·B, in].
    fn layer_forward<R: Real>(
        &self,
        weights: &[&[R]],
        pool: &Pool<R>,
        layer: usize,
        b: usize,
        inputs: [&[R]; 2],
    ) -> [Vec<R>; SIDE_BY_SIDE] {
        let n = self.hidden;
        let width = inputs[0].len() / (self.steps * b);
        let shape = |side| self.shape(layer, side, b);
        let mut cells: [Vec<R>; SIDE_BY_SIDE] =
            std::array::from_fn(|side| pool.take(shape(side).kept()));
        rayon::scope_fifo(|scope| {
            for (side, cells) in cells.iter_mut().enumerate() {
                let w_ih = Direction::of(weights, layer, side).w_ih;
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
            let of = Direction::of(weights, layer, side);
            let (mut turned, mut bias) = (pool.take(4 * n * n), pool.take(4 * n));
            turn(of.w_hh, n, &mut turned);
            for ((sum, &a), &b) in bias.iter_mut().zip(of.b_ih).zip(of.b_hh) {
                *sum = a + b;
            }
            shape(side).forward(cells, &bias, &turned);
            pool.give(turned);
            pool.give(bias);
        });
        cells
    }

    /// The gradient of `x` [B·T, F] from those of the output, and those of the weights into
    /// `grads`.
    fn backward<R: Real>(
        &self,
        weights: &[&[R]],
        pool: &Pool<R>,
        mut kept: Kept<R>,
        (all, first): (&[R], &[R]),
        grads: &mut [Vec<R>],
    ) -> Vec<R> {
        let (t, f, n) = (self.steps, self.features, self.hidden);
        let b = first.len() / (2 * n);
        let [cells0, cells1] = &mut kept.cells;
        let inputs = [&kept.between[0][..], &kept.between[1]];
        self.layer_backward(
            weights,
            pool,
            (1, b),
            cells1,
            inputs,
            grads,
            |side, time| match side {
                0 | 1 => Some((&all[time * 2 * n + side * n..], t * 2 * n)),
                _ => (time == 0).then_some((&first[(side - 2) * n..], 2 * n)),
            },
        );
        let between = [0, 1].map(|lstm| {
            let mut dx = pool.take(t * b * 2 * n);
            // The direction with all steps first: the other adds to its rows.
            let sides = if lstm == 0 { [0, 1] } else { [3, 2] };
            self.input_grad(weights, (1, b), &sides, cells1, &mut dx);
            dx
        });
        let inputs = [&kept.x[..], &kept.x];
        self.layer_backward(weights, pool, (0, b), cells0, inputs, grads, |side, time| {
            Some((&between[side / 2][time * b * 2 * n + side % 2 * n..], 2 * n))
        });
        between.into_iter().for_each(|buffer| pool.give(buffer));
        let mut by_time = pool.take(t * b * f);
        self.input_grad(weights, (0, b), &[0, 1, 2, 3], cells0, &mut by_time);
        let mut dx = pool.take(by_time.len());
        turn_rows(&by_time, (t, b), f, &mut dx);
        pool.give(by_time);
        kept.give(pool);
        dx
    }

    /// Backward through time of a layer's directions, whose gates become gradients, and the
    /// gradients of its weights. `grad` gives that of a direction's h at a time, as
    /// [`Recurrence::backward`] takes it.
    #[allow(clippy::too_many_arguments)]
    fn layer_backward<'g, R: Real>(
        &self,
        weights: &[&[R]],
        pool: &Pool<R>,
        (layer, b): (usize, usize),
        cells: &mut [Vec<R>; SIDE_BY_SIDE],
        inputs: [&[R]; 2],
        grads: &mut [Vec<R>],
        grad: impl Fn(usize, usize) -> Option<(&'g [R], usize)> + Sync,
    ) {
        let n = self.hidden;
        let width = inputs[0].len() / (self.steps * b);
        let mut of_side: Vec<_> = grads.chunks_exact_mut(WEIGHTS).map(Some).collect();
        let grad = &grad;
        // First come, first served: all recurrences begin before any product does.
        rayon::scope_fifo(|scope| {
            for (side, cells) in cells.iter_mut().enumerate() {
                let grads = of_side[place(layer, side) / WEIGHTS].take().expect("its own");
                let [w_ih, w_hh, b_ih, b_hh] = grads else { unreachable!("chunks of WEIGHTS") };
                let shape = self.shape(layer, side, b);
                let of = Direction::of(weights, layer, side);
                scope.spawn_fifo(move |scope| {
                    let mut carried = pool.take(2 * b * n);
                    shape.backward(cells, of.w_hh, |time| grad(side, time), &mut carried);
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
                        vectorised(GateSums { cells, sums: b_ih, h: n });
                        b_hh.copy_from_slice(b_ih);
                    });
                });
            }
        });
    }

    /// The gradient of the input [T·B, in] of the directions `sides` of a layer, the first of
    /// which has all steps.
    fn input_grad<R: Real>(
        &self,
        weights: &[&[R]],
        (layer, b): (usize, usize),
        sides: &[usize],
        cells: &[Vec<R>; SIDE_BY_SIDE],
        dx: &mut [R],
    ) {
        let n = self.hidden;
        let rows = self.steps * b;
        let width = dx.len() / rows;
        rayon::scope_fifo(|scope| {
            let mut rest = dx;
            for piece in pieces(rows) {
                let (dx, after) = rest.split_at_mut(piece.len() * width);
                rest = after;
                scope.spawn_fifo(move |_| {
                    for (i, &side) in sides.iter().enumerate() {
                        let end = piece.end.min(self.shape(layer, side, b).steps * b);
                        if piece.start >= end {
                            continue;
                        }
                        let w_ih = Direction::of(weights, layer, side).w_ih;
                        let gates = &cells[side][piece.start * KEPT * n + GATES * n..];
                        let size = (end - piece.start, width, 4 * n);
                        let (gate, weight) = ((KEPT * n, 1), (width, 1));
                        product(size, dx, width, gates, gate, w_ih, weight, i > 0);
                    }
                });
            }
        });
    }
}

/// [rows, columns] of `width` values each → [columns, rows].
fn turn_rows<R: Real>(x: &[R], (rows, columns): (usize, usize), width: usize, out: &mut [R]) {
    for (i, out) in out.chunks_exact_mut(width).enumerate() {
        let at = (i % rows * columns + i / rows) * width;
        out.copy_from_slice(&x[at..at + width]);
    }
}

/// Sums of the gates' gradients over all rows, [4H].
struct GateSums<'a, R> {
    cells: &'a [R],
    sums: &'a mut [R],
    h: usize,
}

impl<R: Real> WithSimd for GateSums<'_, R> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for cell in self.cells.chunks_exact(KEPT * self.h) {
            for (sum, &g) in self.sums.iter_mut().zip(&cell[GATES * self.h..]) {
                *sum += g;
            }
        }
    }
}
