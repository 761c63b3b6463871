//! The operations on the CPU, on one thread or on several that share each operation.

pub(crate) use super::loops::add;
use super::loops::{dot_and_scale, each_row, each_window_row, scale, times_derivative};
use super::{In, Ops, Out, Windows};
use crate::net::{
    buffers::BufferPool,
    description::{Affine, Block, EPS},
    ops::product::shared_product,
    ops::{Float, bias_gelu, depthwise, lanes::Lanes, layer_norm, scale_residual},
};
use rayon::prelude::*;
use std::ops::Range;

/// Writes images `range` as [n, S, S, in] into the slice.
pub type Fill<'a, R> = &'a (dyn Fn(Range<usize>, &mut [R]) + Sync);

/// Rows per step of the GELU's backward pass.
const GELU_ROWS: usize = 4;
/// Approximate number of windows per product.
pub(crate) const WINDOWS: usize = 1024;

/// The CPU, working on a group of images.
pub(crate) struct Cpu<'a, R> {
    /// Threads that share each operation.
    pub lanes: Lanes,
    pub pool: &'a BufferPool<R>,
    pub fill: Fill<'a, R>,
    /// Work buffers of the depthwise convolution, one per thread.
    pub spaces: Vec<depthwise::Space<R>>,
}

/// Sum of a weight's gradients.
pub(crate) struct Sum<'a, R> {
    values: &'a mut [R],
    /// Nothing is added yet, and the values are arbitrary.
    empty: bool,
}

impl<'a, R: Float> Sum<'a, R> {
    /// Sums into `values`, which are arbitrary if `empty`.
    pub fn new(values: &'a mut [R], empty: bool) -> Self {
        Self { values, empty }
    }

    /// Returns the values to add to.
    fn values(&mut self) -> &mut [R] {
        if std::mem::replace(&mut self.empty, false) {
            self.values.fill(R::zero());
        }
        self.values
    }

    /// Returns the values, and whether to add to them or overwrite them.
    fn add_or_begin(&mut self) -> (&mut [R], bool) {
        let empty = std::mem::replace(&mut self.empty, false);
        (self.values, !empty)
    }
}

/// Returns the first `n` elements of a buffer that grows and is never cleared.
fn space<R: Float>(buffer: &mut Vec<R>, n: usize) -> &mut [R] {
    if buffer.len() < n {
        buffer.resize(n, R::zero());
    }
    &mut buffer[..n]
}

/// Rows that a thread works on at once, with 4C hidden values each. Enough to justify packing the weight
/// for each product, and few enough that they about fit into the L2 cache (2 MiB each; half as many took
/// 3 % longer).
fn rows_at_once(c: usize) -> usize {
    (1usize << 19).div_ceil(4 * c).clamp(256, 1024)
}

/// Gathers s×s patches of a map of this shape.
pub(crate) fn gather<R: Float>(map: &[R], shape: [usize; 4], s: usize, out: &mut [R]) {
    let n = s * shape[3];
    each_row(shape, s, |to, from| out[to..to + n].copy_from_slice(&map[from..from + n]));
}

impl<R: Float> Cpu<'_, R> {
    /// LayerNorm's backward pass: from `g`, the gradient of its result, computes `dx`, that of `x`.
    fn norm_grads(&self, weight: &[R], x: &[R], g: &[R], dx: &mut [R], sums: &mut [R]) {
        let k = self.lanes.values(x.len(), weight.len());
        let rows = g.par_chunks(k).zip(dx.par_chunks_mut(k));
        self.lanes.summed(sums, x.par_chunks(k).zip(rows), |(x, (g, dx)), sums| {
            layer_norm::backward_here(x, weight, g, EPS, dx, sums);
        });
    }
}

impl<'a, R: Float> Ops for Cpu<'a, R> {
    type Weight = &'a [R];
    type Sum = Sum<'a, R>;
    type Inner = Vec<R>;
    type Wide = Vec<R>;

    fn take(&mut self, n: usize) -> Vec<R> {
        self.pool.take(n)
    }
    fn give(&mut self, buffer: Vec<R>) {
        self.pool.give(buffer);
    }
    fn give_wide(&mut self, buffer: Vec<R>) {
        self.pool.give(buffer);
    }
    fn fit(&mut self, buffer: &mut Vec<R>, n: usize) {
        space(buffer, n);
    }

