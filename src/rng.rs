//! One seed, keyed streams.
//!
//! Each draw comes from a generator keyed by (seed, fold, epoch, purpose, study, slice), so there
//! is no state to save, and a batch is the same whatever the number of workers and wherever
//! training resumed.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What a stream is for; part of its key, so that two purposes never share draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Initial weights of a fold's model.
    Init = 1,
    /// Order of the studies in an epoch.
    StudyOrder = 2,
    /// Order of a study's vertebrae.
    VertebraShuffle = 3,
    /// Order of a study's slices.
    SliceShuffle = 4,
    /// Augmentation of one slice.
    Augment = 5,
    /// Mixup of a batch: whether, with whom and how much.
    Mixup = 6,
    /// Dropout masks of a step.
    Dropout = 7,
    /// A made-up study.
    Phantom = 8,
    /// The notebook's DEBUG sample of the table.
    Debug = 9,
    /// Resamples of the bootstrap.
    Bootstrap = 10,
}

/// The key of a stream. What a purpose does not depend on stays 0.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The run's seed.
    pub seed: u64,
    /// The fold's number.
    pub fold: u32,
    /// Epoch from 1.
    pub epoch: u32,
    /// What for.
    pub purpose: Purpose,
    /// [`hash`] of the study's UID, or the step.
    pub study: u64,
    /// Slice of the study, 0-based, or the batch's row.
    pub slice: u32,
}

impl Key {
    /// A key with everything but seed and purpose 0.
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        Self { seed, fold: 0, epoch: 0, purpose, study: 0, slice: 0 }
    }

    /// With fold and epoch.
    pub fn at(self, fold: usize, epoch: usize) -> Self {
        Self { fold: fold as u32, epoch: epoch as u32, ..self }
    }

    /// With a study's hash or a step.
    pub fn study(self, study: u64) -> Self {
        Self { study, ..self }
    }

    /// With a slice.
    pub fn slice(self, slice: usize) -> Self {
        Self { slice: slice as u32, ..self }
    }

    /// The generator of this key: ChaCha8, whose key is these 32 bytes as they stand.
    pub fn rng(self) -> ChaCha8Rng {
        let mut key = [0u8; 32];
        key[0..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8..12].copy_from_slice(&self.fold.to_le_bytes());
        key[12..16].copy_from_slice(&self.epoch.to_le_bytes());
        key[16..20].copy_from_slice(&(self.purpose as u32).to_le_bytes());
        key[20..24].copy_from_slice(&self.slice.to_le_bytes());
        key[24..32].copy_from_slice(&self.study.to_le_bytes());
        ChaCha8Rng::from_seed(key)
    }
}

/// FNV-1a, 64 bits, of a UTF-8 name (<http://www.isthe.com/chongo/tech/comp/fnv/>): a study's
/// identity that does not change with its row.
pub fn hash(name: &str) -> u64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn every_part_of_the_key_changes_the_stream() {
        let base = Key::new(1, Purpose::Augment).at(2, 3).study(4).slice(5);
        let first = |k: Key| k.rng().random::<u64>();
        let a = first(base);
        assert_eq!(a, first(base));
        for other in [
            Key { seed: 9, ..base },
            Key { fold: 9, ..base },
            Key { epoch: 9, ..base },
            Key { purpose: Purpose::Mixup, ..base },
            Key { study: 9, ..base },
            Key { slice: 9, ..base },
        ] {
            assert_ne!(a, first(other), "{other:?}");
        }
    }

    #[test]
    fn hash_is_fnv1a64() {
        assert_eq!(hash("encoder.stem.0.weight"), 10551698136761784510);
    }
}
