//! Prints a run as plain lines without escape codes, for cluster logs, pipes and dumb terminals.

use crate::config::Metric;
use crate::run::catalogue::{self, Figure, Unit};
use crate::run::channel::RunHandle;
use crate::run::event::{Epoch, Event, Level, Outcome, RunFinished, RunStarted, Stamped};
use crate::view::{Alert, State, format, report, text};
use std::io::{self, Write};

/// Writes the run's events to `out` as lines until it ends: a header, a line every
/// `log_every_steps` steps (0 = none), a line per epoch, changes of folds and checkpoints, and a
/// summary. `state`: what the run's events have told so far, if its terminal went away.
///
/// Returns the run's outcome; `None` if the trainer vanished. A closed pipe does not stop training:
/// the remaining events are drained without printing. Any other write error is returned once the
/// run has ended.
pub fn run(
    mut state: State,
    handle: &RunHandle,
    log_every_steps: usize,
    out: &mut dyn Write,
) -> io::Result<Option<Outcome>> {
    if let Some(finished) = &state.finished {
        return Ok(Some(finished.outcome));
    }
    let mut failure: Option<io::Error> = None;
    for stamped in handle.events.iter() {
        let raised = state.alerts.raised();
        state.apply(&stamped);
        let printed = lines(&stamped, &state, log_every_steps);
        let lines = printed.unwrap_or_default() + &alerts(&stamped, &state, raised);
        if failure.is_none() && !lines.is_empty() {
            failure = out.write_all(lines.as_bytes()).and_then(|()| out.flush()).err();
        }
        if state.finished.is_some() {
            break;
        }
    }
    if state.finished.is_none() && failure.is_none() {
        failure = writeln!(out, "error: the trainer ended without a word").err();
    }
    match failure {
        Some(e) if !is_gone(&e) => Err(e),
        _ => Ok(state.finished.map(|f| f.outcome)),
    }
}

/// Whether the reader of the output is gone: a closed pipe, or a terminal that hung up (EIO).
fn is_gone(e: &io::Error) -> bool {
    const EIO: i32 = 5;
    e.kind() == io::ErrorKind::BrokenPipe || e.raw_os_error() == Some(EIO)
}

/// Formats an event as complete lines. `state` already includes the event.
fn lines(stamped: &Stamped, state: &State, every: usize) -> Option<String> {
    let clock = format::duration(stamped.at);
    let text = match &stamped.event {
        Event::RunStarted(plan) if stamped.fold.is_none() => return Some(header(plan)),
        Event::Step(s) => {
            if every == 0 || (s.at.step % every != 0 && s.at.step != s.steps) {
                return None;
            }
            let figures = words(catalogue::STEP, s);
            let wait =
                format::figure(Unit::Share, state.progress_of(stamped.fold).train.data_share());
            let speed = speed(state, stamped.fold);
            format!("{}/{} {figures} {speed} data wait {wait} ETA {}", s.at, s.steps, eta(state))
        }
        Event::Epoch(e) => return Some(epoch(&clock, e, state, stamped.fold)),
        Event::RunFinished(finished) if stamped.fold.is_none() => {
            return Some(summary(&clock, finished, state));
        }
        // The end of one of several processes is not the run's.
        Event::RunFinished(_) if stamped.fold.is_some() => return None,
        event => {
            let (level, mut text) = text::of_stamped(stamped)?;
            if let Event::Checkpoint(checkpoint) = event {
                text += &format!(" to {}", checkpoint.path);
            }
            format!("{}{}", prefix(level), format::sanitized(&text))
        }
    };
    Some(format!("{clock:>8}  {text}\n"))
}

/// Formats the alerts that an event raised, except those that repeat the event itself.
fn alerts(stamped: &Stamped, state: &State, raised: u64) -> String {
    let clock = format::duration(stamped.at);
    let risen = state.alerts.since(raised).filter(|alert| !alert.kind.has_own_event());
    let line = |alert: &Alert| {
        let prefix = prefix(alert.kind.level());
        format!("{clock:>8}  {prefix}{}\n", format::sanitized(&alert.text))
    };
    risen.map(line).collect()
}

