//! A run that several processes train at once.

use super::*;
use rsna_tui::tui::{Ground, VIEWS, View};
use rsna_tui_testkit::shared::{self, Stage, holder, worker};

fn run(stage: Stage) -> Screen {
    let mut screen = plain(Pictures::Characters).attached();
    shared::run(stage).iter().for_each(|event| screen.apply(event));
    screen
}

fn show(screen: &mut Screen, view: View) {
    let number = char::from_digit(view as u32 + 1, 10).unwrap();
    press(screen, KeyCode::Char(number));
}

fn tell_of(screen: &mut Screen, fold: usize, event: Event) {
    let at = screen.state.at + 1.0;
    screen.apply(&Stamped { fold: Some(fold), ..Stamped::new(at, event) });
}

#[test]
fn who_trains_what_where_at_four_sizes() {
    let views = [View::Overview, View::Folds, View::Curves];
    for (width, height) in [(80, 24), (120, 36), (200, 60), (250, 20)] {
        for view in views {
            let mut screen = run(Stage::TakenOver);
            show(&mut screen, view);
            if view == View::Curves {
                press(&mut screen, KeyCode::Char('t'));
            }
            let name = format!("{}_{width}x{height}", view.name().to_lowercase());
            insta::assert_snapshot!(name, draw(&mut screen, width, height));
        }
        let name = format!("died_{width}x{height}");
        insta::assert_snapshot!(name, draw(&mut run(Stage::Died), width, height));
    }
    for view in [View::System, View::Log] {
        let mut screen = run(Stage::TakenOver);
        show(&mut screen, view);
        let name = format!("{}_80x24", view.name().to_lowercase());
        insta::assert_snapshot!(name, draw(&mut screen, 80, 24));
    }
}

#[test]
fn no_view_lacks_anything_on_a_dark_or_a_light_ground_or_in_ascii() {
    for ground in [Ground::Dark, Ground::Light, Ground::Unknown] {
        for view in VIEWS.map(|entry| entry.view) {
            for ascii in [false, true] {
                let appearance = Appearance { depth: Depth::TrueColor, ground, ascii };
                let mut screen = Screen::new(Pictures::Blocks, appearance, Keymap::default());
                shared::run(Stage::Died).iter().for_each(|event| screen.apply(event));
                show(&mut screen, view);
                let drawn = draw(&mut screen, 120, 36);
                assert!(drawn.to_string().contains("1 of 5 folds in training"), "{drawn}");
            }
        }
    }
}

#[test]
fn another_fold_is_watched_and_steps_of_others_change_nothing_of_it() {
    let mut screen = run(Stage::TakenOver);
    assert_eq!(screen.take_watched(), Some(1));
    assert_eq!(screen.take_watched(), None);
    let script = Script { folds: (0..5).collect(), ..Script::default() };
    for step in 39..=40 {
        tell_of(&mut screen, 2, script.step(Position { fold: 2, epoch: 5, step }));
    }
    let step = |screen: &Screen| screen.state.step.as_ref().map(|step| step.at);
    assert_eq!(step(&screen), Some(Position { fold: 1, epoch: 3, step: 23 }));
    assert_eq!(screen.state.watched(), Some(1));
    press(&mut screen, KeyCode::Char('c'));
    assert_eq!(screen.take_watched(), Some(2));
    assert_eq!(step(&screen), Some(Position { fold: 2, epoch: 5, step: 40 }));
    assert!(draw(&mut screen, 80, 24).to_string().contains("progress · fold 2"));
    press(&mut screen, KeyCode::Char('z'));
    assert_eq!(screen.take_watched(), Some(1));
    // The row below, in the view of the folds.
    show(&mut screen, View::Folds);
    press(&mut screen, KeyCode::Down);
    press(&mut screen, KeyCode::Char('w'));
    assert_eq!(screen.take_watched(), Some(2));
    press(&mut screen, KeyCode::Down);
    press(&mut screen, KeyCode::Char('w'));
    assert!(bottom(&mut screen).contains("fold 3 is pending: no process trains it"));
    assert_eq!(screen.take_watched(), None);
    // At its end, another that trains is watched.
    let end = Position { fold: 2, epoch: 8, step: 40 };
    tell_of(&mut screen, 2, Event::Fold(FoldEvent { at: end, state: FoldState::Done }));
    assert_eq!(screen.take_watched(), Some(1));
    press(&mut screen, KeyCode::Char('c'));
    assert!(bottom(&mut screen).contains("no other fold is in training"));
}

#[test]
fn a_process_that_starts_leaves_the_other_folds_alone() {
    let mut screen = run(Stage::Died);
    let before: Vec<_> = screen.state.folds.iter().map(|fold| fold.at).collect();
    let script = Script { folds: vec![3], epochs: 10, ..Script::default() };
    tell_of(&mut screen, 3, script.started());
    let after: Vec<_> = screen.state.folds.iter().map(|fold| fold.at).collect();
    assert_eq!(before, after);
    let epochs: Vec<_> = screen.state.folds.iter().map(|fold| fold.epochs.len()).collect();
    assert_eq!(epochs, [8, 8, 8, 10, 8]);
    assert!(screen.state.folds[0].best_epoch().is_some());
    assert_eq!(screen.state.folds.len(), 5);
}

