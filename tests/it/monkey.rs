//! Monkey test of the dashboard: random keys, events and sizes in random order must not break it.
//!
//! `MONKEY_EVENTS=N` sets the number of events (default 100,000), `MONKEY_SEED=N` the seed.

#[cfg(unix)]
use crate::pty::session;
use crossterm::event::{
    KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use rsna_tui::run::event::Stamped;
use rsna_tui::tui::{Appearance, BINDINGS, Depth, Ground, Keymap, Pictures, Screen};
use rsna_tui_testkit::script::{Script, studies};
use serde_json::{Value, json};

fn of_environment(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(default, |n| n.parse().unwrap_or_else(|_| panic!("{name}={n}: no number")))
}

/// Prints where a panic happened.
struct FailureContext {
    seed: u64,
    event: u64,
    size: (u16, u16),
}

impl Drop for FailureContext {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { seed, event, size } = self;
            println!("MONKEY_SEED={seed}: at event {event}, {}×{}", size.0, size.1);
        }
    }
}

#[test]
fn no_row_of_random_events_ends_it() {
    let seed = of_environment("MONKEY_SEED", 7);
    let count = of_environment("MONKEY_EVENTS", 100_000);
    println!("MONKEY_SEED={seed} MONKEY_EVENTS={count}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let events =
        Script { epochs: 4, steps: 12, valid_batches: 3, ..Script::default() }.events(None);
    let mut next = events.iter().cycle();
    let pictures = [
        Pictures::Kitty,
        Pictures::Sixel,
        Pictures::Iterm,
        Pictures::Blocks,
        Pictures::Characters,
        Pictures::Off,
    ];
    let mut context = FailureContext { seed, event: 0, size: (80, 24) };
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    // Start a new screen now and then, so that not everything is tested on a finished or failed
    // run.
    for chunk in 0..count.div_ceil(2000) {
        let pictures = *pictures.choose(&mut rng).unwrap();
        let mut screen = Screen::new(pictures, random_appearance(&mut rng), Keymap::default());
        if rng.random_bool(0.3) {
            screen = screen.attached();
        }
        let mut now = 0.0;
        for event in 0..2000.min(count - 2000 * chunk) {
            context.event = 2000 * chunk + event;
            let mut draws = rng.random_bool(0.1);
            match rng.random_range(0..100) {
                0..40 => drop(screen.key(&random_key(&mut rng))),
                40..45 => drop(screen.mouse(&random_mouse(&mut rng, context.size))),
                45..75 => screen.apply(next.next().unwrap()),
                75..92 => screen.apply(&spoilt(next.next().unwrap(), &mut rng)),
                92..94 => screen.state.stray(now, "stderr: cuInit: forward compatibility"),
                94..99 => {
                    context.size = random_size(&mut rng);
                    terminal.backend_mut().resize(context.size.0, context.size.1);
                    draws = true;
                }
                _ if rng.random_bool(0.05) => screen.disconnected(),
                _ => screen.forget_pictures(),
            }
            if draws {
                now += rng.random_range(0.0..20.0);
                terminal.draw(|frame| screen.draw(frame, now)).unwrap();
                if let Some(wanted) = screen.take_slice_request() {
                    let answer = Stamped::new(now, studies::slice_reply(&wanted));
                    let spoils = rng.random_bool(0.3);
                    screen.apply(&if spoils { spoilt(&answer, &mut rng) } else { answer });
                }
            }
        }
    }
}

fn random_appearance(rng: &mut ChaCha8Rng) -> Appearance {
    let depths = [Depth::TrueColor, Depth::Indexed, Depth::Ansi, Depth::Monochrome];
    let grounds = [Ground::Unknown, Ground::Dark, Ground::Light];
    Appearance {
        depth: *depths.choose(rng).unwrap(),
        ground: *grounds.choose(rng).unwrap(),
        ascii: rng.random_bool(0.3),
    }
}

/// A click, a drag or a turn of the wheel, occasionally outside of the screen.
fn random_mouse(rng: &mut ChaCha8Rng, (width, height): (u16, u16)) -> MouseEvent {
    let kinds = [
        MouseEventKind::Down(MouseButton::Left),
        MouseEventKind::Down(MouseButton::Right),
        MouseEventKind::Drag(MouseButton::Left),
        MouseEventKind::Up(MouseButton::Left),
        MouseEventKind::Moved,
        MouseEventKind::ScrollUp,
        MouseEventKind::ScrollDown,
    ];
    MouseEvent {
        kind: *kinds.choose(rng).unwrap(),
        column: rng.random_range(0..=width),
        row: if rng.random_bool(0.3) { 0 } else { rng.random_range(0..=height) },
        modifiers: KeyModifiers::NONE,
    }
}

/// A key of the table, or any other.
fn random_key(rng: &mut ChaCha8Rng) -> KeyEvent {
    let modifiers = [
        KeyModifiers::NONE,
        KeyModifiers::SHIFT,
        KeyModifiers::CONTROL,
        KeyModifiers::ALT,
        KeyModifiers::all(),
    ];
    let (code, modifiers) = match rng.random_range(0..10) {
        0..7 => return BINDINGS.choose(rng).unwrap().default_keys().choose(rng).unwrap().event(),
        7 => (KeyCode::Char(rng.random()), *modifiers.choose(rng).unwrap()),
        8 => (KeyCode::Char(rng.random_range('!'..='~')), *modifiers.choose(rng).unwrap()),
        _ => {
            let others = [KeyCode::Tab, KeyCode::BackTab, KeyCode::Delete, KeyCode::Null];
            (*others.choose(rng).unwrap(), *modifiers.choose(rng).unwrap())
        }
    };
    let kinds = [KeyEventKind::Press, KeyEventKind::Repeat, KeyEventKind::Release];
    let kind = if rng.random_bool(0.9) { kinds[0] } else { *kinds.choose(rng).unwrap() };
    KeyEvent::new_with_kind(code, modifiers, kind)
}

/// A size from a single cell to a very large screen, small ones more often.
fn random_size(rng: &mut ChaCha8Rng) -> (u16, u16) {
    let (width, height) = match rng.random_range(0..4) {
        0 => (12, 8),
        1 | 2 => (130, 40),
        _ => (400, 120),
    };
    (rng.random_range(1..=width), rng.random_range(1..=height))
}

/// `stamped` with some of its figures, texts and lists corrupted.
fn spoilt(stamped: &Stamped, rng: &mut ChaCha8Rng) -> Stamped {
    let mut value = serde_json::to_value(stamped).unwrap();
    spoil(&mut value, rng);
    // If the result is not a valid event, it could not occur.
    serde_json::from_value(value).unwrap_or_else(|_| stamped.clone())
}

fn spoil(value: &mut Value, rng: &mut ChaCha8Rng) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(|v| spoil(v, rng)),
        Value::Array(values) => {
            values.iter_mut().for_each(|v| spoil(v, rng));
            if rng.random_bool(0.05) {
                values.truncate(rng.random_range(0..=values.len()));
            }
        }
        _ if !rng.random_bool(0.1) => {}
        Value::Number(number) if number.is_u64() => {
            *value = json!(*[0, 1, 3, 1000, u64::from(u32::MAX), u64::MAX].choose(rng).unwrap());
        }
        Value::Number(_) => {
            let odd = [json!("nan"), json!("inf"), json!("-inf"), json!(0.0), json!(-1e300)];
            *value = odd.choose(rng).unwrap().clone();
        }
        Value::String(_) => {
            let odd = ["", "\u{1b}[2J\n\0", "語語語語語語語語語語", "e\u{301}\u{202e}👩‍👩‍👧", "nan"];
            let text = *odd.choose(rng).unwrap();
            *value = json!(text.repeat(rng.random_range(1..200)));
        }
        Value::Bool(flag) => *flag = !*flag,
        Value::Null => {}
    }
}

