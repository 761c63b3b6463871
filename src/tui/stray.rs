//! Converts captured output to lines for the log, limited in number and length and without control
//! sequences.

use crate::bounded;
use std::time::{Duration, Instant};

/// Maximum length of a line, bytes.
const LONGEST: usize = 1000;
/// Maximum number of lines in a burst.
const BURST: u32 = 100;
/// After a burst, interval between further lines.
const PAUSE: Duration = Duration::from_secs(2);
/// Maximum number of lines kept until they are taken.
const MOST: usize = 200;
/// An unfinished line is shown after this time.
const PATIENCE: Duration = Duration::from_millis(200);

/// Lines of one stream.
#[derive(Debug)]
pub struct Lines {
    /// The unfinished line, up to [`LONGEST`].
    begun: Vec<u8>,
    /// Bytes of it beyond that limit.
    beyond: usize,
    /// When it began.
    since: Option<Instant>,
    ready: Vec<String>,
    left_out: u64,
    /// When a burst and one more line are allowed; each line moves it by [`PAUSE`].
    full: Instant,
}

impl Lines {
    /// Creates an empty stream.
    pub fn new(now: Instant) -> Self {
        let (begun, ready) = (Vec::new(), Vec::new());
        Self { begun, beyond: 0, since: None, ready, left_out: 0, full: now }
    }

    /// Takes in printed bytes. A carriage return ends a line too, for progress bars.
    pub fn add(&mut self, bytes: &[u8], now: Instant) {
        for part in bytes.split_inclusive(|byte| b"\n\r".contains(byte)) {
            let text = part.strip_suffix(b"\n").or(part.strip_suffix(b"\r")).unwrap_or(part);
            let kept = text.len().min(LONGEST - self.begun.len());
            self.begun.extend_from_slice(&text[..kept]);
            self.beyond += text.len() - kept;
            self.since.get_or_insert(now);
            if text.len() < part.len() {
                self.end(now);
            }
        }
    }

    fn end(&mut self, now: Instant) {
        let text = String::from_utf8_lossy(&self.begun);
        let mut text = bounded::excerpt(&without_escapes(&text), LONGEST).trim_end().to_string();
        if self.beyond > 0 {
            // The cut may have split a character.
            text.truncate(text.trim_end_matches('\u{fffd}').len());
            text += &format!("… ({} bytes more)", self.beyond);
        }
        self.begun.clear();
        (self.beyond, self.since) = (0, None);
        if text.trim().is_empty() {
            return;
        }
        self.tell_left_out(now);
        match self.may_come(now) {
            true => self.ready.push(text),
            false => self.left_out += 1,
        }
    }

    fn tell_left_out(&mut self, now: Instant) {
        if self.left_out > 0 && self.may_come(now) {
            let plural = if self.left_out == 1 { "" } else { "s" };
            self.ready.push(format!("({} line{plural} left out)", self.left_out));
            self.left_out = 0;
        }
    }

    /// Whether one more line is allowed now; counts it if so.
    fn may_come(&mut self, now: Instant) -> bool {
        let may = self.allowed_from() <= now && self.ready.len() < MOST;
        if may {
            self.full = self.full.max(now) + PAUSE;
        }
        may
    }

    /// When one more line is allowed.
    fn allowed_from(&self) -> Instant {
        self.full.checked_sub(PAUSE * (BURST - 1)).unwrap_or(self.full)
    }

    /// When to call [`Self::tick`] if nothing more is printed, to show an unfinished line or the
    /// number of dropped lines; `None` if neither is pending.
    pub fn due(&self) -> Option<Instant> {
        let line = self.since.map(|since| since + PATIENCE);
        let left_out = (self.left_out > 0 && self.ready.len() < MOST).then(|| self.allowed_from());
        line.into_iter().chain(left_out).min()
    }

    /// Handles what [`Self::due`] announced.
    pub fn tick(&mut self, now: Instant) {
        if self.since.is_some_and(|since| since + PATIENCE <= now) {
            self.end(now);
        }
        self.tell_left_out(now);
    }

    /// Ends the stream: shows everything that is pending.
    pub fn close(&mut self, now: Instant) {
        self.end(now);
        self.full = now;
        self.tell_left_out(now);
    }

