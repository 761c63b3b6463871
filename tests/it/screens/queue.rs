//! The queue of folds under the user's control.

use super::*;

fn queue(folds: &[(usize, FoldState, u64)]) -> Event {
    let queued = |&(fold, state, seed): &_| Queued { fold, state, seed };
    Event::Queue(Queue { folds: folds.iter().map(queued).collect() })
}

/// Five folds, with fold 1 in training, after several commands: 3 is before 2, which stopped in the
/// middle of its fifth epoch; 4 was skipped; 0 will be retrained.
pub fn held() -> Screen {
    use FoldState::*;
    let script = Script { folds: (0..5).collect(), ..Script::default() };
    let mut screen = screen(&script.events(Some(MIDDLE)));
    let at = |fold, epoch, step| Position { fold, epoch, step };
    let begun = |at| Event::EpochStarted(EpochStarted { at, learning_rate: 1e-4 });
    tell(&mut screen, Event::Fold(FoldEvent { at: MIDDLE, state: Waiting }));
    for epoch in 1..=4 {
        tell(&mut screen, begun(at(2, epoch, 0)));
        tell(&mut screen, script.epoch(2, epoch));
    }
    tell(&mut screen, begun(at(2, 5, 0)));
    (1..=31).for_each(|step| tell(&mut screen, script.step(at(2, 5, step))));
    tell(&mut screen, Event::Fold(FoldEvent { at: at(2, 5, 31), state: Paused }));
    tell(&mut screen, Event::Fold(FoldEvent { at: MIDDLE, state: Training }));
    tell(&mut screen, script.step(Position { step: 24, ..MIDDLE }));
    tell(&mut screen, Event::Retrain(Retrain { at: at(0, 0, 0), seed: 43 }));
    tell(
        &mut screen,
        queue(&[
            (1, Waiting, 42),
            (3, Waiting, 42),
            (2, Paused, 42),
            (4, Skipped, 42),
            (0, Waiting, 43),
        ]),
    );
    screen
}

/// The row in the table of folds that the keys act on.
fn cursor(screen: &mut Screen) -> String {
    let drawn = draw(screen, 80, 24).to_string();
    drawn.lines().find(|line| line.contains("│▸")).unwrap_or_default().into()
}

#[test]
fn a_held_queue_at_three_sizes() {
    for (width, height) in [(80, 24), (120, 36), (200, 60)] {
        let mut screen = held();
        insta::assert_snapshot!(format!("held_{width}x{height}"), draw(&mut screen, width, height));
        press(&mut screen, KeyCode::Right);
        press(&mut screen, KeyCode::Right);
        let name = format!("looking_{width}x{height}");
        insta::assert_snapshot!(name, draw(&mut screen, width, height));
    }
}

#[test]
fn the_fold_looked_at_is_followed_through_the_queue() {
    use FoldState::*;
    let mut screen = held();
    press(&mut screen, KeyCode::Right);
    assert!(cursor(&mut screen).contains("3 waiting"));
    tell(
        &mut screen,
        queue(&[
            (3, Waiting, 42),
            (1, Training, 42),
            (2, Paused, 42),
            (4, Skipped, 42),
            (0, Waiting, 43),
        ]),
    );
    let text = draw(&mut screen, 80, 24).to_string();
    assert!(cursor(&mut screen).contains("3 waiting"), "{text}");
    assert!(text.contains("folds × epochs · keys act on fold 3"), "{text}");
    // Once the selected fold is in training, the screen follows training.
    let at = Position { fold: 3, epoch: 0, step: 0 };
    tell(&mut screen, Event::Fold(FoldEvent { at, state: Training }));
    assert!(cursor(&mut screen).contains("3 training"));
    tell(&mut screen, Event::Fold(FoldEvent { at: MIDDLE, state: Training }));
    assert!(cursor(&mut screen).contains("1 training"));
    press(&mut screen, KeyCode::Left);
    press(&mut screen, KeyCode::Left);
    assert!(cursor(&mut screen).contains("3 "), "there is none before the first");
    (0..4).for_each(|_| {
        press(&mut screen, KeyCode::Right);
    });
    assert!(cursor(&mut screen).contains("0 waiting"));
    press(&mut screen, KeyCode::Right);
    assert!(cursor(&mut screen).contains("1 training"), "beyond the last: training");
}

#[test]
fn keys_act_on_the_fold_looked_at() {
    use FoldAction::*;
    let looking = |steps: usize| {
        let mut screen = held();
        (0..steps).for_each(|_| {
            press(&mut screen, KeyCode::Right);
        });
        screen
    };
    // Distance from the fold in training; the key; the fold and the action requested.
    for (steps, key, fold, action) in [
        (0, 'f', 1, Pause),
        (0, ']', 1, Later),
        (1, 'f', 3, Pause),
        (1, '[', 3, Earlier),
        (1, ']', 3, Later),
        (2, 'f', 2, Restore),
        (3, 'f', 4, Restore),
        (4, '[', 0, Earlier),
    ] {
        let reply = press(&mut looking(steps), KeyCode::Char(key));
        assert_eq!(reply, of_fold(fold, action), "{key} at {fold}");
    }
    for (steps, key, fold, action) in
        [(0, 'n', 1, Skip), (1, 'n', 3, Skip), (2, 'g', 2, Start), (1, 'g', 3, Start)]
    {
        let mut screen = looking(steps);
        assert_eq!(press(&mut screen, KeyCode::Char(key)), Reply::Nothing);
        assert_eq!(press(&mut screen, KeyCode::Char('y')), of_fold(fold, action), "{key}");
    }
}

