//! Crops of the current batch for the views.

use super::{outputs::output, worst::prediction};
use crate::{
    config::CHANNELS,
    run::{
        Event,
        channel::EventSender,
        event::{Crop, Picture, Position, Preview},
    },
    score::aggregate,
    study::{Batch, SliceSource, Study},
};
use std::collections::{BTreeSet, HashSet};
use std::{ops::Range, sync::Arc, time::Instant};

/// Maximum number of crops in a preview.
const CROPS: usize = 6;
/// Minimum range of grey values in a centre slice: crops of vertebrae that were not found are flat.
const CONTRAST: u8 = 24;
/// Channels of the centre CT slice and the mask.
const CENTRE: usize = 2;
const MASK: usize = CHANNELS - 1;

/// Sends previews at a limited rate.
pub struct Previews {
    every: f64,
    source: Arc<dyn SliceSource>,
    train: Arc<[Study]>,
    last: Option<Instant>,
    turn: usize,
}

impl Previews {
    /// `every`: seconds between two previews; 0 = none. `source` and `train`: for reading the slices of
    /// augmented studies again, to show them before augmentation.
    pub fn new(every: f64, source: Arc<dyn SliceSource>, train: Arc<[Study]>) -> Self {
        Self { every, source, train, last: None, turn: 0 }
    }

    /// Sends crops of `batch` if a preview is due and the batch has no mixup: a mixture of two studies
    /// has neither's label.
    ///
    /// `slices`, `studies`: logits `[B, T]` and `[B]`.
    pub fn offer(
        &mut self,
        batch: &Batch,
        (slices, studies): (&[f32], &[f32]),
        at: Position,
        events: &EventSender,
    ) {
        let due = self.last.is_none_or(|t| t.elapsed().as_secs_f64() >= self.every);
        if self.every > 0.0 && due && batch.mixup.is_none() {
            events.send(Event::Preview(self.preview(batch, (slices, studies), at)));
            self.last = Some(Instant::now());
            self.turn += 1;
        }
    }

    /// Picks up to six crops from the middle of different vertebrae, alternating between fractured and
    /// intact ones; the choice changes with `turn`.
    fn preview(&self, batch: &Batch, logits: (&[f32], &[f32]), at: Position) -> Preview {
        let turn = self.turn;
        let slices = batch.images_per_study / 7;
        let middle = middle(slices);
        let n = batch.targets.len();
        let mut taken = HashSet::new();
        let mut pick = |positive: bool| -> Vec<usize> {
            (0..n)
                .map(|i| (i + turn * batch.images_per_study + turn * slices) % n)
                .filter(|&i| (batch.targets[i] > 0.5) == positive)
                .filter(|&i| middle.contains(&usize::from(batch.places[i].slice)))
                .filter(|&i| contrast(batch.image(i)) >= CONTRAST)
                .filter(|&i| taken.insert((i / batch.images_per_study, batch.places[i].vertebra)))
                .take(CROPS)
                .collect()
        };
        let (fractured, whole) = (pick(true), pick(false));
        let mut order = Vec::new();
        for k in 0..CROPS {
            order.extend(fractured.get(k));
            order.extend(whole.get(k));
        }
        order.truncate(CROPS);
        let shown: BTreeSet<usize> = order.iter().map(|i| i / batch.images_per_study).collect();
        let crops = order.into_iter().map(|i| self.crop(batch, logits.0, i)).collect();
        let of_study = |b| prediction(output(batch, b, logits.0, logits.1[b]));
        Preview { at, crops, predictions: shown.into_iter().map(of_study).collect() }
    }

    fn crop(&self, batch: &Batch, logits: &[f32], i: usize) -> Crop {
        let seen = picture(batch.image(i));
        Crop {
            study: batch.studies[i / batch.images_per_study].to_string(),
            vertebra: batch.places[i].vertebra + 1,
            slice: batch.places[i].slice,
            label: batch.targets[i],
            probability: aggregate::probability(logits[i].into()) as f32,
            height: batch.size,
            width: batch.size,
            raw: self.raw(batch, i, &seen),
            seen,
        }
    }

    /// Returns image `i` before augmentation, or `None` if it cannot be read.
    fn raw(&self, batch: &Batch, i: usize, seen: &Picture) -> Option<Picture> {
        let uid = &batch.studies[i / batch.images_per_study];
        let Some(study) = self.train.iter().find(|s| s.uid == *uid) else {
            // Validation studies are not augmented.
            return Some(seen.clone());
        };
        let place = batch.places[i];
        let mut image = vec![0; batch.size * batch.size * CHANNELS];
        self.source.slice(study, place, &mut image).ok()?;
        Some(picture(&image))
    }
}

fn middle(slices: usize) -> Range<usize> {
    slices / 3..(2 * slices / 3).max(slices / 3 + 1)
}

