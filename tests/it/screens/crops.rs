//! The view of the crops: its studies, slices and requests.

use super::{MIDDLE, draw, press, screen, tell, training};
use crossterm::event::KeyCode;
use ratatui::backend::TestBackend;
use rsna_tui::run::{SliceRequest, event::*};
use rsna_tui::tui::{Reply, Screen};
use rsna_tui_testkit::script::{self, Script, studies};

/// The view during training, with its first slice selected.
fn crops() -> Screen {
    let mut screen = training();
    press(&mut screen, KeyCode::Char('4'));
    settle(&mut screen);
    screen
}

/// Draws the screen and answers its requests until there are no more; returns them.
fn settle(screen: &mut Screen) -> Vec<SliceRequest> {
    let mut asked = Vec::new();
    loop {
        draw(screen, 120, 36);
        let Some(wanted) = screen.take_slice_request() else { return asked };
        tell(screen, studies::slice_reply(&wanted));
        asked.push(wanted);
    }
}

fn text(backend: &TestBackend) -> String {
    backend.to_string()
}

#[test]
fn the_worst_studies_at_three_sizes() {
    for (width, height) in [(80, 24), (120, 36), (200, 60)] {
        let mut screen = crops();
        insta::assert_snapshot!(
            format!("worst_{width}x{height}"),
            draw(&mut screen, width, height)
        );
    }
}

#[test]
fn the_batch_at_three_sizes_and_all_of_it_at_once() {
    for (width, height) in [(80, 24), (120, 36), (200, 60)] {
        let mut screen = crops();
        press(&mut screen, KeyCode::Char('w'));
        insta::assert_snapshot!(
            format!("batch_{width}x{height}"),
            draw(&mut screen, width, height)
        );
        press(&mut screen, KeyCode::Enter);
        insta::assert_snapshot!(format!("grid_{width}x{height}"), draw(&mut screen, width, height));
    }
}

#[test]
fn a_view_as_small_as_can_be() {
    insta::assert_snapshot!("smallest", draw(&mut crops(), 40, 12));
}

#[test]
fn scrubbing_asks_for_the_slice_and_shows_the_answer() {
    let mut screen = crops();
    let before = text(&draw(&mut screen, 120, 36));
    assert_eq!(press(&mut screen, KeyCode::Right), Reply::Nothing);
    let wanted = screen.take_slice_request().expect("the next slice is asked for at once");
    assert!(screen.take_slice_request().is_none(), "once");
    let waiting = text(&draw(&mut screen, 120, 36));
    assert!(screen.take_slice_request().is_none(), "it waits for the answer");
    tell(&mut screen, studies::slice_reply(&wanted));
    let after = text(&draw(&mut screen, 120, 36));
    assert_ne!(after, before);
    let caption = format!("C{} slice {} of 15", wanted.vertebra, wanted.slice);
    assert!(after.contains(&caption), "{after}");
    assert!(!waiting.contains(&caption), "the old picture keeps its words:\n{waiting}");
    press(&mut screen, KeyCode::Down);
    let below = screen.take_slice_request().unwrap();
    assert_eq!((below.vertebra, below.slice), (wanted.vertebra + 1, wanted.slice));
    // Slices seen before are not requested again.
    press(&mut screen, KeyCode::Up);
    assert!(screen.take_slice_request().is_none());
    assert!(text(&draw(&mut screen, 120, 36)).contains(&caption));
}

#[test]
fn an_answer_that_got_lost_is_asked_for_again() {
    let mut screen = crops();
    press(&mut screen, KeyCode::Right);
    let wanted = screen.take_slice_request().unwrap();
    draw(&mut screen, 120, 36);
    tell(&mut screen, Event::Log(Log { level: Level::Info, message: "later".into() }));
    draw(&mut screen, 120, 36);
    assert!(screen.take_slice_request().is_none());
    for _ in 0..2 {
        tell(&mut screen, Event::Log(Log { level: Level::Info, message: "later".into() }));
    }
    draw(&mut screen, 120, 36);
    assert_eq!(screen.take_slice_request(), Some(wanted));
}

