//! The operations on a GPU, by our kernels and cuBLAS, all on candle's one stream.
//!
//! Results in f16 or bf16 are rounded when they are written; kernels and products sum in f32. Buffers
//! come from the driver's memory pool and return to it as soon as a layer is done with them. After an
//! error all further operations do nothing, and [`Cuda::done`] returns the error.

use super::{HIDDEN, In, Ops, Out, Windows};
use crate::net::description::{Affine, Block, EPS};
use crate::net::ops::gpu::{self, Element, Matrix, empty, run};
use crate::net::ops::launch;
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaView, PushKernelArg};
use candle_core::{CudaDevice, Error, Result, bail};
use std::ops::Range;

mod buffers;
mod launches;

use buffers::both;
pub(crate) use buffers::{Buffer, Compute, Sum, Weight};

/// Windows of an overlapping stem that are worked on at once.
const WINDOWS: usize = 1 << 21;

/// Writes images `range` as [n, S, S, in], or as patches of s×s pixels if s > 0.
pub(crate) type Fill<'a, T> = &'a dyn Fn(Range<usize>, usize, &mut CudaSlice<T>) -> Result<()>;

/// The GPU, working on a group of images, in the compute type `T`.
pub(crate) struct Cuda<'a, T> {
    device: &'a CudaDevice,
    fill: Fill<'a, T>,
    error: Option<Error>,
}

/// How to reorder a map's pixels into patches: the width of its rows and the patches' side, or 0 to keep
/// their order.
type Order = [usize; 2];

impl<'a, T: Compute> Ops for Cuda<'a, T> {
    type Weight = &'a Weight<'a, T>;
    type Sum = Sum<'a>;
    type Inner = Buffer<T>;
    type Wide = Buffer<f32>;

    fn take(&mut self, n: usize) -> Buffer<T> {
        self.buffer(n)
    }
    fn take_map(&mut self, n: usize) -> Buffer<T> {
        let wide = if T::NARROW { self.attempt(|device| empty(device, n)) } else { None };
        Buffer { wide, ..self.buffer(n) }
    }
    fn fit(&mut self, buffer: &mut Buffer<T>, n: usize) {
        if buffer.len() < n {
            // Free the old buffer first: both may not fit.
            *buffer = Buffer::default();
            *buffer = self.buffer(n);
        }
    }
    fn spare(&mut self, buffer: &mut Buffer<T>) {
        *buffer = Buffer::default();
    }

    fn keep(&mut self, map: Buffer<T>) -> Buffer<T> {
        Buffer { wide: None, ..map }
    }

    fn pieces(&self, rows: usize, c: usize) -> usize {
        (rows * 4 * c).div_ceil(HIDDEN).max(1)
    }
    fn windows_at_once(&self, images: usize, rows: usize, w: usize) -> (usize, usize) {
        (WINDOWS.div_ceil(rows * w).min(images), images * rows)
    }

    fn images(&mut self, range: Range<usize>, (out, _): Out<Buffer<T>>) {
        self.fill(range, 0, out);
    }
    fn image_patches(
        &mut self,
        range: Range<usize>,
        _: [usize; 4],
        s: usize,
        _: &mut Buffer<T>,
        out: &mut Buffer<T>,
    ) {
        self.fill(range, s, out);
    }
    fn windows(&mut self, (map, range): In<Buffer<T>>, windows: &Windows, out: &mut Buffer<T>) {
        self.attempt(|device| {
            let (map, out) = (map.view(range)?, out.view(0..windows.values())?);
            let launch = launch::rows("windows", 9 * windows.count(), windows.c);
            let (first, count) = (windows.first() as i64, windows.count() as i64);
            let [h, w, c] = [windows.h, windows.w, windows.c].map(|n| n as i32);
            run!(device, launch, T::SUFFIX, map, out, first, count, h, w, c);
            Ok(())
        });
    }
    fn add_windows(&mut self, rows: &Buffer<T>, windows: &Windows, (map, range): Out<Buffer<T>>) {
        self.attempt(|device| {
            let pixels = range.len() / windows.c;
            let (rows, map) = (rows.view(0..windows.values())?, map.view(range)?);
            let launch = launch::rows("add_windows", pixels, windows.c);
            let (first, count) = (windows.first() as i64, windows.count() as i64);
            let [h, w, c] = [windows.h, windows.w, windows.c].map(|n| n as i32);
            run!(device, launch, T::SUFFIX, rows, map, first, count, pixels as i64, h, w, c);
            Ok(())
        });
    }
    fn zero(&mut self, (values, range): Out<Buffer<T>>) {
        self.attempt(|device| {
            let Some(mut view) = values.values.as_mut().and_then(|v| v.try_slice_mut(range)) else {
                bail!("zeros into a buffer that is too short")
            };
            device.cuda_stream().memset_zeros(&mut view).w()
        });
    }

