use super::*;
use crate::config::Config;
use crate::run::event::CheckpointKind;
use crate::run::{
    FoldAction,
    channel::{RunHandle, channel},
    event::FoldPlan,
};
use crate::train::{checkpoint::Snapshot, saver::File};
use std::io::ErrorKind;

fn control() -> (Control, RunHandle, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::create(dir.path(), "run").unwrap();
    let (events, commands, handle) = channel(None, 0.0);
    let plan = |fold| FoldPlan {
        fold,
        train_studies: 8,
        valid_studies: 2,
        steps: 4,
        valid_batches: 1,
        baseline: 0.7,
    };
    let mut queue = Queue::new(&[plan(0), plan(1)], 0, 10, &[]);
    queue.take_next();
    let config = Config::load(None, false, &[]).unwrap();
    let control = Control::new(commands, events, &folder, queue, config).unwrap();
    (control, handle, dir)
}

fn states(handle: &RunHandle) -> Vec<TrainerState> {
    handle
        .events
        .try_iter()
        .filter_map(|e| match e.event {
            Event::Trainer(t) => Some(t.state),
            _ => None,
        })
        .collect()
}

#[test]
fn pause_saves_and_holds_until_resume() {
    let (mut control, handle, dir) = control();
    handle.commands.send(Command::Pause.into()).unwrap();
    let at = Position { fold: 1, epoch: 3, step: 41 };
    assert_eq!(control.check(at).unwrap(), Flow::Save);
    assert_eq!(states(&handle), [TrainerState::Paused]);
    let status = Status::read(&dir.path().join("run/state.json")).unwrap();
    assert_eq!(status.state, RunState::Paused);
    let thread = std::thread::spawn(move || control.check(at).unwrap());
    std::thread::sleep(Duration::from_millis(20));
    assert!(!thread.is_finished());
    handle.commands.send(Command::Resume.into()).unwrap();
    assert_eq!(thread.join().unwrap(), Flow::Continue);
    assert_eq!(states(&handle), [TrainerState::Running]);
}

#[test]
fn a_pause_can_be_left_by_skipping_or_stopping() {
    let skip = Command::Fold { fold: 0, action: FoldAction::Skip };
    for (command, flow) in [
        (skip, Flow::Leave(FoldState::Skipped)),
        (Command::StopNow, Flow::Leave(FoldState::Stopped)),
    ] {
        let (mut control, handle, _dir) = control();
        handle.commands.send(Command::Pause.into()).unwrap();
        handle.commands.send(command.into()).unwrap();
        assert_eq!(control.check(Position::default()).unwrap(), Flow::Save);
        assert_eq!(control.check(Position::default()).unwrap(), flow);
    }
}

#[test]
fn a_view_that_goes_while_paused_does_not_hold_training_for_ever() {
    let (mut control, handle, _dir) = control();
    handle.commands.send(Command::Pause.into()).unwrap();
    drop(handle);
    assert_eq!(control.check(Position::default()).unwrap(), Flow::Save);
    assert_eq!(control.check(Position::default()).unwrap(), Flow::Continue);
}

#[test]
fn a_full_disk_holds_training_until_there_is_room() {
    let (mut control, handle, _dir) = control();
    let mut tries = 0;
    let at = Position { fold: 0, epoch: 1, step: 2 };
    handle.commands.send(Command::Checkpoint.into()).unwrap();
    control
        .persist(at, Path::new("x"), |_| {
            tries += 1;
            match tries {
                1 | 2 => Err(ErrorKind::StorageFull.into()),
                _ => Ok(()),
            }
        })
        .unwrap();
    assert_eq!(states(&handle), [TrainerState::Held, TrainerState::Running]);
    assert_eq!(control.check(at).unwrap(), Flow::Save, "what was asked meanwhile is done then");
    let denied = |_: &mut Control| Err(ErrorKind::PermissionDenied.into());
    assert!(control.persist(at, Path::new("x"), denied).is_err());
    handle.commands.send(Command::StopNow.into()).unwrap();
    let full = |_: &mut Control| Err(ErrorKind::StorageFull.into());
    assert!(control.persist(at, Path::new("x"), full).is_err());
}

/// Resources that a machine may run out of for a moment, and their names.
#[cfg(unix)]
#[test]
fn an_error_that_passes_holds_training_and_is_told_in_words() {
    use rustix::io::Errno;
    for (errno, words) in [
        (Errno::STALE, "stale NFS handle"),
        (Errno::IO, "input/output error"),
        (Errno::TIMEDOUT, "does not answer"),
        (Errno::NOTCONN, "lost its connection"),
        (Errno::MFILE, "too many open files"),
        (Errno::NFILE, "too many open files"),
        (Errno::INTR, "nterrupted"),
        (Errno::FBIG, "ulimit -f"),
    ] {
        let (mut control, handle, _dir) = control();
        let mut fails = 3;
        let write = |_: &mut Control| match fails {
            0 => Ok(()),
            _ => {
                fails -= 1;
                Err(io::Error::from_raw_os_error(errno.raw_os_error()))
            }
        };
        control.persist(Position::default(), Path::new("x"), write).unwrap();
        let events: Vec<TrainerEvent> = handle
            .events
            .try_iter()
            .filter_map(|e| match e.event {
                Event::Trainer(event) => Some(event),
                _ => None,
            })
            .collect();
        let states: Vec<_> = events.iter().map(|event| event.state).collect();
        assert_eq!(states, [TrainerState::Held, TrainerState::Running], "{errno}");
        let reason = events[0].reason.as_deref().unwrap();
        assert!(reason.contains("cannot write x: ") && reason.contains(words), "{reason}");
        assert!(reason.contains("it goes on when") && !reason.contains("room"), "{reason}");
    }
}