    /// Whether there are lines to take.
    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Removes and returns the lines so far, oldest first.
    pub fn take(&mut self) -> impl Iterator<Item = String> {
        self.ready.drain(..)
    }
}

/// Removes escape sequences that would control a terminal from `text`: CSI sequences entirely, of
/// others only the escape character.
fn without_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\x1b') {
        out += before;
        rest = match after.strip_prefix('[') {
            // Parameters, then a final byte.
            Some(sequence) => {
                let end = sequence.find(|c| ('@'..='~').contains(&c));
                end.map_or("", |end| &sequence[end + 1..])
            }
            None => after,
        };
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(lines: &mut Lines) -> Vec<String> {
        lines.take().collect()
    }

    #[test]
    fn lines_come_plain_whatever_pieces_they_are_printed_in() {
        let now = Instant::now();
        let mut lines = Lines::new(now);
        lines.add(b"\x1b[1;31mwarn", now);
        assert!(!lines.is_ready());
        lines.add(b"ing\x1b[0m: \xff\x07 caf\xc3\xa9\n\n  \r\n10 %\r20 %\rdo", now);
        assert_eq!(taken(&mut lines), ["warning: \u{fffd}  café", "10 %", "20 %"]);
        lines.add(b"ne\n", now);
        assert_eq!(taken(&mut lines), ["done"]);
        assert_eq!(without_escapes("a\x1b[2"), "a");
        assert_eq!(without_escapes("\x1b]0;title\x07"), "]0;title\x07");
    }

    #[test]
    fn a_line_that_nobody_ends_is_shown_after_a_while() {
        let now = Instant::now();
        let mut lines = Lines::new(now);
        assert_eq!(lines.due(), None);
        lines.add(b"Password: ", now);
        assert_eq!(lines.due(), Some(now + PATIENCE));
        lines.tick(now + PATIENCE / 2);
        assert!(!lines.is_ready());
        lines.tick(now + PATIENCE);
        assert_eq!(taken(&mut lines), ["Password:"]);
        assert_eq!(lines.due(), None);
        lines.add(b"half", now);
        lines.close(now);
        assert_eq!(taken(&mut lines), ["half"]);
    }

    #[test]
    fn a_long_line_is_cut_and_says_by_how_much() {
        let now = Instant::now();
        let mut lines = Lines::new(now);
        for _ in 0..10 {
            lines.add("é".repeat(5000).as_bytes(), now);
        }
        lines.add(b"\n", now);
        let taken_lines = taken(&mut lines);
        assert_eq!(taken_lines.len(), 1);
        assert!(taken_lines[0].ends_with("é… (99000 bytes more)"), "{}", taken_lines[0]);
    }

    #[test]
    fn a_flood_is_a_burst_and_then_counted() {
        let start = Instant::now();
        let mut lines = Lines::new(start);
        let flood = b"the same again\n".repeat(1000);
        let mut taken_lines = Vec::new();
        // 100 s of output, drawn ten times per second.
        for tenth in 0..1000 {
            lines.add(&flood, start + tenth * Duration::from_millis(100));
            taken_lines.extend(lines.take());
        }
        assert!((140..=160).contains(&taken_lines.len()), "{}", taken_lines.len());
        assert!(
            taken_lines[BURST as usize].ends_with("lines left out)"),
            "{}",
            taken_lines[BURST as usize]
        );
        // The last dropped lines are reported even if nothing more is printed.
        let due = lines.due().unwrap();
        assert!(due <= start + Duration::from_secs(100) + PAUSE);
        lines.tick(due);
        taken_lines.extend(lines.take());
        let number = |line: &String| line[1..].split(' ').next()?.parse::<u64>().ok();
        let left_out: u64 = taken_lines.iter().filter_map(number).sum();
        let shown = taken_lines.iter().filter(|line| line.starts_with("the")).count() as u64;
        assert_eq!(left_out + shown, 1_000_000);
        assert_eq!(lines.due(), None);
    }

    #[test]
    fn a_screen_that_stands_still_costs_no_memory() {
        let start = Instant::now();
        let mut lines = Lines::new(start);
        for hour in 0..1000 {
            lines.add(&b"x\n".repeat(200), start + hour * Duration::from_secs(3600));
        }
        assert_eq!(lines.due(), None, "nothing can be told before lines are taken");
        assert_eq!(taken(&mut lines).len(), MOST);
    }
}
