use super::*;
use crate::config::Config;
use crate::run::{
    FoldAction,
    channel::{Line, channel},
    event::FoldPlan,
};

fn control() -> (Control, Line, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::create(dir.path(), "run").unwrap();
    let (events, commands, line) = channel(None, 0.0);
    let plan = |fold| FoldPlan {
        fold,
        train_studies: 8,
        valid_studies: 2,
        steps: 4,
        valid_batches: 1,
        baseline: 0.7,
    };
    let mut queue = Queue::new(vec![plan(0), plan(1)], 0, 10, &[]);
    queue.take_next();
    let config = Config::load(None, false, &[]).unwrap();
    let control = Control::new(commands, events, &folder, queue, config).unwrap();
    (control, line, dir)
}

fn states(line: &Line) -> Vec<TrainerState> {
    line.events
        .try_iter()
        .filter_map(|e| match e.event {
            Event::Trainer(t) => Some(t.state),
            _ => None,
        })
        .collect()
}

#[test]
fn pause_saves_and_holds_until_resume() {
    let (mut control, line, dir) = control();
    line.commands.send(Command::Pause).unwrap();
    let at = Position { fold: 1, epoch: 3, step: 41 };
    assert_eq!(control.check(at).unwrap(), Flow::Save);
    assert_eq!(states(&line), [TrainerState::Paused]);
    let status = Status::read(&dir.path().join("run/state.json")).unwrap();
    assert_eq!(status.state, RunState::Paused);
    let thread = std::thread::spawn(move || control.check(at).unwrap());
    std::thread::sleep(Duration::from_millis(20));
    assert!(!thread.is_finished());
    line.commands.send(Command::Resume).unwrap();
    assert_eq!(thread.join().unwrap(), Flow::Continue);
    assert_eq!(states(&line), [TrainerState::Running]);
}

#[test]
fn a_pause_can_be_left_by_skipping_or_stopping() {
    let skip = Command::Fold { fold: 0, action: FoldAction::Skip };
    for (command, flow) in [(skip, Flow::Leave(FoldState::Skipped)), (Command::StopNow, Flow::Stop)]
    {
        let (mut control, line, _dir) = control();
        line.commands.send(Command::Pause).unwrap();
        line.commands.send(command).unwrap();
        assert_eq!(control.check(Position::default()).unwrap(), Flow::Save);
        assert_eq!(control.check(Position::default()).unwrap(), flow);
    }
}

#[test]
fn a_view_that_goes_while_paused_does_not_hold_training_for_ever() {
    let (mut control, line, _dir) = control();
    line.commands.send(Command::Pause).unwrap();
    drop(line);
    assert_eq!(control.check(Position::default()).unwrap(), Flow::Save);
    assert_eq!(control.check(Position::default()).unwrap(), Flow::Continue);
}

#[test]
fn a_full_disk_holds_training_until_there_is_room() {
    let (mut control, line, _dir) = control();
    let mut tries = 0;
    let at = Position { fold: 0, epoch: 1, step: 2 };
    line.commands.send(Command::Checkpoint).unwrap();
    control
        .persist(at, "x".into(), |_| {
            tries += 1;
            match tries {
                1 | 2 => Err(ErrorKind::StorageFull.into()),
                _ => Ok(()),
            }
        })
        .unwrap();
    assert_eq!(states(&line), [TrainerState::Held, TrainerState::Running]);
    assert_eq!(control.check(at).unwrap(), Flow::Save, "what was asked meanwhile is done then");
    let denied = |_: &mut Control| Err(ErrorKind::PermissionDenied.into());
    assert!(control.persist(at, "x".into(), denied).is_err());
    line.commands.send(Command::StopNow).unwrap();
    let full = |_: &mut Control| Err(ErrorKind::StorageFull.into());
    assert!(control.persist(at, "x".into(), full).is_err());
}
