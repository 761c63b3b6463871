//! Predictions for single studies, and the studies with the highest validation loss.

use super::{
    loss,
    outputs::{Output, outputs},
};
use crate::{
    run::event::{Prediction, WorstStudy},
    score::aggregate,
    study::Batch,
};
use std::iter;

/// Number of studies reported per validation.
const TOLD: usize = 8;

/// Converts the network's output for a study to the form used in events.
pub fn prediction(output: Output) -> Prediction {
    let Output { study, labels, logits } = output;
    Prediction {
        study: study.to_string(),
        labels,
        probability: probability(logits.study),
        slices: logits.slices.into_iter().map(probability).collect(),
    }
}

/// Rounds to 4 digits: no view shows more, and they would fill most of a journal line.
fn probability(logit: f32) -> f32 {
    ((1e4 * aggregate::probability(logit.into())).round() / 1e4) as f32
}

/// Sort key of a loss: NaN ranks as the worst.
fn rank(loss: f64) -> f64 {
    if loss.is_nan() { f64::INFINITY } else { loss }
}

/// The studies with the highest loss so far, the worst first.
#[derive(Debug, Default)]
pub struct Ranking {
    studies: Vec<WorstStudy>,
}

impl Ranking {
    /// Ranks the studies of a batch. `slices`: logits `[B, T]`; `studies`: logits `[B]`.
    pub fn add(&mut self, batch: &Batch, slices: &[f32], studies: &[f32], positive: f64) {
        outputs(batch, slices, studies).for_each(|output| self.add_one(output, positive));
    }

    /// Ranks a study; `positive`: weight of positive targets.
    pub fn add_one(&mut self, output: Output, positive: f64) {
        let slices = output.logits.slices.len() / output.labels.len();
        let labels = output.labels.iter().flat_map(|&y| iter::repeat_n(f32::from(y), slices));
        let targets: Vec<f32> = labels.collect();
        let any = [f32::from(u8::from(output.labels.contains(&1)))];
        let slice_loss = loss::criterion(&output.logits.slices, &targets, positive).loss;
        let study_loss = loss::criterion(&[output.logits.study], &any, positive).loss;
        let loss = (slice_loss + study_loss) / 2.0;
        let place = self.studies.partition_point(|s| rank(s.loss) >= rank(loss));
        if place < TOLD {
            let prediction = prediction(output);
            self.studies.truncate(TOLD - 1);
            self.studies.insert(place, WorstStudy { loss, slice_loss, study_loss, prediction });
        }
    }

    /// Returns at most eight studies, the worst first.
    pub fn worst(self) -> Vec<WorstStudy> {
        self.studies
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::outputs::output;
    use crate::{
        config::{Config, Set},
        study::{Loader, Phantom, SliceSource},
    };
    use std::sync::Arc;

    /// A batch of three studies of 7 × 3 slices, shuffled as in training.
    fn shuffled() -> Batch {
        let sets = [
            "data.image_size=32",
            "data.slices_per_vertebra=3",
            "train.batch_size=3",
            "train.mixup=0",
            "train.vertebra_shuffle=1",
            "train.slice_shuffle=1",
        ];
        let config = Config::load(None, false, &sets.map(Set::new)).unwrap();
        let (train, _) = Phantom::table(6, 2, 0).split(1);
        let source: Arc<dyn SliceSource> = Arc::new(Phantom::new(32, 3, 0));
        Loader::train(source, train.into(), &config, 1, 1).next().unwrap().unwrap()
    }

    #[test]
    fn a_prediction_undoes_the_shuffle() {
        let batch = shuffled();
        let t = batch.images_per_study;
        // Logits that encode their place.
        let logit = |i: usize| {
            f32::from(batch.places[i].vertebra) + f32::from(batch.places[i].slice) / 10.0
        };
        let logits: Vec<f32> = (0..batch.targets.len()).map(logit).collect();
        let (train, _) = Phantom::table(6, 2, 0).split(1);
        for b in 0..batch.len() {
            let predicted = prediction(output(&batch, b, &logits, 0.0));
            assert_eq!((predicted.probability, predicted.slices.len()), (0.5, t));
            let study = train.iter().find(|study| *study.uid == *predicted.study).unwrap();
            assert_eq!(predicted.labels, study.labels);
            assert_eq!(predicted.of_vertebra(1)[0], 0.5);
            assert_eq!(predicted.of_vertebra(5)[2], probability(4.2));
        }
    }

    #[test]
    fn the_worst_are_few_and_in_order_and_the_mean_of_all_is_the_validations() {
        let batch = shuffled();
        let (n, t) = (batch.len(), batch.images_per_study);
        let mut ranking = Ranking::default();
        for round in 0..5 {
            let slices: Vec<f32> =
                (0..n * t).map(|i| ((i * 7 + round) % 11) as f32 - 5.0).collect();
            let studies: Vec<f32> = (0..n).map(|b| (b + round) as f32 - 3.0).collect();
            ranking.add(&batch, &slices, &studies, 2.0);
        }
        let worst = ranking.worst();
        assert_eq!(worst.len(), TOLD);
        assert!(worst.windows(2).all(|pair| pair[0].loss >= pair[1].loss), "{worst:?}");
        let mut ranking = Ranking::default();
        ranking.add(&batch, &vec![f32::NAN; n * t], &[0.0, 9.0, -9.0], 2.0);
        assert!(ranking.worst().iter().all(|study| study.loss.is_nan()));
        // For a single study, the loss equals validation's.
        let slices = vec![0.3; n * t];
        let mut ranking = Ranking::default();
        ranking.add(&batch, &slices, &[0.3; 3], 2.0);
        let first = &ranking.worst()[0];
        let b = batch.studies.iter().position(|s| **s == *first.prediction.study).unwrap();
        let expected = loss::criterion(&slices[..t], &batch.targets[b * t..(b + 1) * t], 2.0).loss;
        assert_eq!(first.slice_loss, expected);
    }
}