#[test]
fn a_process_that_died_is_an_alert_until_another_takes_its_fold_over() {
    let mut screen = run(Stage::Died);
    let top = |screen: &mut Screen| {
        let drawn = draw(screen, 120, 36).to_string();
        // Without the quotes of each line, and where a line is broken.
        let lines = drawn.lines().take(4).map(|line| line.trim_matches('"'));
        lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
    };
    let said = "fold 2: process 1002 on node02.cluster, Slurm job 4711_2 has died";
    assert!(top(&mut screen).contains(said), "{}", top(&mut screen));
    let mut screen = run(Stage::TakenOver);
    assert!(
        top(&mut screen).contains("taken over by process 1002 on node07"),
        "{}",
        top(&mut screen)
    );
    press(&mut screen, KeyCode::Char('x'));
    assert!(!top(&mut screen).contains("taken over"));
    // One that does not answer is one as long as it does not.
    let silent = worker(2, WorkerState::Silent, Some(holder("node07", "cuda:1", 2)), "");
    tell(&mut screen, silent);
    assert!(top(&mut screen).contains("node07, Slurm job 4711_2 does not answer"));
    assert!(top(&mut screen).contains("1 of 5 folds in training · 1 silent"));
    let back = worker(2, WorkerState::Training, Some(holder("node07", "cuda:1", 2)), "");
    tell(&mut screen, back);
    assert!(!top(&mut screen).contains("does not answer"));
    assert!(top(&mut screen).contains("2 of 5 folds in training · 1 pending"));
}

#[test]
fn alerts_of_two_processes_stand_beside_each_other() {
    let mut screen = run(Stage::TakenOver);
    press(&mut screen, KeyCode::Char('x'));
    let hot = Gpu { memory_total: 1 << 30, temperature: Some(91), ..Gpu::default() };
    for fold in [1, 2, 1, 2, 1, 2] {
        tell_of(&mut screen, fold, Event::Gpu(hot.clone()));
    }
    let texts: Vec<_> =
        screen.state.alerts.standing().iter().map(|alert| alert.text.clone()).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts.iter().any(|text| text.starts_with("fold 1: the GPU is at 91°C")), "{texts:?}");
    assert!(texts.iter().any(|text| text.starts_with("fold 2: the GPU is at 91°C")), "{texts:?}");
}

#[test]
fn one_process_can_be_paused_and_all_can_be() {
    let mut screen = run(Stage::TakenOver);
    let reply = press(&mut screen, KeyCode::Char('h'));
    let Reply::SendTo(request) = reply else { panic!("{reply:?}") };
    assert_eq!((request.worker, request.command), (Some(1), Command::Pause));
    let at = Position { fold: 1, epoch: 3, step: 23 };
    let paused =
        |at| Event::Trainer(TrainerEvent { at, state: TrainerState::Paused, reason: None });
    tell_of(&mut screen, 1, paused(at));
    let text = draw(&mut screen, 120, 36).to_string();
    assert!(text.contains("1 of 5 folds in training · 1 paused · 1 pending"), "{text}");
    let reply = press(&mut screen, KeyCode::Char('h'));
    let Reply::SendTo(request) = reply else { panic!("{reply:?}") };
    assert_eq!(request.command, Command::Resume);
    assert_eq!(press(&mut screen, KeyCode::Char('p')), Reply::Send(Command::Pause));
    // The answer of one process is not that of all.
    let ack = |id| Event::Ack(Ack { id, command: Command::Pause, refused: None });
    tell_of(&mut screen, 1, ack(None));
    assert!(draw(&mut screen, 120, 36).to_string().contains("pausing…"));
    tell_of(&mut screen, 2, paused(Position { fold: 2, epoch: 5, step: 38 }));
    tell(&mut screen, ack(None));
    let text = draw(&mut screen, 120, 36).to_string();
    assert!(text.contains("‖ none of 5 folds in training · 2 paused"), "{text}");
    assert_eq!(press(&mut screen, KeyCode::Char('p')), Reply::Send(Command::Resume));
    assert_eq!(screen.state.seconds_left(), None, "nobody trains");
}

#[test]
fn keys_about_processes_say_why_they_do_nothing_in_a_run_of_one() {
    let mut screen = training();
    for key in ['w', 'c', 'z', 'h'] {
        assert_eq!(press(&mut screen, KeyCode::Char(key)), Reply::Nothing);
        assert!(bottom(&mut screen).contains("one process trains this run"), "{key}");
    }
}

#[test]
fn a_hundred_folds_scroll() {
    let mut screen = plain(Pictures::Characters).attached();
    shared::many(100, 3).iter().for_each(|event| screen.apply(event));
    show(&mut screen, View::Folds);
    insta::assert_snapshot!("hundred_80x24", draw(&mut screen, 80, 24));
    for _ in 0..99 {
        press(&mut screen, KeyCode::Down);
    }
    let text = draw(&mut screen, 80, 24).to_string();
    assert!(text.contains("rows") && text.contains("▸   99"), "{text}");
    for (width, height) in [(40, 12), (120, 36), (200, 60), (250, 20)] {
        for view in VIEWS.map(|entry| entry.view) {
            show(&mut screen, view);
            draw(&mut screen, width, height);
        }
    }
}
