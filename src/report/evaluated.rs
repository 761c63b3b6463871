//! Reads the results of `rsna-tui evaluate` from a run's folder.

use crate::{
    bounded,
    score::{NAMES, Study, TARGETS, evaluation::Evaluation},
};
use std::path::Path;

/// Maximum size of the scores and of the out-of-fold predictions, in bytes.
const LONGEST: [u64; 2] = [16 << 20, 256 << 20];

/// Results of `rsna-tui evaluate`.
#[derive(Debug, PartialEq)]
pub struct Evaluated {
    /// The scores.
    pub evaluation: Evaluation,
    /// The predictions that were scored; empty if their file cannot be read.
    pub studies: Vec<Study>,
}

impl Evaluated {
    /// Reads `dir`; `None` if it contains no scores.
    pub(super) fn of(dir: &Path) -> Option<Result<Self, String>> {
        let path = dir.join("scores.json");
        path.symlink_metadata().ok()?;
        let bytes = bounded::plain_file(&path).and_then(|()| bounded::read(&path, LONGEST[0]));
        let unreadable = |why: String| format!("evaluation/scores.json cannot be read: {why}");
        let evaluation = bytes.map_err(|e| e.to_string()).and_then(|b| Evaluation::of_bytes(&b));
        let oof = dir.join("oof.csv");
        let oof = bounded::plain_file(&oof).and_then(|()| bounded::read(&oof, LONGEST[1]));
        let studies = oof.ok().and_then(|bytes| studies(&bytes)).unwrap_or_default();
        Some(evaluation.map(|evaluation| Self { evaluation, studies }).map_err(unreadable))
    }
}

/// Parses labels and probabilities of out-of-fold predictions, by column name; `None` if a value is
/// missing or not a number.
fn studies(bytes: &[u8]) -> Option<Vec<Study>> {
    let mut csv = csv::Reader::from_reader(bytes);
    let header = csv.headers().ok()?.clone();
    let place = |name: &str| header.iter().position(|h| h == name);
    let mut places = [(0, 0); TARGETS];
    for (places, name) in places.iter_mut().zip(NAMES) {
        *places = (place(name)?, place(&format!("{name}_prob"))?);
    }
    let study = |row: csv::StringRecord| -> Option<Study> {
        let mut study = Study { labels: [false; TARGETS], probabilities: [0.0; TARGETS] };
        for (t, (label, p)) in places.into_iter().enumerate() {
            study.labels[t] = row.get(label)? == "1";
            let p: f64 = row.get(p)?.parse().ok()?;
            study.probabilities[t] = Some(p).filter(|p| (0.0..=1.0).contains(p))?;
        }
        Some(study)
    };
    csv.records().map(|row| study(row.ok()?)).collect()
}
