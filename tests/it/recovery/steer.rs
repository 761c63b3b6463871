//! Steering a run from outside: its folds as a queue, in the background, by signals.

use crate::tiny::{rsna_tui, said, same, same_fold, train};
use rsna_tui::run::{
    Command, FoldAction,
    channel::RunHandle,
    control_socket,
    event::{Ack, Event, FoldEvent, FoldState, Outcome, Position, TrainerState},
    folder::Folder,
    status::{RunState, Status},
};
use std::{
    path::Path,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(120);

fn start(dir: &Path, args: &[&str]) -> Child {
    std::process::Command::new(env!("CARGO_BIN_EXE_rsna-tui"))
        .current_dir(dir)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn connect(dir: &Path, run: &str) -> RunHandle {
    let begun = Instant::now();
    loop {
        let folder = Folder::open(&dir.join("runs"), Some(run)).ok();
        if let Some(connection) = folder.and_then(|folder| control_socket::connect(&folder).ok()) {
            return connection.handle;
        }
        assert!(begun.elapsed() < PATIENCE, "nobody listens");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Hears events until one that is wanted.
fn until<T>(handle: &RunHandle, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    loop {
        let heard = handle.events.recv_timeout(PATIENCE).expect("the run goes on");
        if let Some(found) = wanted(heard.event) {
            return found;
        }
    }
}

fn fold(handle: &RunHandle, fold: usize, action: FoldAction) {
    handle.commands.send(Command::Fold { fold, action }.into()).unwrap();
}

fn kill(child: &Child, signal: &str) {
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args([signal, &pid]).status().unwrap().success());
}

#[test]
fn a_fold_that_was_set_aside_in_mid_epoch_ends_as_if_it_had_not_been() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    assert!(rsna_tui(dir, &train("whole", 5)).status.success());
    let mut child = start(dir, &train("held", 5));
    let handle = connect(dir, "held");
    until(&handle, |event| match event {
        Event::Step(step) => (step.at.epoch == 2 && step.at.step == 1).then_some(()),
        _ => None,
    });
    fold(&handle, 0, FoldAction::Pause);
    let left: Position = until(&handle, |event| match event {
        Event::Fold(FoldEvent { at, state: FoldState::Paused }) => Some(at),
        _ => None,
    });
    assert!(left.fold == 0 && left.epoch == 2 && (1..10).contains(&left.step), "{left}");
    until(&handle, |event| match event {
        Event::Epoch(epoch) => (epoch.at.fold == 1 && epoch.at.epoch == 2).then_some(()),
        _ => None,
    });
    fold(&handle, 0, FoldAction::Start);
    let outcome = until(&handle, |event| match event {
        Event::RunFinished(finished) => Some(finished.outcome),
        _ => None,
    });
    assert_eq!(outcome, Outcome::Completed);
    assert!(child.wait().unwrap().success());
    for number in [0, 1] {
        same_fold(dir, number, "whole", "held");
    }
    let status = Status::read(&dir.join("runs/held/state.json")).unwrap();
    assert_eq!(status.state, RunState::Completed);
    assert!(status.folds.iter().all(|f| f.state == FoldState::Done && f.epoch == 5));
}

/// In the first epoch the learning rate is the highest whatever comes after it.
#[test]
fn given_another_end_in_its_first_epoch_a_run_is_the_one_that_was_begun_so() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut whole = train("whole", 3);
    whole.extend(["--set", "train.min_learning_rate=1e-5"]);
    assert!(rsna_tui(dir, &whole).status.success());
    let mut child = start(dir, &train("longer", 2));
    let handle = connect(dir, "longer");
    until(&handle, |event| matches!(event, Event::Step(_)).then_some(()));
    let refused = Command::Plan { epochs: Some(1), min_learning_rate: None };
    handle.commands.send(refused.into()).unwrap();
    until(&handle, |event| match event {
        Event::Ack(Ack { refused: Some(why), .. }) => {
            why.contains("plan: 1 epochs: expected 2 to").then_some(())
        }
        _ => None,
    });
    let plan = Command::Plan { epochs: Some(3), min_learning_rate: Some(1e-5) };
    handle.commands.send(plan.into()).unwrap();
    let planned = until(&handle, |event| match event {
        Event::Planned(planned) => Some(planned),
        _ => None,
    });
    assert_eq!((planned.at.epoch, planned.epochs, planned.learning_rates.len()), (1, 3, 3));
    assert_eq!(planned.changes.len(), 2, "{:?}", planned.changes);
    child.kill().unwrap();
    child.wait().unwrap();
    let out = rsna_tui(dir, &["resume", "longer", "--no-tui"]);
    assert!(out.status.success(), "{}", said(&out));
    same(dir, "whole", "longer");
}

#[test]
fn order_and_states_survive_a_restart_and_a_done_fold_is_trained_again() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut args = train("queue", 2);
    args.extend(["--folds", "0,1,2"]);
    let mut child = start(dir, &args);
    let handle = connect(dir, "queue");
    handle.commands.send(Command::Pause.into()).unwrap();
    until(&handle, |event| match event {
        Event::Trainer(event) => (event.state == TrainerState::Paused).then_some(()),
        _ => None,
    });
    fold(&handle, 2, FoldAction::Earlier);
    fold(&handle, 1, FoldAction::Skip);
    until(&handle, |event| match event {
        Event::Queue(queue) => {
            (queue.folds.iter().any(|f| f.state == FoldState::Skipped)).then_some(())
        }
        _ => None,
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let listed = rsna_tui(dir, &["runs"]);
    assert!(said(&listed).contains("died"), "{}", said(&listed));
    let out = rsna_tui(dir, &["pause", "queue"]);
    assert!(said(&out).contains("not being trained") && !out.status.success(), "{}", said(&out));

    let out = rsna_tui(dir, &["resume", "queue", "--no-tui"]);
    assert!(out.status.success(), "{}", said(&out));
    let status = Status::read(&dir.join("runs/queue/state.json")).unwrap();
    let folds: Vec<_> = status.folds.iter().map(|f| (f.fold, f.state)).collect();
    use FoldState::{Done, Skipped};
    assert_eq!(folds, [(0, Done), (2, Done), (1, Skipped)]);

    // Again, while another one is brought back.
    let mut child = start(dir, &["resume", "queue", "--no-tui", "--epochs", "3"]);
    let handle = connect(dir, "queue");
    fold(&handle, 1, FoldAction::Restore);
    until(&handle, |event| match event {
        Event::Fold(event) => (event.state == FoldState::Done && event.at.fold == 0).then_some(()),
        _ => None,
    });
    fold(&handle, 0, FoldAction::Retrain);
    let finished = until(&handle, |event| match event {
        Event::RunFinished(finished) => Some(finished),
        _ => None,
    });
    assert!(child.wait().unwrap().success());
    assert_eq!(finished.outcome, Outcome::Completed);
    let run = dir.join("runs/queue");
    assert!(run.join("fold0_best.safetensors").is_file());
    assert!(run.join("fold0_seed1_best.safetensors").is_file());
    let status = Status::read(&run.join("state.json")).unwrap();
    let last = status.folds.last().unwrap();
    assert_eq!((last.fold, last.seed, last.state, last.epoch), (0, 1, Done, 3));
    let log = std::fs::read_to_string(run.join("logs/k.txt")).unwrap();
    assert_eq!(log.lines().filter(|l| l.contains("Fold 0, ")).count(), 3);
}

#[test]
fn in_the_background_it_is_watched_and_steered_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut args = train("bg", 200);
    args.retain(|arg| *arg != "--no-tui");
    args.push("--detach");
    let out = rsna_tui(dir, &args);
    assert!(out.status.success(), "{}", said(&out));
    assert!(said(&out).contains("rsna-tui attach bg"), "{}", said(&out));
    let listed = |state: &str| {
        let begun = Instant::now();
        while !said(&rsna_tui(dir, &["runs"])).contains(state) {
            assert!(begun.elapsed() < PATIENCE, "it is not {state}");
        }
    };
    listed("running");
    for (args, words) in [
        (&["pause", "bg"][..], "bg: paused at fold 0"),
        (&["pause"], "bg: paused at fold 0"),
        (&["checkpoint", "bg"], "bg: saved last of fold 0"),
        (&["fold", "pause", "1", "bg"], "bg: folds: 0 training, 1 paused"),
        (&["unpause", "bg"], "bg: running from fold 0"),
        (&["stop", "bg"], "bg: stopped"),
    ] {
        let out = rsna_tui(dir, args);
        assert!(out.status.success() && said(&out).contains(words), "{args:?}: {}", said(&out));
    }
    listed("stopped");
    let refused = rsna_tui(dir, &["--detach", "--set", "train.epochs=0"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("train.epochs"), "{}", said(&refused));
    // One that is over can be looked at.
    let out = rsna_tui(dir, &["attach", "bg"]);
    assert!(out.status.success() && said(&out).contains("stopped"), "{}", said(&out));
}

#[test]
fn signals_stop_or_requeue_and_a_hangup_does_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    for (signal, code, state) in [
        ("-USR1", 75, RunState::Requeued),
        ("-TERM", 143, RunState::Stopped),
        ("-INT", 130, RunState::Stopped),
    ] {
        let run: &'static str = &signal[1..];
        let mut child = start(dir, &train(run, 200));
        let handle = connect(dir, run);
        let step = || {
            until(&handle, |event| match event {
                Event::Step(step) => Some(step.at),
                _ => None,
            })
        };
        let before = step();
        kill(&child, "-HUP");
        let after = step();
        assert!((before.epoch, before.step) < (after.epoch, after.step));
        kill(&child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(code), "{signal}");
        let status = Status::read(&dir.join("runs").join(run).join("state.json")).unwrap();
        assert_eq!(status.state, state);
    }
}