    fn pieces(&self, rows: usize, c: usize) -> usize {
        rows.div_ceil(rows_at_once(c) * self.lanes.0).max(1)
    }
    fn windows_at_once(&self, _: usize, _: usize, w: usize) -> (usize, usize) {
        (1, WINDOWS.div_ceil(w))
    }

    fn images(&mut self, range: Range<usize>, (out, to): Out<Vec<R>>) {
        (self.fill)(range, &mut out[to]);
    }
    fn image_patches(
        &mut self,
        range: Range<usize>,
        shape: [usize; 4],
        s: usize,
        images: &mut Vec<R>,
        out: &mut Vec<R>,
    ) {
        let n = shape.iter().product();
        let images = space(images, n);
        (self.fill)(range, images);
        gather(images, shape, s, space(out, n));
    }
    fn windows(&mut self, (map, range): In<Vec<R>>, windows: &Windows, out: &mut Vec<R>) {
        let (map, out) = (&map[range], &mut out[..windows.values()]);
        out.fill(R::zero());
        each_window_row(windows, |to, from, n| {
            out[to..to + n].copy_from_slice(&map[from..from + n]);
        });
    }
    fn add_windows(&mut self, rows: &Vec<R>, windows: &Windows, (map, range): Out<Vec<R>>) {
        let map = &mut map[range];
        each_window_row(windows, |from, to, n| add(&mut map[to..to + n], &rows[from..from + n]));
    }
    fn zero(&mut self, (values, range): Out<Vec<R>>) {
        values[range].fill(R::zero());
    }

    fn product(
        &mut self,
        [rows, width, k]: [usize; 3],
        (x, range): In<Vec<R>>,
        weight: &'a [R],
        (out, to): Out<Vec<R>>,
    ) {
        let (size, x, out) = ((rows, width, k), &x[range], &mut out[to]);
        shared_product(self.lanes, size, out, width, x, (k, 1), weight, (1, k), false);
    }
    fn product_by_input(
        &mut self,
        [rows, width, k]: [usize; 3],
        (g, range): In<Vec<R>>,
        weight: &'a [R],
        (out, to): Out<Vec<R>>,
    ) {
        let (size, g, out) = ((rows, k, width), &g[range], &mut out[to]);
        shared_product(self.lanes, size, out, k, g, (width, 1), weight, (k, 1), false);
    }
    fn product_by_weight(
        &mut self,
        [rows, width, k]: [usize; 3],
        (g, g_range): In<Vec<R>>,
        (x, x_range): In<Vec<R>>,
        sum: &mut Sum<'a, R>,
    ) {
        let (size, g, x) = ((width, k, rows), &g[g_range], &x[x_range]);
        let (sum, add) = sum.add_or_begin();
        shared_product(self.lanes, size, sum, k, g, (1, width), x, (k, 1), add);
    }
    fn add_bias(&mut self, bias: &'a [R], width: usize, (rows, range): Out<Vec<R>>) {
        rows[range].chunks_exact_mut(width).for_each(|row| add(row, bias));
    }
    fn column_sums(&mut self, (rows, range): In<Vec<R>>, width: usize, sum: &mut Sum<'a, R>) {
        let sum = sum.values();
        rows[range].chunks_exact(width).for_each(|row| add(sum, row));
    }

    fn depthwise(
        &mut self,
        x: &Vec<R>,
        weights: &Affine<&'a [R]>,
        shape: [usize; 4],
        out: &mut Vec<R>,
    ) {
        let n = shape.iter().product();
        let (weights, x, out) = ([weights.weight, weights.bias], &x[..n], &mut out[..n]);
        depthwise::forward_shared(self.lanes, x, weights, shape, &mut self.spaces, out);
    }
    fn depthwise_backward(
        &mut self,
        x: &Vec<R>,
        weight: &'a [R],
        g: &Vec<R>,
        shape: [usize; 4],
        dx: &mut Vec<R>,
        sums: &mut Affine<Sum<'a, R>>,
    ) {
        let n = shape.iter().product();
        let sums = [sums.weight.values(), sums.bias.values()];
        let (x, g, dx, spaces) = (&x[..n], &g[..n], &mut dx[..n], &mut self.spaces);
        depthwise::backward_shared(self.lanes, x, weight, g, shape, spaces, dx, sums);
    }

