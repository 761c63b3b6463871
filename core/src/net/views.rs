//! Slices of candle's weights, in CPU or GPU memory.

use super::{ops::Float, parameters::Parameter};
#[cfg(feature = "cuda")]
use candle_core::cuda_backend::{CudaDType, cudarc::driver::CudaView};
use candle_core::{CpuStorage, Layout, Result, Storage, Tensor, bail};
use std::ops::Deref;

/// Weights in candle's storage, locked for reading while this lives.
pub(crate) struct Views<'a>(Vec<(Box<dyn Deref<Target = Storage> + 'a>, &'a Layout)>);

impl<'a> Views<'a> {
    /// Locks these weights, in order.
    pub fn new(parameters: impl IntoIterator<Item = &'a Parameter>) -> Self {
        Self::of(parameters.into_iter().map(|p| p.var.as_tensor()))
    }

    /// Locks these tensors, in order.
    pub fn of(tensors: impl IntoIterator<Item = &'a Tensor>) -> Self {
        let lock = |tensor: &'a Tensor| {
            let (storage, layout) = tensor.storage_and_layout();
            let storage: Box<dyn Deref<Target = Storage> + 'a> = Box::new(storage);
            (storage, layout)
        };
        Self(tensors.into_iter().map(lock).collect())
    }

    /// Returns the values of each.
    ///
    /// Errors: when they are not on a GPU or not of type `T`.
    #[cfg(feature = "cuda")]
    pub fn on_card<T: CudaDType>(&self) -> Result<Vec<CudaView<'_, T>>> {
        let mut views = Vec::with_capacity(self.0.len());
        for (storage, layout) in &self.0 {
            let (Storage::Cuda(storage), Some((start, end))) =
                (&***storage, layout.contiguous_offsets())
            else {
                bail!("weights for a GPU are contiguous and lie there")
            };
            views.push(storage.as_cuda_slice::<T>()?.slice(start..end));
        }
        Ok(views)
    }

    /// Returns the values of each.
    ///
    /// Errors: when they are not on the CPU or not of type `R`.
    pub fn slices<R: Float>(&self) -> Result<Vec<&[R]>> {
        let mut slices = Vec::with_capacity(self.0.len());
        for (storage, layout) in &self.0 {
            let Storage::Cpu(storage) = &***storage else {
                bail!("what is computed by hand takes weights on the CPU only");
            };
            let Some((start, end)) = layout.contiguous_offsets() else {
                bail!("what is computed by hand takes contiguous weights only");
            };
            slices.push(&CpuStorage::as_slice::<R>(storage)?[start..end]);
        }
        Ok(slices)
    }

    /// Returns the shape of each, in order.
    #[cfg(feature = "cuda")]
    pub fn shapes(&self) -> Vec<&candle_core::Shape> {
        self.0.iter().map(|(_, layout)| layout.shape()).collect()
    }

    /// Returns the number of values of each, in order.
    pub fn lengths(&self) -> Vec<usize> {
        self.0.iter().map(|(_, layout)| layout.shape().elem_count()).collect()
    }
}