    fn product(
        &mut self,
        size: [usize; 3],
        (x, range): In<Buffer<T>>,
        weight: &'a Weight<'a, T>,
        (out, to): Out<Buffer<T>>,
    ) {
        self.attempt(|device| {
            let [_, width, k] = size;
            let a = Matrix { values: x.view(range)?, row: k, transposed: false };
            let b = Matrix { values: T::of_weight(weight)?, row: k, transposed: true };
            gpu::product(device, size, &a, &b, (&out.view(to)?, width), false)
        });
    }
    fn product_by_input(
        &mut self,
        [rows, width, k]: [usize; 3],
        (g, range): In<Buffer<T>>,
        weight: &'a Weight<'a, T>,
        (out, to): Out<Buffer<T>>,
    ) {
        self.attempt(|device| {
            let a = Matrix { values: g.view(range)?, row: width, transposed: false };
            let b = Matrix { values: T::of_weight(weight)?, row: k, transposed: false };
            gpu::product(device, [rows, k, width], &a, &b, (&out.view(to)?, k), false)
        });
    }
    fn product_by_weight(
        &mut self,
        [rows, width, k]: [usize; 3],
        (g, g_range): In<Buffer<T>>,
        (x, x_range): In<Buffer<T>>,
        sum: &mut Sum<'a>,
    ) {
        self.attempt(|device| {
            let a = Matrix { values: g.view(g_range)?, row: width, transposed: true };
            let b = Matrix { values: x.view(x_range)?, row: k, transposed: false };
            let (sum, add) = sum.add_or_begin();
            gpu::product(device, [width, k, rows], &a, &b, (&sum, k), add)
        });
    }
    fn add_bias(&mut self, bias: &'a Weight<'a, T>, c: usize, (rows, range): Out<Buffer<T>>) {
        self.attempt(|device| {
            let (n, wide) = (range.len() / c, rows.wide(device, range.clone())?);
            let (x, y, b) = (rows.view(range.clone())?, rows.view(range)?, bias.wide.slice(..));
            let launch = launch::rows("add_bias", n, c);
            run!(device, launch, T::SUFFIX, x, b, y, wide, n as i64, c as i32);
            Ok(())
        });
    }
    fn column_sums(&mut self, (rows, range): In<Buffer<T>>, c: usize, sum: &mut Sum<'a>) {
        self.attempt(|device| {
            let (n, x) = (range.len() / c, rows.view(range)?);
            let parts = launch::column_parts(n, c);
            let partial = empty::<f32>(device, parts * c)?;
            let (launch, of_parts) = (launch::columns("column_sum", c, parts), partial.as_view());
            run!(device, launch, T::SUFFIX, x, of_parts, n as i64, c as i32, parts as i32);
            let (sum, add) = sum.add_or_begin();
            gpu::sum_parts(device, &partial.as_view(), parts, &sum, add)
        });
    }

    fn depthwise(
        &mut self,
        x: &Buffer<T>,
        weights: &Affine<&'a Weight<'a, T>>,
        shape: [usize; 4],
        out: &mut Buffer<T>,
    ) {
        self.attempt(|device| {
            let len = shape.iter().product();
            let (x, y) = (x.view(0..len)?, out.view(0..len)?);
            let (w, b) = (weights.weight.wide.slice(..), weights.bias.wide.slice(..));
            let launch = launch::depthwise7("depthwise7_forward", shape);
            let [n, h, width, c] = shape.map(|n| n as i32);
            run!(device, launch, T::SUFFIX, x, w, b, y, n, h, width, c);
            Ok(())
        });
    }
    fn depthwise_backward(
        &mut self,
        x: &Buffer<T>,
        weight: &'a Weight<'a, T>,
        g: &Buffer<T>,
        shape: [usize; 4],
        dx: &mut Buffer<T>,
        sums: &mut Affine<Sum<'a>>,
    ) {
        self.attempt(|device| {
            let len = shape.iter().product();
            let [n, h, width, c] = shape.map(|n| n as i32);
            let (g_view, w) = (g.view(0..len)?, weight.wide.slice(..));
            let (sum, copy) = T::of_map(dx, device, 0..len)?;
            let launch = launch::depthwise7("depthwise7_grad_input", shape);
            run!(device, launch, T::SUFFIX, g_view, w, sum, copy, n, h, width, c);
            let parts = launch::depthwise7_parts(shape[0], shape[2], shape[3]);
            let partial = empty::<f32>(device, parts * 50 * shape[3])?;
            let (x, g, of_parts) = (x.view(0..len)?, g.view(0..len)?, partial.as_view());
            let launch = launch::depthwise7_grad_weight(shape[3], parts);
            run!(device, launch, T::SUFFIX, x, g, of_parts, n, h, width, c, parts as i32);
            let (sums, add) = both(sums)?;
            gpu::sum_parts(device, &partial.as_view(), parts, &sums, add)
        });
    }

