//! Random streams, keyed from one seed.
//!
//! Each draw comes from a generator keyed by (seed, fold, epoch, purpose, study, slice). There is no
//! state to save, and a batch is the same for any number of workers and after any resume.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Purpose of a stream; part of its key, so two purposes never share draws.
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
    /// Mixup of a batch: whether to mix, the partners and the ratio.
    Mixup = 6,
    /// Dropout masks of a step.
    Dropout = 7,
    /// A synthetic study.
    Phantom = 8,
    /// The notebook's DEBUG sample of the table.
    Debug = 9,
    /// Resamples of the bootstrap.
    Bootstrap = 10,
}

/// The key of a stream. Parts that a purpose does not depend on stay 0.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The run's seed.
    pub seed: u64,
    /// Number of the fold.
    pub fold: u32,
    /// Epoch from 1.
    pub epoch: u32,
    /// Purpose of the stream.
    pub purpose: Purpose,
    /// [`hash`] of the study's UID, or the step.
    pub study: u64,
    /// Slice of the study, 0-based, or the row of the batch.
    pub slice: u32,
}

impl Key {
    /// Returns a key of seed and purpose, all else 0.
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        Self { seed, fold: 0, epoch: 0, purpose, study: 0, slice: 0 }
    }

    /// Sets fold and epoch.
    pub fn at(self, fold: usize, epoch: usize) -> Self {
        Self { fold: fold as u32, epoch: epoch as u32, ..self }
    }

    /// Sets the study's hash or the step.
    pub fn study(self, study: u64) -> Self {
        Self { study, ..self }
    }

    /// Sets the slice.
    pub fn slice(self, slice: usize) -> Self {
        Self { slice: slice as u32, ..self }
    }

    /// Returns this key's generator: ChaCha8, keyed by these 32 bytes directly.
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

/// Returns a generator with the key and position of `rng` that draws from a stream called `name`, so that
/// neither's draws depend on the other's.
pub fn named_stream(rng: &ChaCha8Rng, name: &str) -> ChaCha8Rng {
    let mut named = rng.clone();
    named.set_stream(hash(name));
    named
}

/// Hashes a UTF-8 name by 64-bit FNV-1a (<http://www.isthe.com/chongo/tech/comp/fnv/>): an identity of a
/// study that does not depend on its row.
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
    fn streams_of_two_names_differ_and_repeat() {
        let rng = Key::new(1, Purpose::Augment).rng();
        let draw = |name| named_stream(&rng, name).random::<u64>();
        let (a, b) = (draw("a"), draw("b"));
        assert_eq!(a, draw("a"));
        assert!(a != b && ![a, b].contains(&rng.clone().random()));
    }

    #[test]
    fn hash_is_fnv1a64() {
        assert_eq!(hash("encoder.stem.0.weight"), 10551698136761784510);
    }
}
