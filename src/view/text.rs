//! Formats events as lines for the log pane and the headless output.

use super::{constant, fold, format, report};
use crate::run::event::{
    CheckpointKind, Epoch, Event, FoldState, Level, Outcome, RunStarted, Stamped, TrainerState,
};

/// Formats an event with its time and process like [`of_event`]. In a run that several processes train,
/// the line names the fold.
pub fn of_stamped(stamped: &Stamped) -> Option<(Level, String)> {
    let (level, text) = match (&stamped.event, stamped.fold) {
        (Event::RunStarted(plan), Some(fold)) => (Level::Info, started(plan, fold)),
        (event, _) => of_event(event)?,
    };
    Some((level, with_fold(stamped.fold, text)))
}

/// A line for the start of the process that trains `fold`.
pub fn started(plan: &RunStarted, fold: usize) -> String {
    let how = if plan.resumed { "resumed" } else { "started" };
    format!("fold {fold}: {how} on {}", plan.device)
}

/// `text`, with the fold before it unless it names it.
pub fn with_fold(fold: Option<usize>, text: String) -> String {
    let Some(fold) = fold else { return text };
    let name = format!("fold {fold}");
    // The notebook's log has "Fold 0".
    let is_named = text.to_ascii_lowercase().match_indices(&name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(|c| c.is_ascii_digit())
    });
    if is_named { text } else { format!("{name}: {text}") }
}

/// Formats an event for the log; `None` for events that are only drawn (steps, previews).
pub fn of_event(event: &Event) -> Option<(Level, String)> {
    let line = match event {
        Event::RunStarted(plan) => (Level::Info, run(plan)),
        Event::Fold(f) => match f.state {
            FoldState::Waiting if f.at.epoch == 0 => return None,
            FoldState::Validating => return None,
            FoldState::Training => (Level::Info, format!("fold {}: training", f.at.fold)),
            state => {
                let level = if state == FoldState::Failed { Level::Error } else { Level::Info };
                let at = match state {
                    FoldState::Done => String::new(),
                    _ => format!(" at epoch {} step {}", f.at.epoch, f.at.step),
                };
                (level, format!("fold {}: {}{at}", f.at.fold, fold::word(state)))
            }
        },
        Event::Retrain(a) => {
            (Level::Info, format!("fold {}: to be trained again, seed {}", a.at.fold, a.seed))
        }
        Event::Planned(p) => (Level::Info, format!("from {} on: {}", p.at, p.changes.join(", "))),
        Event::Epoch(e) => (Level::Info, epoch(e)),
        Event::LeftOut(l) => {
            let studies = l.studies.join(", ");
            let line = format!(
                "{}: {} is not finite: the batch after it is left out; its studies: {studies}",
                l.at, l.what
            );
            (Level::Warn, line)
        }
        Event::Constant(c) => (Level::Warn, constant::line(c)),
        Event::Checkpoint(c) => {
            let kind = match c.kind {
                CheckpointKind::Best => "best",
                CheckpointKind::Last => "last",
            };
            let seconds = format::seconds(c.seconds);
            (Level::Info, format!("saved {kind} of fold {} ({seconds})", c.at.fold))
        }
        Event::Trainer(t) => match t.state {
            TrainerState::Running => (Level::Info, format!("running from {}", t.at)),
            TrainerState::Held => {
                (Level::Error, t.reason.clone().unwrap_or_else(|| format!("held at {}", t.at)))
            }
            TrainerState::Paused => (Level::Info, format!("paused at {}", t.at)),
            TrainerState::StoppingAfterEpoch => {
                (Level::Info, format!("stopping after fold {} epoch {}", t.at.fold, t.at.epoch))
            }
            TrainerState::Stopping => (Level::Info, format!("stopping at {}", t.at)),
        },
        Event::Ack(ack) => (Level::Warn, ack.refused.clone()?),
        Event::Worker(worker) => super::worker::line(worker),
        Event::Log(log) => (log.level, log.message.clone()),
        Event::Error(e) => (Level::Error, format!("{}: {}", e.at, e.message)),
        Event::RunFinished(f) => {
            let level = if f.outcome == Outcome::Failed { Level::Error } else { Level::Info };
            (level, report::outcome(f.outcome).into())
        }
        Event::EpochStarted(_)
        | Event::Queue(_)
        | Event::Step(_)
        | Event::ValidStep(_)
        | Event::Worst(_)
        | Event::Preview(_)
        | Event::SliceReply(_)
        | Event::Gpu(_)
        | Event::System(_)
        | Event::Unknown => return None,
    };
    Some(line)
}

/// Describes a run in one line.
pub fn run(plan: &RunStarted) -> String {
    let folds: Vec<String> = plan.folds.iter().map(|f| f.fold.to_string()).collect();
    format!(
        "run {} on {}: {} ({} parameters), folds {}, {} epochs each",
        plan.name,
        plan.device,
        plan.model,
        format::count(plan.parameters),
        folds.join(" "),
        plan.epochs
    )
}

/// Describes an epoch in one line.
pub fn epoch(e: &Epoch) -> String {
    format!(
        "fold {} epoch {}: train {} valid {} slice AUC {}{}",
        e.at.fold,
        e.at.epoch,
        format::loss(e.train_loss),
        format::loss(e.valid_loss),
        format::auc(e.slice_auc),
        if e.is_best { " ★ best" } else { "" }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_its_fold_once() {
        let named = |text: &str| with_fold(Some(1), text.into());
        assert_eq!(named("paused at fold 1 epoch 3 step 2"), "paused at fold 1 epoch 3 step 2");
        assert_eq!(named("saved last of fold 1"), "saved last of fold 1");
        assert_eq!(named("saved last of fold 10"), "fold 1: saved last of fold 10");
        assert_eq!(named("scaffold 1"), "fold 1: scaffold 1");
        assert_eq!(with_fold(None, "a disk is slow".into()), "a disk is slow");
    }
}
