//! Crops of the current batch for the views.

use super::loss::sigmoid;
use crate::{
    config::CHANNELS,
    run::{
        Event,
        channel::EventSender,
        event::{Crop, Position, Preview},
    },
    study::Batch,
};
use std::collections::HashSet;
use std::{ops::Range, time::Instant};

/// Crops in a preview.
const CROPS: usize = 6;
/// A centre slice spans at least this many grey values; a vertebra that was not found is flat.
const CONTRAST: u8 = 24;
/// Channels of the centre CT slice and of the mask.
const CENTRE: usize = 2;
const MASK: usize = CHANNELS - 1;

/// Sends previews at most every so many seconds.
pub struct Previews {
    every: f64,
    last: Option<Instant>,
    turn: usize,
}

impl Previews {
    /// `every`: seconds between two; 0 = none.
    pub fn new(every: f64) -> Self {
        Self { every, last: None, turn: 0 }
    }

    /// Sends crops of `batch` where it is time for them and the batch is not mixed up: a picture
    /// of two studies at once has neither's label.
    pub fn offer(&mut self, batch: &Batch, logits: &[f32], at: Position, events: &EventSender) {
        let due = self.last.is_none_or(|t| t.elapsed().as_secs_f64() >= self.every);
        if self.every > 0.0 && due && batch.mixup.is_none() {
            events.send(Event::Preview(preview(batch, logits, at, self.turn)));
            self.last = Some(Instant::now());
            self.turn += 1;
        }
    }
}

/// Up to six crops from the middle of as many vertebrae, fractured ones and whole ones in turn;
/// which of them changes with `turn`.
fn preview(batch: &Batch, logits: &[f32], at: Position, turn: usize) -> Preview {
    let slices = batch.images_per_study / 7;
    let middle = middle(slices);
    let n = batch.targets.len();
    let mut taken = HashSet::new();
    let mut pick = |positive: bool| -> Vec<usize> {
        (0..n)
            .map(|i| (i + turn * batch.images_per_study + turn * slices) % n)
            .filter(|&i| (batch.targets[i] > 0.5) == positive)
            .filter(|&i| middle.contains(&usize::from(batch.places[i].slice)))
            .filter(|&i| contrast(batch, i) >= CONTRAST)
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
    let crops = order.into_iter().map(|i| crop(batch, logits, i)).collect();
    Preview { at, crops }
}

fn middle(slices: usize) -> Range<usize> {
    slices / 3..(2 * slices / 3).max(slices / 3 + 1)
}

fn image(batch: &Batch, i: usize) -> &[u8] {
    let bytes = batch.size * batch.size * CHANNELS;
    &batch.images[i * bytes..(i + 1) * bytes]
}

fn channel(batch: &Batch, i: usize, c: usize) -> impl Iterator<Item = u8> + '_ {
    image(batch, i).chunks_exact(CHANNELS).map(move |p| p[c])
}

fn contrast(batch: &Batch, i: usize) -> u8 {
    let (low, high) = channel(batch, i, CENTRE).fold((255, 0), |(l, h), v| (l.min(v), h.max(v)));
    high.saturating_sub(low)
}

fn crop(batch: &Batch, logits: &[f32], i: usize) -> Crop {
    Crop {
        study: batch.studies[i / batch.images_per_study].to_string(),
        vertebra: batch.places[i].vertebra + 1,
        slice: batch.places[i].slice,
        label: batch.targets[i],
        probability: sigmoid(f64::from(logits[i])) as f32,
        height: batch.size,
        width: batch.size,
        pixels: channel(batch, i, CENTRE).collect(),
        mask: channel(batch, i, MASK).collect(),
    }
}
