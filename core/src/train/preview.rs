//! Crops of the current batch for the views.

use super::{outputs::output, worst::prediction};
use crate::{
    config::CHANNELS,
    run::{
        Latest,
        event::{Crop, Picture, Position, Preview},
    },
    score::aggregate,
    study::Batch,
};
use std::collections::{BTreeSet, HashSet};
use std::{ops::Range, time::Instant};

/// Maximum number of crops in a preview.
const CROPS: usize = 6;
/// Minimum range of grey values in a centre slice: crops of vertebrae that were not found are flat.
const CONTRAST: u8 = 24;
/// Channels of the centre CT slice and the mask.
const CENTRE: usize = 2;
const MASK: usize = CHANNELS - 1;

/// Makes previews at a limited rate.
pub struct Previews {
    every: f64,
    /// To the slice reader, which adds the slices before augmentation and sends the event.
    reader: Latest<Preview>,
    last: Option<Instant>,
    turn: usize,
}

impl Previews {
    /// `every`: seconds between two previews; 0 = none.
    pub fn new(every: f64, reader: Latest<Preview>) -> Self {
        Self { every, reader, last: None, turn: 0 }
    }

    /// Shows crops of `batch` if a preview is due and the batch has no mixup: a mixture of two studies
    /// has neither's label.
    ///
    /// `slices`, `studies`: logits `[B, T]` and `[B]`.
    pub fn offer(&mut self, batch: &Batch, (slices, studies): (&[f32], &[f32]), at: Position) {
        let due = self.last.is_none_or(|t| t.elapsed().as_secs_f64() >= self.every);
        if self.every > 0.0 && due && batch.mixup.is_none() {
            self.reader.put(preview(batch, (slices, studies), at, self.turn));
            self.last = Some(Instant::now());
            self.turn += 1;
        }
    }
}

/// Picks up to six crops from the middle of different vertebrae, alternating between fractured and
/// intact ones; the choice changes with `turn`.
fn preview(batch: &Batch, logits: (&[f32], &[f32]), at: Position, turn: usize) -> Preview {
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
    let crops = order.into_iter().map(|i| crop(batch, logits.0, i)).collect();
    let of_study = |b| prediction(output(batch, b, logits.0, logits.1[b]));
    Preview { at, crops, predictions: shown.into_iter().map(of_study).collect() }
}

fn crop(batch: &Batch, logits: &[f32], i: usize) -> Crop {
    Crop {
        study: batch.studies[i / batch.images_per_study].to_string(),
        vertebra: batch.places[i].vertebra + 1,
        slice: batch.places[i].slice,
        label: batch.targets[i],
        probability: aggregate::probability(logits[i].into()) as f32,
        height: batch.size,
        width: batch.size,
        seen: picture(batch.image(i)),
        raw: None,
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
pub(super) mod tests {
    use super::*;
    use crate::config::{Config, Set};
    use crate::study::{Loader, Phantom, SliceSource};
    use std::sync::Arc;

    pub const SETTINGS: [&str; 3] = ["data.image_size=32", "train.batch_size=2", "train.mixup=0"];

    /// A preview of the first batch of fold 1's training or validation, and the batch.
    pub fn previewed(training: bool) -> (Preview, Batch) {
        let config = Config::load(None, false, &SETTINGS.map(Set::new)).unwrap();
        let (train, valid) = Phantom::table(4, 2, 0).split(1);
        let source: Arc<dyn SliceSource> = Arc::new(Phantom::new(32, 15, 0));
        let mut loader = match training {
            true => Loader::train(source, train.into(), &config, 1, 1),
            false => Loader::valid(source, valid.into(), &config),
        };
        let batch = loader.next().unwrap().unwrap();
        let reader = Latest::default();
        let logits = vec![0.0; batch.targets.len()];
        let at = Position { fold: 1, epoch: 1, step: 1 };
        Previews::new(1.0, reader.clone()).offer(&batch, (&logits, &logits[..batch.len()]), at);
        (reader.taker().try_recv().unwrap(), batch)
    }

    #[test]
    fn the_studies_of_the_crops_are_told_whole_and_once() {
        let (preview, batch) = previewed(true);
        assert_eq!(preview.crops.len(), CROPS);
        for crop in &preview.crops {
            let predictions = preview.predictions.iter().filter(|p| p.study == crop.study);
            let predictions: Vec<_> = predictions.collect();
            assert_eq!(predictions.len(), 1);
            let slice = predictions[0].of_vertebra(crop.vertebra)[usize::from(crop.slice)];
            assert!((slice - crop.probability).abs() < 1e-4);
            let label = predictions[0].labels[usize::from(crop.vertebra) - 1];
            assert_eq!(f32::from(label), crop.label);
            let i = (0..batch.targets.len()).find(|&i| {
                let place = batch.places[i];
                *batch.studies[i / batch.images_per_study] == *crop.study
                    && (place.vertebra + 1, place.slice) == (crop.vertebra, crop.slice)
            });
            assert_eq!(crop.seen, picture(batch.image(i.unwrap())));
        }
    }
}
