//! Report at the end of a run, with the same wording in the headless output, on the screen and in
//! `report.txt`.

use super::format;
use crate::run::event::{FoldBest, Outcome, RunFinished, SkippedStudy};

/// Formats the whole report: the outcome, every fold's best epoch with its checkpoint, and the
/// skipped studies.
pub fn text(finished: &RunFinished) -> String {
    let mut lines = vec![outcome(finished.outcome).to_string(), String::new()];
    if finished.best.is_empty() {
        lines.push(NOTHING.into());
    } else {
        lines.push(RESULTS.into());
    }
    lines.extend(finished.best.iter().map(result));
    for best in &finished.best {
        let path = format::sanitized(&best.path);
        lines.push(format!("fold {} best checkpoint: {path}", best.fold));
    }
    if !finished.skipped.is_empty() {
        lines.push(skipped_heading(&finished.skipped));
        lines.extend(finished.skipped.iter().map(skipped));
    }
    lines.join("\n") + "\n"
}

/// Shown instead of an empty table of results.
pub const NOTHING: &str = "no epoch was finished";

/// Heading of the table of results.
pub const RESULTS: &str = "fold  best valid  epoch  baseline  best/baseline  slice AUC";

/// Formats a fold's row under [`RESULTS`].
pub fn result(b: &FoldBest) -> String {
    format!(
        "{:>4}  {:>10}  {:>5}  {:>8}  {:>13}  {:>9}",
        b.fold,
        format::loss(b.loss()),
        b.epoch,
        format::loss(b.baseline),
        format!("{:.3}", b.loss() / b.baseline),
        format::auc(b.slice_auc),
    )
}

/// Describes the outcome.
pub fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "finished",
        Outcome::Stopped => "stopped",
        Outcome::Requeued => "stopped, to be started again",
        Outcome::Failed => "failed: at least one fold ended with an error",
    }
}

/// Heading above the skipped studies.
pub fn skipped_heading(studies: &[SkippedStudy]) -> String {
    let folds: std::collections::BTreeSet<usize> = studies.iter().map(|s| s.fold).collect();
    let folds: Vec<String> = folds.iter().map(usize::to_string).collect();
    format!(
        "left out as unreadable: {} stud{} in fold{} {}",
        studies.len(),
        if studies.len() == 1 { "y" } else { "ies" },
        if folds.len() == 1 { "" } else { "s" },
        folds.join(", ")
    )
}

/// Formats a skipped study as one line.
pub fn skipped(s: &SkippedStudy) -> String {
    let times = format!("{} time{}", s.times, if s.times == 1 { "" } else { "s" });
    format!("fold {} {times}: {}", s.fold, format::sanitized(&s.message))
}
