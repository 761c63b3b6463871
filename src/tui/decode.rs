//! Decodes the terminal's bytes into keys and mouse events.
//!
//! A byte stream does not tell whether an Esc is a key or the beginning of a sequence, so a
//! sequence that is incomplete after [`PATIENCE`] is given up. Thus nothing incomplete, whether
//! typed, cut off or lost on the way, holds up later keys. Text up to an end mark (a paste, or a
//! terminal's reply to another program) is skipped as it arrives, so its length costs no memory.

use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Longest time to wait for the rest of a sequence.
const PATIENCE: Duration = Duration::from_millis(50);
/// After a pause this long in skipped text, a few bytes are taken as keys because the end mark was
/// lost.
const PAUSE: Duration = Duration::from_millis(150);
/// Most bytes typed at once. More are the rest of a paste that stalled.
const TYPED: usize = 16;
/// Length of the longest sequence to wait for, bytes.
const LONGEST: usize = 64;

const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;
const CONTROL_C: u8 = 0x03;
const PASTE_BEGINS: &[u8] = b"\x1b[200~";
const PASTE_ENDS: &[u8] = b"\x1b[201~";

/// Kind of skipped text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    /// Pasted text, which is no command. Only the first Ctrl-C in it is handled, because it asks at
    /// most a question.
    Paste { interrupted: bool },
    /// OSC, DCS, APC, PM or SOS: a reply to another program's query.
    Answer,
}

/// Kind of the next bytes.
enum Next {
    /// A complete sequence or character of this many bytes.
    Unit(usize),
    /// This many bytes that cannot begin anything.
    Broken(usize),
    /// Beginning of skipped text, of this many bytes.
    Text(Text, usize),
    /// An incomplete sequence or character.
    Incomplete,
}

/// Converts bytes to events.
#[derive(Debug)]
pub struct Decoder {
    bytes: Vec<u8>,
    text: Option<Text>,
    /// When the newest byte was received.
    heard: Instant,
    events: VecDeque<Event>,
}

impl Decoder {
    /// Creates a decoder without any input.
    pub fn new(now: Instant) -> Self {
        Self { bytes: Vec::new(), text: None, heard: now, events: VecDeque::new() }
    }

    /// Removes and returns the oldest event.
    pub fn next(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether there is an event to take.
    pub fn is_ready(&self) -> bool {
        !self.events.is_empty()
    }

    /// When to call [`Self::expire`]; `None` if no sequence is incomplete.
    pub fn deadline(&self) -> Option<Instant> {
        let waits = self.text.is_none() && !self.bytes.is_empty();
        waits.then(|| self.heard + PATIENCE)
    }

    /// Takes in bytes that were read together.
    pub fn add(&mut self, bytes: &[u8], now: Instant) {
        if bytes.is_empty() {
            return;
        }
        let paused = now.saturating_duration_since(self.heard) >= PAUSE;
        let ends = memchr::memmem::find(bytes, PASTE_ENDS).is_some();
        if self.text.is_some() && paused && bytes.len() <= TYPED && !ends {
            self.text = None;
            self.bytes.clear();
        }
        self.expire(now);
        self.heard = now;
        self.bytes.extend_from_slice(bytes);
        while self.step() {}
    }

    /// Gives up a sequence that has been incomplete for too long.
    pub fn expire(&mut self, now: Instant) {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            let bytes = std::mem::take(&mut self.bytes);
            self.give_up(&bytes);
        }
    }

    /// Consumes one unit from the front; returns `false` if more bytes are needed.
    fn step(&mut self) -> bool {
        if let Some(text) = self.text {
            return self.skip(text);
        }
        match next(&self.bytes) {
            Next::Unit(len) => {
                let unit: Vec<u8> = self.bytes.drain(..len).collect();
                self.decode(&unit);
            }
            Next::Broken(len) => {
                let broken: Vec<u8> = self.bytes.drain(..len).collect();
                self.give_up(&broken);
            }
            Next::Text(text, len) => {
                self.bytes.drain(..len);
                self.text = Some(text);
            }
            Next::Incomplete => return false,
        }
        true
    }

    /// Skips the available part of `text`; returns whether its end was found.
    fn skip(&mut self, text: Text) -> bool {
        let (skipped, ended) = match text {
            Text::Paste { interrupted } => {
                let end = memchr::memmem::find(&self.bytes, PASTE_ENDS);
                let kept = || {
                    (1..PASTE_ENDS.len()).rev().find(|&n| self.bytes.ends_with(&PASTE_ENDS[..n]))
                };
                let upto = end.unwrap_or_else(|| self.bytes.len() - kept().unwrap_or(0));
                // Allow leaving even during an endless paste.
                if !interrupted && self.bytes[..upto].contains(&CONTROL_C) {
                    self.key(KeyCode::Char('c'), KeyModifiers::CONTROL);
                    self.text = Some(Text::Paste { interrupted: true });
                }
                (end.map_or(upto, |end| end + PASTE_ENDS.len()), end.is_some())
            }
            Text::Answer => match self.bytes.iter().position(|&b| b < b' ') {
                None => (self.bytes.len(), false),
                Some(end) => match &self.bytes[end..] {
                    [BEL, ..] => (end + 1, true),
                    [ESC, b'\\', ..] => (end + 2, true),
                    [ESC] => (end, false),
                    // The reply was cut off by a key or another sequence.
                    _ => (end, true),
                },
            },
        };
        self.bytes.drain(..skipped);
        if ended {
            self.text = None;
        }
        ended
    }

