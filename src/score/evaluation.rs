//! What an evaluation found, as it is kept in a file.

use super::Scores;
use crate::config::{BINS, Score};
use serde::{Deserialize, Serialize};

/// The first words of the file.
pub const FORMAT: &str = "rsna-tui scores 1";

/// Out-of-fold figures of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// [`FORMAT`]
    pub format: String,
    /// Unix time.
    pub made: f64,
    /// How logits became probabilities, and what was counted.
    pub rules: Score,
    /// Views of each study that were averaged: 1 = the pictures as they are.
    pub views: usize,
    /// Of all folds together.
    pub all: Scores,
    /// The competition's metric of a guess that knows how often each target is fractured.
    pub guess: f64,
    /// Of each fold.
    pub folds: Vec<OfFold>,
}

/// A fold's own studies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OfFold {
    /// The fold's number.
    pub fold: usize,
    /// The epoch whose weights were used, where it is known.
    pub epoch: Option<usize>,
    /// Their figures.
    pub scores: Scores,
}

impl Evaluation {
    /// Reads it from a file's bytes.
    ///
    /// Errors: it is none of ours; one sentence.
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
