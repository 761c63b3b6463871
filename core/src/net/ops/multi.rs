//! AdamW and the gradients' squares on a GPU, with one launch for all tensors.

use super::gpu::{empty, pointer, run};
use super::launch;
use crate::net::views::Views;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaView, PushKernelArg};
use candle_core::{CudaDevice, Result, Tensor, bail};

/// A list of f32 gradients, for kernels that work on all of them at once. The kernels' tables stay on
/// the device from step to step.
#[derive(Debug)]
pub(crate) struct Multi {
    /// Number of values of each gradient.
    lengths: Vec<usize>,
    /// The same, on the device.
    sizes: CudaSlice<i64>,
    /// Gradient and piece in it, [pieces, 2].
    pieces: CudaSlice<i32>,
    /// Gradient of each piece, ascending.
    owners: Vec<usize>,
    gradients: Addresses,
    /// Addresses of parameter, first and second moment, [parameters, 3].
    updated: Addresses,
}

/// Addresses on the device, uploaded only when one has changed: a buffer allocated in each step mostly
/// gets the same address again.
#[derive(Debug, Default)]
struct Addresses {
    sent: Vec<u64>,
    buffer: Option<CudaSlice<u64>>,
}

impl Addresses {
    /// Returns the addresses of the contiguous f32 `tensors`, on the device.
    fn of<'t>(
        &mut self,
        device: &CudaDevice,
        tensors: impl Iterator<Item = &'t Tensor>,
    ) -> Result<CudaView<'_, u64>> {
        let now = tensors.map(|t| address(device, t)).collect::<Result<Vec<_>>>()?;
        if self.buffer.is_none() || !self.sent.starts_with(&now) {
            self.buffer = Some(device.clone_htod(&now)?);
            self.sent = now;
        }
        let Some(buffer) = &self.buffer else { bail!("no addresses were sent") };
        Ok(buffer.as_view())
    }
}

impl Multi {
    /// Prepares tables for gradients of these lengths.
    pub(crate) fn new(device: &CudaDevice, lengths: Vec<usize>) -> Result<Self> {
        let pieces = launch::pieces(lengths.iter().copied());
        let flat: Vec<i32> = pieces.iter().flatten().copied().collect();
        let sizes: Vec<i64> = lengths.iter().map(|&n| n as i64).collect();
        Ok(Self {
            lengths,
            sizes: device.clone_htod(&sizes)?,
            pieces: device.clone_htod(&flat)?,
            owners: pieces.iter().map(|[owner, _]| *owner as usize).collect(),
            gradients: Addresses::default(),
            updated: Addresses::default(),
        })
    }

    /// Whether `gradients` are the first of those it was made for.
    pub(crate) fn begins_with(&self, gradients: &[Tensor]) -> bool {
        let lengths = self.lengths.get(..gradients.len());
        lengths.is_some_and(|n| n.iter().copied().eq(gradients.iter().map(Tensor::elem_count)))
    }

    /// Returns the number of pieces of the first `n` gradients.
    fn pieces_of(&self, n: usize) -> usize {
        self.owners.partition_point(|&owner| owner < n)
    }

    /// Returns Σ g² of each gradient; not finite if a value is not.
    ///
    /// Errors: when the device fails, or the gradients are not those it was made for.
    pub(crate) fn squares(
        &mut self,
        device: &CudaDevice,
        gradients: &[Tensor],
    ) -> Result<Vec<f64>> {
        if !self.begins_with(gradients) {
            bail!("the gradients are others than those that the table was made for")
        }
        let n = self.pieces_of(gradients.len());
        let out = empty::<f64>(device, n)?;
        let of = self.gradients.of(device, gradients.iter())?;
        let (sizes, pieces) = (self.sizes.as_view(), self.pieces.as_view());
        run!(device, launch::grad_squares(n), "", of, sizes, pieces, out.as_view());
        let mut sums = vec![0.0; gradients.len()];
        for (&owner, square) in self.owners.iter().zip(device.clone_dtoh(&out)?) {
            sums[owner] += square;
        }
        Ok(sums)
    }

    /// Runs one step of AdamW in place, on parameters and first and second moments, for the first of the
    /// gradients; the constants are in the kernel's order.
    ///
    /// Errors: when the device fails, or tensors differ in length from their gradients.
    pub(crate) fn adamw(
        &mut self,
        device: &CudaDevice,
        updated: [&[Tensor]; 3],
        gradients: &[Tensor],
        constants: [f32; 8],
    ) -> Result<()> {
        let n = gradients.len();
        let fits = |list: &[Tensor]| list.len() == n && self.begins_with(list);
        if !self.begins_with(gradients) || !updated.into_iter().all(fits) {
            bail!("parameters, moments and gradients differ in size")
        }
        let launch = launch::adamw(self.pieces_of(n));
        let rows = (0..n).flat_map(|i| updated.map(|list| &list[i]));
        let updated = self.updated.of(device, rows)?;
        let of = self.gradients.of(device, gradients.iter())?;
        let (sizes, pieces) = (self.sizes.as_view(), self.pieces.as_view());
        let [decay, a, beta2, b, step_size, correction2, eps, inverse_scale] = constants;
        run!(
            device,
            launch,
            "",
            of,
            updated,
            sizes,
            pieces,
            decay,
            a,
            beta2,
            b,
            step_size,
            correction2,
            eps,
            inverse_scale
        );
        Ok(())
    }
}

/// Returns the address of a contiguous f32 tensor's values.
fn address(device: &CudaDevice, tensor: &Tensor) -> Result<u64> {
    let views = Views::of([tensor]);
    Ok(pointer(device, views.on_card::<f32>()?.first()))
}
