//! The whole screen, drawn from a synthetic run without a clock or a terminal.

mod alerts;
mod attached;
mod crops;
mod keys;
mod queue;
mod shared;
mod views;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use rsna_tui::run::event::*;
use rsna_tui::run::{Command, FoldAction};
use rsna_tui::tui::{Appearance, Depth, Keymap, Pictures, Reply, Screen};
use rsna_tui_testkit::script::Script;

const MIDDLE: Position = Position { fold: 1, epoch: 3, step: 23 };

fn plain(pictures: Pictures) -> Screen {
    Screen::new(pictures, Appearance::PLAIN, Keymap::default())
}

fn colourless(pictures: Pictures) -> Screen {
    let appearance = Appearance { depth: Depth::Monochrome, ..Appearance::PLAIN };
    Screen::new(pictures, appearance, Keymap::default())
}

fn screen(events: &[Stamped]) -> Screen {
    let mut screen = plain(Pictures::Characters);
    events.iter().for_each(|e| screen.apply(e));
    screen
}

fn training() -> Screen {
    screen(&Script::default().events(Some(MIDDLE)))
}

fn draw(screen: &mut Screen, width: u16, height: u16) -> TestBackend {
    let now = screen.state.at;
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| screen.draw(frame, now)).unwrap();
    terminal.backend().clone()
}

fn press(screen: &mut Screen, code: KeyCode) -> Reply {
    screen.key(&KeyEvent::new(code, KeyModifiers::NONE))
}

fn tell(screen: &mut Screen, event: Event) {
    let at = screen.state.at + 1.0;
    screen.apply(&Stamped::new(at, event));
}

fn of_fold(fold: usize, action: FoldAction) -> Reply {
    Reply::Send(Command::Fold { fold, action })
}

/// The last row: the keys, or why the last key did nothing.
fn bottom(screen: &mut Screen) -> String {
    let drawn = draw(screen, 80, 24).to_string();
    drawn.lines().last().unwrap_or_default().into()
}

#[test]
fn training_at_three_sizes() {
    for (width, height) in [(80, 24), (120, 36), (200, 60)] {
        let name = format!("training_{width}x{height}");
        insta::assert_snapshot!(name, draw(&mut training(), width, height));
    }
}

#[test]
fn before_the_first_event_and_before_the_first_step() {
    let mut screen = plain(Pictures::Characters);
    insta::assert_snapshot!("starting", draw(&mut screen, 80, 24));
    tell(&mut screen, Script::default().started());
    insta::assert_snapshot!("loading", draw(&mut screen, 80, 24));
}

#[test]
fn keys_are_shown_on_top() {
    let mut screen = training();
    press(&mut screen, KeyCode::Char('?'));
    insta::assert_snapshot!("help", draw(&mut screen, 80, 24));
    press(&mut screen, KeyCode::Esc);
    assert_eq!(draw(&mut screen, 80, 24), draw(&mut training(), 80, 24));
}

#[test]
fn pausing_is_told_at_once_and_paused_when_it_is_so() {
    let mut screen = training();
    assert_eq!(press(&mut screen, KeyCode::Char('p')), Reply::Send(Command::Pause));
    assert!(draw(&mut screen, 80, 24).to_string().contains("pausing…"));
    let event = TrainerEvent { at: MIDDLE, state: TrainerState::Paused, reason: None };
    tell(&mut screen, Event::Trainer(event));
    insta::assert_snapshot!("paused", draw(&mut screen, 80, 24));
    assert_eq!(press(&mut screen, KeyCode::Char('p')), Reply::Send(Command::Resume));
}

#[test]
fn an_error_is_told_aloud() {
    let mut screen = training();
    let message = "study 1.2.826.0.1.3680043.10633: 1.2.826.0.1.3680043.10633_3_4.npy is missing; \
                   put it back or take the study out of train_seg.csv";
    let error = ErrorEvent { at: MIDDLE, message: message.into(), fatal: false };
    tell(&mut screen, Event::Error(error));
    let fold = FoldEvent { at: MIDDLE, state: FoldState::Failed };
    tell(&mut screen, Event::Fold(fold));
    insta::assert_snapshot!("error", draw(&mut screen, 120, 36));
}

#[test]
fn losses_that_are_not_finite_are_told_aloud() {
    let script = Script::default();
    let mut screen = training();
    let Event::Step(step) = script.step(Position { step: 24, ..MIDDLE }) else { unreachable!() };
    tell(&mut screen, Event::Step(Step { loss: f64::NAN, ..step }));
    let text = draw(&mut screen, 80, 24).to_string();
    assert!(text.contains("1 loss is not finite, the last at fold 1 epoch 3 step 24"), "{text}");
}

