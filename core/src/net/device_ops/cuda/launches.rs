//! Launches and products that several operations share.

use super::*;

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
    pub(super) fn attempt<R>(&mut self, work: impl FnOnce(&CudaDevice) -> Result<R>) -> Option<R> {
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

    pub(super) fn buffer<V: Element>(&mut self, n: usize) -> Buffer<V> {
        Buffer { values: self.attempt(|device| empty(device, n)), wide: None }
    }

    /// Normalises rows of `c`, written in the order of patches.
    pub(super) fn normalise<V: Element>(
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
    pub(super) fn normalise_backward<V: Element>(
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
    pub(super) fn fill(&mut self, range: Range<usize>, side: usize, out: &mut Buffer<T>) {
        let fill = self.fill;
        self.attempt(|_| match &mut out.values {
            Some(values) => fill(range, side, values),
            None => bail!("images into a buffer that is not there"),
        });
    }

    /// y = gelu(x + bias), rows of `c`; y may be x.
    pub(super) fn bias_gelu(
        &mut self,
        x: Result<CudaView<T>>,
        bias: &Weight<T>,
        c: usize,
        y: Result<CudaView<T>>,
    ) {
        self.attempt(|device| {
            let (x, y, b) = (x?, y?, bias.wide.slice(..));
            let n = x.len() / c;
            let launch = launch::rows("bias_gelu_forward", n, c);
            run!(device, launch, T::SUFFIX, x, b, y, n as i64, c as i32);
            Ok(())
        });
    }

    /// Returns the buffer `sums` of norms' gradients, allocated if need be.
    pub(super) fn sums_of_norm<'s>(
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
