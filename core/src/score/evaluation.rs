//! Results of an evaluation, as stored in a file.

use super::Scores;
use crate::config::{BINS, Score};
use serde::{Deserialize, Serialize};

/// Value of `format` in the file.
pub const FORMAT: &str = "rsna-tui scores 1";

/// Out-of-fold scores of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Format of the file, [`FORMAT`].
    pub format: String,
    /// Time of the evaluation, as Unix time in seconds.
    pub made: f64,
    /// Rules for turning logits into probabilities and for scoring.
    pub rules: Score,
    /// Number of views averaged per study: 1 = only the original images.
    pub views: usize,
    /// Scores of all folds together.
    pub all: Scores,
    /// The competition's metric of a guess by the frequency of each target.
    pub guess: f64,
    /// Scores of each fold.
    pub folds: Vec<OfFold>,
}

/// Scores of a fold's own studies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OfFold {
    /// Number of the fold.
    pub fold: usize,
    /// Epoch of the weights, if known.
    pub epoch: Option<usize>,
    /// Scores of the fold's studies.
    pub scores: Scores,
}

impl Evaluation {
    /// Reads it from a file's bytes.
    ///
    /// Errors: when it is not such a file; one sentence.
    pub fn of_bytes(bytes: &[u8]) -> Result<Self, String> {
        let evaluation: Self = serde_json::from_slice(bytes)
            .map_err(|e| crate::bounded::excerpt(&e.to_string(), 200))?;
        if evaluation.format != FORMAT {
            return Err(format!("its format is not {FORMAT:?}"));
        }
        match BINS.contains(&evaluation.rules.bins) {
            true => Ok(evaluation),
            false => Err(format!("it has {} bins", evaluation.rules.bins)),
        }
    }
}
