//! The alarm line at the top.

use super::*;

fn hot(screen: &mut Screen, readings: usize) {
    let (memory_used, memory_total) = (12 << 30, 80 << 30);
    let (utilisation, temperature, watts) = (Some(97), Some(91), Some(640.0));
    let throttled = Some("thermal, power cap".into());
    let gpu = Gpu { memory_used, memory_total, utilisation, temperature, watts, throttled };
    (0..readings).for_each(|_| tell(screen, Event::Gpu(gpu.clone())));
}

fn not_finite(screen: &mut Screen) {
    let at = Position { step: 24, ..MIDDLE };
    let Event::Step(step) = Script::default().step(at) else { unreachable!() };
    tell(screen, Event::Step(Step { loss: f64::NAN, ..step }));
}

fn top(screen: &mut Screen) -> String {
    let drawn = draw(screen, 120, 36).to_string();
    // Below the header are the tabs, and then the alarm.
    drawn.lines().skip(1).take(2).collect()
}

#[test]
fn the_gravest_stands_at_the_top_until_all_are_seen() {
    let mut screen = training();
    assert!(!screen.rings());
    hot(&mut screen, 3);
    assert!(screen.rings());
    assert!(!screen.rings(), "once for each");
    assert!(
        top(&mut screen)
            .contains("! the GPU lowers its clocks: thermal, power cap, at 91°C · since")
    );
    not_finite(&mut screen);
    assert!(screen.rings());
    insta::assert_snapshot!("alerts_120x36", draw(&mut screen, 120, 36));
    insta::assert_snapshot!("alerts_80x24", draw(&mut screen, 80, 24));
    not_finite(&mut screen);
    hot(&mut screen, 1);
    assert!(!screen.rings(), "they stand already");
    assert!(top(&mut screen).contains("2 losses are not finite"));
    press(&mut screen, KeyCode::Char('x'));
    assert!(top(&mut screen).contains("1\u{a0}more"));
    press(&mut screen, KeyCode::Char('x'));
    assert!(top(&mut screen).contains("! the GPU is at 91°C"));
    press(&mut screen, KeyCode::Char('x'));
    assert!(!top(&mut screen).contains("91°C"));
    press(&mut screen, KeyCode::Char('x'));
    assert!(bottom(&mut screen).contains("there is no alert to acknowledge"));
}

#[test]
fn a_fault_of_one_fold_can_be_taken_as_seen_and_a_hold_cannot() {
    let mut screen = training();
    let message = "fold 1 failed: the loss is not finite".to_string();
    tell(&mut screen, Event::Error(ErrorEvent { at: MIDDLE, message, fatal: false }));
    let (state, reason) = (TrainerState::Held, Some("no space left".to_string()));
    tell(&mut screen, Event::Trainer(TrainerEvent { at: MIDDLE, state, reason }));
    assert!(top(&mut screen).contains("× no space left · 1\u{a0}more"));
    press(&mut screen, KeyCode::Char('x'));
    assert!(!top(&mut screen).contains("more"));
    press(&mut screen, KeyCode::Char('x'));
    assert!(top(&mut screen).contains("× no space left"));
}
