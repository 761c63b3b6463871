//! The source of the slices' pixels.

use super::{Error, SliceIndex, Study};

/// A source of slices: files on disk, or phantoms. Shared by the loader's threads.
pub trait SliceSource: Send + Sync {
    /// Writes one slice into `out`, uint8 `[H, W, 6]` in C order, `size * size * 6` bytes:
    /// channels 0–4 are the CT planes z−2..z+2, channel 5 is the mask, all 0..=255.
    ///
    /// Errors: when the slice cannot be read; the message names study, vertebra, slice and file.
    fn slice(&self, study: &Study, at: SliceIndex, out: &mut [u8]) -> Result<(), Error>;

    /// Checks that every slice of `studies` exists, without reading all its pixels.
    ///
    /// The fingerprint of a study changes when one of its slices is replaced. It does not depend on where
    /// the slices are stored. A source that has nothing to check returns 0.
    ///
    /// Errors: when the source as a whole cannot be read.
    fn check_each(&self, studies: &[Study]) -> Result<Checked, Error> {
        Ok(Checked { fingerprints: vec![0; studies.len()], ..Checked::default() })
    }

    /// Like [`Self::check_each`]. Errors: also when slices cannot be used, all in one message.
    fn check(&self, studies: &[Study]) -> Result<Checked, Error> {
        self.check_each(studies)
    }
}

/// Result of a check of studies.
#[derive(Debug, Default)]
pub struct Checked {
    /// Number of slices whose size is not `data.image_size`; they are resized when read.
    pub resized: usize,
    /// A checksum of each study's slices, in the order of the studies; see
    /// [`SliceSource::check_each`].
    pub fingerprints: Vec<u32>,
    /// Errors of all slices that cannot be used, in the order of the studies.
    pub errors: Vec<Error>,
}
