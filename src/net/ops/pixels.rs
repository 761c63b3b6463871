//! Converts bytes to the network's input: scaled, mixed, in its type.

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor};

/// own / 255; with a partner, own / 255 · share + partner / 255 · its share, each operation rounded to
/// f32 in this order.
///
/// `own` and the partner uint8, contiguous and of one shape → that shape, in `dtype` (f32, f16 or
/// bf16). No gradient.
pub fn pixels(own: &Tensor, partner: Option<(&Tensor, [f32; 2])>, dtype: DType) -> Result<Tensor> {
    let (partner, shares) = match partner {
        Some((partner, shares)) => (partner, Some(shares)),
        None => (own, None),
    };
    own.apply_op2_no_bwd(partner, &Pixels { shares, dtype })
}

struct Pixels {
    /// `None`: ignore the partner.
    shares: Option<[f32; 2]>,
    dtype: DType,
}

impl CustomOp2 for Pixels {
    fn name(&self) -> &'static str {
        "pixels"
    }

    fn cpu_fwd(
        &self,
        own: &CpuStorage,
        l: &Layout,
        partner: &CpuStorage,
        other: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (own, partner) = (super::slice::<u8>(own, l)?, super::slice::<u8>(partner, other)?);
        let value = |(&x, &y): (&u8, &u8)| match self.shares {
            None => f32::from(x) / 255.0,
            Some([a, b]) => f32::from(x) / 255.0 * a + f32::from(y) / 255.0 * b,
        };
        let out: Vec<f32> = own.iter().zip(partner).map(value).collect();
        Ok((super::narrowed(CpuStorage::F32(out), self.dtype), l.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        own: &candle_core::CudaStorage,
        l: &Layout,
        partner: &candle_core::CudaStorage,
        other: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        super::cuda::pixels(self.dtype, self.shares, (own, l), (partner, other))
    }
}
