//! The network's outputs per study, in the order of the study's slices.

use crate::{config::VERTEBRAE, score::aggregate::Logits, study::Batch};
use std::sync::Arc;

/// The network's output for a study.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// StudyInstanceUID.
    pub study: Arc<str>,
    /// Labels of C1..C7 in the batch: fractured (1) or not (0).
    pub labels: [u8; VERTEBRAE],
    /// Logits of the slices in the order of the study, and of the study head.
    pub logits: Logits,
}

/// Returns the output for study `b` of `batch`. `slices`: logits `[B, T]` of the whole batch; `study`:
/// the study head's logit of this study.
pub fn output(batch: &Batch, b: usize, slices: &[f32], study: f32) -> Output {
    let t = batch.images_per_study;
    let mut labels = [0; VERTEBRAE];
    let mut in_order = vec![f32::NAN; t];
    let own = b * t..(b + 1) * t;
    let targets = &batch.targets[own.clone()];
    for ((place, &logit), &target) in
        batch.places[own.clone()].iter().zip(&slices[own]).zip(targets)
    {
        let (vertebra, slice) = (usize::from(place.vertebra), usize::from(place.slice));
        in_order[vertebra * (t / VERTEBRAE) + slice] = logit;
        labels[vertebra] = u8::from(target > 0.5);
    }
    Output { study: batch.studies[b].clone(), labels, logits: Logits { slices: in_order, study } }
}

/// Returns the outputs for all studies of `batch`. `slices`: logits `[B, T]`; `studies`: logits `[B]`.
pub fn outputs(batch: &Batch, slices: &[f32], studies: &[f32]) -> impl Iterator<Item = Output> {
    studies.iter().enumerate().map(|(b, &study)| output(batch, b, slices, study))
}
