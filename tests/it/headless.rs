//! Tests a run shown as plain lines.

use rsna_tui::headless;
use rsna_tui::run::Latest;
use rsna_tui::run::channel::RunHandle;
use rsna_tui::run::event::{Outcome, Position, Stamped};
use rsna_tui::view::State;
use rsna_tui_testkit::script::Script;
use std::io::{self, Write};

fn handle(events: Vec<Stamped>) -> RunHandle {
    let (sender, receiver) = crossbeam_channel::unbounded();
    let (commands, _) = crossbeam_channel::unbounded();
    events.into_iter().for_each(|e| sender.send(e).unwrap());
    RunHandle {
        events: receiver,
        commands,
        slice_requests: Latest::default(),
        watched: Latest::default(),
    }
}

fn script() -> Script {
    Script { epochs: 2, ..Script::default() }
}

#[test]
fn a_whole_run_in_lines() {
    let mut out = Vec::new();
    let outcome =
        headless::run(State::default(), &handle(script().events(None)), 20, &mut out).unwrap();
    assert_eq!(outcome, Some(Outcome::Completed));
    let text = String::from_utf8(out).unwrap();
    assert!(!text.contains('\x1b'));
    insta::assert_snapshot!("headless", text);
}

#[test]
fn a_trainer_that_vanished_is_told() {
    let mut out = Vec::new();
    let events = script().events(Some(Position { fold: 0, epoch: 1, step: 5 }));
    assert_eq!(headless::run(State::default(), &handle(events), 0, &mut out).unwrap(), None);
    assert!(String::from_utf8(out).unwrap().ends_with("the trainer ended without a word\n"));
}

#[test]
fn a_closed_pipe_does_not_stop_the_training() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let handle = handle(script().events(None));
    assert_eq!(
        headless::run(State::default(), &handle, 1, &mut Closed).unwrap(),
        Some(Outcome::Completed)
    );
    assert!(handle.events.is_empty(), "all drained");
}
