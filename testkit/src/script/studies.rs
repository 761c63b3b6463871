//! Makes up predictions of the studies that [`preview`](super::preview) shows, and of others.

use super::{neck, noise};
use rsna_tui::run::event::*;

/// Returns the made-up UID of study `i`.
pub fn uid(i: usize) -> String {
    format!("1.2.826.0.1.3680043.{}", 10_633 + 97 * i)
}

/// Returns the vertebra, from 1, that study `i` shows; in every second study it is fractured.
pub fn vertebra(i: usize) -> u8 {
    1 + (i as u8 * 2) % 7
}

/// Makes up the predictions of study `i`: low, except around the middle of that vertebra.
pub fn prediction(i: usize) -> Prediction {
    let mut labels = [0; 7];
    labels[usize::from(vertebra(i)) - 1] = (i % 2) as u8;
    let slices = (0..105).map(|k| {
        let here = k / 15 + 1 == usize::from(vertebra(i));
        let from_middle = (k % 15) as f64 - (3 + i) as f64;
        let bump = if here { 0.08 + 0.2 * i as f64 } else { 0.0 };
        let p = 0.1 + bump * (-from_middle * from_middle / 8.0).exp();
        let p = if from_middle == 0.0 && here { p } else { p + 0.05 * noise((105 * i + k) as u64) };
        ((p.clamp(0.0, 0.98) * 1e4).round() / 1e4) as f32
    });
    let probability = (0.12 + 0.11 * i as f32).min(0.97);
    Prediction { study: uid(i), labels, probability, slices: slices.collect() }
}

/// Makes up six studies with the highest loss of a validation.
pub fn worst(at: Position) -> Event {
    let study = |i: usize| {
        let loss = 1.92 - 0.17 * i as f64;
        let mut prediction = prediction(i + 4);
        prediction.probability = 0.91 - 0.13 * i as f32;
        WorstStudy { loss, slice_loss: 0.8 * loss, study_loss: 1.2 * loss, prediction }
    };
    Event::Worst(Worst { at, studies: (0..6).map(study).collect() })
}

/// Makes up the answer to `wanted`.
pub fn slice_reply(wanted: &SliceRequest) -> Event {
    let lean = f64::from(wanted.slice) / 30.0;
    let raw = neck(move |x, y| (x + lean * y, y));
    let seen = neck(move |x, y| (x + lean * y, -y));
    let found = SliceContent::Slice { height: 96, width: 96, seen, raw };
    Event::SliceReply(SliceReply { wanted: wanted.clone(), found })
}