#[test]
fn the_end_shows_the_results_and_q_leaves_at_once() {
    let mut screen = screen(&Script::default().events(None));
    insta::assert_snapshot!("finished", draw(&mut screen, 120, 36));
    press(&mut screen, KeyCode::Esc);
    assert!(!draw(&mut screen, 120, 36).to_string().contains("best/baseline"));
    press(&mut screen, KeyCode::Char('r'));
    assert!(!draw(&mut screen, 120, 36).to_string().contains("best/baseline"));
    press(&mut screen, KeyCode::Enter);
    assert!(draw(&mut screen, 120, 36).to_string().contains("best/baseline"));
    assert_eq!(press(&mut screen, KeyCode::Char('q')), Reply::Leave);
}

#[test]
fn the_results_name_what_was_left_out_as_far_as_there_is_room() {
    let mut screen = screen(&Script::default().events(None));
    let Event::RunFinished(finished) = Script::default().finished(Outcome::Completed) else {
        unreachable!()
    };
    let skipped = |i: usize| SkippedStudy {
        fold: 1,
        study: format!("1.2.{i}"),
        times: i,
        message: format!("study 1.2.{i} C3 slice 4: crops/1.2.{i}_3_4.npy is missing"),
    };
    let skipped = (1..=6).map(skipped).collect();
    tell(&mut screen, Event::RunFinished(RunFinished { skipped, ..finished }));
    let text = draw(&mut screen, 120, 36).to_string();
    assert!(text.contains("left out as unreadable: 6 studies in fold 1"), "{text}");
    assert!(text.contains("fold 1 4 times: study 1.2.4 C3 slice 4: crops/1.2.4_3_4.npy"), "{text}");
    assert!(text.contains("and 2 more, see report.txt") && !text.contains("1.2.5"), "{text}");
    let text = draw(&mut screen, 60, 16).to_string();
    assert!(
        text.contains("6 studies in fold 1") && text.contains("report.txt names them"),
        "{text}"
    );
    assert!(text.contains("Esc closes this"), "{text}");
}

#[test]
fn quitting_asks_and_no_changes_nothing() {
    let mut screen = training();
    assert_eq!(press(&mut screen, KeyCode::Char('q')), Reply::Nothing);
    insta::assert_snapshot!("quit", draw(&mut screen, 80, 24));
    assert_eq!(press(&mut screen, KeyCode::Char('n')), Reply::Nothing);
    assert!(!screen.state.is_stopping(), "no is no");
    press(&mut screen, KeyCode::Char('q'));
    assert_eq!(press(&mut screen, KeyCode::Char('y')), Reply::Send(Command::StopNow));
    assert!(draw(&mut screen, 80, 24).to_string().contains("stopping… saving last"));
    assert_eq!(press(&mut screen, KeyCode::Char('p')), Reply::Nothing, "it is being ended");
}

#[test]
fn control_c_asks_and_once_more_is_a_yes() {
    let mut screen = training();
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(screen.key(&control_c), Reply::Nothing);
    assert_eq!(screen.key(&control_c), Reply::Send(Command::StopNow));
}

#[test]
fn a_fold_is_skipped_only_after_a_yes_and_only_the_one_asked_about() {
    let mut screen = training();
    press(&mut screen, KeyCode::Char('n'));
    assert_eq!(press(&mut screen, KeyCode::Char('n')), Reply::Nothing);
    press(&mut screen, KeyCode::Char('n'));
    assert_eq!(press(&mut screen, KeyCode::Char('y')), of_fold(1, FoldAction::Skip));
    assert!(draw(&mut screen, 80, 24).to_string().contains("skipping fold 1…"));
    tell(&mut screen, Event::Fold(FoldEvent { at: MIDDLE, state: FoldState::Skipped }));
    assert!(draw(&mut screen, 80, 24).to_string().contains("fold 1 skipped"));
    let mut screen = training();
    press(&mut screen, KeyCode::Char('n'));
    tell(&mut screen, Event::Fold(FoldEvent { at: MIDDLE, state: FoldState::Done }));
    assert_eq!(press(&mut screen, KeyCode::Char('y')), Reply::Nothing);
    let text = draw(&mut screen, 80, 24).to_string();
    assert!(text.contains("fold 1 is done: there is nothing to give up"), "{text}");
}

#[test]
fn stopping_after_the_epoch_is_told_while_it_trains_on() {
    let mut screen = training();
    assert_eq!(press(&mut screen, KeyCode::Char('s')), Reply::Send(Command::StopAfterEpoch));
    let event = TrainerEvent { at: MIDDLE, state: TrainerState::StoppingAfterEpoch, reason: None };
    tell(&mut screen, Event::Trainer(event));
    let text = draw(&mut screen, 120, 36).to_string();
    assert!(text.contains("stopping after this epoch"), "{text}");
    assert_eq!(press(&mut screen, KeyCode::Char('s')), Reply::Nothing);
}

