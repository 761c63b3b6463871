//! Weights as slices, for what is computed by hand on the CPU.

use super::{ops::Real, parameters::Parameter};
use candle_core::{CpuStorage, Layout, Result, Storage, bail};
use std::ops::Deref;

/// Weights where candle keeps them; locked for reading as long as this lives.
pub(crate) struct Views<'a>(Vec<(Box<dyn Deref<Target = Storage> + 'a>, &'a Layout)>);

impl<'a> Views<'a> {
    /// Of these weights, in their order.
    pub fn new(parameters: impl IntoIterator<Item = &'a Parameter>) -> Self {
        let lock = |p: &'a Parameter| {
            let (storage, layout) = p.var.storage_and_layout();
            let storage: Box<dyn Deref<Target = Storage> + 'a> = Box::new(storage);
            (storage, layout)
        };
        Self(parameters.into_iter().map(lock).collect())
    }

    /// Errors: they are not on the CPU, or not of type `R`.
    pub fn slices<R: Real>(&self) -> Result<Vec<&[R]>> {
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

    /// Number of values of each, in order.
    pub fn lengths(&self) -> Vec<usize> {
        self.0.iter().map(|(_, layout)| layout.shape().elem_count()).collect()
    }
}
