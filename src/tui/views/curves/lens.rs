//! Visible range of a chart, and the cursor in it.

use super::{ChartKey, range};
use ratatui::layout::Rect;

/// Minimum width of the visible range, steps.
const NEAREST: f64 = 16.0;

/// Visible part of a fold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Window {
    /// All of it.
    Whole,
    /// This many of the newest steps.
    Newest(f64),
    /// From one step to another.
    Fixed(f64, f64),
}

/// Visible range of a chart, and where the chart was drawn.
pub struct Lens {
    pub window: Window,
    pub cursor: Option<f64>,
    /// First and last visible x at the last draw.
    pub seen: (f64, f64),
    /// End of the chart, a little beyond the newest step.
    end: f64,
    /// The newest step.
    last: f64,
    /// Area of the chart, and the column where its lines begin.
    pub area: Rect,
    pub left: u16,
}

impl Default for Lens {
    fn default() -> Self {
        let (window, cursor, area) = (Window::Whole, None, Rect::default());
        Self { window, cursor, seen: (0.0, 1.0), end: 1.0, last: 1.0, area, left: 0 }
    }
}

impl Lens {
    /// Handles `key` if it concerns the visible range or the cursor; returns whether it does.
    pub fn act(&mut self, key: ChartKey) -> bool {
        let width = self.seen.1 - self.seen.0;
        match key {
            ChartKey::CursorLeft => self.move_cursor(-1.0),
            ChartKey::CursorRight => self.move_cursor(1.0),
            ChartKey::PanLeft => self.pan(-0.25 * width),
            ChartKey::PanRight => self.pan(0.25 * width),
            ChartKey::ZoomIn => self.zoom(0.5, self.cursor),
            ChartKey::ZoomOut => self.zoom(2.0, self.cursor),
            ChartKey::Whole => self.window = Window::Whole,
            _ => return false,
        }
        true
    }

    /// Sets the newest step.
    pub fn reach(&mut self, last: f64) {
        self.last = last;
        self.end = range::end(last.max(NEAREST));
        self.cursor = self.cursor.map(|x| x.min(last));
        if let Window::Fixed(_, x1) = self.window
            && x1 > self.end
        {
            self.window = Window::Whole;
        }
        self.seen = self.range();
    }

    /// Moves the cursor to a column of the screen.
    pub fn point_at(&mut self, column: u16) {
        self.cursor = self.x_at(column).or(self.cursor);
    }

    /// Zooms around a column of the screen.
    pub fn zoom_at(&mut self, factor: f64, column: u16) {
        let around = self.x_at(column);
        self.zoom(factor, around);
    }

    /// Moves the visible range by `columns`.
    pub fn drag(&mut self, columns: i32) {
        let width = f64::from(self.area.right().saturating_sub(self.left).max(1));
        self.pan(-f64::from(columns) / width * (self.seen.1 - self.seen.0));
    }

    fn x_at(&self, column: u16) -> Option<f64> {
        let inside = (self.left..self.area.right()).contains(&column);
        let width = f64::from(self.area.right().saturating_sub(self.left).max(1));
        let share = (f64::from(column.saturating_sub(self.left)) + 0.5) / width;
        inside.then_some(self.seen.0 + share * (self.seen.1 - self.seen.0))
    }

    fn move_cursor(&mut self, by: f64) {
        let (x0, x1) = self.seen;
        let columns = f64::from(self.area.right().saturating_sub(self.left).max(1));
        let step = ((x1 - x0) / columns).max(1.0);
        let x = match self.cursor {
            Some(x) => (x + by * step).clamp(0.0, self.last),
            None => self.last.min(x1),
        };
        self.cursor = Some(x);
        if x < x0 {
            self.pan(x - x0 - 0.1 * (x1 - x0));
        } else if x > x1 {
            self.pan(x - x1 + 0.1 * (x1 - x0));
        }
    }