#[test]
fn the_gpu_is_told_as_far_as_there_is_room() {
    let mut screen = training();
    let utilisation = Some(97);
    let (memory_used, memory_total) = (12 << 30, 80 << 30);
    let (temperature, watts) = (Some(61), Some(211.7));
    let throttled = None;
    let gpu = Gpu { memory_used, memory_total, utilisation, temperature, watts, throttled };
    tell(&mut screen, Event::Gpu(gpu));
    let header = |screen: &mut Screen, width| {
        let drawn = draw(screen, width, 36).to_string();
        drawn.lines().next().unwrap_or_default().to_string()
    };
    let device = Script::default().started();
    let Event::RunStarted(plan) = device else { panic!("the run has not started") };
    let wide = header(&mut screen, 200);
    assert!(
        wide.contains(&format!("{} · 97% 61°C 212W 12.0/80 GiB · elapsed", plan.device)),
        "{wide}"
    );
    let narrow = header(&mut screen, 80);
    assert!(narrow.contains("elapsed") && !narrow.contains(&plan.device), "{narrow}");
}

#[test]
fn a_trainer_that_vanished_is_an_error() {
    let mut screen = training();
    screen.disconnected();
    let text = draw(&mut screen, 80, 24).to_string();
    assert!(text.contains("the trainer ended without a word"), "{text}");
    assert_eq!(press(&mut screen, KeyCode::Char('q')), Reply::Leave);
}

#[test]
fn another_fold_can_be_looked_at() {
    let mut screen = training();
    press(&mut screen, KeyCode::Left);
    assert!(draw(&mut screen, 120, 36).to_string().contains("loss · fold 0"));
    press(&mut screen, KeyCode::Right);
    assert!(draw(&mut screen, 120, 36).to_string().contains("loss · fold 1"));
}

#[test]
fn a_held_run_is_an_alarm_until_it_goes_on() {
    let mut screen = training();
    let why = "cannot write runs/cosine-nano/fold1_last.safetensors: No space left on device \
               (os error 28); it goes on when there is room";
    let held = TrainerEvent { at: MIDDLE, state: TrainerState::Held, reason: Some(why.into()) };
    tell(&mut screen, Event::Trainer(held));
    insta::assert_snapshot!("held", draw(&mut screen, 80, 24));
    insta::assert_snapshot!("held_120x36", draw(&mut screen, 120, 36));
    press(&mut screen, KeyCode::Char('p'));
    let text = draw(&mut screen, 80, 24).to_string();
    assert!(text.contains("! held at fold 1 epoch 3 step 23 · pausing…"), "{text}");
    press(&mut screen, KeyCode::Char('q'));
    assert!(draw(&mut screen, 80, 24).to_string().contains("what is not on disk is lost"));
    let running = TrainerEvent { at: MIDDLE, state: TrainerState::Running, reason: None };
    tell(&mut screen, Event::Trainer(running));
    assert!(!draw(&mut screen, 80, 24).to_string().contains("No space left"));
}

#[test]
fn the_keys_scroll_where_there_is_no_room_for_all() {
    let mut screen = training();
    press(&mut screen, KeyCode::Char('?'));
    let text = draw(&mut screen, 60, 16).to_string();
    assert!(
        text.contains("keys · Overview · ↓ more") && !text.contains("close what lies on top"),
        "{text}"
    );
    press(&mut screen, KeyCode::End);
    let text = draw(&mut screen, 60, 16).to_string();
    assert!(
        text.contains("keys · Overview · ↑ more") && text.contains("close what lies on top"),
        "{text}"
    );
    press(&mut screen, KeyCode::Up);
    assert!(draw(&mut screen, 60, 16).to_string().contains("keys · Overview · ↑ ↓ more"));
}

#[test]
fn crops_are_shown_raw_or_augmented_whatever_draws_them() {
    use Pictures::*;
    for pictures in [Characters, Blocks, Kitty, Sixel, Iterm] {
        let mut screen = plain(pictures);
        Script::default().events(Some(MIDDLE)).iter().for_each(|e| screen.apply(e));
        for (width, height) in [(80, 24), (120, 36), (200, 60)] {
            let augmented = draw(&mut screen, width, height);
            assert!(augmented.to_string().contains(" augmented crops "), "{pictures:?}");
            press(&mut screen, KeyCode::Char('r'));
            let raw = draw(&mut screen, width, height);
            assert!(raw.to_string().contains(" raw crops "), "{pictures:?} {raw}");
            let changed = augmented.buffer().diff(raw.buffer()).len();
            // A sixel or iTerm2 picture is stored in its first cell.
            let least = if matches!(pictures, Sixel | Iterm) { 1 } else { 50 };
            assert!(changed > least, "{pictures:?} {width}: {changed} cells changed");
            press(&mut screen, KeyCode::Char('r'));
            let again = draw(&mut screen, width, height);
            assert!(again.to_string().contains(" augmented crops "), "{pictures:?}");
            if pictures != Kitty {
                assert_eq!(augmented, again, "{pictures:?}");
            }
        }
    }
}