#[test]
fn questions_about_folds_say_what_will_be() {
    let mut screen = held();
    press(&mut screen, KeyCode::Char('n'));
    insta::assert_snapshot!("ask_skip", draw(&mut screen, 80, 24));
    press(&mut screen, KeyCode::Esc);
    press(&mut screen, KeyCode::Right);
    press(&mut screen, KeyCode::Char('g'));
    insta::assert_snapshot!("ask_start", draw(&mut screen, 80, 24));
    press(&mut screen, KeyCode::Char('n'));
    press(&mut screen, KeyCode::Char('n'));
    let text = draw(&mut screen, 80, 24).to_string();
    assert!(text.contains("Give up fold 3?") && text.contains("What it has so far"), "{text}");
    let mut screen = training();
    press(&mut screen, KeyCode::Left);
    press(&mut screen, KeyCode::Char('a'));
    insta::assert_snapshot!("ask_again", draw(&mut screen, 80, 24));
    assert_eq!(press(&mut screen, KeyCode::Char('y')), of_fold(0, FoldAction::Retrain));
}

#[test]
fn what_has_no_sense_is_told_on_the_key_line_until_the_next_key() {
    let mut screen = held();
    for (key, why) in [
        ('g', "fold 1 is training: it need not be started"),
        ('[', "fold 1 is training: it is the first already"),
        ('a', "fold 1 is training: only one that is done is trained again"),
        ('d', "training lives in this terminal's process; start with --detach to leave it alone"),
    ] {
        assert_eq!(press(&mut screen, KeyCode::Char(key)), Reply::Nothing);
        let text = draw(&mut screen, 80, 24).to_string().replace("\"\n\"", "");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(why), "{key}: {text}");
    }
    press(&mut screen, KeyCode::Left);
    assert!(bottom(&mut screen).contains(" p pause "));
    (0..4).for_each(|_| {
        press(&mut screen, KeyCode::Right);
    });
    press(&mut screen, KeyCode::Char(']'));
    assert!(bottom(&mut screen).contains("fold 0 is waiting: it is the last already"));
    press(&mut screen, KeyCode::Left);
    press(&mut screen, KeyCode::Char('n'));
    insta::assert_snapshot!("notice", draw(&mut screen, 80, 24));
    let mut screen = training();
    press(&mut screen, KeyCode::Left);
    for (key, why) in [
        ('f', "fold 0 is done: a trains it again"),
        ('g', "fold 0 is done: a trains it again"),
        ('n', "fold 0 is done: there is nothing to give up"),
        (']', "fold 0 is done: it has no place in the queue any more"),
    ] {
        press(&mut screen, KeyCode::Char(key));
        assert!(bottom(&mut screen).contains(why), "{key}");
    }
    // The notice disappears after a while.
    screen.state.at += 9.0;
    draw(&mut screen, 80, 24);
    assert!(bottom(&mut screen).contains(" p pause "));
}

#[test]
fn what_the_trainer_refuses_is_not_awaited_any_more() {
    let mut screen = held();
    assert_eq!(press(&mut screen, KeyCode::Char('f')), of_fold(1, FoldAction::Pause));
    let top = |screen: &mut Screen| draw(screen, 80, 24).to_string();
    assert!(top(&mut screen).contains("pausing fold 1…"));
    let why = "fold 1 is done: it cannot be paused".to_string();
    tell(&mut screen, Event::Log(Log { level: Level::Warn, message: why.clone() }));
    assert!(top(&mut screen).contains("pausing fold 1…"), "a warning is no answer");
    let command = Command::Fold { fold: 1, action: FoldAction::Pause };
    tell(&mut screen, Event::Ack(Ack { id: None, command, refused: Some(why) }));
    assert!(top(&mut screen).contains("● training fold 1"));
}

#[test]
fn a_run_whose_folds_are_all_set_aside_is_not_ended_by_going_on() {
    let script = Script { folds: vec![1], ..Script::default() };
    let at = Position { fold: 1, epoch: 3, step: 23 };
    let mut screen = screen(&script.events(Some(at)));
    press(&mut screen, KeyCode::Char('f'));
    tell(&mut screen, Event::Fold(FoldEvent { at, state: FoldState::Paused }));
    tell(&mut screen, queue(&[(1, FoldState::Paused, 42)]));
    let paused = TrainerEvent { at, state: TrainerState::Paused, reason: None };
    tell(&mut screen, Event::Trainer(paused));
    insta::assert_snapshot!("no_fold_waits", draw(&mut screen, 80, 24));
    assert_eq!(press(&mut screen, KeyCode::Char('p')), Reply::Nothing);
    assert!(bottom(&mut screen).contains("no fold waits"));
    assert_eq!(press(&mut screen, KeyCode::Char('k')), Reply::Nothing);
    assert!(bottom(&mut screen).contains("there is nothing to save"));
    assert_eq!(press(&mut screen, KeyCode::Char('g')), of_fold(1, FoldAction::Start));
}

#[test]
fn a_checkpoint_is_told_until_it_is_there() {
    let mut screen = training();
    assert_eq!(press(&mut screen, KeyCode::Char('k')), Reply::Send(Command::Checkpoint));
    assert!(draw(&mut screen, 80, 24).to_string().contains("saving last…"));
    let (kind, path) = (CheckpointKind::Last, "fold1_last.safetensors".into());
    tell(&mut screen, Event::Checkpoint(Checkpoint { at: MIDDLE, kind, path, seconds: 0.2 }));
    assert!(draw(&mut screen, 80, 24).to_string().contains("● training fold 1"));
}
