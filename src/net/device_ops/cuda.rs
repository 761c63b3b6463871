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
use half::{bf16, f16};
use std::ops::Range;

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

/// A buffer, possibly not allocated yet.
pub(crate) struct Buffer<T> {
    values: Option<CudaSlice<T>>,
    /// For a map: its f32 values, of which `values` is the rounded copy.
    wide: Option<CudaSlice<f32>>,
}

impl<T> Default for Buffer<T> {
    fn default() -> Self {
        Self { values: None, wide: None }
    }
}

/// Returns the values of a buffer in `range`.
fn part<V>(values: Option<&CudaSlice<V>>, range: Range<usize>) -> Result<CudaView<'_, V>> {
    match values.and_then(|values| values.try_slice(range.clone())) {
        Some(view) => Ok(view),
        None => bail!("values {range:?} of a buffer of {}", values.map_or(0, CudaSlice::len)),
    }
}

impl<T> Buffer<T> {
    pub fn new(values: CudaSlice<T>) -> Self {
        Self { values: Some(values), wide: None }
    }

    pub fn into_inner(self) -> Option<CudaSlice<T>> {
        self.values
    }

    fn len(&self) -> usize {
        self.values.as_ref().map_or(0, CudaSlice::len)
    }

    fn view(&self, range: Range<usize>) -> Result<CudaView<'_, T>> {
        part(self.values.as_ref(), range)
    }

    /// Address of a map's f32 values if it has a rounded copy, else null.
    fn wide(&self, device: &CudaDevice, range: Range<usize>) -> Result<u64> {
        match &self.wide {
            None => Ok(0),
            wide => Ok(gpu::pointer(device, Some(&part(wide.as_ref(), range)?))),
        }
    }
}

/// A map's f32 values, and the address of its rounded copy or null.
type Both<'m> = (CudaView<'m, f32>, u64);

/// A weight; for a matrix also a copy rounded to the compute type, if that is narrower.
pub(crate) struct Weight<'a, T> {
    pub wide: CudaView<'a, f32>,
    pub narrow: Option<CudaView<'a, T>>,
}

/// Sum of a weight's gradients, in the buffer of all weights.
pub(crate) struct Sum<'a> {
    pub all: &'a CudaSlice<f32>,
    pub range: Range<usize>,
    /// Nothing is added yet, and the values are arbitrary.
    pub empty: bool,
}

impl Sum<'_> {
    /// Returns the values, and whether to add to them or overwrite them.
    fn add_or_begin(&mut self) -> (CudaView<'_, f32>, bool) {
        let add = !std::mem::replace(&mut self.empty, false);
        (self.all.slice(self.range.clone()), add)
    }
}

/// Returns the sums of weight and bias, which are adjacent.
fn both<'s>(sums: &'s mut Affine<Sum<'_>>) -> Result<(CudaView<'s, f32>, bool)> {
    let (weight, bias) = (&mut sums.weight, &mut sums.bias);
    if weight.range.end != bias.range.start || weight.empty != bias.empty {
        bail!("the gradients of a weight and its bias lie apart")
    }
    let add = !std::mem::replace(&mut weight.empty, false);
    bias.empty = false;
    Ok((weight.all.slice(weight.range.start..bias.range.end), add))
}

/// A compute type: with f32 a map is one buffer, with a narrower type it is two.
pub(crate) trait Compute: Element {
    /// Whether it is narrower than f32.
    const NARROW: bool;
    fn of_map<'m>(
        map: &'m Buffer<Self>,
        device: &CudaDevice,
        range: Range<usize>,
    ) -> Result<Both<'m>>;
    fn of_weight<'a>(weight: &Weight<'a, Self>) -> Result<CudaView<'a, Self>>;
}

impl Compute for f32 {
    const NARROW: bool = false;
    fn of_map<'m>(map: &'m Buffer<f32>, _: &CudaDevice, range: Range<usize>) -> Result<Both<'m>> {
        Ok((map.view(range)?, 0))
    }
    fn of_weight<'a>(weight: &Weight<'a, f32>) -> Result<CudaView<'a, f32>> {
        Ok(weight.wide.slice(..))
    }
}

