//! What several workers do, as one stream of events.

use super::*;
use rsna_tui::{
    run::event::{Level, Log, Queue, WorkerState},
    session,
    view::State,
};
use std::{fs, time::Instant};

#[test]
fn the_folds_of_several_workers_are_one_stream() {
    let dir = tempfile::tempdir().unwrap();
    let (run, script) = run(dir.path(), 3);
    let here = Worker::start(&run, 0, &Holder::here("").host);
    let there = Worker::start(&run, 1, "elsewhere");
    for epoch in 1..=2 {
        for (fold, worker) in [&here, &there].into_iter().enumerate() {
            worker.events.send(script.epoch(fold, epoch));
            // A journal counts milliseconds.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let watched = session::watch(&run, None).unwrap();
    assert!(watched.is_trained);
    let past = &watched.past;
    assert!(matches!(&past[0].event, Event::RunStarted(plan) if plan.folds.len() == 3));
    assert!(matches!(&past[1].event, Event::Queue(queue) if queue.folds.len() == 3));
    assert!(past.is_sorted_by(|a, b| a.at <= b.at), "by time");
    assert_eq!(epochs(past), [(0, 1), (1, 1), (0, 2), (1, 2)]);
    let workers = past.iter().filter_map(|stamped| match &stamped.event {
        Event::Worker(worker) => {
            Some((worker.fold, worker.state, worker.holder.clone().unwrap().host))
        }
        _ => None,
    });
    assert_eq!(
        workers.collect::<Vec<_>>(),
        [
            (0, WorkerState::Training, Holder::here("").host),
            (1, WorkerState::Training, "elsewhere".into())
        ]
    );
    let mut state = State::default();
    past.iter().for_each(|stamped| state.apply(stamped));
    assert_eq!(state.folds.iter().map(|fold| fold.epochs_done()).collect::<Vec<_>>(), [2, 2, 0]);

    // What follows.
    there.events.send(script.epoch(1, 3));
    let heard = until(&watched.handle, |stamped| Some(epochs([stamped])).filter(|e| !e.is_empty()));
    assert_eq!(heard, [(1, 3)]);

    // A worker that goes on from an older checkpoint cuts its journal back. Only what it adds is new.
    let path = there.folder.journal();
    there.end(&run, 1, FoldState::Stopped, RunState::Requeued);
    until(&watched.handle, |stamped| match &stamped.event {
        Event::Worker(worker) => (worker.state == WorkerState::Preempted).then_some(()),
        _ => None,
    });
    let whole = fs::read_to_string(&path).unwrap();
    let kept: String = whole
        .lines()
        .filter(|line| !line.contains("\"epoch\":3"))
        .flat_map(|line| [line, "\n"])
        .collect();
    assert!(kept.len() < whole.len());
    fs::write(dir.path().join("cut"), kept).unwrap();
    fs::rename(dir.path().join("cut"), &path).unwrap();
    let again = Worker::start(&run, 1, "a third");
    again.events.send(script.epoch(1, 3));
    let mut heard = Vec::new();
    until(&watched.handle, |stamped| {
        heard.extend(epochs([stamped]));
        (!heard.is_empty()).then_some(())
    });
    assert_eq!(heard, [(1, 3)], "once");

    // The end of the run, put together.
    again.end(&run, 1, FoldState::Done, RunState::Completed);
    here.end(&run, 0, FoldState::Done, RunState::Completed);
    stands(&run, 2, FoldState::Skipped, RunState::Completed);
    let finished = until(&watched.handle, |stamped| match &stamped.event {
        Event::RunFinished(finished) => {
            assert_eq!(stamped.fold, None);
            Some(finished.clone())
        }
        _ => None,
    });
    assert_eq!(finished.outcome, Outcome::Completed);
    let looked_at = session::watch(&run, None).unwrap();
    assert!(matches!(looked_at.past.last().unwrap().event, Event::RunFinished(_)));

    // Somebody goes on with it.
    let _again = Worker::start(&run, 2, "elsewhere");
    until(&watched.handle, |stamped| matches!(stamped.event, Event::RunStarted(_)).then_some(()));
}

#[test]
fn a_worker_that_died_is_told_and_its_fold_waits() {
    let dir = tempfile::tempdir().unwrap();
    let (run, _) = run(dir.path(), 2);
    // A process of this host that has ended, and its claim.
    let folder = run.make_fold(1).unwrap();
    let holder = Holder { started: 1, ..Holder::here("cuda:1") };
    let mut claimer = Claimer::new(holder, Timing::default(), |_| {});
    let Attempt::Claimed(claim) = claimer.claim(folder.path()).unwrap() else { panic!() };
    stands(&run, 1, FoldState::Training, RunState::Running);
    let watched = session::watch(&run, None).unwrap();
    std::mem::forget(claim);
    assert!(!watched.is_trained);
    let died = watched.past.iter().find_map(|stamped| match &stamped.event {
        Event::Worker(worker) => Some(worker.clone()),
        _ => None,
    });
    let died = died.unwrap();
    assert_eq!((died.fold, died.state, &*died.device), (1, WorkerState::Died, "cuda:1"));
    assert!(died.reason.unwrap().contains("its process has ended"));
    let queue: Vec<&Queue> = watched
        .past
        .iter()
        .filter_map(|stamped| match &stamped.event {
            Event::Queue(queue) => Some(queue),
            _ => None,
        })
        .collect();
    assert!(queue.last().unwrap().folds.iter().all(|fold| fold.state == FoldState::Waiting));
}

/// A run of a hundred folds, each with all its steps.
#[test]
fn a_hundred_folds_are_read_in_a_moment() {
    let dir = tempfile::tempdir().unwrap();
    let (run, _) = run(dir.path(), 100);
    let script = Script { folds: vec![0], epochs: 50, steps: 100, ..Script::default() };
    // The made-up run as one fold's journal, copied with other numbers.
    let first = run.make_fold(0).unwrap();
    let (events, _, _) = channel(Some(Journal::open(&first.journal()).unwrap()), 0.0);
    script.events(None).into_iter().for_each(|stamped| events.send(stamped.event));
    let text = fs::read_to_string(first.journal()).unwrap();
    for fold in 1..100 {
        let own = text.replace("\"fold\":0,", &format!("\"fold\":{fold},"));
        fs::write(run.make_fold(fold).unwrap().journal(), own).unwrap();
    }
    let begun = Instant::now();
    let watched = session::watch(&run, None).unwrap();
    let read = begun.elapsed();
    let mut state = State::default();
    watched.past.iter().for_each(|stamped| state.apply(stamped));
    let all = begun.elapsed();
    let (size, events) = ((text.len() * 100) >> 20, watched.past.len());
    println!("{size} MiB, {events} events passed: read in {read:?}, shown after {all:?}");
    assert_eq!(epochs(&watched.past).len(), 100 * 50, "no epoch is left out");
    assert!(all < Duration::from_secs(20), "{all:?}");
    let said = |message: &str| {
        events_of(&watched.past).any(
            |event| matches!(event, Event::Log(Log { level: Level::Warn, message: m }) if m.contains(message)),
        )
    };
    assert!(!said("damaged"));
}

fn events_of(past: &[Stamped]) -> impl Iterator<Item = &Event> {
    past.iter().map(|stamped| &stamped.event)
}
