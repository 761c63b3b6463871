//! Validation, as in the notebook's `valid_func`.

use super::Training;
use crate::{
    run::{
        Event,
        event::{FoldState, Position, ValidStep, WorstStudy},
    },
    score::{Scores, Study, ranks::roc_auc},
    study::Loader,
    train::{
        Result, control::Control, loss, metrics::VertebraLoss, outputs::outputs, worst::Ranking,
    },
};
use std::time::Instant;

/// Results of a validation.
pub(super) struct Validation {
    /// Mean over batches of (slice loss + study loss) / 2.
    pub loss: f64,
    /// Mean over batches of the slice head's loss.
    pub slice: f64,
    /// Mean over batches of the study head's loss.
    pub study: f64,
    /// Slice loss of C1..C7 over all slices; `None` without slices.
    pub vertebra: [Option<f64>; 7],
    /// ROC AUC over all slices.
    pub slice_auc: Option<f64>,
    /// ROC AUC of the study head.
    pub study_auc: Option<f64>,
    /// Scores over the studies; `None` if a logit is NaN.
    pub scores: Option<Scores>,
    /// Batches, without those in which no study could be read.
    pub batches: usize,
    /// Duration in seconds.
    pub seconds: f64,
    /// Studies with the highest loss, the worst first.
    pub worst: Vec<WorstStudy>,
}

impl Training<'_, '_> {
    /// Runs the network over the fold's own studies, in order and without augmentation, including the last
    /// short batch. `loader` must be at the validation phase.
    ///
    /// Obeys commands between batches; the inner `Err` is the state in which one left the fold. A loss that is
    /// not finite is no error, as in the notebook, but the epoch is never the best.
    ///
    /// Errors: when a study cannot be read or candle fails.
    pub(super) fn validate(
        &mut self,
        loader: &mut Loader,
        control: &mut Control,
    ) -> Result<std::result::Result<Validation, FoldState>> {
        let (fold, at) = (self.fold, self.at());
        let stepper = fold.stepper(self.model);
        let positive = fold.config.train.positive_weight;
        let (mut slice, mut study, mut batches) = (0.0, 0.0, 0);
        let mut vertebrae = VertebraLoss::default();
        let mut ranking = Ranking::default();
        let (mut slice_logits, mut slice_targets) = (Vec::new(), Vec::new());
        let (mut study_logits, mut study_targets) = (Vec::new(), Vec::new());
        let mut scored = Vec::new();
        let rules = &fold.config.score;
        let mut seconds = 0.0;
        let place = format!("fold {} epoch {} validation", at.fold, at.epoch);
        loop {
            let start = Instant::now();
            let batch = loader.next();
            self.found.skips.note(loader, &place, fold.events);
            let Some(batch) = batch.transpose()? else { break };
            let data_seconds = start.elapsed().as_secs_f64();
            let (slices, studies) = stepper.predict(&batch, batch.len())?;
            let (slices, studies) = (slices.to_vec1::<f32>()?, studies.to_vec1::<f32>()?);
            let truth = loss::study_targets(&batch.targets, batch.images_per_study);
            slice += loss::criterion(&slices, &batch.targets, positive).loss;
            study += loss::criterion(&studies, &truth, positive).loss;
            batches += 1;
            let places = batch.places.iter().map(|p| usize::from(p.vertebra));
            vertebrae.add(&slices, &batch.targets, places, positive, 1.0);
            // Always without mixup: with few steps per epoch these may be the only crops to show.
            self.previews.offer(&batch, (&slices, &studies), at);
            ranking.add(&batch, &slices, &studies, positive);
            scored.extend(
                outputs(&batch, &slices, &studies)
                    .map(|output| Study::new(output.labels, output.logits.probabilities(rules))),
            );
            slice_logits.extend(slices);
            slice_targets.extend(batch.targets.iter().map(|&target| target > 0.5));
            study_logits.extend(studies);
            study_targets.extend(truth.iter().map(|&target| target > 0.5));
            let elapsed = start.elapsed().as_secs_f64();
            seconds += elapsed;
            fold.events.send(Event::ValidStep(ValidStep {
                at: Position { step: batches, ..at },
                batches: fold.plan.valid_batches,
                loss: (slice + study) / 2.0 / batches as f64,
                images: batch.targets.len(),
                seconds: elapsed,
                data_seconds,
            }));
            if let Some(left) = self.obey(control)? {
                return Ok(Err(left));
            }
        }
        let n = batches as f64;
        Ok(Ok(Validation {
            loss: (slice + study) / 2.0 / n,
            slice: slice / n,
            study: study / n,
            vertebra: vertebrae.means(),
            slice_auc: roc_auc(slice_logits, &slice_targets),
            study_auc: roc_auc(study_logits, &study_targets),
            scores: Scores::of(&scored, rules, fold.config.seed),
            batches,
            seconds,
            worst: ranking.worst(),
        }))
    }
}