macro_rules! narrow {
    ($type:ty) => {
        impl Compute for $type {
            const NARROW: bool = true;
            fn of_map<'m>(
                map: &'m Buffer<Self>,
                device: &CudaDevice,
                range: Range<usize>,
            ) -> Result<Both<'m>> {
                let copy = gpu::pointer(device, Some(&map.view(range.clone())?));
                Ok((part(map.wide.as_ref(), range)?, copy))
            }
            fn of_weight<'a>(weight: &Weight<'a, Self>) -> Result<CudaView<'a, Self>> {
                match &weight.narrow {
                    Some(narrow) => Ok(narrow.slice(..)),
                    None => bail!("a product by a weight that is kept in f32 only"),
                }
            }
        }
    };
}
narrow!(f16);
narrow!(bf16);

/// How to reorder a map's pixels into patches: the width of its rows and the patches' side, or 0 to keep
/// their order.
type Order = [usize; 2];

impl<'a, T: Compute> Cuda<'a, T> {
    pub fn new(device: &'a CudaDevice, fill: Fill<'a, T>) -> Self {
        Self { device, fill, error: None }
    }

    /// Finishes the work.
    ///
    /// Errors: returns the first one.
    pub fn done(self) -> Result<()> {
        self.error.map_or(Ok(()), Err)
    }

    /// Runs `work` and returns its result; `None` if it fails or an earlier operation failed.
    fn attempt<R>(&mut self, work: impl FnOnce(&CudaDevice) -> Result<R>) -> Option<R> {
        if self.error.is_some() {
            return None;
        }
        match work(self.device) {
            Ok(done) => Some(done),
            Err(error) => {
                self.error = Some(error);
                None
            }
        }
    }

    fn buffer<V: Element>(&mut self, n: usize) -> Buffer<V> {
        Buffer { values: self.attempt(|device| empty(device, n)), wide: None }
    }

    /// Normalises rows of `c`, written in the order of patches.
    fn normalise<V: Element>(
        &mut self,
        norm: &Affine<&Weight<T>>,
        c: usize,
        (x, range): In<Buffer<V>>,
        (out, to): Out<Buffer<V>>,
        order: Order,
    ) {
        self.attempt(|device| {
            let (n, x, wide) = (range.len() / c, x.view(range)?, out.wide(device, to.clone())?);
            let (w, b, y) = (norm.weight.wide.slice(..), norm.bias.wide.slice(..), out.view(to)?);
            let (launch, eps) = (launch::layer_norm_forward(n, c), EPS as f32);
            let [row, side] = order.map(|n| n as i32);
            run!(device, launch, V::SUFFIX, x, w, b, y, wide, n as i64, c as i32, eps, row, side);
            Ok(())
        });
    }