    fn norm(
        &mut self,
        norm: &Affine<&'a [R]>,
        c: usize,
        (x, range): In<Vec<R>>,
        (out, to): Out<Vec<R>>,
    ) {
        let (x, out) = (&x[range], &mut out[to]);
        let k = self.lanes.values(x.len(), c);
        let rows = x.par_chunks(k).zip(out.par_chunks_mut(k));
        rows.for_each(|(x, out)| layer_norm::forward_here(x, [norm.weight, norm.bias], EPS, out));
    }
    fn norm_backward(
        &mut self,
        weight: &'a [R],
        c: usize,
        (x, x_range): In<Vec<R>>,
        (g, g_range): In<Vec<R>>,
        (dx, to): Out<Vec<R>>,
        sums: &mut Vec<R>,
    ) {
        self.norm_grads(weight, &x[x_range], &g[g_range], &mut dx[to], &mut sums[..2 * c]);
    }
    fn norm_to_patches(
        &mut self,
        norm: &Affine<&'a [R]>,
        shape: [usize; 4],
        s: usize,
        x: &Vec<R>,
        z: &mut Vec<R>,
        out: &mut Vec<R>,
    ) {
        let n = shape.iter().product();
        space(z, n);
        self.norm(norm, shape[3], (x, 0..n), (z, 0..n));
        gather(&z[..n], shape, s, space(out, n));
    }
    fn norm_to_patches_backward(
        &mut self,
        weight: &'a [R],
        (shape, s): ([usize; 4], usize),
        [x, g]: [&Vec<R>; 2],
        dz: &mut Vec<R>,
        dx: &mut Vec<R>,
        sums: &mut Vec<R>,
    ) {
        let (n, part) = (shape.iter().product(), s * shape[3]);
        let to = space(dz, n);
        each_row(shape, s, |from, at| to[at..at + part].copy_from_slice(&g[from..from + part]));
        self.norm_backward(weight, shape[3], (x, 0..n), (dz, 0..n), (dx, 0..n), sums);
    }
    fn begin_norm(&mut self, sums: &mut Vec<R>, c: usize) {
        space(sums, 2 * c).fill(R::zero());
    }
    fn end_norm(&mut self, sums: &Vec<R>, grads: &mut Affine<Sum<'a, R>>) {
        let (weight, bias) = (grads.weight.values(), grads.bias.values());
        let (of_weight, of_bias) = sums.split_at(weight.len());
        add(weight, of_weight);
        add(bias, of_bias);
    }

    fn gelu(&mut self, (x, range): In<Vec<R>>, bias: &'a [R], c: usize, (out, to): Out<Vec<R>>) {
        let (x, out) = (&x[range], &mut out[to]);
        let k = self.lanes.values(x.len(), c);
        let rows = x.par_chunks(k).zip(out.par_chunks_mut(k));
        rows.for_each(|(x, out)| bias_gelu::forward_to(x, bias, out));
    }
    fn gelu_in_place(&mut self, (x, range): Out<Vec<R>>, bias: &'a [R], c: usize) {
        let x = &mut x[range];
        let k = self.lanes.values(x.len(), c);
        x.par_chunks_mut(k).for_each(|x| bias_gelu::forward_here(x, bias));
    }
    fn gelu_backward(
        &mut self,
        (x, x_range): Out<Vec<R>>,
        bias: &'a [R],
        c: usize,
        (recomputed, to): Out<Vec<R>>,
        (g, g_range): Out<Vec<R>>,
        sum: &mut Sum<'a, R>,
    ) {
        let (x, recomputed, g) = (&mut x[x_range], &mut recomputed[to], &mut g[g_range]);
        let k = self.lanes.values(x.len(), c);
        let rows = x.par_chunks_mut(k).zip(recomputed.par_chunks_mut(k));
        self.lanes.summed(
            sum.values(),
            g.par_chunks_mut(k).zip(rows),
            |(g, (x, recomputed)), sum| {
                // Few rows at a time, so that their derivatives stay in the L1 cache.
                let few = GELU_ROWS * c;
                let rows = x.chunks_mut(few).zip(recomputed.chunks_mut(few));
                for (g, (x, recomputed)) in g.chunks_mut(few).zip(rows) {
                    bias_gelu::forward_with_derivative(x, bias, recomputed);
                    times_derivative(g, x, sum);
                }
            },
        );
    }

