//! Changes to folds that nobody trains, made in their files: by a claim of this process, so that no worker
//! begins meanwhile.

use super::queue::Known;
use crate::{
    config::{Config, MOST_EPOCHS},
    run::{
        Event, FoldAction,
        claim::{Attempt, Claimer, Timing},
        event::{FoldState, Planned, Position, Retrain, Stamped},
        folder::Folder,
        holder::Holder,
        journal::Journal,
        status::{self, FoldStatus, RunState, Status},
    },
    train::{queue::Queue, schedule},
};

/// Carries out an action on a fold that nobody trains. `entries`: all folds, in their order.
///
/// Errors: when it is refused, or cannot be written; one sentence.
pub(super) fn act(
    run: &Folder,
    known: &mut Known,
    entries: Vec<FoldStatus>,
    fold: usize,
    action: FoldAction,
) -> Result<(), String> {
    let before = entries.clone();
    let mut queue = Queue::of(entries);
    queue.obey(fold, action)?;
    if action == FoldAction::Start {
        let place = queue.entries.iter().position(|entry| entry.fold == fold);
        queue.entries[..=place.unwrap_or(0)].rotate_right(1);
    }
    let of = |entries: &[FoldStatus]| entries.iter().find(|entry| entry.fold == fold).cloned();
    let (was, is) = (of(&before), of(&queue.entries));
    if let Some(is) = is.filter(|is| was.as_ref() != Some(is)) {
        change(run, known, is, action)?;
    }
    let order: Vec<usize> = queue.entries.iter().map(|entry| entry.fold).collect();
    if order != known.plan.folds() {
        let failed = |e| format!("cannot write {}: {e}", run.queue().display());
        let plan = crate::run::shared::Plan { order, ..known.plan.clone() };
        plan.write(run).map_err(failed)?;
        known.plan = plan;
    }
    Ok(())
}

/// Writes the state of a fold.
fn change(
    run: &Folder,
    known: &Known,
    entry: FoldStatus,
    action: FoldAction,
) -> Result<(), String> {
    let fold = entry.fold;
    let failed = |e: &dyn std::fmt::Display| format!("fold {fold} cannot be changed: {e}");
    let folder = run.make_fold(fold).map_err(|e| failed(&e))?;
    let mut claimer = Claimer::new(Holder::here(""), Timing::default(), |_| {});
    let claim = match claimer.claim(folder.path()).map_err(|e| failed(&e))? {
        Attempt::Claimed(claim) => claim,
        Attempt::Held(held) => return Err(failed(&format!("it is held by {}", held.by))),
    };
    let state = match entry.state {
        FoldState::Done | FoldState::Skipped => RunState::Completed,
        _ => RunState::Waiting,
    };
    let before = known.plan.status(run, fold).map_err(|e| failed(&e))?;
    // Whoever held it until now may have gone on since.
    let position = |status: &Status| {
        status.folds.iter().find(|e| e.fold == fold).map(|e| (e.epoch, e.step, e.seed))
    };
    let seed = entry.seed;
    if action == FoldAction::Retrain {
        let event = Event::Retrain(Retrain { at: Position { fold, epoch: 0, step: 0 }, seed });
        let journal = Journal::open(&folder.journal()).map_err(|e| failed(&e))?;
        let mut journal = journal.guarded(Some(claim.guard()));
        journal.append(&Stamped::new(before.seconds, event)).map_err(|e| failed(&e))?;
    } else if position(&before) != Some((entry.epoch, entry.step, seed)) {
        return Err(failed(&"it was trained in this moment; try again"));
    }
    claim.guard().check().map_err(|e| failed(&e))?;
    let folds = vec![entry];
    let status = Status { state, reason: None, updated: status::now(), folds, ..before };
    status.write(&folder.state()).map_err(|e| failed(&e))
}

/// Changes how long the folds are trained that nobody trains now, in the run's settings and its plan. Returns
/// what changed.
///
/// Errors: when it is refused, or cannot be written; one sentence.
pub(super) fn plan(
    run: &Folder,
    known: &mut Known,
    epochs: Option<usize>,
    min_learning_rate: Option<f64>,
) -> Result<Planned, String> {
    let before = Config::load(Some(&run.config()), false, &[]).map_err(|e| e.to_string())?;
    let mut config = before.clone();
    let train = &mut config.train;
    let (old, highest) = (train.epochs, train.learning_rate);
    train.epochs = epochs.unwrap_or(old);
    train.min_learning_rate = min_learning_rate.unwrap_or(train.min_learning_rate);
    match (train.epochs, train.min_learning_rate) {
        (n, _) if !(old..=MOST_EPOCHS).contains(&n) => {
            return Err(format!(
                "plan: {n} epochs: expected {old} to {MOST_EPOCHS}, they can only grow"
            ));
        }
        (_, lr) if !(0.0..=highest).contains(&lr) => {
            return Err(format!("plan: a lowest learning rate of {lr}: expected 0 to {highest}"));
        }
        _ => {}
    }
    let changes = config.changes(&before.to_toml()).unwrap_or_default();
    run.write_config(&config.to_toml()).map_err(|e| e.to_string())?;
    let (epochs, learning_rates) = (config.train.epochs, schedule::learning_rates(&config.train));
    let mut plan = known.plan.clone();
    (plan.plan.epochs, plan.plan.learning_rates) = (epochs, learning_rates.clone());
    plan.write(run).map_err(|e| format!("cannot write {}: {e}", run.queue().display()))?;
    known.plan = plan;
    Ok(Planned { at: Position::default(), epochs, learning_rates, changes })
}