    fn pan(&mut self, by: f64) {
        let (x0, x1) = self.seen;
        let by = by.clamp(-x0, (self.end - x1).max(-x0));
        if by != 0.0 && self.window != Window::Whole {
            self.window = Window::Fixed(x0 + by, x1 + by);
        }
    }

    fn zoom(&mut self, factor: f64, around: Option<f64>) {
        let (x0, x1) = self.seen;
        let width = ((x1 - x0) * factor).max(self.narrowest());
        if width >= self.end {
            self.window = Window::Whole;
            return;
        }
        self.window = match (around, self.window) {
            // Without a cursor, keep the newest steps in sight.
            (None, Window::Whole | Window::Newest(_)) => Window::Newest(width),
            (around, _) => {
                let around = around.unwrap_or((x0 + x1) / 2.0);
                let start = around - (around - x0) / (x1 - x0) * width;
                let start = start.clamp(0.0, (self.end - width).max(0.0));
                Window::Fixed(start, start + width)
            }
        };
    }

    /// Minimum width of the visible range. At the huge step numbers of a damaged journal, a
    /// narrower range would have equal ends.
    fn narrowest(&self) -> f64 {
        NEAREST.max(1e-9 * self.end)
    }

    fn range(&self) -> (f64, f64) {
        match self.window {
            Window::Whole => (0.0, self.end),
            Window::Newest(width) => ((self.end - width.max(self.narrowest())).max(0.0), self.end),
            Window::Fixed(x0, x1) => (x0, x1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lens(end: f64) -> Lens {
        Lens { end, last: end, seen: (0.0, end), area: Rect::new(0, 0, 100, 20), ..Lens::default() }
    }

    fn draw(lens: &mut Lens) {
        lens.seen = lens.range();
    }

    #[test]
    fn nearer_without_a_cursor_shows_the_newest_steps() {
        let mut lens = lens(1000.0);
        lens.act(ChartKey::ZoomIn);
        assert_eq!(lens.range(), (500.0, 1000.0));
        lens.end = 1100.0;
        assert_eq!(lens.range(), (600.0, 1100.0), "it follows");
        draw(&mut lens);
        lens.act(ChartKey::PanLeft);
        assert_eq!(lens.range(), (475.0, 975.0));
        lens.end = 1200.0;
        assert_eq!(lens.range(), (475.0, 975.0), "it stays");
        lens.act(ChartKey::Whole);
        assert_eq!(lens.range(), (0.0, 1200.0));
    }

    #[test]
    fn nearer_around_the_cursor_keeps_it_in_its_place() {
        let mut lens = lens(1000.0);
        lens.point_at(20);
        let x = lens.cursor.unwrap();
        assert_eq!(x, 205.0);
        lens.act(ChartKey::ZoomIn);
        let (x0, x1) = lens.range();
        assert!((x1 - x0 - 500.0).abs() < 1e-9 && ((x - x0) / (x1 - x0) - 0.205).abs() < 1e-9);
        for _ in 0..20 {
            draw(&mut lens);
            lens.act(ChartKey::ZoomIn);
        }
        let (x0, x1) = lens.range();
        assert_eq!(x1 - x0, NEAREST);
        for _ in 0..20 {
            draw(&mut lens);
            lens.act(ChartKey::ZoomOut);
        }
        assert_eq!(lens.window, Window::Whole);
    }

    #[test]
    fn the_cursor_takes_the_view_along() {
        let mut lens = lens(1000.0);
        lens.act(ChartKey::ZoomIn);
        draw(&mut lens);
        lens.act(ChartKey::CursorLeft);
        assert_eq!(lens.cursor, Some(1000.0), "it begins at the newest");
        for _ in 0..110 {
            lens.act(ChartKey::CursorLeft);
            draw(&mut lens);
        }
        let x = lens.cursor.unwrap();
        assert!(x < 500.0 && lens.seen.0 <= x && x <= lens.seen.1, "{x} {:?}", lens.seen);
    }
}
