//! Makes batches of studies: the notebook's `__getitem__`, stacking and mixup.

use super::buffers::Images;
use super::{Error, SliceIndex, SliceSource, Study};
use crate::augment::{Scratch, pipeline::Pipeline};
use crate::config::{CHANNELS, Config, Train, VERTEBRAE};
use crate::rng::{Key, Purpose, hash};
use rand::Rng;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// Mixup of a batch: row b becomes λ·b + (1 − λ)·partner\[b\].
#[derive(Debug, Clone, PartialEq)]
pub struct Mixup {
    /// Partner of each row, `[B]`: a permutation.
    pub partner: Vec<usize>,
    /// λ, 0..1, the same for the whole batch.
    pub lambda: f64,
}

impl Mixup {
    /// Returns λ and 1 − λ as PyTorch multiplies an f32 tensor by them: subtracted in f64, then rounded.
    pub fn shares(&self) -> [f32; 2] {
        [self.lambda as f32, (1.0 - self.lambda) as f32]
    }
}

/// B studies of T = 7 × slices images, before mixup, which happens when pixels become floats.
#[derive(Debug, PartialEq)]
pub struct Batch {
    /// `[B]`: the images of each study, uint8 `[T, size, size, 6]`, in a buffer of its own.
    pub images: Vec<Images>,
    /// Height and width in pixels.
    pub size: usize,
    /// T, the number of images per study.
    pub images_per_study: usize,
    /// `[B]`: StudyInstanceUIDs.
    pub studies: Vec<Arc<str>>,
    /// `[B, T]`: labels, 0 or 1, before mixup.
    pub targets: Vec<f32>,
    /// `[B, T]`: slice of each image.
    pub places: Vec<SliceIndex>,
    /// Mixup, if the batch has one.
    pub mixup: Option<Mixup>,
}

impl Batch {
    /// Returns B, the number of studies.
    pub fn len(&self) -> usize {
        self.studies.len()
    }

    /// Whether there are no studies; the loader never makes such a batch.
    pub fn is_empty(&self) -> bool {
        self.studies.is_empty()
    }

    /// Returns image `i`, flat over B·T: uint8 `[size, size, 6]`.
    pub fn image(&self, i: usize) -> &[u8] {
        let bytes = self.size * self.size * CHANNELS;
        let (row, place) = (i / self.images_per_study, i % self.images_per_study);
        &self.images[row][place * bytes..(place + 1) * bytes]
    }

    /// Returns the targets of the mixup partners, `[B, T]`: the notebook's `targets_mix`.
    pub fn targets_mixed(&self) -> Option<Vec<f32>> {
        let t = self.images_per_study;
        let of = |&b: &usize| &self.targets[b * t..(b + 1) * t];
        Some(self.mixup.as_ref()?.partner.iter().flat_map(of).copied().collect())
    }

    /// Writes the images `range` (flat over B·T) in the network's input format: f32 `[n, size, size, 6]`
    /// in 0..=1, after mixup. `out` must have exactly that length. Runs in parallel.
    pub fn images_f32(&self, range: Range<usize>, out: &mut [f32]) {
        let bytes = self.size * self.size * CHANNELS;
        assert_eq!(out.len(), range.len() * bytes, "out is not as long as the images");
        let [own, other] = self.mixup.as_ref().map_or([1.0, 0.0], Mixup::shares);
        let own = levels(own);
        let other = levels(other);
        out.par_chunks_mut(bytes).zip(range).for_each(|(out, i)| match &self.mixup {
            None => {
                for (out, &x) in out.iter_mut().zip(self.image(i)) {
                    *out = own[usize::from(x)];
                }
            }
            Some(mixup) => {
                let (b, t) = (i / self.images_per_study, i % self.images_per_study);
                let partner = self.image(mixup.partner[b] * self.images_per_study + t);
                for ((out, &x), &y) in out.iter_mut().zip(self.image(i)).zip(partner) {
                    *out = own[usize::from(x)] + other[usize::from(y)];
                }
            }
        });
    }
}