    /// Converts a complete sequence to an event, if it has a meaning here.
    fn decode(&mut self, unit: &[u8]) {
        let parsed = match misleads(unit) {
            true => None,
            false => terminput::Event::parse_from(unit).ok().flatten(),
        };
        match (parsed.and_then(|event| terminput_crossterm::to_crossterm(event).ok()), unit) {
            // No key here uses Alt, so this is Esc and a key pressed in quick succession.
            (Some(Event::Key(key)), [ESC, _]) if key.modifiers == KeyModifiers::ALT => {
                self.keys(unit);
            }
            (Some(event), _) => self.events.push_back(event),
            // No terminal sends this, so it is keys pressed in quick succession.
            (None, [ESC, b'[' | b'O', _]) => self.keys(unit),
            (None, _) => {}
        }
    }

    /// Handles the beginning of a sequence whose rest did not arrive.
    fn give_up(&mut self, bytes: &[u8]) {
        match bytes {
            [ESC] | [ESC, b'[' | b'O'] | [ESC, b'[', b'['] => self.keys(bytes),
            [ESC, _] => self.decode(bytes),
            // A truncated mouse report, reply or character.
            _ => {}
        }
    }

    /// Takes each byte as a key of its own.
    fn keys(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                ESC => self.key(KeyCode::Esc, KeyModifiers::NONE),
                byte => self.decode(&[byte]),
            }
        }
    }

    fn key(&mut self, code: KeyCode, modifiers: KeyModifiers) {
        self.events.push_back(Event::Key(KeyEvent::new(code, modifiers)));
    }
}

/// Whether the parser would misread `unit`: a mouse report with column or row 0, which do not
/// exist, or a cursor position report, which it takes for F3.
fn misleads(unit: &[u8]) -> bool {
    let is_zero = |field: &[u8]| !field.is_empty() && field.iter().all(|&b| b == b'0');
    match unit {
        [ESC, b'[', .., b'M' | b'm'] => unit.split(|b| b";Mm".contains(b)).skip(1).any(is_zero),
        [ESC, b'[', fields @ .., b'R'] => fields.contains(&b';'),
        _ => false,
    }
}

/// Classifies the beginning of `bytes`.
fn next(bytes: &[u8]) -> Next {
    match bytes {
        [] | [ESC] => Next::Incomplete,
        // Esc, followed by something unrelated.
        [ESC, 0..=0x1f, ..] => Next::Unit(1),
        [ESC, b'[', rest @ ..] => control_sequence(rest),
        [ESC, b'O', rest @ ..] => match rest.iter().position(|b| !b.is_ascii_digit()) {
            _ if rest.len() > LONGEST => Next::Broken(2 + rest.len()),
            None => Next::Incomplete,
            Some(n) if (b'!'..=b'~').contains(&rest[n]) => Next::Unit(3 + n),
            Some(n) => Next::Broken(2 + n),
        },
        [ESC, b'P' | b']' | b'_' | b'^' | b'X'] => Next::Incomplete,
        [ESC, b'P' | b']' | b'_' | b'^' | b'X', ..] => Next::Text(Text::Answer, 2),
        [ESC, rest @ ..] => character(rest, 1),
        _ => character(bytes, 0),
    }
}

/// Classifies the bytes after `ESC [`.
fn control_sequence(rest: &[u8]) -> Next {
    // Function keys of the Linux console and old xterm mouse reports have a fixed length, whatever
    // the bytes.
    let fixed = match rest.first() {
        Some(b'[') => 2,
        Some(b'M') => 4,
        _ => 0,
    };
    if fixed > 0 {
        let taken = &rest[..rest.len().min(fixed)];
        return match taken.iter().position(|&b| b < b' ') {
            Some(n) => Next::Broken(2 + n),
            None if taken.len() == fixed => Next::Unit(2 + fixed),
            None => Next::Incomplete,
        };
    }
    match rest.iter().position(|b| !(b' '..=b'?').contains(b)) {
        None if rest.len() < LONGEST => Next::Incomplete,
        None => Next::Broken(2 + rest.len()),
        Some(n) if !(b'@'..=b'~').contains(&rest[n]) => Next::Broken(2 + n),
        Some(n) if rest[..=n] == PASTE_BEGINS[2..] => {
            Next::Text(Text::Paste { interrupted: false }, 3 + n)
        }
        Some(n) => Next::Unit(3 + n),
    }
}

/// Classifies a UTF-8 character after `before` bytes.
fn character(bytes: &[u8], before: usize) -> Next {
    let len = match bytes[0] {
        0..=0x7f => 1,
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return Next::Broken(before + 1),
    };
    match std::str::from_utf8(&bytes[..bytes.len().min(len)]) {
        Ok(_) => Next::Unit(before + len),
        Err(error) => match error.error_len() {
            None => Next::Incomplete,
            Some(wrong) => Next::Broken(before + wrong),
        },
    }
}

#[cfg(test)]
mod tests {
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
                assert_eq!(
                    events(&mut decoder),
                    [key(KeyCode::Char('q'))],
                    "{cut} bytes of {name}"
                );
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
        assert!(
            matches!(back[..], [Event::Key(KeyEvent { code: KeyCode::BackTab, .. })]),
            "{back:?}"
        );
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
            [
                "a paste",
                "a colour",
                "a setting",
                "kitty's word",
                "a private",
                "device",
                "the cursor's",
            ]
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
}
