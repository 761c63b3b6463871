//! Terminal emulator that records what a terminal shows.

pub struct Emulator {
    terminal: avt::Terminal,
    /// An incomplete character.
    rest: Vec<u8>,
    /// Everything written so far.
    written: Vec<u8>,
}

/// Modes that make a terminal report the mouse.
const MOUSE: [u16; 6] = [9, 1000, 1002, 1003, 1006, 1015];
const BRACKETED_PASTE: u16 = 2004;

impl Emulator {
    pub fn new(cols: u16, rows: u16) -> Self {
        let terminal = avt::Terminal::new(cols.into(), rows.into()).unwrap();
        Self { terminal, rest: Vec::new(), written: Vec::new() }
    }

    pub fn process(&mut self, bytes: &[u8]) {
        self.written.extend_from_slice(bytes);
        self.rest.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.rest) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.rest.len(),
        };
        let bytes: Vec<u8> = self.rest.drain(..whole).collect();
        self.terminal.feed(&*String::from_utf8_lossy(&bytes));
    }

    pub fn resize(&mut self, cols: u16, rows: u16) {
        self.terminal.resize(cols.into(), rows.into());
    }

    /// The screen's rows; a row that continues in the next has no line end.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for line in self.terminal.screen().visible_lines() {
            match line.is_wrapped() {
                true => text += &line.text(),
                false => text += &(line.text().trim_end().to_string() + "\n"),
            }
        }
        text.trim_end().to_string()
    }

    pub fn is_alternate(&self) -> bool {
        self.terminal.active_screen_kind() == avt::ScreenKind::Alternate
    }

    /// Whether `mark` was written; forgets it if so.
    pub fn take(&mut self, mark: &[u8]) -> bool {
        let found = self.written.windows(mark.len()).rposition(|bytes| bytes == mark);
        if let Some(at) = found {
            self.written.drain(at..at + mark.len());
        }
        found.is_some()
    }

    /// What a program has left switched on, if anything.
    pub fn left_on(&self) -> Option<&'static str> {
        if self.is_alternate() {
            return Some("the alternate screen");
        }
        if !self.terminal.cursor().visible {
            return Some("a hidden cursor");
        }
        if self.has_mode(BRACKETED_PASTE) {
            return Some("bracketed paste");
        }
        MOUSE.into_iter().any(|mode| self.has_mode(mode)).then_some("reports of the mouse")
    }

    /// Whether a private mode was set and not reset since.
    fn has_mode(&self, mode: u16) -> bool {
        let last = |end| {
            let sequence = format!("\x1b[?{mode}{end}");
            self.written.windows(sequence.len()).rposition(|bytes| bytes == sequence.as_bytes())
        };
        last('h') > last('l')
    }
}