    fn norm(
        &mut self,
        norm: &Affine<&'a Weight<'a, T>>,
        c: usize,
        x: In<Buffer<T>>,
        out: Out<Buffer<T>>,
    ) {
        self.normalise(norm, c, x, out, [0, 0]);
    }
    fn norm_backward(
        &mut self,
        weight: &'a Weight<'a, T>,
        c: usize,
        x: In<Buffer<T>>,
        g: In<Buffer<T>>,
        dx: Out<Buffer<T>>,
        sums: &mut Buffer<f32>,
    ) {
        let sums = self.sums_of_norm(sums, c);
        self.normalise_backward((weight, c, [0, 0]), [x, g], dx, sums);
    }
    fn norm_to_patches(
        &mut self,
        norm: &Affine<&'a Weight<'a, T>>,
        shape: [usize; 4],
        s: usize,
        x: &Buffer<T>,
        _: &mut Buffer<T>,
        out: &mut Buffer<T>,
    ) {
        let all = 0..shape.iter().product();
        self.normalise(norm, shape[3], (x, all.clone()), (out, all), [shape[2], s]);
    }
    fn norm_to_patches_backward(
        &mut self,
        weight: &'a Weight<'a, T>,
        (shape, s): ([usize; 4], usize),
        xg: [&Buffer<T>; 2],
        _: &mut Buffer<T>,
        dx: &mut Buffer<T>,
        sums: &mut Buffer<f32>,
    ) {
        let (all, norm) = (0..shape.iter().product(), (weight, shape[3], [shape[2], s]));
        let sums = self.sums_of_norm(sums, shape[3]);
        self.normalise_backward(norm, xg.map(|b| (b, all.clone())), (dx, all.clone()), sums);
    }
    fn begin_norm(&mut self, sums: &mut Buffer<f32>, _: usize) {
        *sums = Buffer::default();
    }
    fn end_norm(&mut self, sums: &Buffer<f32>, grads: &mut Affine<Sum<'a>>) {
        self.attempt(|device| {
            let (grads, add) = both(grads)?;
            gpu::sum_parts(device, &sums.view(0..grads.len())?, 1, &grads, add)
        });
    }

    fn gelu(
        &mut self,
        (x, range): In<Buffer<T>>,
        bias: &'a Weight<'a, T>,
        c: usize,
        (out, to): Out<Buffer<T>>,
    ) {
        self.bias_gelu(x.view(range), bias, c, out.view(to));
    }
    fn gelu_in_place(&mut self, (x, range): Out<Buffer<T>>, bias: &'a Weight<'a, T>, c: usize) {
        self.bias_gelu(x.view(range.clone()), bias, c, x.view(range));
    }
    fn gelu_backward(
        &mut self,
        (x, x_range): Out<Buffer<T>>,
        bias: &'a Weight<'a, T>,
        c: usize,
        (recomputed, to): Out<Buffer<T>>,
        (g, g_range): Out<Buffer<T>>,
        sum: &mut Sum<'a>,
    ) {
        self.attempt(|device| {
            let (n, b) = (to.len() / c, bias.wide.slice(..));
            let parts = launch::column_parts(n, c);
            let partial = empty::<f32>(device, parts * c)?;
            let (launch, of_parts) =
                (launch::columns("bias_gelu_grad", c, parts), partial.as_view());
            let (x, y, g) = (x.view(x_range)?, recomputed.view(to)?, g.view(g_range)?);
            let (dx, n, width, count) = (g.slice(..), n as i64, c as i32, parts as i32);
            run!(device, launch, T::SUFFIX, x, b, g, y, dx, of_parts, n, width, count);
            let (sum, add) = sum.add_or_begin();
            gpu::sum_parts(device, &partial.as_view(), parts, &sum, add)
        });
    }

