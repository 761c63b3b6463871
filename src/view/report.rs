//! How the run ended: the same words at the end of the plain lines, on the screen and in
//! `report.txt`.

use super::format;
use crate::run::event::{FoldBest, Outcome, RunFinished, SkippedStudy};

/// The whole report, a line each: the outcome, every fold's best epoch and its checkpoint, and the
/// studies that were left out.
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

/// What stands for the table of results where there is none.
pub const NOTHING: &str = "no epoch was finished";

/// Heading of the table of results.
pub const RESULTS: &str = "fold  best valid  epoch  baseline  best/baseline  slice AUC";

/// A fold's row under [`RESULTS`].
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

/// The outcome in words.
pub fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "finished",
        Outcome::Stopped => "stopped",
        Outcome::Requeued => "stopped, to be started again",
        Outcome::Failed => "failed: at least one fold ended with an error",
    }
}

/// The line above the studies that were left out.
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

/// A study that was left out, in a line.
pub fn skipped(s: &SkippedStudy) -> String {
    let times = format!("{} time{}", s.times, if s.times == 1 { "" } else { "s" });
    format!("fold {} {times}: {}", s.fold, format::sanitized(&s.message))
}
