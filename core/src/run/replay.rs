//! All events of a run, of which a shared run has a journal for each fold.

use super::{
    event::{
        ConstantStudy, Event, Outcome, Queue, Queued, RunFinished, RunStarted, SkippedStudy,
        Stamped,
    },
    folder::Folder,
    journal::{self, Error, Passed},
    shared::{self, Plan},
    status::{FoldStatus, RunState, Status},
};
use std::{
    collections::{BTreeMap, HashSet},
    io::ErrorKind,
    path::Path,
};

/// Most studies whose constant crops are remembered, whatever the journals contain.
const MOST_CONSTANT: usize = 20_000;

/// Passes the events of a run to `take`, with their Unix time (0 if there is none).
///
/// A run of one process has them in its journal. Those of a shared run come fold after fold, in the order of
/// its queue: the run's `RunStarted`; every fold's events, with [`Stamped::fold`] set and `at` in seconds of
/// that fold; then the queue; and once the run is over, a `RunFinished` put together from the folds'. The
/// folds' own `RunStarted`, `Queue` and `RunFinished` are among their events.
///
/// Errors: as for [`journal::for_each`], and when a shared run's queue.json cannot be read.
pub fn for_each<E: From<Error>>(
    folder: &Folder,
    mut take: impl FnMut(&Stamped, f64) -> Result<(), E>,
) -> Result<Passed, E> {
    if !folder.is_shared() {
        return journal::for_each(&folder.journal(), None, take);
    }
    let plan = Plan::read(folder).map_err(Error::Queue)?;
    let folds = plan.folds();
    let journals: Vec<_> =
        folds.iter().map(|&fold| (fold, folder.of_fold(fold).journal())).collect();
    let device = devices(journals.iter().map(|(_, path)| &**path));
    let device = if device.is_empty() { plan.plan.device.clone() } else { device };
    let begun = RunStarted { device, ..plan.plan.clone() };
    take(&Stamped::new(0.0, Event::RunStarted(begun)), plan.created)?;

    let (mut passed, mut end) = (Passed::default(), 0.0_f64);
    let mut skipped: BTreeMap<usize, Vec<SkippedStudy>> = BTreeMap::new();
    let mut constant = HashSet::new();
    for (fold, journal) in &journals {
        let read = journal::for_each(journal, None, |stamped, time| {
            end = end.max(stamped.at);
            match &stamped.event {
                Event::RunFinished(finished) => {
                    skipped.insert(*fold, finished.skipped.clone());
                }
                // Every fold's worker meets the same crops.
                Event::Constant(found) => {
                    let mut found = found.clone();
                    found.studies.retain(|study| is_new(&mut constant, study));
                    if found.studies.is_empty() {
                        return Ok(());
                    }
                    let event = Event::Constant(found);
                    return take(&Stamped { at: stamped.at, event, fold: Some(*fold) }, time);
                }
                _ => {}
            }
            take(&Stamped { fold: Some(*fold), ..stamped.clone() }, time)
        });
        match of_begun::<E>(journal, read)? {
            None => {}
            Some(one) => {
                passed.damaged += one.damaged;
                passed.unknown.extend(one.unknown);
            }
        }
    }
    let Ok(status) = shared::status(folder) else { return Ok(passed) };
    let queued = |fold: &FoldStatus| Queued { fold: fold.fold, state: fold.state, seed: fold.seed };
    let queue = Queue { folds: status.folds.iter().map(queued).collect() };
    take(&Stamped::new(end, Event::Queue(queue)), status.updated)?;
    let skipped = skipped.into_values().flatten().collect();
    if let Some(finished) = finished(&status, skipped).filter(|_| !folder.is_in_use()) {
        take(&Stamped::new(end, Event::RunFinished(finished)), status.updated)?;
    }
    Ok(passed)
}

/// `None` for the journal of a fold that was not begun.
fn of_begun<E>(journal: &Path, read: Result<Passed, E>) -> Result<Option<Passed>, E> {
    match read {
        Err(_) if is_missing(journal) => Ok(None),
        read => read.map(Some),
    }
}

fn is_missing(path: &Path) -> bool {
    path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

fn is_new(known: &mut HashSet<String>, study: &ConstantStudy) -> bool {
    known.len() < MOST_CONSTANT && known.insert(study.study.clone())
}

/// How a run has ended, from its state; `None` if it has not. `skipped`: the studies that its folds left out.
pub fn finished(status: &Status, skipped: Vec<SkippedStudy>) -> Option<RunFinished> {
    let outcome = match status.state {
        RunState::Completed => Outcome::Completed,
        RunState::Stopped => Outcome::Stopped,
        RunState::Requeued => Outcome::Requeued,
        RunState::Failed => Outcome::Failed,
        RunState::Waiting | RunState::Running | RunState::Paused | RunState::Held => return None,
    };
    let best = status.folds.iter().filter_map(|fold| fold.best.clone()).collect();
    Some(RunFinished { outcome, best, skipped })
}

/// The devices that folds were begun on, each once.
fn devices<'a>(journals: impl Iterator<Item = &'a Path>) -> String {
    let mut devices: Vec<String> = Vec::new();
    for device in journals.filter_map(device) {
        if !devices.contains(&device) {
            devices.push(device);
        }
    }
    devices.join("; ")
}

/// The device in a journal's first event.
fn device(journal: &Path) -> Option<String> {
    /// Ends the reading.
    struct First(Option<String>);
    impl From<Error> for First {
        fn from(_: Error) -> Self {
            Self(None)
        }
    }
    let first = journal::for_each(journal, None, |stamped, _| match &stamped.event {
        Event::RunStarted(plan) => Err(First(Some(plan.device.clone()))),
        _ => Err(First(None)),
    });
    first.err().and_then(|First(device)| device).filter(|device| !device.is_empty())
}