#[test]
fn a_raw_crop_says_that_the_probability_is_of_the_augmented_one() {
    let mut screen = training();
    press(&mut screen, KeyCode::Char('r'));
    insta::assert_snapshot!("raw", draw(&mut screen, 120, 36));
    let Event::Preview(mut preview) = rsna_tui_testkit::script::preview(MIDDLE) else {
        unreachable!()
    };
    preview.crops.iter_mut().for_each(|crop| crop.raw = None);
    tell(&mut screen, Event::Preview(preview.clone()));
    let text = draw(&mut screen, 120, 36).to_string();
    assert!(text.contains("(cannot be read)") && text.contains("augmented 0.18"), "{text}");
    // In validation both are the same picture, so the probability belongs to the one shown.
    preview.crops.iter_mut().for_each(|crop| crop.raw = Some(crop.seen.clone()));
    for key in ['r', 'r'] {
        press(&mut screen, KeyCode::Char(key));
        tell(&mut screen, Event::Preview(preview.clone()));
        let text = draw(&mut screen, 120, 36).to_string();
        assert!(text.contains(" raw crops ") && text.contains("predicted 0.18"), "{text}");
    }
}

#[test]
fn the_log_scrolls_and_follows_again() {
    let mut screen = training();
    let newest = |s: &mut Screen| draw(s, 120, 36).to_string();
    newest(&mut screen);
    press(&mut screen, KeyCode::PageUp);
    assert!(newest(&mut screen).contains("newer below"));
    press(&mut screen, KeyCode::End);
    assert!(!newest(&mut screen).contains("newer below"));
}

#[test]
fn no_size_panics() {
    let events = Script::default().events(Some(MIDDLE));
    let finished = Script::default().events(None);
    let many = Script { folds: (0..30).collect(), epochs: 3, steps: 2, ..Script::default() };
    let mut screens = [
        plain(Pictures::Blocks),
        plain(Pictures::Kitty),
        plain(Pictures::Iterm),
        colourless(Pictures::Off),
        screen(&finished),
        screen(&many.events(Some(Position { fold: 20, epoch: 2, step: 1 }))),
    ];
    for screen in &mut screens[..3] {
        events.iter().for_each(|e| screen.apply(e));
    }
    press(&mut screens[0], KeyCode::Char('?'));
    press(&mut screens[1], KeyCode::Char('q'));
    let heights = [1, 3, 8, 11, 12, 13, 16, 17, 24, 31, 32, 33, 36, 46, 60, 70];
    for width in (1..=220).step_by(23).chain([39, 40, 59, 60, 75, 76, 80, 103, 104, 120]) {
        for height in heights {
            for screen in &mut screens {
                draw(screen, width, height);
            }
        }
    }
    let small = draw(&mut screens[2], 39, 12).to_string();
    assert!(small.contains("terminal too small: 40×12 needed"), "{small}");
}

#[test]
fn hostile_figures_and_texts_do_not_break_the_screen() {
    let mut screen = training();
    let log = Log { level: Level::Warn, message: "a\x1b[2Jb\nc".repeat(50) };
    tell(&mut screen, Event::Log(log));
    let broken = Crop {
        study: String::new(),
        vertebra: 0,
        slice: 0,
        label: f32::NAN,
        probability: f32::NAN,
        height: 10,
        width: 10,
        seen: Picture { pixels: vec![0; 3].into(), mask: vec![].into() },
        raw: None,
    };
    tell(
        &mut screen,
        Event::Preview(Preview { at: MIDDLE, crops: vec![broken], predictions: Vec::new() }),
    );
    let Event::Epoch(epoch) = Script::default().epoch(1, 3) else { unreachable!() };
    let (metric, valid_loss) = (f64::INFINITY, f64::NAN);
    tell(&mut screen, Event::Epoch(Epoch { metric, valid_loss, ..epoch }));
    let at = Position { fold: 77, epoch: 999, step: 9999 };
    tell(&mut screen, Script::default().step(at));
    let text = draw(&mut screen, 120, 36).to_string();
    assert!(!text.contains('\x1b') && text.contains("not a picture"), "{text}");
}

#[test]
fn without_colour_no_cell_has_one() {
    let mut screen = colourless(Pictures::Characters);
    Script::default().events(Some(MIDDLE)).iter().for_each(|e| screen.apply(e));
    let backend = draw(&mut screen, 120, 36);
    let reset = ratatui::style::Color::Reset;
    assert!(backend.buffer().content.iter().all(|c| c.fg == reset && c.bg == reset));
}
