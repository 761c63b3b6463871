//! The studies to choose from, and the slice with the largest error of each.

use crate::run::event::{Crop, Picture, Position, Prediction, Preview, SliceContent, SliceRequest};
use crate::tui::pictures::Slice;
use crate::view::{Fold, State};

/// Maximum number of studies listed.
const MOST: usize = 16;

/// Choice of the listed studies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StudyList {
    /// The worst studies of the fold's newest validation.
    #[default]
    Worst,
    /// The studies of the current batch.
    Batch,
}

/// A listed study.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The network's prediction.
    pub prediction: &'a Prediction,
    /// Validation loss, if validated.
    pub loss: Option<f64>,
}

/// Number of a slice in a study: vertebra 1..=7 for C1..C7, and the 0-based slice within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SliceNumber {
    pub vertebra: u8,
    pub slice: u8,
}

/// The list.
pub struct Listed<'a> {
    /// Position of training at the predictions.
    pub at: Position,
    /// The fold's seed.
    seed: u64,
    /// The studies, worst first or in the batch's order.
    pub entries: Vec<Entry<'a>>,
    preview: Option<&'a Preview>,
}

impl<'a> Listed<'a> {
    /// Lists the fold's worst studies.
    pub fn worst(state: &'a State, fold: &'a Fold) -> Option<Self> {
        let worst = fold.worst.as_ref()?;
        let entries = worst.studies.iter().take(MOST);
        let entries =
            entries.map(|s| Entry { prediction: &s.prediction, loss: Some(s.loss) }).collect();
        Some(Self { at: worst.at, seed: seed(state, fold)?, entries, preview: None })
    }

    /// Lists the studies of a preview.
    pub fn batch(state: &'a State, preview: &'a Preview) -> Option<Self> {
        let fold = state.folds.iter().find(|fold| fold.plan.fold == preview.at.fold)?;
        let entries = preview.predictions.iter().take(MOST);
        let entries = entries.map(|prediction| Entry { prediction, loss: None }).collect();
        Some(Self { at: preview.at, seed: seed(state, fold)?, entries, preview: Some(preview) })
    }

    /// Slice to show first for a study: the one in the preview, or else the one with the largest
    /// error.
    pub fn first_slice(&self, prediction: &Prediction) -> SliceNumber {
        let crops = self.preview.iter().flat_map(|preview| &preview.crops);
        let mut crops = crops.filter(|crop| crop.study == prediction.study);
        let last = prediction.slices_per_vertebra().saturating_sub(1).min(255) as u8;
        let place = |crop: &Crop| SliceNumber {
            vertebra: crop.vertebra.clamp(1, 7),
            slice: crop.slice.min(last),
        };
        crops.next().map_or_else(|| most_wrong(prediction), place)
    }

    /// The request for a slice of the list.
    pub fn request(&self, prediction: &Prediction, place: SliceNumber) -> SliceRequest {
        let Position { fold, epoch, .. } = self.at;
        let (study, SliceNumber { vertebra, slice }) = (prediction.study.clone(), place);
        SliceRequest { fold, epoch, seed: self.seed, study, vertebra, slice }
    }

    /// Returns the slice, raw or as the network saw it, and whether the two differ; `None` if it
    /// has to be requested.
    ///
    /// Errors: when there is no such picture; the reason.
    pub fn slice(
        &self,
        state: &State,
        wanted: &SliceRequest,
        raw: bool,
    ) -> Option<Result<(Slice, bool), String>> {
        let is_it = |crop: &&Crop| {
            (&crop.study, crop.vertebra, crop.slice)
                == (&wanted.study, wanted.vertebra, wanted.slice)
        };
        let (height, width, seen, own) = match state.slice_cache.get(wanted) {
            Some(SliceContent::Nothing(why)) => return Some(Err(why.clone())),
            Some(SliceContent::Slice { height, width, seen, raw }) => {
                (*height, *width, seen, Some(raw))
            }
            None => {
                let crop = self.preview?.crops.iter().find(is_it)?;
                (crop.height, crop.width, &crop.seen, crop.raw.as_ref())
            }
        };
        let before = own.unwrap_or(seen);
        if is_constant(before) {
            return Some(Err(no_picture(before)));
        }
        let picture = if raw { own } else { Some(seen) };
        let slice =
            picture.map(|p| (Slice { height, width, picture: p.clone() }, own != Some(seen)));
        Some(slice.ok_or_else(|| "it cannot be read".into()))
    }
}

/// Whether all pixels have the same grey. Tested before augmentation, because added noise hides it.
fn is_constant(picture: &Picture) -> bool {
    let pixels = &picture.pixels;
    pixels.first().is_some_and(|first| pixels.iter().all(|pixel| pixel == first))
}

/// Message in place of a constant picture.
fn no_picture(picture: &Picture) -> String {
    let grey = picture.pixels.first().copied().unwrap_or_default();
    format!("no picture: every pixel of this crop is {grey}")
}

fn seed(state: &State, fold: &Fold) -> Option<u64> {
    fold.seed.or(state.plan.as_ref().map(|plan| plan.seed))
}

/// Distance of a probability from its label, 0 to 1; 1 if it is not a number.
pub fn wrong_by(probability: f32, label: u8) -> f32 {
    let by = (probability - f32::from(label.min(1))).abs();
    if by.is_nan() { 1.0 } else { by }
}

/// The slice whose probability is farthest from its label; the first of equals.
pub fn most_wrong(prediction: &Prediction) -> SliceNumber {
    let mut worst = (f32::NEG_INFINITY, SliceNumber { vertebra: 1, slice: 0 });
    for vertebra in 1..=7u8 {
        let label = prediction.labels[usize::from(vertebra) - 1];
        for (slice, &p) in prediction.of_vertebra(vertebra).iter().enumerate().take(256) {
            let by = wrong_by(p, label);
            if by > worst.0 {
                worst = (by, SliceNumber { vertebra, slice: slice as u8 });
            }
        }
    }
    worst.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_wrong_slice_is_the_farthest_from_its_label() {
        let mut prediction = Prediction {
            study: "1".into(),
            labels: [0, 0, 1, 0, 0, 0, 0],
            probability: 0.5,
            slices: vec![0.2; 21],
        };
        prediction.slices[7] = 0.1;
        assert_eq!(most_wrong(&prediction), SliceNumber { vertebra: 3, slice: 1 });
        prediction.slices[20] = 0.95;
        assert_eq!(most_wrong(&prediction), SliceNumber { vertebra: 7, slice: 2 });
        prediction.slices[2] = f32::NAN;
        assert_eq!(most_wrong(&prediction), SliceNumber { vertebra: 1, slice: 2 });
        prediction.slices.clear();
        assert_eq!(most_wrong(&prediction), SliceNumber { vertebra: 1, slice: 0 });
    }
}