#[cfg(unix)]
#[test]
fn a_monkey_at_the_terminal_leaves_it_as_it_was() {
    use std::time::Duration;
    let seed = of_environment("MONKEY_SEED", 7);
    println!("MONKEY_SEED={seed}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut s = session::Session::start(120, 36, &["--set", "ui.mouse=true", "--set", "ui.fps=60"]);
    s.wait("training fold 0");
    // All keys except those that could end the run early: `y`, `s` followed by `q`, and Ctrl-C
    // twice.
    let keys: Vec<String> =
        ('!'..='~').filter(|c| !"yYsS".contains(*c)).map(String::from).collect();
    let others = [
        "\x1b",
        "\x1b[A",
        "\x1b[B",
        "\x1b[C",
        "\x1b[D",
        "\x1b[5~",
        "\x1b[6~",
        "\x1b[H",
        "\x1b[F",
        "\t",
        "\x1b[Z",
        "\r",
        "\x7f",
        "\x1a",
        "\x1b[200~qy\x1b[201~",
        "\x1b[<0;10;5M",
        "\x1b[<0;10;5m",
        "\x1b[<64;50;20M",
        "\x1b[<32;90;30M",
        "\x1b[999;",
        "\u{e9}",
        "\x1bOP",
    ];
    for _ in 0..400 {
        match rng.random_range(0..10) {
            0 => {
                let (width, height) = random_size(&mut rng);
                s.resize(width, height);
            }
            1..4 => s.press(others.choose(&mut rng).unwrap()),
            _ => s.press(keys.choose(&mut rng).unwrap()),
        }
        std::thread::sleep(Duration::from_millis(rng.random_range(0..20)));
    }
    s.resize(120, 36);
    // The dashboard still responds. The first key may complete a truncated sequence or close an
    // overlay; later keys do not.
    session::wait_until("the keys", || {
        assert!(s.child.try_wait().unwrap().is_none(), "it has left:\n{}", s.text());
        s.press("\x1b");
        std::thread::sleep(Duration::from_millis(200));
        s.press("?");
        std::thread::sleep(Duration::from_millis(200));
        s.text().contains("keys · ")
    });
    assert!(s.is_up());
    // Immediately, whatever state the run is in.
    s.signal("-TERM");
    s.signal("-TERM");
    s.end(143);
}
