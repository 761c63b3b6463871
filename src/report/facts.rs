//! The report's headline: state or outcome of the run, and facts about it.

use super::{document::Tone, gather::Report};
use crate::{
    config::Metric,
    run::{
        catalogue,
        event::{FoldState, Outcome},
        status::RunState,
    },
    view::{Alert, format, report},
};
use jiff::{Timestamp, tz::TimeZone};

/// Describes the run's state or outcome in a few words.
pub fn outcome(report: &Report) -> (Tone, String) {
    let state = &report.state;
    let ended = state.finished.as_ref().map(|finished| finished.outcome);
    // The journal may lack its end even though state.json has one.
    let ended = ended.or_else(|| match report.status.as_ref()?.state {
        RunState::Completed => Some(Outcome::Completed),
        RunState::Stopped => Some(Outcome::Stopped),
        RunState::Requeued => Some(Outcome::Requeued),
        RunState::Failed => Some(Outcome::Failed),
        RunState::Waiting | RunState::Running | RunState::Paused | RunState::Held => None,
    });
    match ended {
        _ if report.in_use => (Tone::Open, state.status()),
        Some(outcome) => {
            let tone = match outcome {
                Outcome::Completed => Tone::Good,
                Outcome::Stopped | Outcome::Requeued => Tone::Open,
                Outcome::Failed => Tone::Bad,
            };
            (tone, report::outcome(outcome).into())
        }
        None if state.plan.is_none() => (Tone::Open, "not begun".into()),
        None if report.status.as_ref().is_some_and(|s| s.state == RunState::Waiting) => {
            (Tone::Open, "waiting: no process trains it".into())
        }
        None => {
            (Tone::Bad, format!("died at {}: its process ended without a word", state.position()))
        }
    }
}

/// Summarizes the results in a sentence or two.
pub fn lead(report: &Report) -> String {
    let folds = report.folds();
    let done = folds.iter().filter(|fold| fold.state == FoldState::Done).count();
    let best: Vec<_> = folds.iter().filter_map(|fold| Some((*fold, fold.best_epoch()?))).collect();
    let mut said = format!("{done} of {} folds done", folds.len());
    let Some((fold, epoch)) = best.iter().copied().min_by(|a, b| a.1.metric.total_cmp(&b.1.metric))
    else {
        return format!("{said}; no epoch was finished.");
    };
    let best_loss = match report.state.plan.as_ref().map_or(Metric::Loss, |plan| plan.select) {
        Metric::Loss => "Best validation loss".into(),
        by => {
            let by = catalogue::selecting(by).label;
            format!("By {by} the best epoch has a validation loss of")
        }
    };
    let (loss, number) = (format::loss(epoch.valid_loss), fold.plan.fold);
    said += &format!(". {best_loss} {loss} (fold {number}, epoch {})", epoch.at.epoch);
    let ratio = epoch.valid_loss / fold.plan.baseline;
    if ratio.is_finite() {
        said += &format!(", {ratio:.2} times that of a constant guess");
    }
    let losses: Vec<f64> = best.iter().map(|(_, epoch)| epoch.valid_loss).collect();
    if let Some((mean, Some(sd))) = crate::view::mean(&losses) {
        let (mean, sd) = (format::loss(mean), format::loss(sd));
        said += &format!("; over {} folds {mean} ± {sd} (mean ± sd)", losses.len());
    }
    said + "."
}

/// Returns further facts with their names.
pub fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let state = &report.state;
    let mut facts = Vec::new();
    if let Some(plan) = &state.plan {
        let parameters = format::count(plan.parameters);
        let folds: Vec<String> = plan.folds.iter().map(|fold| fold.fold.to_string()).collect();
        let size = plan.image_size;
        facts.extend([
            ("Model", format!("{}, {parameters} parameters", plan.model)),
            ("Device", plan.device.clone()),
            ("Input", format!("{} images of {size} × {size} a study", plan.images_per_study)),
            ("Batch", format!("{} studies", plan.batch_size)),
            ("Plan", format!("folds {}; {}", folds.join(", "), epochs(report, plan.epochs))),
            ("Seed", plan.seed.to_string()),
        ]);
    }
    let studies = match &report.trained_on {
        Ok(Some((studies, crc))) => format!("{studies}, studies.csv with CRC-32 {crc:08x}"),
        Ok(None) => "not recorded: begun by an earlier version".into(),
        Err(why) => why.clone(),
    };
    facts.push(("Studies", studies));
    if let Some((first, newest)) = report.times {
        facts.push(("Begun", date(first)));
        facts.push((if report.in_use { "Newest event" } else { "Ended" }, date(newest)));
    }
    let resumed = match report.resumed {
        0 => String::new(),
        1 => ", gone on with once".into(),
        n => format!(", gone on with {n} times"),
    };
    let longest = if report.shared { ", by the fold that took longest" } else { "" };
    facts.push(("Trained for", format!("{}{longest}{resumed}", format::duration(state.at))));
    let progress = &state.progress.train;
    if let (Some(rate), Some(waiting)) = (progress.images_per_second(), progress.data_share()) {
        let (rate, waiting) = (format::rate(rate), format::share(waiting));
        facts.push(("Speed", format!("{rate} images/s, {waiting} of it waiting for data")));
    }
    if let Some(left) = state.seconds_left().filter(|_| report.in_use) {
        facts.push(("To go", format!("about {}", format::duration(left))));
    }
    facts.push(("Report of", date(report.now)));
    facts
}

/// How many epochs the folds have; those of a shared run are planned one by one.
fn epochs(report: &Report, planned: usize) -> String {
    let of_folds = || report.state.folds.iter().map(|fold| fold.epochs.len());
    match (of_folds().min(), of_folds().max()) {
        (Some(least), Some(most)) if report.shared && least < most => {
            format!("{least} to {most} epochs")
        }
        (_, Some(most)) if report.shared => format!("{most} epochs each"),
        _ => format!("{planned} epochs each"),
    }
}

/// Formats a time as `2026-11-26 20:41 UTC`, in this machine's time zone.
fn date(unix: f64) -> String {
    match Timestamp::from_second(unix as i64) {
        Ok(time) => time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M %Z").to_string(),
        Err(_) => "–".into(),
    }
}

/// Returns what readers must not overlook: the newest alert of each kind, and a damaged journal.
pub fn alarms(report: &Report) -> Vec<String> {
    let describe = |alert: &Alert| {
        let since = format::duration(alert.since);
        let until = alert.until.map(|until| format!(" until {}", format::duration(until)));
        format!("{} · since {since}{}", alert.text, until.unwrap_or_default())
    };
    let mut alarms: Vec<String> =
        report.state.alerts.standing().into_iter().map(describe).collect();
    if report.damaged > 0 {
        let lines = if report.damaged == 1 { "line" } else { "lines" };
        alarms.push(format!("{} {lines} of the journal cannot be understood.", report.damaged));
    }
    alarms
}