    fn scale_residual(
        &mut self,
        (x, range): In<Vec<R>>,
        bias_gamma: [&'a [R]; 2],
        c: usize,
        (residual, of): In<Vec<R>>,
        (out, to): Out<Vec<R>>,
    ) {
        let (x, residual, out) = (&x[range], &residual[of], &mut out[to]);
        let k = self.lanes.values(x.len(), c);
        let rows = residual.par_chunks(k).zip(out.par_chunks_mut(k));
        let rows = x.par_chunks(k).zip(rows);
        rows.for_each(|(x, (r, out))| scale_residual::forward_here(x, bias_gamma, r, out));
    }
    fn scale_backward(
        &mut self,
        (g, range): In<Vec<R>>,
        gamma: &'a [R],
        c: usize,
        (out, to): Out<Vec<R>>,
        sum: &mut Sum<'a, R>,
    ) {
        let (g, out) = (&g[range], &mut out[to]);
        let k = self.lanes.values(g.len(), c);
        let rows = g.par_chunks(k).zip(out.par_chunks_mut(k));
        self.lanes.summed(sum.values(), rows, |(g, out), sum| scale(g, gamma, out, sum));
    }

    fn pool(&mut self, map: &Vec<R>, [n, pixels, c]: [usize; 3]) -> Vec<R> {
        let mut pooled = self.pool.zeros(n * c);
        for (out, map) in pooled.chunks_exact_mut(c).zip(map.chunks_exact(pixels * c)) {
            map.chunks_exact(c).for_each(|pixel| add(out, pixel));
            out.iter_mut().for_each(|v| *v /= R::of(pixels as f64));
        }
        pooled
    }
    fn pool_backward(&mut self, mut g: Vec<R>, [n, pixels, c]: [usize; 3]) -> Vec<R> {
        let mut map = self.pool.take(n * pixels * c);
        for (row, map) in g.chunks_exact_mut(c).zip(map.chunks_exact_mut(pixels * c)) {
            row.iter_mut().for_each(|v| *v /= R::of(pixels as f64));
            map.chunks_exact_mut(c).for_each(|pixel| pixel.copy_from_slice(row));
        }
        self.pool.give(g);
        map
    }
    fn norm_wide(&mut self, norm: &Affine<&'a [R]>, c: usize, x: &Vec<R>, n: usize) -> Vec<R> {
        let mut out = self.pool.take(n * c);
        layer_norm::forward_here(&x[..n * c], [norm.weight, norm.bias], EPS, &mut out);
        out
    }
    fn norm_wide_backward(
        &mut self,
        weight: &'a [R],
        c: usize,
        x: &Vec<R>,
        (g, n): (Vec<R>, usize),
        grads: &mut Affine<Sum<'a, R>>,
    ) -> Vec<R> {
        let (mut dx, mut sums) = (self.pool.take(n * c), self.pool.zeros(2 * c));
        self.norm_grads(weight, &x[..n * c], &g[..n * c], &mut dx, &mut sums);
        self.end_norm(&sums, grads);
        [g, sums].into_iter().for_each(|buffer| self.pool.give(buffer));
        dx
    }
}

/// Completes the gradients of `fc2` and `gamma`, once all rows are summed.
///
/// With G = Σ gᵀ·a and s = Σ g over all rows, result o·gamma and o = a·Wᵀ + b: ∂W = gamma·G, ∂b =
/// gamma·s, ∂gamma = Σ g·o = Σₖ G·W + b·s. So o need not be recomputed.
pub(crate) fn finish<R: Float>(weights: &Block<&[R]>, grads: &mut Block<Sum<R>>) {
    let sums = [&mut grads.fc2.weight, &mut grads.fc2.bias, &mut grads.gamma].map(Sum::values);
    let [of_weight, of_bias, of_gamma] = sums;
    let width = 4 * weights.gamma.len();
    let rows = weights.fc2.weight.par_chunks(width).zip(of_weight.par_chunks_mut(width));
    let values = rows.zip(weights.fc2.bias).zip(of_bias).zip(weights.gamma).zip(of_gamma);
    values.with_min_len(16).for_each(|(((((w, g), b), s), &gamma), of_gamma)| {
        *of_gamma = dot_and_scale(w, g, gamma) + *b * *s;
        *s *= gamma;
    });
}