/// Waits until the trainer reports that it holds.
fn held(handle: &RunHandle) {
    let limit = Duration::from_secs(60);
    while !matches!(
        handle.events.recv_timeout(limit).unwrap().event,
        Event::Trainer(TrainerEvent { state: TrainerState::Held, .. })
    ) {}
}

#[test]
fn a_run_folder_that_goes_away_is_waited_for_and_not_made_anew() {
    let (mut control, handle, dir) = control();
    let (run, away) = (dir.path().join("run"), dir.path().join("away"));
    std::fs::rename(&run, &away).unwrap();
    let at = Position { fold: 1, epoch: 3, step: 41 };
    let thread = std::thread::spawn(move || {
        control.write_state(at).unwrap();
        // A checkpoint is written by the saver's thread.
        let config = Config::load(
            None,
            false,
            &["model.backbone=convnext_micro", "model.lstm_hidden=2", "model.head_hidden=2"]
                .map(crate::config::Set::new),
        )
        .unwrap();
        let spec = crate::net::Spec::new(&config);
        let (dtype, device) = (candle_core::DType::F32, candle_core::Device::Cpu);
        let model = crate::net::Classifier::new(&spec, 0, 0, dtype, &device).unwrap();
        let path = control.folder.best(1, None);
        let file = File {
            kind: CheckpointKind::Best,
            snapshot: Snapshot::best(&model).unwrap(),
            path: path.clone(),
            older: Vec::new(),
        };
        control.save((1, 3, 0, 0), at, vec![file]).unwrap();
        control.saved_all(at).unwrap();
        path
    });
    held(&handle);
    // Another folder of the same name is not the run's.
    std::fs::create_dir(&run).unwrap();
    std::thread::sleep(5 * TRY_EVERY);
    assert_eq!(std::fs::read_dir(&run).unwrap().count(), 0);
    std::fs::remove_dir(&run).unwrap();
    std::fs::rename(&away, &run).unwrap();
    assert!(thread.join().unwrap().is_file());
    assert!(run.join("state.json").is_file());
}

#[test]
fn who_stops_while_nothing_can_be_written_is_not_held_again() {
    let (mut control, handle, dir) = control();
    std::fs::remove_dir_all(dir.path().join("run")).unwrap();
    handle.commands.send(Command::StopNow.into()).unwrap();
    let error = control.write_state(Position::default()).unwrap_err().to_string();
    assert!(error.contains("renamed or deleted") && error.contains("put the run's folder back"));
    assert!(control.ended(Position::default(), RunState::Failed).is_err());
    assert!(!dir.path().join("run").exists());
}

#[test]
fn every_request_is_answered_once_under_its_id() {
    let (mut control, handle, _dir) = control();
    let at = Position::default();
    let fold = |fold, action| Command::Fold { fold, action };
    let send = |id, command| handle.commands.send(Request::numbered(id, command)).unwrap();
    let answers = || -> Vec<(Option<u64>, bool)> {
        let acks = handle.events.try_iter().filter_map(|e| match e.event {
            Event::Ack(ack) => Some((ack.id, ack.refused.is_some())),
            _ => None,
        });
        acks.collect()
    };
    let commands = [
        Command::Pause,
        Command::StopAfterEpoch,
        fold(1, FoldAction::Pause),
        fold(7, FoldAction::Skip),
        Command::Plan { epochs: Some(1), min_learning_rate: None },
        Command::Resume,
    ];
    for (id, command) in (1..).zip(commands) {
        send(id, command);
    }
    assert_eq!(control.check(at).unwrap(), Flow::Save);
    assert_eq!(control.check(at).unwrap(), Flow::Continue);
    let refused = |id| id == 4 || id == 5;
    assert_eq!(answers(), (1..=6).map(|id| (Some(id), refused(id))).collect::<Vec<_>>());

    // A checkpoint that nobody could write.
    send(7, Command::Checkpoint);
    assert_eq!(control.check(at).unwrap(), Flow::Save);
    assert_eq!(answers(), []);
    control.check(at).unwrap();
    assert_eq!(answers(), [(Some(7), true)]);

    // A fold that is to start has done so when it trains.
    send(8, fold(1, FoldAction::Start));
    assert_eq!(control.check(at).unwrap(), Flow::Leave(FoldState::Waiting));
    control.queue.left(FoldState::Waiting);
    assert_eq!(control.queue.take_next(), Some(1));
    control.tell_queue().unwrap();
    assert_eq!(answers(), []);
    control.queue.stands(1, FoldState::Training);
    control.acknowledge_obeyed();
    assert_eq!(answers(), [(Some(8), false)]);
}
