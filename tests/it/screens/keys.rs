//! Tests every entry of the key table.

use super::*;
use rsna_tui::tui::{Action, BINDINGS, Binding, VIEWS, View};

fn show(screen: &mut Screen, view: View) {
    let number = char::from_digit(view as u32 + 1, 10).unwrap();
    press(screen, KeyCode::Char(number));
}

/// Whether pressing the key in `view` has any effect visible to the user or the trainer.
fn does_something(mut screen: Screen, view: View, binding: &Binding) -> bool {
    show(&mut screen, view);
    let before = draw(&mut screen, 120, 36);
    let reply = screen.key(&binding.default_keys()[0].event());
    reply != Reply::Nothing || draw(&mut screen, 120, 36) != before
}

/// Whether the key has no effect at first in the middle of training, because its selection is at an
/// end.
fn has_nowhere_to_go(binding: &Binding, view: View) -> bool {
    match binding.action {
        // Fold 1 is the last of two, the newest line is at the bottom, everything is visible, C1 is
        // the first.
        Action::FoldAfter | Action::EpochAfter => true,
        Action::Scroll(scroll) => match (view, format!("{scroll:?}").as_str()) {
            (View::Log | View::Runs, _) => true,
            (View::Vertebrae, to) => to == "Up",
            (_, to) => !["Up", "PageUp", "Home"].contains(&to),
        },
        Action::LogFilter(key) => ["Older", "Newer"].contains(&format!("{key:?}").as_str()),
        Action::Chart(key) => {
            ["ZoomOut", "PanLeft", "PanRight", "Whole"].contains(&format!("{key:?}").as_str())
        }
        Action::Show(own) => own == view,
        Action::Close => true,
        // The worst study is the first, shown at its largest error, in its own contrast.
        Action::Crops(key) => {
            ["StudyBefore", "MostWrong", "Reset"].contains(&format!("{key:?}").as_str())
        }
        _ => false,
    }
}

#[test]
fn every_key_does_something_in_each_of_its_views() {
    for binding in BINDINGS.iter() {
        for view in VIEWS.map(|entry| entry.view).into_iter().filter(|&v| binding.works_in(v)) {
            let does = does_something(training(), view, binding);
            let name = binding.name;
            assert_ne!(does, has_nowhere_to_go(binding, view), "{name} in {}", view.name());
        }
    }
}

#[test]
fn no_key_is_silent_whatever_the_run_does() {
    let over = || screen(&Script::default().events(None));
    let starting = || plain(Pictures::Characters);
    let states: [(&str, &dyn Fn() -> Screen); 4] = [
        ("queue", &queue::held),
        ("attached", &attached::training),
        ("over", &over),
        ("starting", &starting),
    ];
    for (name, state) in states {
        for binding in BINDINGS.iter().filter(|binding| binding.works_in(View::Overview)) {
            let moves = match binding.action {
                Action::FoldBefore => false,
                Action::FoldAfter => name == "queue",
                Action::Scroll(_) => false,
                Action::Close => false,
                // The crops look the same, or there are none.
                Action::ToggleRaw => false,
                Action::Show(view) => view != View::Overview,
                _ => true,
            };
            let does = does_something(state(), View::Overview, binding);
            assert!(does || !moves, "{} is silent while {name}", binding.name);
        }
    }
}

#[test]
fn a_chart_is_zoomed_panned_and_read_at_the_cursor() {
    let mut screen = training();
    show(&mut screen, View::Curves);
    let text = |screen: &mut Screen| draw(screen, 120, 36).to_string();
    let whole = text(&mut screen);
    press(&mut screen, KeyCode::Char('+'));
    assert!(text(&mut screen).contains("newest"), "{}", text(&mut screen));
    press(&mut screen, KeyCode::Char(','));
    assert!(text(&mut screen).contains("steps "), "{}", text(&mut screen));
    press(&mut screen, KeyCode::Char('0'));
    assert_eq!(text(&mut screen), whole);
    press(&mut screen, KeyCode::Left);
    assert!(text(&mut screen).contains("┊ epoch 3 step 2"), "{}", text(&mut screen));
    press(&mut screen, KeyCode::Esc);
    assert_eq!(text(&mut screen), whole);
    for name in
        ["loss by head", "learning rate", "gradient norm", "ROC AUC", "competition metric", "loss"]
    {
        press(&mut screen, KeyCode::Char('v'));
        assert!(text(&mut screen).contains(&format!("{name} · fold 1")), "{}", text(&mut screen));
    }
    press(&mut screen, KeyCode::Char('t'));
    assert!(text(&mut screen).contains("all folds"));
}

