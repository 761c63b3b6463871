//! Dashboards of runs that are or were trained in another process.

use super::*;

pub fn training() -> Screen {
    let mut screen = plain(Pictures::Characters).attached();
    Script::default().events(Some(MIDDLE)).iter().for_each(|e| screen.apply(e));
    screen
}

#[test]
fn an_attached_dashboard_is_left_without_stopping_anything() {
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(press(&mut training(), KeyCode::Char('d')), Reply::Detach);
    assert_eq!(training().terminate(), Reply::Detach);
    let mut screen = training();
    press(&mut screen, KeyCode::Char('q'));
    insta::assert_snapshot!("quit", draw(&mut screen, 80, 24));
    assert_eq!(press(&mut screen, KeyCode::Esc), Reply::Nothing);
    assert_eq!(screen.key(&control_c), Reply::Nothing);
    assert_eq!(screen.key(&control_c), Reply::Detach, "never stops");
    press(&mut screen, KeyCode::Char('q'));
    assert_eq!(press(&mut screen, KeyCode::Char('d')), Reply::Detach);
    let mut screen = training();
    press(&mut screen, KeyCode::Char('q'));
    assert_eq!(press(&mut screen, KeyCode::Char('y')), Reply::Send(Command::StopNow));
    assert_eq!(press(&mut screen, KeyCode::Char('q')), Reply::Nothing);
    assert!(bottom(&mut screen).contains("it saves the last weights, then this closes"));
    assert_eq!(press(&mut screen, KeyCode::Char('d')), Reply::Detach);
}

#[test]
fn a_connection_that_ends_is_not_a_trainer_that_failed() {
    let mut screen = training();
    screen.disconnected();
    insta::assert_snapshot!("ended", draw(&mut screen, 80, 24));
    assert_eq!(press(&mut screen, KeyCode::Char('q')), Reply::Leave);
}

#[test]
fn a_run_that_is_over_can_be_looked_at() {
    let mut screen = plain(Pictures::Characters);
    for event in Script::default().events(None) {
        screen.state.apply(&event);
    }
    let mut screen = screen.attached();
    screen.disconnected();
    assert!(!screen.is_animated());
    insta::assert_snapshot!("over", draw(&mut screen, 80, 24));
    press(&mut screen, KeyCode::Left);
    assert!(draw(&mut screen, 120, 36).to_string().contains("loss · fold 0"));
    press(&mut screen, KeyCode::Char('f'));
    assert!(bottom(&mut screen).contains("the run is over: q leaves"));
    assert_eq!(press(&mut screen, KeyCode::Char('q')), Reply::Leave);
}