#[test]
fn the_slice_that_is_looked_at_first_is_the_most_wrong_one() {
    let mut screen = training();
    press(&mut screen, KeyCode::Char('4'));
    let asked = settle(&mut screen);
    let Event::Worst(worst) = studies::worst(MIDDLE) else { unreachable!() };
    let first = &worst.studies[0].prediction;
    let SliceRequest { fold, epoch, seed, study, vertebra, slice } = asked[0].clone();
    assert_eq!((fold, epoch, seed, study), (1, 2, 42, first.study.clone()));
    let by = |p: f32, v: u8| (p - f32::from(first.labels[usize::from(v) - 1])).abs();
    let most = (1..=7)
        .flat_map(|v| first.of_vertebra(v).iter().map(move |&p| by(p, v)))
        .fold(0.0, f32::max);
    assert_eq!(by(first.of_vertebra(vertebra)[usize::from(slice)], vertebra), most);
}

#[test]
fn why_there_is_no_picture_is_said_in_its_place() {
    let mut screen = training();
    press(&mut screen, KeyCode::Char('4'));
    draw(&mut screen, 120, 36);
    let wanted = screen.take_slice_request().unwrap();
    let found = SliceContent::Nothing("crops/1_2_3.npy is missing\x1b[2J".into());
    tell(&mut screen, Event::SliceReply(SliceReply { wanted, found }));
    let screen_text = text(&draw(&mut screen, 120, 36));
    assert!(
        screen_text.contains("crops/1_2_3.npy is missing") && !screen_text.contains('\x1b'),
        "{screen_text}"
    );

    let mut over = screen_of_the_past();
    press(&mut over, KeyCode::Esc);
    press(&mut over, KeyCode::Char('4'));
    let screen_text = text(&draw(&mut over, 120, 36));
    assert!(
        screen_text.contains("the run is over: rsna-tui attach reads its slices"),
        "{screen_text}"
    );
    assert!(over.take_slice_request().is_none());
    over.state.reads_slices = true;
    draw(&mut over, 120, 36);
    assert!(over.take_slice_request().is_some());
}

fn screen_of_the_past() -> Screen {
    screen(&Script::default().events(None))
}

#[test]
fn the_batch_stays_while_it_is_looked_at() {
    let mut screen = crops();
    press(&mut screen, KeyCode::Char('w'));
    assert!(text(&draw(&mut screen, 120, 36)).contains("batch · epoch 3 step 21 "));
    press(&mut screen, KeyCode::PageDown);
    tell(&mut screen, script::preview(MIDDLE));
    let held = text(&draw(&mut screen, 120, 36));
    assert!(held.contains("batch · epoch 3 step 21 · held"), "{held}");
    press(&mut screen, KeyCode::Esc);
    assert!(text(&draw(&mut screen, 120, 36)).contains("batch · epoch 3 step 23 "));
}

#[test]
fn mask_window_and_level_change_the_picture_and_0_puts_them_back() {
    let mut screen = crops();
    let own = text(&draw(&mut screen, 120, 36));
    for key in ['o', '+', '-', ')', '('] {
        press(&mut screen, KeyCode::Char(key));
        if key == '-' || key == '(' {
            assert_eq!(text(&draw(&mut screen, 120, 36)), own, "{key}");
            continue;
        }
        assert_ne!(text(&draw(&mut screen, 120, 36)), own, "{key}");
        if key == 'o' {
            press(&mut screen, KeyCode::Char('o'));
        }
    }
    press(&mut screen, KeyCode::Char('+'));
    press(&mut screen, KeyCode::Char(')'));
    assert!(text(&draw(&mut screen, 120, 36)).contains("window -1 level -1"));
    press(&mut screen, KeyCode::Char('0'));
    assert_eq!(text(&draw(&mut screen, 120, 36)), own);
    press(&mut screen, KeyCode::Char('r'));
    assert!(text(&draw(&mut screen, 120, 36)).contains(" raw "));
}

