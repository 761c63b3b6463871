//! Where a slice's pixels come from.

use super::{Error, Study};

/// A source of slices: files on disk, or phantoms. Shared by the loader's threads.
pub trait Source: Send + Sync {
    /// Writes one slice into `out`, uint8 `[H, W, 6]` in C order, `size * size * 6` bytes:
    /// channels 0–4 are the CT planes z−2..z+2, channel 5 the mask, all 0..=255.
    ///
    /// `vertebra`: 0..7 for C1..C7; `slice`: 0-based within the vertebra.
    /// Errors name study, vertebra, slice and file.
    fn slice(
        &self,
        study: &Study,
        vertebra: usize,
        slice: usize,
        out: &mut [u8],
    ) -> Result<(), Error>;
}
