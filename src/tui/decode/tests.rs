//! Keys, pastes and sequences that are cut off.

use super::*;
use crossterm::event::{MouseButton, MouseEventKind};
use rand::{Rng, SeedableRng};

const LATER: Duration = Duration::from_secs(1);

/// Complete sequences, each with a name for assertion messages.
const SEQUENCES: [(&str, &[u8]); 26] = [
    ("an arrow", b"\x1b[A"),
    ("an arrow with Ctrl", b"\x1b[1;5C"),
    ("Page Up", b"\x1b[5~"),
    ("F5", b"\x1b[15~"),
    ("F1 of the Linux console", b"\x1b[[A"),
    ("Shift-Tab", b"\x1b[Z"),
    ("an arrow in application mode", b"\x1bOA"),
    ("F1", b"\x1bOP"),
    ("an old Konsole's F1 with Ctrl", b"\x1bO5P"),
    ("the mouse", b"\x1b[<0;10;5M"),
    ("the mouse, released", b"\x1b[<0;10;5m"),
    ("the mouse in no column", b"\x1b[<0;0;0M"),
    ("an old mouse", b"\x1b[M !!"),
    ("rxvt's mouse", b"\x1b[32;10;5M"),
    ("rxvt's mouse in no row", b"\x1b[32;10;0M"),
    ("a paste", b"\x1b[200~qy\nnot \x1b[A keys\x1b[201~"),
    ("a colour", b"\x1b]11;rgb:1e1e/1e1e/1e1e\x1b\\"),
    ("a colour, ended by BEL", b"\x1b]11;rgb:1e1e/1e1e/1e1e\x07"),
    ("a setting", b"\x1bP1$r0m\x1b\\"),
    ("kitty's word about a picture", b"\x1b_Gi=31;OK\x1b\\"),
    ("a private message", b"\x1b^quit\x1b\\"),
    ("device attributes", b"\x1b[?64;1;2;4;6;9;15;16;17;18;21;22;28c"),
    ("the cursor's place", b"\x1b[12;40R"),
    ("a key of kitty's protocol", b"\x1b[113;5:3u"),
    ("two bytes", "é".as_bytes()),
    ("four bytes after Esc", "\x1b🦴".as_bytes()),
];

fn events(decoder: &mut Decoder) -> Vec<Event> {
    std::iter::from_fn(|| decoder.next()).collect()
}

fn key(code: KeyCode) -> Event {
    Event::Key(KeyEvent::new(code, KeyModifiers::NONE))
}

fn all_at_once(bytes: &[u8]) -> Vec<Event> {
    let now = Instant::now();
    let mut decoder = Decoder::new(now);
    decoder.add(bytes, now);
    decoder.expire(now + LATER);
    events(&mut decoder)
}

#[test]
fn after_any_beginning_of_a_sequence_the_next_key_is_heard() {
    for (name, sequence) in SEQUENCES {
        for cut in 1..=sequence.len() {
            let start = Instant::now();
            let mut decoder = Decoder::new(start);
            decoder.add(&sequence[..cut], start);
            if let Some(deadline) = decoder.deadline() {
                assert!(deadline <= start + PATIENCE);
                decoder.expire(deadline);
                assert_eq!(decoder.deadline(), None);
            }
            events(&mut decoder);
            decoder.add(b"q", start + PAUSE);
            assert_eq!(events(&mut decoder), [key(KeyCode::Char('q'))], "{cut} bytes of {name}");
        }
    }
}

#[test]
fn control_c_breaks_any_beginning_at_once() {
    let control_c = Event::Key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
    for (name, sequence) in SEQUENCES {
        for cut in 1..sequence.len() {
            let mut bytes = sequence[..cut].to_vec();
            bytes.push(CONTROL_C);
            assert!(all_at_once(&bytes).contains(&control_c), "{cut} bytes of {name}");
        }
    }
}