#[test]
fn nothing_to_look_at_is_said() {
    let mut screen = screen(&[]);
    press(&mut screen, KeyCode::Char('4'));
    assert!(text(&draw(&mut screen, 80, 24)).contains("the run is starting"));
    press(&mut screen, KeyCode::Char('w'));
    assert!(text(&draw(&mut screen, 80, 24)).contains("no crops were shown yet"));
    press(&mut screen, KeyCode::Right);
    assert!(text(&draw(&mut screen, 80, 24)).contains("there is no study to look at yet"));
}

#[test]
fn hostile_predictions_do_not_break_the_view() {
    let mut screen = training();
    press(&mut screen, KeyCode::Char('4'));
    for (n, vertebra) in [(0, 0), (6, 9), (7, 200), (448, 1), (14, 0), (105, 0)] {
        let prediction = Prediction {
            study: "\x1b[2J".repeat(99),
            labels: [255; 7],
            probability: f32::NAN,
            slices: vec![f32::INFINITY; n],
        };
        let crop = Crop {
            study: prediction.study.clone(),
            vertebra,
            slice: 255,
            label: 0.0,
            probability: 0.0,
            height: 3,
            width: 0,
            seen: Picture { pixels: vec![].into(), mask: vec![].into() },
            raw: None,
        };
        let study = WorstStudy {
            loss: f64::NAN,
            slice_loss: 0.0,
            study_loss: 0.0,
            prediction: prediction.clone(),
        };
        tell(&mut screen, Event::Worst(Worst { at: MIDDLE, studies: vec![study; 40] }));
        let preview = Preview { at: MIDDLE, crops: vec![crop], predictions: vec![prediction; 40] };
        tell(&mut screen, Event::Preview(preview));
        let keys = [KeyCode::Right, KeyCode::Down, KeyCode::Up, KeyCode::PageDown, KeyCode::Home];
        for key in keys.into_iter().chain([KeyCode::Enter, KeyCode::Char('w')]) {
            press(&mut screen, key);
            for (width, height) in [(40, 12), (61, 15), (80, 24), (200, 60)] {
                let text = text(&draw(&mut screen, width, height));
                assert!(!text.contains('\x1b'), "{text}");
            }
        }
    }
}

#[test]
fn a_crop_without_a_picture_says_so_and_whose_they_are() {
    let mut screen = training();
    press(&mut screen, KeyCode::Char('4'));
    draw(&mut screen, 200, 60);
    let wanted = screen.take_slice_request().unwrap();
    let mut slices = [0; 7];
    slices[usize::from(wanted.vertebra) - 1] = 15;
    let constant = |study: &str| ConstantStudy { study: study.into(), slices };
    let constant =
        Constant { at: MIDDLE, slices_per_vertebra: 15, studies: vec![constant(&wanted.study)] };
    tell(&mut screen, Event::Constant(constant));
    // The augmented version looks like a picture of noise.
    let flat = Picture { pixels: vec![1; 96 * 96].into(), mask: vec![0; 96 * 96].into() };
    let seen = script::neck(|x, y| (x, y));
    let found = SliceContent::Slice { height: 96, width: 96, seen, raw: flat };
    tell(&mut screen, Event::SliceReply(SliceReply { wanted: wanted.clone(), found }));
    let screen_text = text(&draw(&mut screen, 200, 60));
    for words in [
        "no picture: every pixel of this crop is 1",
        "15 of 15 without a picture",
        "= crops without a picture (every pixel the same): 1 whole",
        "vertebra in 1 study",
        " = ",
    ] {
        assert!(screen_text.contains(words), "{words:?} is not in\n{screen_text}");
    }
    assert!(!screen_text.contains('▀'), "no picture is drawn\n{screen_text}");

    // The same for a crop of the batch.
    let Event::Preview(mut preview) = script::preview(MIDDLE) else { unreachable!() };
    let flat = Picture { pixels: vec![7; 96 * 96].into(), mask: vec![0; 96 * 96].into() };
    preview.crops.iter_mut().for_each(|crop| crop.raw = Some(flat.clone()));
    tell(&mut screen, Event::Preview(preview));
    press(&mut screen, KeyCode::Char('w'));
    let screen_text = text(&draw(&mut screen, 200, 60));
    assert!(screen_text.contains("no picture: every pixel of this crop is 7"), "{screen_text}");
}
