//! What the network says of single studies, whatever the order of their images.

use crate::{config::VERTEBRAE, score::aggregate::Logits, study::Batch};
use std::sync::Arc;

/// What the network says of a study.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// StudyInstanceUID.
    pub study: Arc<str>,
    /// Fractured (1) or not (0): C1..C7, as the batch has it.
    pub labels: [u8; VERTEBRAE],
    /// Of its slices in the order of the study, and of the study head.
    pub logits: Logits,
}

/// That of study `b` of `batch`. `slices`: logits `[B, T]` of the whole batch; `study`: the study
/// head's of this one.
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

/// Those of all studies of `batch`. `slices`: logits `[B, T]`; `studies`: logits `[B]`.
pub fn outputs(batch: &Batch, slices: &[f32], studies: &[f32]) -> impl Iterator<Item = Output> {
    studies.iter().enumerate().map(|(b, &study)| output(batch, b, slices, study))
}