/// A channel of `image`, uint8 `[size, size, 6]`.
fn channel(image: &[u8], c: usize) -> impl Iterator<Item = u8> + '_ {
    image.chunks_exact(CHANNELS).map(move |p| p[c])
}

/// Returns the centre CT slice and the mask of `image`, uint8 `[size, size, 6]`.
pub fn picture(image: &[u8]) -> Picture {
    Picture { pixels: channel(image, CENTRE).collect(), mask: channel(image, MASK).collect() }
}

fn contrast(image: &[u8]) -> u8 {
    let (low, high) = channel(image, CENTRE).fold((255, 0), |(l, h), v| (l.min(v), h.max(v)));
    high.saturating_sub(low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Set};
    use crate::study::{Error, Loader, Phantom, SliceIndex};

    const AT: Position = Position { fold: 1, epoch: 1, step: 1 };

    /// A source in which every slice is missing.
    struct Gone;

    impl SliceSource for Gone {
        fn slice(&self, study: &Study, at: SliceIndex, _: &mut [u8]) -> Result<(), Error> {
            let (study, problem) = (study.uid.clone(), "is missing".into());
            Err(Error::Slice { study, at, path: "gone".into(), problem })
        }
    }

    /// Returns the training studies, the source, and the first batch of fold 1's training or validation.
    fn batch(training: bool) -> (Arc<[Study]>, Arc<dyn SliceSource>, Batch) {
        let sets = ["data.image_size=32", "train.batch_size=2", "train.mixup=0"].map(Set::new);
        let config = Config::load(None, false, &sets).unwrap();
        let (train, valid) = Phantom::table(4, 2, 0).split(1);
        let train: Arc<[Study]> = train.into();
        let source: Arc<dyn SliceSource> = Arc::new(Phantom::new(32, 15, 0));
        let mut loader = match training {
            true => Loader::train(source.clone(), train.clone(), &config, 1, 1),
            false => Loader::valid(source.clone(), valid.into(), &config),
        };
        (train, source.clone(), loader.next().unwrap().unwrap())
    }

    fn preview(previews: &Previews, batch: &Batch) -> Preview {
        let logits = vec![0.0; batch.targets.len()];
        previews.preview(batch, (&logits, &logits[..batch.len()]), AT)
    }

    fn crops(previews: &Previews, batch: &Batch) -> Vec<Crop> {
        preview(previews, batch).crops
    }

    #[test]
    fn the_studies_of_the_crops_are_told_whole_and_once() {
        let (train, source, batch) = batch(true);
        let preview = preview(&Previews::new(1.0, source, train), &batch);
        for crop in &preview.crops {
            let predictions = preview.predictions.iter().filter(|p| p.study == crop.study);
            let predictions: Vec<_> = predictions.collect();
            assert_eq!(predictions.len(), 1);
            let slice = predictions[0].of_vertebra(crop.vertebra)[usize::from(crop.slice)];
            assert!((slice - crop.probability).abs() < 1e-4);
            let label = predictions[0].labels[usize::from(crop.vertebra) - 1];
            assert_eq!(f32::from(label), crop.label);
        }
    }

    #[test]
    fn raw_is_the_sources_slice_and_seen_the_batchs() {
        let (train, source, batch) = batch(true);
        let crops = crops(&Previews::new(1.0, source.clone(), train.clone()), &batch);
        assert_eq!(crops.len(), CROPS);
        let mut image = vec![0; 32 * 32 * CHANNELS];
        let mut augmented = 0;
        for crop in &crops {
            let study = train.iter().find(|s| *s.uid == *crop.study).unwrap();
            let at = SliceIndex { vertebra: crop.vertebra - 1, slice: crop.slice };
            source.slice(study, at, &mut image).unwrap();
            assert_eq!(crop.raw, Some(picture(&image)));
            let i = (0..batch.targets.len())
                .find(|&i| {
                    *batch.studies[i / batch.images_per_study] == *crop.study
                        && batch.places[i] == at
                })
                .unwrap();
            assert_eq!(crop.seen, picture(batch.image(i)));
            augmented += usize::from(crop.raw.as_ref() != Some(&crop.seen));
        }
        assert!(augmented > 0, "no crop was augmented");
    }

    #[test]
    fn validation_shares_one_picture_and_a_lost_slice_has_no_raw_one() {
        let (train, source, valid) = batch(false);
        for crop in crops(&Previews::new(1.0, source, train.clone()), &valid) {
            assert!(Arc::ptr_eq(&crop.raw.unwrap().pixels, &crop.seen.pixels));
        }
        let (_, _, batch) = batch(true);
        let crops = crops(&Previews::new(1.0, Arc::new(Gone), train), &batch);
        assert!(!crops.is_empty() && crops.iter().all(|crop| crop.raw.is_none()));
    }
}
