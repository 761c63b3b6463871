//! Writes frames to the terminal, each in a single write, and nothing if nothing changed.

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::queue;
use crossterm::terminal::{BeginSynchronizedUpdate, EndSynchronizedUpdate};
use ratatui::backend::{self, ClearType, CrosstermBackend, WindowSize};
use ratatui::buffer::Cell;
use ratatui::layout::{Position, Size};
use std::io::{self, Write};

/// Output device for frames.
pub trait Device: Write {
    /// Current columns and rows.
    fn size(&self) -> io::Result<Size>;
}

/// ratatui backend that collects a frame's changes and sends them in one write, marked as a
/// synchronized update (`CSI ? 2026 h` to `l`), so that terminals with support show the frame at
/// once. An unchanged frame writes nothing.
#[derive(Debug)]
pub struct Backend<D: Device> {
    device: D,
    frame: Vec<u8>,
    /// Whether the cursor is shown; `None` if unknown.
    cursor: Option<bool>,
}

impl<D: Device> Backend<D> {
    /// Creates a backend that draws on `device`.
    pub fn new(device: D) -> Self {
        Self { device, frame: Vec::new(), cursor: None }
    }

    /// The output device.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// Forgets the cursor's state, after other programs used the device.
    pub fn forget(&mut self) {
        self.frame.clear();
        self.cursor = None;
    }

    /// Rings the terminal's bell.
    pub fn ring(&mut self) -> io::Result<()> {
        self.device.write_all(b"\x07")?;
        self.device.flush()
    }

    fn show(&mut self, shown: bool) -> io::Result<()> {
        if self.cursor.replace(shown) == Some(shown) {
            return Ok(());
        }
        match shown {
            true => queue!(self.frame, Show),
            false => queue!(self.frame, Hide),
        }
    }
}

impl<D: Device> backend::Backend for Backend<D> {
    type Error = io::Error;

    fn draw<'a, I>(&mut self, cells: I) -> io::Result<()>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        let mut cells = cells.peekable();
        if cells.peek().is_none() {
            // crossterm would reset the colours even though nothing changed them.
            return Ok(());
        }
        CrosstermBackend::new(&mut self.frame).draw(cells)
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        self.show(false)
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        self.show(true)
    }

    /// Not supported: the terminal's reply could arrive late, between key presses.
    fn get_cursor_position(&mut self) -> io::Result<Position> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        let Position { x, y } = position.into();
        queue!(self.frame, MoveTo(x, y))
    }

    fn clear(&mut self) -> io::Result<()> {
        self.clear_region(ClearType::All)
    }

    fn clear_region(&mut self, region: ClearType) -> io::Result<()> {
        CrosstermBackend::new(&mut self.frame).clear_region(region)
    }

    fn size(&self) -> io::Result<Size> {
        self.device.size()
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        Ok(WindowSize { columns_rows: self.device.size()?, pixels: Size::ZERO })
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.frame.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(self.frame.len() + 16);
        queue!(bytes, BeginSynchronizedUpdate)?;
        bytes.append(&mut self.frame);
        queue!(bytes, EndSynchronizedUpdate)?;
        self.device.write_all(&bytes)?;
        self.device.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;

    #[derive(Default)]
    struct Kept {
        writes: Vec<Vec<u8>>,
        size: Size,
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.writes.push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Device for Kept {
        fn size(&self) -> io::Result<Size> {
            Ok(self.size)
        }
    }

    #[test]
    fn a_frame_is_one_marked_write_and_no_change_is_none() {
        let device = Kept { size: Size::new(20, 3), ..Kept::default() };
        let mut terminal = Terminal::new(Backend::new(device)).unwrap();
        let mut draw = |text: &str| {
            terminal.draw(|frame| frame.render_widget(text, frame.area())).unwrap();
            std::mem::take(&mut terminal.backend_mut().device.writes)
        };
        let first = draw("hello");
        assert_eq!(first.len(), 1);
        let first = String::from_utf8(first.concat()).unwrap();
        assert!(first.starts_with("\x1b[?2026h") && first.ends_with("\x1b[?2026l"), "{first:?}");
        assert!(first.contains("hello") && first.contains("\x1b[?25l"), "{first:?}");
        assert!(draw("hello").is_empty());
        let second = String::from_utf8(draw("hallo").concat()).unwrap();
        assert!(second.contains('a') && !second.contains("\x1b[?25l"), "{second:?}");
        terminal.backend_mut().device.size = Size::new(10, 3);
        let mut draw = |text: &str| {
            terminal.draw(|frame| frame.render_widget(text, frame.area())).unwrap();
            std::mem::take(&mut terminal.backend_mut().device.writes)
        };
        let resized = draw("hallo");
        assert_eq!(resized.len(), 1, "clearing is part of the frame");
        assert!(String::from_utf8(resized.concat()).unwrap().contains("\x1b[2J"));
    }
}