/// value / 255 · share for the 256 values of a byte, rounded as in f32, so that mixing takes two table
/// look-ups and a sum.
fn levels(share: f32) -> [f32; 256] {
    std::array::from_fn(|value| value as f32 / 255.0 * share)
}

/// Returns the order of the `n` training studies in an epoch (from 1): a permutation.
pub fn study_order(seed: u64, fold: usize, epoch: usize, n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(&mut Key::new(seed, Purpose::StudyOrder).at(fold, epoch).rng());
    order
}

/// Settings for turning the studies of one epoch into images.
pub struct Recipe {
    pub(super) size: usize,
    slices: usize,
    /// `None` in validation: no shuffles, no augmentation, no mixup.
    training: Option<Training>,
}

struct Training {
    /// Seed, fold and epoch.
    key: Key,
    train: Train,
    pipeline: Pipeline,
}

impl Training {
    fn key(&self, purpose: Purpose) -> Key {
        Key { purpose, ..self.key }
    }
}

impl Recipe {
    /// Recipe of training fold `fold` in `epoch`, from 1.
    pub fn train(config: &Config, fold: usize, epoch: usize) -> Self {
        let training = Training {
            key: Key::new(config.seed, Purpose::Augment).at(fold, epoch),
            train: config.train.clone(),
            pipeline: Pipeline::new(&config.augment),
        };
        Self { training: Some(training), ..Self::valid(config) }
    }

    /// Recipe of validation: the slices as they are.
    pub fn valid(config: &Config) -> Self {
        Self {
            size: config.data.image_size,
            slices: config.data.slices_per_vertebra,
            training: None,
        }
    }

    pub(super) fn image_bytes(&self) -> usize {
        self.size * self.size * CHANNELS
    }

    /// Returns T, the number of images per study.
    pub(super) fn images_per_study(&self) -> usize {
        VERTEBRAE * self.slices
    }

    /// Draws the mixup of the batch of `len` studies at `step` (0-based).
    pub(super) fn mixup(&self, step: usize, len: usize) -> Option<Mixup> {
        let training = self.training.as_ref()?;
        let mut rng = training.key(Purpose::Mixup).study(step as u64).rng();
        if rng.random::<f64>() >= training.train.mixup {
            return None;
        }
        let mut partner: Vec<usize> = (0..len).collect();
        partner.shuffle(&mut rng);
        Some(Mixup { partner, lambda: rng.random() })
    }

    /// Draws the order of the images, `[T]`: first the vertebrae are shuffled, each with its slices, then
    /// all the slices, each with its label.
    pub(super) fn places(&self, study: &Study) -> Vec<SliceIndex> {
        let mut vertebrae: Vec<u8> = (0..VERTEBRAE as u8).collect();
        let draw = |purpose, probability: fn(&Train) -> f64| {
            let training = self.training.as_ref()?;
            let mut rng = training.key(purpose).study(hash(&study.uid)).rng();
            (rng.random::<f64>() < probability(&training.train)).then_some(rng)
        };
        if let Some(mut rng) = draw(Purpose::VertebraShuffle, |t| t.vertebra_shuffle) {
            vertebrae.shuffle(&mut rng);
        }
        let slices = |&vertebra: &u8| {
            (0..self.slices as u8).map(move |slice| SliceIndex { vertebra, slice })
        };
        let mut places: Vec<SliceIndex> = vertebrae.iter().flat_map(slices).collect();
        if let Some(mut rng) = draw(Purpose::SliceShuffle, |t| t.slice_shuffle) {
            places.shuffle(&mut rng);
        }
        places
    }

    /// Augments the slice at `at`, uint8 `[size, size, 6]`, if this is training.
    pub(super) fn augment(&self, study: &Study, at: SliceIndex, image: &mut [u8], s: &mut Scratch) {
        if let Some(training) = &self.training {
            let slice = usize::from(at.vertebra) * self.slices + usize::from(at.slice);
            let key = training.key(Purpose::Augment).study(hash(&study.uid)).slice(slice);
            training.pipeline.run(image, self.size, s, &mut key.rng());
        }
    }

