//! Decodes the terminal's bytes into keys and mouse events.
//!
//! A byte stream does not tell whether an Esc is a key or the beginning of a sequence, so a
//! sequence that is incomplete after [`PATIENCE`] is given up. Thus nothing incomplete, whether
//! typed, cut off or lost on the way, holds up later keys. Text up to an end mark (a paste, or a
//! terminal's reply to another program) is skipped as it arrives, so its length costs no memory.

#[cfg(test)]
mod tests;

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
        let (len, handle): (usize, fn(&mut Self, &[u8])) = match next(&self.bytes) {
            Next::Unit(len) => (len, Self::decode),
            Next::Broken(len) => (len, Self::give_up),
            Next::Text(text, len) => {
                self.text = Some(text);
                (len, |_, _| {})
            }
            Next::Incomplete => return false,
        };
        let unit: Vec<u8> = self.bytes.drain(..len).collect();
        handle(self, &unit);
        true
    }

    /// Skips the available part of `text`; returns whether its end was found.
    fn skip(&mut self, text: Text) -> bool {
        let (skipped, ended) = match text {
            Text::Paste { interrupted } => {
                let end = memchr::memmem::find(&self.bytes, PASTE_ENDS);
                // Keep what may be the beginning of the mark.
                let mut kept = (1..PASTE_ENDS.len()).rev();
                let kept = kept.find(|&n| self.bytes.ends_with(&PASTE_ENDS[..n]));
                let upto = end.unwrap_or(self.bytes.len() - kept.unwrap_or(0));
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
