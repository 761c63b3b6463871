//! Every view at every size, for one synthetic run.

use super::*;
use rsna_tui::tui::{Answer, VIEWS, View};
use rsna_tui::view::runs::Run;

fn show(screen: &mut Screen, view: View) {
    let number = char::from_digit(view as u32 + 1, 10).unwrap();
    press(screen, KeyCode::Char(number));
}

/// A run of three folds in the middle of the third, with typical incidents.
fn run() -> Screen {
    let script = Script { folds: vec![0, 1, 3], epochs: 12, ..Script::default() };
    let at = Position { fold: 3, epoch: 7, step: 23 };
    let mut screen = screen(&script.events(Some(at)));
    for i in 0..60u32 {
        let wave = f64::from(i % 12) / 12.0;
        let system = System {
            cpu: 40.0 + 30.0 * wave,
            process_cpu: 700.0 + 100.0 * wave,
            resident: (9 << 30) + (u64::from(i) << 24),
            memory_used: (21 << 30) + (u64::from(i) << 25),
            memory_total: 128 << 30,
            disk_free: Some((600 << 30) - (u64::from(i) << 28)),
            disk_total: Some(1 << 40),
            load: Some(7.5),
        };
        tell(&mut screen, Event::System(system));
        let gpu = Gpu {
            memory_used: 61 << 30,
            memory_total: 80 << 30,
            utilisation: Some(90 + i % 10),
            temperature: Some(60 + i / 10),
            watts: Some(600.0 + 40.0 * wave),
            ..Gpu::default()
        };
        tell(&mut screen, Event::Gpu(gpu));
    }
    let paused = |state| Event::Trainer(TrainerEvent { at, state, reason: None });
    tell(&mut screen, paused(TrainerState::Paused));
    tell(&mut screen, paused(TrainerState::Running));
    screen.take_runs(Answer::List(vec![
        Run { run: "cosine-nano".into(), state: "running", status: None },
        Run { run: "baseline".into(), state: "completed", status: None },
    ]));
    screen
}

#[test]
fn every_view_at_three_sizes_and_the_smallest() {
    for view in VIEWS.map(|entry| entry.view) {
        for (width, height) in [(40, 12), (80, 24), (120, 36), (200, 60)] {
            let mut screen = run();
            show(&mut screen, view);
            let name = format!("{}_{width}x{height}", view.name().to_lowercase());
            insta::assert_snapshot!(name, draw(&mut screen, width, height));
        }
    }
}

#[test]
fn the_loss_of_all_folds_and_a_cursor() {
    let mut screen = run();
    show(&mut screen, View::Curves);
    press(&mut screen, KeyCode::Char('t'));
    insta::assert_snapshot!("curves_together", draw(&mut screen, 120, 36));
    press(&mut screen, KeyCode::Char('t'));
    press(&mut screen, KeyCode::Char('v'));
    press(&mut screen, KeyCode::Left);
    insta::assert_snapshot!("curves_by_head", draw(&mut screen, 120, 36));
}

#[test]
fn in_ascii_and_without_colour_all_is_told() {
    for view in VIEWS.map(|entry| entry.view) {
        let ascii = Appearance { depth: Depth::Monochrome, ascii: true, ..Appearance::PLAIN };
        let mut screen = Screen::new(Pictures::Characters, ascii, Keymap::default());
        Script::default().events(Some(MIDDLE)).iter().for_each(|e| screen.apply(e));
        show(&mut screen, view);
        let drawn = draw(&mut screen, 120, 36);
        assert!(drawn.buffer().content.iter().all(|cell| cell.symbol().is_ascii()));
        if view == View::Curves {
            insta::assert_snapshot!("curves_ascii", drawn);
        }
    }
}
