//! Summarizes a run in one file to send to others: results from its journal, config and previews, as an
//! HTML page, as Markdown, or its metrics as CSV.
//!
//! Reads only the run's files, without asking the training process, so that reports work during
//! training, after a crash, and wherever the folder was moved.

pub mod csv;
mod evaluated;
mod facts;
mod figures;
mod gather;
pub mod html;
pub mod markdown;
pub mod scores;
mod settings;
mod tables;
#[cfg(test)]
mod tests;

pub use gather::Report;

use crate::{config::Metric, view::constant::Constants};

/// Most folds drawn in charts; tables show the others too.
const MOST_DRAWN: usize = 20;
/// Most rows of a table of epochs or studies; the CSV has all values.
const MOST_ROWS: usize = 500;

/// Number of worst studies listed per fold.
const MOST_WORST: usize = 5;

/// Caption of the table of the worst studies.
const WORST: &str = "The studies that the newest validation of each fold was worst at, by (slice \
                     loss + study loss) / 2; predicted is the study head's probability of a \
                     fracture anywhere.";

/// Returns the caption of the table of results.
fn results(report: &Report) -> String {
    let select = report.state.plan.as_ref().map_or(Metric::Loss, |plan| plan.select);
    let best = match select {
        Metric::Loss => "lowest validation loss".into(),
        Metric::Competition => "lowest competition metric".into(),
        metric => format!("highest {}", metric.name()),
    };
    format!(
        "The best epoch of a fold is the one with the {best}. The constant guess is the validation \
         loss of a guess at the training prevalence; the ratio is the best epoch's loss over it, \
         below 1 where something was learned. AUCs are those of the best epoch, means over the folds \
         that have one."
    )
}

/// Caption of the table of scores.
const SCORES: &str = "Of each fold's best epoch, over the studies that it validates on: vertebrae by \
                      the mean of their slices' logits, the patient by the study head, unless the \
                      settings say otherwise. Intervals are of 95 %, by the bootstrap. Chosen by \
                      these same studies, the best epoch looks a little better than it is.";

/// Caption of the out-of-fold scores.
const OUT_OF_FOLD: &str = "Every study scored by the best weights of the fold that was not trained \
                           on it, as rsna-tui evaluate found.";

/// Heading of the crops without a picture.
const CONSTANT: &str = "Crops without a picture";

/// Returns the number of crops without a picture and what they mean.
fn constant(constants: &Constants) -> String {
    format!(
        "There are {}, as of a vertebra that is not in the scan. The run trains and validates on \
         them as on all others.",
        constants.heading()
    )
}

/// Caption of the charts of the two heads.
const HEADS: &str = "Here training and validation are on the same terms: each head's loss by \
                     itself, against the unmixed targets. Training is still the harder of the two \
                     where batches are mixed up and augmented, and it is a mean over the epoch \
                     while the network changed; so it may lie above validation.";

/// Caption of the table of vertebrae.
const VERTEBRAE: &str = "Validation loss of each vertebra's slices at the best epoch: the darker, \
                         the higher.";

/// Returns the caption of the charts of losses: the two losses have different scales.
fn losses(report: &Report) -> String {
    let (slice, study) = match &report.settings {
        Ok(settings) => settings.weights.unwrap_or((15.0, 1.0)),
        Err(_) => (15.0, 1.0),
    };
    format!(
        "As in the notebook, training and validation loss are different formulas: training weighs \
         the slice and the study head {slice}:{study} and counts mixed-up targets, validation is \
         the plain mean of the two heads. Compare each with itself; the next section has both on \
         the same terms. A training curve is smoothed over about 50 steps."
    )
}