    /// Its backward pass. Adds the gradients of weight and bias to `sums`, or overwrites them.
    fn normalise_backward<V: Element>(
        &mut self,
        (weight, c, order): (&Weight<T>, usize, Order),
        [x, g]: [In<Buffer<V>>; 2],
        (dx, to): Out<Buffer<V>>,
        sums: Result<(CudaView<'_, f32>, bool)>,
    ) {
        self.attempt(|device| {
            let n = to.len() / c;
            let parts = launch::layer_norm_parts(n);
            let partial = empty::<f32>(device, parts * 2 * c)?;
            let (launch, of_parts) = (launch::layer_norm_grad(c, parts), partial.as_view());
            let (x, g, wide) = (x.0.view(x.1)?, g.0.view(g.1)?, dx.wide(device, to.clone())?);
            let (w, dx, [row, side]) =
                (weight.wide.slice(..), dx.view(to)?, order.map(|n| n as i32));
            let (n, width, count, eps) = (n as i64, c as i32, parts as i32, EPS as f32);
            run!(
                device,
                launch,
                V::SUFFIX,
                x,
                w,
                g,
                dx,
                wide,
                of_parts,
                n,
                width,
                eps,
                count,
                row,
                side
            );
            let (sums, add) = sums?;
            gpu::sum_parts(device, &partial.as_view(), parts, &sums, add)
        });
    }

    /// Fills `out` from its start, with images or with their patches of `side`.
    fn fill(&mut self, range: Range<usize>, side: usize, out: &mut Buffer<T>) {
        let fill = self.fill;
        self.attempt(|_| match &mut out.values {
            Some(values) => fill(range, side, values),
            None => bail!("images into a buffer that is not there"),
        });
    }

    /// y = gelu(x + bias), rows of `c`; y may be x.
    fn bias_gelu(
        &mut self,
        x: Result<CudaView<T>>,
        bias: &Weight<T>,
        c: usize,
        y: Result<CudaView<T>>,
    ) {
        self.attempt(|device| {
            let (x, y, b) = (x?, y?, bias.wide.slice(..));
            let n = x.len() / c;
            run!(device, launch::bias_gelu_forward(n, c), T::SUFFIX, x, b, y, n as i64, c as i32);
            Ok(())
        });
    }

    /// Returns the buffer `sums` of norms' gradients, allocated if need be.
    fn sums_of_norm<'s>(
        &mut self,
        sums: &'s mut Buffer<f32>,
        c: usize,
    ) -> Result<(CudaView<'s, f32>, bool)> {
        let add = sums.values.is_some();
        if !add {
            *sums = self.buffer(2 * c);
        }
        Ok((sums.view(0..2 * c)?, add))
    }
}

impl<'a, T: Compute> Ops for Cuda<'a, T> {
    type Weight = &'a Weight<'a, T>;
    type Sum = Sum<'a>;
    type Inner = Buffer<T>;
    type Wide = Buffer<f32>;

    fn take(&mut self, n: usize) -> Buffer<T> {
        self.buffer(n)
    }
    fn give(&mut self, _: Buffer<T>) {}
    fn give_wide(&mut self, _: Buffer<f32>) {}
    fn take_map(&mut self, n: usize) -> Buffer<T> {
        let wide = if T::NARROW { self.attempt(|device| empty(device, n)) } else { None };
        Buffer { wide, ..self.buffer(n) }
    }
    fn give_map(&mut self, _: Buffer<T>) {}
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
            let launch = launch::windows(windows.count(), windows.c);
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
            let launch = launch::add_windows(pixels, windows.c);
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
            run!(device, launch::add_bias(n, c), T::SUFFIX, x, b, y, wide, n as i64, c as i32);
            Ok(())
        });
    }
    fn column_sums(&mut self, (rows, range): In<Buffer<T>>, c: usize, sum: &mut Sum<'a>) {
        self.attempt(|device| {
            let (n, x) = (range.len() / c, rows.view(range)?);
            let parts = launch::column_parts(n, c);
            let partial = empty::<f32>(device, parts * c)?;
            let (launch, of_parts) = (launch::column_sum(c, parts), partial.as_view());
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
            let launch = launch::depthwise7_forward(shape);
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
            let launch = launch::depthwise7_grad_input(shape);
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
            let (launch, of_parts) = (launch::bias_gelu_grad(c, parts), partial.as_view());
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
        weights: &Block<&'a Weight<'a, T>>,
        c: usize,
        (residual, of): In<Buffer<T>>,
        (out, to): Out<Buffer<T>>,
    ) {
        self.attempt(|device| {
            let (n, x, (r, _)) =
                (range.len() / c, x.view(range)?, T::of_map(residual, device, of)?);
            let ((y, copy), launch) =
                (T::of_map(out, device, to)?, launch::scale_residual_forward(n, c));
            let (b, gamma) = (weights.fc2.bias.wide.slice(..), weights.gamma.wide.slice(..));
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
            let (launch, of_parts) = (launch::scale_residual_grad(c, parts), partial.as_view());
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
            let launch = launch::pool_forward(n, c);
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
            let launch = launch::pool_grad(n, pixels, c);
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
