//! Buffers, weights and their gradients on a GPU, in the compute type and in f32.

use super::*;
use half::{bf16, f16};

/// A buffer, possibly not allocated yet.
pub(crate) struct Buffer<T> {
    pub values: Option<CudaSlice<T>>,
    /// For a map: its f32 values, of which `values` is the rounded copy.
    pub wide: Option<CudaSlice<f32>>,
}

impl<T> Default for Buffer<T> {
    fn default() -> Self {
        Self { values: None, wide: None }
    }
}

/// Returns the values of a buffer in `range`.
pub(super) fn part<V>(
    values: Option<&CudaSlice<V>>,
    range: Range<usize>,
) -> Result<CudaView<'_, V>> {
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

    pub(super) fn len(&self) -> usize {
        self.values.as_ref().map_or(0, CudaSlice::len)
    }

    pub(super) fn view(&self, range: Range<usize>) -> Result<CudaView<'_, T>> {
        part(self.values.as_ref(), range)
    }

    /// Address of a map's f32 values if it has a rounded copy, else null.
    pub(super) fn wide(&self, device: &CudaDevice, range: Range<usize>) -> Result<u64> {
        match &self.wide {
            None => Ok(0),
            wide => Ok(gpu::pointer(device, Some(&part(wide.as_ref(), range)?))),
        }
    }
}

/// A map's f32 values, and the address of its rounded copy or null.
pub(super) type Both<'m> = (CudaView<'m, f32>, u64);

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
    pub(super) fn add_or_begin(&mut self) -> (CudaView<'_, f32>, bool) {
        let add = !std::mem::replace(&mut self.empty, false);
        (self.all.slice(self.range.clone()), add)
    }
}

/// Returns the sums of weight and bias, which are adjacent.
pub(super) fn both<'s>(sums: &'s mut Affine<Sum<'_>>) -> Result<(CudaView<'s, f32>, bool)> {
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