    /// Returns the slice at `at` as the loader puts it into a batch, before mixup: uint8
    /// `[size, size, 6]`.
    ///
    /// Errors: when the slice cannot be read.
    pub fn image(
        &self,
        source: &dyn SliceSource,
        study: &Study,
        at: SliceIndex,
    ) -> Result<Vec<u8>, Error> {
        let mut image = vec![0; self.image_bytes()];
        source.slice(study, at, &mut image)?;
        self.augment(study, at, &mut image, &mut Scratch::default());
        Ok(image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Set;
    use crate::study::{Loader, Phantom, golden};
    use safetensors::SafeTensors;
    use std::collections::HashSet;

    fn config(sets: &[&str]) -> Config {
        let mut sets: Vec<_> = sets.iter().map(|s| Set::new(*s)).collect();
        sets.push(Set::new("data.image_size=32"));
        Config::load(None, false, &sets).unwrap()
    }

    fn study() -> Study {
        Study { uid: "1.2.3".into(), labels: [0, 1, 0, 0, 1, 0, 0], fold: 0 }
    }

    fn floats(bytes: &[u8]) -> Vec<f32> {
        bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    #[test]
    fn shares_mix_as_the_notebook_does() {
        let Some(bytes) = golden::read("small.safetensors") else { return };
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let Some(json) = golden::read("small.json") else { return };
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let image = tensors.tensor("mix.im").unwrap();
        let (x, n) = (floats(image.data()), image.shape()[0]);
        let row = x.len() / n;
        for text in ["0.0", "0.3", "0.9"] {
            let lambda = text.parse().unwrap();
            let [own, other] = Mixup { partner: Vec::new(), lambda }.shares();
            let want = floats(tensors.tensor(&format!("mix.out.{text}")).unwrap().data());
            for (i, want) in want.iter().enumerate() {
                let partner = json["mixup"]["indices"][i / row].as_u64().unwrap() as usize;
                assert_eq!(x[i] * own + x[partner * row + i % row] * other, *want, "{text} {i}");
            }
        }
    }

    #[test]
    fn pixels_become_floats_and_are_mixed() {
        let bytes = 32 * 32 * CHANNELS;
        let pixels: Vec<u8> = (0..2 * 7 * bytes).map(|i| (i * 31 % 251) as u8).collect();
        let mut batch = Batch {
            images: pixels.chunks(7 * bytes).map(|study| study.to_vec().into()).collect(),
            size: 32,
            images_per_study: 7,
            studies: vec!["a".into(), "b".into()],
            targets: (0..14).map(|i| (i % 3) as f32).collect(),
            places: vec![SliceIndex::default(); 14],
            mixup: None,
        };
        let mut out = vec![0.0; 3 * bytes];
        batch.images_f32(6..9, &mut out);
        let x = |i: usize| f32::from(pixels[i]) / 255.0;
        assert!(out.iter().enumerate().all(|(i, o)| *o == x(6 * bytes + i)));
        assert_eq!(batch.targets_mixed(), None);

        let (lambda, rest) = (0.3, 1.0 - 0.3);
        batch.mixup = Some(Mixup { partner: vec![1, 0], lambda });
        batch.images_f32(6..9, &mut out);
        for (n, (own, partner)) in [(6, 13), (7, 0), (8, 1)].into_iter().enumerate() {
            for i in 0..bytes {
                let want =
                    x(own * bytes + i) * lambda as f32 + x(partner * bytes + i) * rest as f32;
                assert_eq!(out[n * bytes + i], want);
            }
        }
        let mixed = batch.targets_mixed().unwrap();
        assert_eq!(mixed, [&batch.targets[7..], &batch.targets[..7]].concat());
    }

    #[test]
    fn study_order_is_a_keyed_permutation() {
        let a = study_order(1, 2, 3, 50);
        assert_eq!(a, study_order(1, 2, 3, 50));
        assert_eq!(a.iter().collect::<HashSet<_>>().len(), 50);
        for other in [study_order(2, 2, 3, 50), study_order(1, 1, 3, 50), study_order(1, 2, 4, 50)]
        {
            assert_ne!(a, other);
        }
    }

    #[test]
    fn vertebrae_move_with_their_slices() {
        let config = config(&["train.vertebra_shuffle=1.0", "train.slice_shuffle=0.0"]);
        let places = Recipe::train(&config, 0, 1).places(&study());
        let order: Vec<u8> = places.chunks(15).map(|c| c[0].vertebra).collect();
        assert_ne!(order, (0..7).collect::<Vec<u8>>());
        for chunk in places.chunks(15) {
            assert!(chunk.iter().all(|p| p.vertebra == chunk[0].vertebra));
            assert!(chunk.iter().enumerate().all(|(i, p)| usize::from(p.slice) == i));
        }
    }

    #[test]
    fn shuffles_come_as_often_as_asked_and_never_in_validation() {
        let config = config(&[]);
        let order = |recipe: &Recipe| recipe.places(&study());
        let straight = order(&Recipe::valid(&config));
        let still = (1..=1000).filter(|&e| order(&Recipe::train(&config, 0, e)) == straight);
        // 0.8 × 0.8 = 0.64; four standard deviations are 0.06.
        assert!((580..700).contains(&still.count()));
        let all: HashSet<(u8, u8)> = straight.iter().map(|p| (p.vertebra, p.slice)).collect();
        assert_eq!(all.len(), 105);
    }

    #[test]
    fn mixup_is_drawn_for_each_step() {
        let recipe = Recipe::train(&config(&["train.mixup=0.5"]), 0, 1);
        let drawn: Vec<Mixup> = (0..1000).filter_map(|s| recipe.mixup(s, 8)).collect();
        assert!((430..570).contains(&drawn.len()));
        let mean = drawn.iter().map(|m| m.lambda).sum::<f64>() / drawn.len() as f64;
        assert!((0.44..0.56).contains(&mean));
        for m in &drawn {
            let mut rows = m.partner.clone();
            rows.sort_unstable();
            assert_eq!(rows, (0..8).collect::<Vec<_>>());
        }
        assert!((0..99).all(|s| Recipe::valid(&config(&[])).mixup(s, 8).is_none()));
        assert!(
            (0..99).all(|s| Recipe::train(&config(&["train.mixup=0"]), 0, 1).mixup(s, 8).is_none())
        );
    }

    #[test]
    fn a_look_is_what_the_loader_gives() {
        let sets = ["data.image_size=32", "train.batch_size=2", "data.slices_per_vertebra=3"];
        let config = Config::load(None, false, &sets.map(Set::new)).unwrap();
        let table = Phantom::table(3, 3, 0);
        let (train, valid) = table.split(1);
        let source: Arc<dyn SliceSource> = Arc::new(Phantom::new(32, 3, 0));
        let mut changed = 0;
        for epoch in [1, 2] {
            let mut loader = Loader::train(source.clone(), train.clone().into(), &config, 1, epoch);
            let batch = loader.next().unwrap().unwrap();
            for (i, &place) in batch.places.iter().enumerate() {
                let uid = &batch.studies[i / batch.images_per_study];
                let study = train.iter().find(|s| s.uid == *uid).unwrap();
                let got = Recipe::train(&config, 1, epoch).image(&*source, study, place).unwrap();
                assert!(got == *batch.image(i), "epoch {epoch}: {i}");
                changed += usize::from(
                    got != Recipe::valid(&config).image(&*source, study, place).unwrap(),
                );
            }
        }
        assert!(changed > 40, "{changed} of 84 slices were augmented");

        let valid: Arc<[Study]> = valid.into();
        let batch = Loader::valid(source.clone(), valid.clone(), &config).next().unwrap().unwrap();
        for (i, &place) in batch.places.iter().enumerate() {
            let got = Recipe::valid(&config).image(&*source, &valid[0], place).unwrap();
            assert!(got == *batch.image(i), "{i}");
        }
    }
}