#[test]
fn the_log_is_filtered_and_searched() {
    let mut screen = training();
    let warning = Log { level: Level::Warn, message: "a disk of ACME is slow".into() };
    tell(&mut screen, Event::Log(warning));
    show(&mut screen, View::Log);
    let text = |screen: &mut Screen| draw(screen, 80, 24).to_string();
    press(&mut screen, KeyCode::Char('v'));
    assert!(text(&mut screen).contains("warnings and errors: 1"), "{}", text(&mut screen));
    assert!(!text(&mut screen).contains("saved last"));
    press(&mut screen, KeyCode::Char('v'));
    press(&mut screen, KeyCode::Char('v'));
    press(&mut screen, KeyCode::Char('/'));
    // Letters are input now, so q does not quit.
    "acme q".chars().for_each(|c| {
        press(&mut screen, KeyCode::Char(c));
    });
    assert!(text(&mut screen).contains("/acme q█  found in 0"), "{}", text(&mut screen));
    press(&mut screen, KeyCode::Backspace);
    press(&mut screen, KeyCode::Backspace);
    press(&mut screen, KeyCode::Enter);
    let found = text(&mut screen);
    assert!(found.contains("/acme  found in 1") && found.contains("▸! a disk of ACME"), "{found}");
    press(&mut screen, KeyCode::Esc);
    assert!(!text(&mut screen).contains("/acme"));
}

#[test]
fn keys_of_the_config_are_those_of_key_line_and_help() {
    let changes = [("pause".to_string(), "Space".to_string())].into();
    let keys = Keymap::new(&changes).unwrap();
    let mut screen = Screen::new(Pictures::Characters, Appearance::PLAIN, keys);
    Script::default().events(Some(MIDDLE)).iter().for_each(|e| screen.apply(e));
    assert!(bottom(&mut screen).contains("Space pause"));
    press(&mut screen, KeyCode::Char('?'));
    let text = draw(&mut screen, 120, 36).to_string();
    assert!(text.contains("Space  pause after the step"), "{text}");
    press(&mut screen, KeyCode::Esc);
    assert_eq!(press(&mut screen, KeyCode::Char('p')), Reply::Nothing);
    assert_eq!(press(&mut screen, KeyCode::Char(' ')), Reply::Send(Command::Pause));
}

#[test]
fn the_documentation_explains_every_key() {
    let page = include_str!("../../../docs/src/dashboard.md");
    for (key, help) in VIEWS.into_iter().flat_map(|entry| Keymap::default().lines(entry.view, true))
    {
        for key in key.split(' ').filter(|key| *key != "…") {
            assert!(page.contains(&format!("`{key}`")), "dashboard.md lacks {key}: {help}");
        }
    }
}

#[test]
fn the_mouse_clicks_tabs_and_points_in_the_chart() {
    use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
    let at = |kind, column, row| MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE };
    let mut screen = training();
    draw(&mut screen, 120, 36);
    screen.mouse(&at(MouseEventKind::Down(MouseButton::Left), 13, 1));
    let text = |screen: &mut Screen| draw(screen, 120, 36).to_string();
    assert!(text(&mut screen).contains("loss · fold 1"), "{}", text(&mut screen));
    screen.mouse(&at(MouseEventKind::Down(MouseButton::Left), 60, 12));
    assert!(text(&mut screen).contains("┊ epoch "), "{}", text(&mut screen));
    screen.mouse(&at(MouseEventKind::ScrollUp, 60, 12));
    assert!(text(&mut screen).contains("· steps "), "{}", text(&mut screen));
}

