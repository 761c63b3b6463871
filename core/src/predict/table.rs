//! Predictions as CSV: with a row per study, or a row per target in the competition's format.

use super::Predicted;
use crate::{print::cell, score::NAMES};
use csv::StringRecord;
use std::io::{self, Write};

/// Returns the columns of a study's row: probabilities and logits of C1..C7 and the patient.
pub fn columns() -> Vec<String> {
    let of = |what: &'static str| NAMES.iter().map(move |name| format!("{name}_{what}"));
    std::iter::once("StudyInstanceUID".into()).chain(of("prob")).chain(of("logit")).collect()
}

/// Returns a study's row in the order of [`columns`], with its UID unescaped. Floats have their shortest
/// exact decimal form.
pub fn row(predicted: &Predicted) -> Vec<String> {
    let figures = predicted.probabilities.iter().chain(&predicted.logits);
    std::iter::once(predicted.study.to_string()).chain(figures.map(f64::to_string)).collect()
}

/// Writes out-of-fold predictions: StudyInstanceUID, fold, the labels under the names of the table of
/// studies, probabilities and logits.
///
/// Errors: when `out` cannot be written.
pub fn write_out_of_fold<'a>(
    out: impl Write,
    predicted: impl Iterator<Item = (usize, &'a Predicted)>,
) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    let mut header = columns();
    let labels = std::iter::once("fold").chain(NAMES).map(String::from);
    header.splice(1..1, labels);
    csv.write_record(header)?;
    for (fold, predicted) in predicted {
        let mut cells = row(predicted);
        cells[0] = cell(&cells[0]).into_owned();
        let any = u8::from(predicted.labels.contains(&1));
        let labels = predicted.labels.iter().chain([&any]).map(u8::to_string);
        cells.splice(1..1, std::iter::once(fold.to_string()).chain(labels));
        csv.write_record(cells)?;
    }
    csv.flush()
}

/// Writes the competition's CSV: columns `row_id,fractured` and eight rows per study, with
/// `{StudyInstanceUID}_{C1..C7, patient_overall}` and the probability of a fracture.
///
/// Errors: when `out` cannot be written.
pub fn write_answers(out: impl Write, rows: &[&StringRecord]) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(["row_id", "fractured"])?;
    for row in rows {
        let study = cell(&row[0]);
        for (name, probability) in NAMES.iter().zip(row.iter().skip(1)) {
            csv.write_record([&format!("{study}_{name}"), probability])?;
        }
    }
    csv.flush()
}

/// Writes a row per study, with the columns of [`columns`].
///
/// Errors: when `out` cannot be written.
pub fn write_wide(out: impl Write, rows: &[&StringRecord]) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(columns())?;
    for row in rows {
        csv.write_record(std::iter::once(&*cell(&row[0])).chain(row.iter().skip(1)))?;
    }
    csv.flush()
}
