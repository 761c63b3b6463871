//! Where a slice's pixels come from.

use super::{Error, Study};

/// A source of slices: files on disk, or phantoms. Shared by the loader's threads.
pub trait SliceSource: Send + Sync {
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

    /// Checks that every slice of `studies` is there, without reading all of its pixels.
    ///
    /// The fingerprint of a study changes when one of its slices is replaced by another. It does not
    /// depend on where the slices are stored. A source that has nothing to check gives 0.
    ///
    /// Errors: the source as a whole cannot be read.
    fn check_each(&self, studies: &[Study]) -> Result<Checked, Error> {
        Ok(Checked { fingerprints: vec![0; studies.len()], ..Checked::default() })
    }

    /// As [`Self::check_each`]. Errors: also slices that cannot be used, all in one message.
    fn check(&self, studies: &[Study]) -> Result<Checked, Error> {
        self.check_each(studies)
    }
}

/// What a check of a run's studies found.
#[derive(Debug, Default)]
pub struct Checked {
    /// Slices of another size than `data.image_size`; they are resized as they are read.
    pub resized: usize,
    /// A checksum of each study's slices, in the order of the studies; see
    /// [`SliceSource::check_each`].
    pub fingerprints: Vec<u32>,
    /// What is wrong with each slice that cannot be used, by study.
    pub errors: Vec<Error>,
}
