//! Messages about single studies: predictions, and slices as pictures.

use super::{figure, position::Position};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The network's predictions for a study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// StudyInstanceUID.
    pub study: String,
    /// Fracture (1) or not (0) of C1..C7.
    pub labels: [u8; 7],
    /// Probability from the study head.
    #[serde(with = "figure::single")]
    pub probability: f32,
    /// Probabilities from the slice head, C1 first: `7 × slices`, to 4 digits.
    #[serde(with = "figure::singles")]
    pub slices: Vec<f32>,
}

impl Prediction {
    /// Returns the study's target: whether any vertebra is fractured.
    pub fn fractured(&self) -> bool {
        self.labels.iter().any(|&label| label > 0)
    }

    /// Returns the number of slices per vertebra.
    pub fn slices_per_vertebra(&self) -> usize {
        self.slices.len() / 7
    }

    /// Returns the probabilities of a vertebra's slices, `vertebra` 1..=7 for C1..C7; empty for any other.
    pub fn of_vertebra(&self, vertebra: u8) -> &[f32] {
        let n = self.slices_per_vertebra();
        let from = usize::from(vertebra).wrapping_sub(1).saturating_mul(n);
        self.slices.get(from..from.saturating_add(n)).unwrap_or_default()
    }
}

/// The studies with the highest loss of a validation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Worst {
    /// Fold and epoch; `at.step` = steps in the epoch.
    pub at: Position,
    /// The studies, worst first.
    pub studies: Vec<WorstStudy>,
}

/// A study with a high loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorstStudy {
    /// (slice loss + study loss) / 2 of this study alone, as in validation.
    #[serde(with = "figure")]
    pub loss: f64,
    /// Loss of the slice head.
    #[serde(with = "figure")]
    pub slice_loss: f64,
    /// Loss of the study head.
    #[serde(with = "figure")]
    pub study_loss: f64,
    /// Predictions for it.
    pub prediction: Prediction,
}

/// Crops without a picture that training has met: all pixels of their CT planes are equal, as for a
/// vertebra outside the scan. They are trained on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constant {
    /// Position of training.
    pub at: Position,
    /// Slices per vertebra.
    pub slices_per_vertebra: usize,
    /// The studies with such crops that were not reported before.
    pub studies: Vec<ConstantStudy>,
}

/// A study with crops without a picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConstantStudy {
    /// StudyInstanceUID.
    pub study: String,
    /// Number of such slices in C1..C7.
    pub slices: [usize; 7],
}

/// A view's request for a slice: its original and as training augments it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SliceRequest {
    /// Fold of the augmentation.
    pub fold: usize,
    /// Epoch of the augmentation, from 1.
    pub epoch: usize,
    /// Seed of the fold's training.
    pub seed: u64,
    /// StudyInstanceUID.
    pub study: String,
    /// Vertebra: 1..=7 for C1..C7.
    pub vertebra: u8,
    /// Slice within the vertebra, from 0.
    pub slice: u8,
}

/// The answer to a [`SliceRequest`]. It is not in the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SliceReply {
    /// The request.
    pub wanted: SliceRequest,
    /// The pictures, or why there are none.
    pub found: SliceContent,
}

/// Pictures of a slice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SliceContent {
    /// Two pictures.
    Slice {
        /// Height of each, in pixels.
        height: usize,
        /// Width of each, in pixels.
        width: usize,
        /// The network's input in that fold and epoch, before mixup; equal to `raw` if the fold validates on
        /// the study.
        seen: Picture,
        /// Without augmentation.
        raw: Picture,
    },
    /// No pictures: why, in one sentence.
    Nothing(String),
}

/// A slice for display.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Picture {
    /// The centre CT slice in grey, row by row, `height × width`.
    #[serde(with = "pixels")]
    pub pixels: Arc<[u8]>,
    /// The mask channel, row by row, `height × width`.
    #[serde(with = "pixels")]
    pub mask: Arc<[u8]>,
}

/// Pixels as base64.
mod pixels {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::sync::Arc;

    pub fn serialize<S: Serializer>(pixels: &Arc<[u8]>, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&STANDARD.encode(pixels))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Arc<[u8]>, D::Error> {
        let text = String::deserialize(d)?;
        STANDARD.decode(text).map(Arc::from).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prediction_has_fifteen_slices_of_each_vertebra_and_of_no_eighth() {
        let slices = (0..105).map(|i| i as f32 / 1e3).collect();
        let labels = [0, 0, 1, 0, 0, 0, 0];
        let prediction = Prediction { study: "1.2".into(), labels, probability: 0.5, slices };
        assert!(prediction.fractured());
        assert_eq!(prediction.of_vertebra(3)[0], 0.03);
        assert_eq!(prediction.of_vertebra(7).len(), 15);
        assert!(prediction.of_vertebra(0).is_empty() && prediction.of_vertebra(8).is_empty());
        let json = serde_json::to_string(&prediction).unwrap();
        assert!(json.contains(r#""probability":0.5,"slices":[0.0,0.001,0.002"#), "{json}");
        assert_eq!(serde_json::from_str::<Prediction>(&json).unwrap(), prediction);
    }

    #[test]
    fn a_probability_that_is_none_survives() {
        let slices = vec![f32::NAN; 7];
        let prediction =
            Prediction { study: "1".into(), labels: [0; 7], probability: f32::NAN, slices };
        let json = serde_json::to_string(&prediction).unwrap();
        let again: Prediction = serde_json::from_str(&json).unwrap();
        assert!(again.probability.is_nan() && again.slices.iter().all(|p| p.is_nan()), "{json}");
    }
}