#[test]
fn more_epochs_and_another_last_rate_are_asked_for() {
    let mut screen = training();
    press(&mut screen, KeyCode::Char('u'));
    for key in [KeyCode::Up, KeyCode::Up, KeyCode::PageUp, KeyCode::Down] {
        press(&mut screen, key);
    }
    assert!(draw(&mut screen, 120, 36).to_string().contains("Train each fold for 29 epochs?"));
    let plan = |epochs, min_learning_rate| Reply::Send(Command::Plan { epochs, min_learning_rate });
    assert_eq!(press(&mut screen, KeyCode::Char('y')), plan(Some(29), None));
    let planned = Planned {
        at: MIDDLE,
        epochs: 29,
        learning_rates: vec![1e-4; 29],
        changes: vec!["train.epochs: 8 → 29".into()],
    };
    tell(&mut screen, Event::Planned(planned));
    let text = draw(&mut screen, 120, 36).to_string();
    assert!(text.contains("3/29") && text.contains("train.epochs: 8 → 29"), "{text}");
    press(&mut screen, KeyCode::Char('j'));
    press(&mut screen, KeyCode::Down);
    assert!(draw(&mut screen, 120, 36).to_string().contains("fall to 5.00e-5?"));
    assert_eq!(press(&mut screen, KeyCode::Char('y')), plan(None, Some(5e-5)));
}

#[test]
fn the_chart_in_view_is_written_into_the_runs_folder() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("cosine-nano");
    std::fs::create_dir(&run).unwrap();
    std::fs::write(run.join("config.toml"), "").unwrap();
    let mut screen = training().beside_runs_in(dir.path().into());
    show(&mut screen, View::Curves);
    press(&mut screen, KeyCode::Char('e'));
    let screen_text = draw(&mut screen, 200, 60).to_string();
    assert!(screen_text.contains("exports/loss-fold-1.svg and .csv"), "{screen_text}");
    let svg = std::fs::read_to_string(run.join("exports/loss-fold-1.svg")).unwrap();
    assert!(svg.starts_with("<svg") || svg.starts_with("<?xml"), "{}", &svg[..40]);
    let csv = std::fs::read_to_string(run.join("exports/loss-fold-1.csv")).unwrap();
    let of = |name: &str| csv.lines().filter(|line| line.contains(name)).count();
    // Two epochs of 40 steps, and 23 steps of the third.
    assert_eq!((of("each step"), of("train, smoothed"), of("valid,")), (103, 103, 2), "{csv}");
    for view in VIEWS.map(|entry| entry.view) {
        show(&mut screen, view);
        press(&mut screen, KeyCode::Char('e'));
    }
    assert!(std::fs::read_dir(run.join("exports")).unwrap().count() >= 8);
}

/// `q` takes effect even if pressed just before the run ends.
#[test]
fn who_asks_to_leave_is_let_go_when_the_run_ends_by_itself() {
    let end = Script::default().finished(Outcome::Stopped);
    let states: [(&str, &dyn Fn() -> Screen); 4] = [
        ("training", &|| screen(&Script::default().events(Some(MIDDLE)))),
        ("stopping", &|| {
            let mut screen = screen(&Script::default().events(Some(MIDDLE)));
            screen.state.command_given(Command::StopNow);
            screen
        }),
        ("attached", &attached::training),
        ("attached, stopping", &|| {
            let mut screen = attached::training();
            screen.state.command_given(Command::StopNow);
            screen
        }),
    ];
    for (name, state) in states {
        for keys in [&[KeyCode::Char('q')][..], &[KeyCode::Char('q'), KeyCode::Esc], &[]] {
            let mut screen = state();
            for &key in keys {
                assert_eq!(press(&mut screen, key), Reply::Nothing, "{name}");
            }
            assert!(!screen.is_left(), "{name}: the run goes on");
            tell(&mut screen, end.clone());
            assert_eq!(screen.is_left(), keys.len() == 1, "{name}, {keys:?}");
            assert_eq!(press(&mut screen, KeyCode::Char('q')), Reply::Leave, "{name}");
        }
    }
}
