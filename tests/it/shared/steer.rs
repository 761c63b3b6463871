//! Requests to several workers, and changes to folds that nobody trains.

use super::*;
use rsna_tui::{
    run::{Command, FoldAction, event::Planned},
    session,
};
use std::fs;

fn ask(handle: &RunHandle, id: u64, worker: Option<usize>, command: Command) {
    handle.commands.send(Request { id: Some(id), worker, command }).unwrap();
}

#[test]
fn all_workers_answer_as_one_wherever_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let (run, _) = run(dir.path(), 3);
    let (one, two) = (Worker::start(&run, 0, "far"), Worker::start(&run, 2, "farther"));
    let handle = session::watch(&run, None).unwrap().handle;

    ask(&handle, 1, None, Command::Pause);
    let heard = one.answer(None);
    assert_eq!((heard.worker, heard.command), (Some(0), Command::Pause));
    assert_eq!(two.answer(None).worker, Some(2));
    assert_eq!(answer(&handle, 1), Ok(()));

    ask(&handle, 2, None, Command::Checkpoint);
    one.answer(None);
    two.answer(Some("no fold is in training: nothing to save"));
    let refused = answer(&handle, 2).unwrap_err();
    assert_eq!(refused, "fold 2: no fold is in training: nothing to save");

    // One of them.
    ask(&handle, 3, Some(2), Command::Resume);
    assert_eq!(two.answer(None).command, Command::Resume);
    assert_eq!(answer(&handle, 3), Ok(()));
    assert!(one.requests.is_empty());
    ask(&handle, 4, Some(1), Command::Resume);
    let refused = answer(&handle, 4).unwrap_err();
    assert!(refused.contains("nobody trains fold 1"), "{refused}");

    // An action on a fold goes to its worker.
    let pause = Command::Fold { fold: 0, action: FoldAction::Pause };
    ask(&handle, 5, None, pause);
    assert_eq!(one.answer(None).command, pause);
    assert_eq!(answer(&handle, 5), Ok(()));

    // One that ends without an answer.
    ask(&handle, 6, Some(0), Command::Pause);
    one.requests.recv_timeout(PATIENCE).unwrap();
    one.end(&run, 0, FoldState::Paused, RunState::Completed);
    let refused = answer(&handle, 6).unwrap_err();
    assert!(refused.contains("ended before it answered"), "{refused}");

    // A stop is answered once the worker has saved and ended.
    ask(&handle, 7, None, Command::StopNow);
    assert_eq!(two.answer(None).command, Command::StopNow);
    let soon = std::time::Instant::now() + Duration::from_secs(1);
    while let Ok(stamped) = handle.events.recv_deadline(soon) {
        assert!(!matches!(stamped.event, Event::Ack(_)), "it has not ended");
    }
    two.end(&run, 2, FoldState::Stopped, RunState::Stopped);
    assert_eq!(answer(&handle, 7), Ok(()));
    ask(&handle, 8, None, Command::Pause);
    assert!(answer(&handle, 8).unwrap_err().contains("nobody trains r now"));
    let outcome = until(&handle, |stamped| match &stamped.event {
        Event::RunFinished(finished) => Some(finished.outcome),
        _ => None,
    });
    assert_eq!(outcome, Outcome::Stopped);
}

#[test]
fn a_fold_that_nobody_trains_is_changed_in_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let (run, _) = run(dir.path(), 4);
    stands(&run, 3, FoldState::Done, RunState::Completed);
    let handle = session::watch(&run, None).unwrap().handle;
    let act = |id, fold, action| {
        ask(&handle, id, None, Command::Fold { fold, action });
        answer(&handle, id)
    };
    let state = |fold| {
        let plan = Plan::read(&run).unwrap();
        plan.status(&run, fold).unwrap().folds[0].clone()
    };
    let order = || Plan::read(&run).unwrap().folds();
    assert_eq!(act(1, 0, FoldAction::Pause), Ok(()));
    assert_eq!(state(0).state, FoldState::Paused);
    assert_eq!(act(2, 1, FoldAction::Skip), Ok(()));
    assert_eq!(state(1).state, FoldState::Skipped);
    assert_eq!(act(3, 1, FoldAction::Restore), Ok(()));
    assert_eq!(state(1).state, FoldState::Waiting);
    assert!(act(4, 1, FoldAction::Restore).unwrap_err().contains("fold 1 is waiting"));
    assert!(act(5, 9, FoldAction::Pause).unwrap_err().contains("there is no fold 9"));
    assert_eq!(act(6, 2, FoldAction::Earlier), Ok(()));
    assert_eq!(order(), [0, 2, 1, 3]);
    assert_eq!(act(7, 1, FoldAction::Start), Ok(()));
    assert_eq!(order(), [1, 0, 2, 3]);
    assert_eq!(act(8, 3, FoldAction::Retrain), Ok(()));
    assert_eq!((state(3).state, state(3).seed, state(3).epoch), (FoldState::Waiting, 43, 0));
    let journal = fs::read_to_string(run.of_fold(3).journal()).unwrap();
    assert!(journal.contains("\"type\":\"again\""), "{journal}");

    let longer = |epochs| Command::Plan { epochs: Some(epochs), min_learning_rate: None };
    ask(&handle, 9, None, longer(2));
    assert!(answer(&handle, 9).unwrap_err().contains("2 epochs: expected 3 to"));
    ask(&handle, 10, None, longer(5));
    let planned: Planned = until(&handle, |stamped| match &stamped.event {
        Event::Planned(planned) => Some(planned.clone()),
        _ => None,
    });
    assert_eq!((planned.epochs, planned.learning_rates.len()), (5, 5));
    assert_eq!(answer(&handle, 10), Ok(()));
    let config = Config::load(Some(&run.config()), false, &[]).unwrap();
    assert_eq!((config.train.epochs, Plan::read(&run).unwrap().plan.epochs), (5, 5));
    ask(&handle, 11, Some(1), longer(9));
    assert!(answer(&handle, 11).unwrap_err().contains("nobody trains fold 1"));

    // Another process holds one of them, as far as anybody knows.
    let folder = run.make_fold(2).unwrap();
    let holder = Holder { host: "far".into(), ..Holder::here("") };
    let mut claimer = Claimer::new(holder, Timing::default(), |_| {});
    let Attempt::Claimed(claim) = claimer.claim(folder.path()).unwrap() else { panic!() };
    let refused = act(12, 2, FoldAction::Pause).unwrap_err();
    assert!(refused.contains("it is held by process"), "{refused}");
    drop(claim);
    assert_eq!(act(13, 2, FoldAction::Pause), Ok(()));
}