#[test]
fn a_sequence_means_the_same_in_whatever_pieces_it_comes() {
    for (name, sequence) in SEQUENCES {
        let whole = all_at_once(sequence);
        let now = Instant::now();
        let mut decoder = Decoder::new(now);
        for byte in sequence {
            decoder.add(&[*byte], now);
        }
        assert_eq!(events(&mut decoder), whole, "{name}");
        assert!(decoder.bytes.is_empty() && decoder.text.is_none(), "{name}");
    }
}

#[test]
fn keys_and_the_mouse_are_what_they_are() {
    assert_eq!(
        all_at_once(b"\x1b[A\x1bOAq"),
        [KeyCode::Up, KeyCode::Up, KeyCode::Char('q')].map(key)
    );
    assert_eq!(
        all_at_once("é\r\x7f".as_bytes()),
        [KeyCode::Char('é'), KeyCode::Enter, KeyCode::Backspace].map(key)
    );
    let back = all_at_once(b"\x1b[Z");
    assert!(matches!(back[..], [Event::Key(KeyEvent { code: KeyCode::BackTab, .. })]), "{back:?}");
    let mouse = all_at_once(b"\x1b[<0;10;5M");
    let [Event::Mouse(mouse)] = mouse[..] else { panic!("{mouse:?}") };
    assert_eq!(
        (mouse.kind, mouse.column, mouse.row),
        (MouseEventKind::Down(MouseButton::Left), 9, 4)
    );
}

#[test]
fn keys_pressed_fast_are_keys() {
    let esc = KeyCode::Esc;
    let c = KeyCode::Char;
    assert_eq!(all_at_once(b"\x1b"), [esc].map(key));
    assert_eq!(all_at_once(b"\x1b\x1b"), [esc, esc].map(key));
    assert_eq!(all_at_once(b"\x1b["), [esc, c('[')].map(key));
    assert_eq!(all_at_once(b"\x1b[q"), [esc, c('['), c('q')].map(key));
    assert_eq!(all_at_once(b"\x1b[\x1b["), [esc, c('['), esc, c('[')].map(key));
    assert_eq!(all_at_once(b"\x1b\x1b[A"), [esc, KeyCode::Up].map(key));
    let shift = |c| Event::Key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::SHIFT));
    assert_eq!(all_at_once(b"\x1bO"), [key(esc), shift('O')]);
}

#[test]
fn answers_and_pastes_are_no_keys_however_long() {
    for (name, sequence) in SEQUENCES.into_iter().filter(|(name, _)| {
        ["a paste", "a colour", "a setting", "kitty's word", "a private", "device", "the cursor's"]
            .iter()
            .any(|begin| name.starts_with(begin))
    }) {
        assert_eq!(all_at_once(sequence), [], "{name}");
    }
    let now = Instant::now();
    let mut decoder = Decoder::new(now);
    decoder.add(PASTE_BEGINS, now);
    for second in 0..100 {
        // The paste stalls on the way.
        decoder.add(&b"qy".repeat(2000), now + LATER * second);
        assert!(decoder.bytes.len() < 10);
    }
    decoder.add(b"qy\x1b[2", now + LATER * 99);
    decoder.add(b"01~p", now + LATER * 99);
    assert_eq!(events(&mut decoder), [KeyCode::Char('p')].map(key));
}

#[test]
fn any_bytes_are_borne_and_none_are_kept_for_long() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
    let mut now = Instant::now();
    let mut decoder = Decoder::new(now);
    for _ in 0..20_000 {
        let mut bytes = Vec::new();
        for _ in 0..rng.random_range(1..6) {
            match rng.random_range(0..3) {
                0 => bytes.push(rng.random()),
                1 => bytes.extend(b"\x1b[<;0M~O".iter().filter(|_| rng.random_bool(0.5))),
                _ => {
                    let (_, sequence) = SEQUENCES[rng.random_range(0..SEQUENCES.len())];
                    bytes.extend(&sequence[..rng.random_range(0..=sequence.len())]);
                }
            }
        }
        decoder.add(&bytes, now);
        assert!(decoder.bytes.len() <= 2 + LONGEST);
        now += Duration::from_millis(rng.random_range(0..200));
        decoder.expire(now);
        events(&mut decoder);
    }
}