    fn scale_residual(
        &mut self,
        (x, range): In<Buffer<T>>,
        bias_gamma: [&'a Weight<'a, T>; 2],
        c: usize,
        (residual, of): In<Buffer<T>>,
        (out, to): Out<Buffer<T>>,
    ) {
        self.attempt(|device| {
            let (n, x, (r, _)) =
                (range.len() / c, x.view(range)?, T::of_map(residual, device, of)?);
            let ((y, copy), launch) =
                (T::of_map(out, device, to)?, launch::rows("scale_residual_forward", n, c));
            let [b, gamma] = bias_gamma.map(|weight| weight.wide.slice(..));
            run!(device, launch, T::SUFFIX, x, b, gamma, r, y, copy, n as i64, c as i32);
            Ok(())
        });
    }
    fn scale_backward(
        &mut self,
        (g, range): In<Buffer<T>>,
        gamma: &'a Weight<'a, T>,
        c: usize,
        (out, to): Out<Buffer<T>>,
        sum: &mut Sum<'a>,
    ) {
        self.attempt(|device| {
            let (n, g, dx) = (range.len() / c, g.view(range)?, out.view(to)?);
            let parts = launch::column_parts(n, c);
            let partial = empty::<f32>(device, parts * c)?;
            let (launch, of_parts) =
                (launch::columns("scale_residual_grad", c, parts), partial.as_view());
            let (gamma, n, width, count) = (gamma.wide.slice(..), n as i64, c as i32, parts as i32);
            run!(device, launch, T::SUFFIX, g, gamma, dx, of_parts, n, width, count);
            let (sum, add) = sum.add_or_begin();
            gpu::sum_parts(device, &partial.as_view(), parts, &sum, add)
        });
    }

    fn pool(&mut self, map: &Buffer<T>, [n, pixels, c]: [usize; 3]) -> Buffer<f32> {
        let out = self.buffer::<f32>(n * c);
        self.attempt(|device| {
            let (map, _) = T::of_map(map, device, 0..n * pixels * c)?;
            let to = out.view(0..n * c)?;
            let launch = launch::rows("pool_forward", n, c);
            run!(device, launch, "", map, to, n as i64, pixels as i32, c as i32);
            Ok(())
        });
        out
    }
    fn pool_backward(&mut self, g: Buffer<f32>, [n, pixels, c]: [usize; 3]) -> Buffer<T> {
        let map = self.take_map(n * pixels * c);
        self.attempt(|device| {
            let (all, g) = (0..n * pixels * c, g.view(0..n * c)?);
            let (to, copy) = T::of_map(&map, device, all)?;
            let launch = launch::rows("pool_grad", n * pixels, c);
            run!(device, launch, T::SUFFIX, g, to, copy, n as i64, pixels as i32, c as i32);
            Ok(())
        });
        map
    }
    fn norm_wide(
        &mut self,
        norm: &Affine<&'a Weight<'a, T>>,
        c: usize,
        x: &Buffer<f32>,
        n: usize,
    ) -> Buffer<f32> {
        let mut out = self.buffer(n * c);
        self.normalise(norm, c, (x, 0..n * c), (&mut out, 0..n * c), [0, 0]);
        out
    }
    fn norm_wide_backward(
        &mut self,
        weight: &'a Weight<'a, T>,
        c: usize,
        x: &Buffer<f32>,
        (g, n): (Buffer<f32>, usize),
        grads: &mut Affine<Sum<'a>>,
    ) -> Buffer<f32> {
        let (mut dx, all) = (self.buffer(n * c), 0..n * c);
        let (x, g, to) = ((x, all.clone()), (&g, all.clone()), (&mut dx, all));
        self.normalise_backward((weight, c, [0, 0]), [x, g], to, both(grads));
        dx
    }
}

/// Completes the gradients of `fc2` and `gamma`, once all rows are summed, like [`super::cpu::finish`].
pub(crate) fn finish<T>(
    device: &CudaDevice,
    weights: &Block<&Weight<T>>,
    grads: &mut Block<Sum>,
) -> Result<()> {
    let c = weights.gamma.wide.len();
    let width = weights.fc2.weight.wide.len() / c;
    let [w, b, gamma] =
        [weights.fc2.weight, weights.fc2.bias, weights.gamma].map(|weight| weight.wide.slice(..));
    let sums = [&grads.fc2.weight, &grads.fc2.bias, &grads.gamma];
    let [gw, gb, gg] = sums.map(|sum| sum.all.slice(sum.range.clone()));
    let (launch, c, width) = (launch::scale_residual_finish(c), c as i32, width as i32);
    run!(device, launch, "", w, b, gamma, gw, gb, gg, c, width);
    Ok(())
}