fn prefix(level: Level) -> &'static str {
    match level {
        Level::Info => "",
        Level::Warn => "warning: ",
        Level::Error => "error: ",
    }
}

/// The figures of an event that have a word: `loss 0.4123 lr 2.30e-4`. A score that is not defined is
/// a dash; other figures that are not known are left out.
fn words<E>(figures: &[Figure<E>], event: &E) -> String {
    let said = |figure: &Figure<E>| {
        let x = (figure.read)(event);
        let word = figure.word.filter(|_| x.is_some() || figure.unit == Unit::Score)?;
        Some(format!("{word} {}", format::figure(figure.unit, x)))
    };
    figures.iter().filter_map(said).collect::<Vec<_>>().join(" ")
}

/// Images per second of the process of `fold`, or of the only one.
fn speed(state: &State, fold: Option<usize>) -> String {
    let speed = state.progress_of(fold).train.images_per_second();
    format::figure(Unit::PerSecond, speed) + " images/s"
}

fn eta(state: &State) -> String {
    state.seconds_left().map_or("–".into(), |s| format!("~{}", format::duration(s)))
}

fn header(plan: &RunStarted) -> String {
    let mut text = format!(
        "run        {}\nfolder     {}\ndevice     {}\nmodel      {}, {} parameters\n\
         input      {} images of {}×{} a study, {} studies a step, seed {}\n",
        format::sanitized(&plan.name),
        format::sanitized(&plan.folder),
        format::sanitized(&plan.device),
        format::sanitized(&plan.model),
        format::count(plan.parameters),
        plan.images_per_study,
        plan.image_size,
        plan.image_size,
        plan.batch_size,
        plan.seed,
    );
    for f in &plan.folds {
        text += &format!(
            "fold {:<5} {} epoch{} of {} steps; {} studies to train, {} to validate; baseline {}\n",
            f.fold,
            plan.epochs,
            if plan.epochs == 1 { "" } else { "s" },
            f.steps,
            f.train_studies,
            f.valid_studies,
            format::loss(f.baseline)
        );
    }
    text
}

fn epoch(clock: &str, e: &Epoch, state: &State, process: Option<usize>) -> String {
    let vertebrae: Vec<String> = e
        .valid_vertebra_loss
        .iter()
        .enumerate()
        .map(|(i, &loss)| format!("C{} {}", i + 1, format::maybe_loss(loss)))
        .collect();
    let indent = " ".repeat(10);
    let planned = state.plan.as_ref().map_or(0, |plan| plan.epochs);
    let own = state.folds.iter().find(|fold| Some(fold.plan.fold) == process);
    let epochs = own.map_or(planned, |fold| fold.epochs.len());
    let select = state.plan.as_ref().map_or(Metric::Loss, |plan| plan.select);
    let by = catalogue::selecting(select);
    let best = match select {
        Metric::Loss => format!("best {}", format::loss(e.best_metric)),
        _ => {
            let figure = Some(by.cost(e.best_metric)).filter(|figure| figure.is_finite());
            format!("best {} {}", by.label, format::maybe_loss(figure))
        }
    };
    format!(
        "{clock:>8}  fold {} epoch {}/{} train {} (unmixed: slice {} study {}) valid {} (slice {} study {}){}\n\
         {indent}valid slice loss {}\n\
         {indent}{} {best} lr {} train {} valid {} {} ETA {}\n",
        e.at.fold,
        e.at.epoch,
        epochs,
        format::loss(e.train_loss),
        format::loss(e.train_slice_loss),
        format::loss(e.train_study_loss),
        format::loss(e.valid_loss),
        format::loss(e.valid_slice_loss),
        format::loss(e.valid_study_loss),
        if e.is_best { " * best" } else { "" },
        vertebrae.join(" "),
        words(catalogue::EPOCH, e),
        format::learning_rate(e.learning_rate),
        format::seconds(e.train_seconds),
        format::seconds(e.valid_seconds),
        speed(state, process),
        eta(state),
    )
}

fn summary(clock: &str, finished: &RunFinished, state: &State) -> String {
    let mut text = format!("{clock:>8}  {}", report::text(finished));
    if let Some(plan) = &state.plan {
        text += &format!("everything is in {}\n", format::sanitized(&plan.folder));
    }
    text
}
