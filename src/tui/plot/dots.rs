//! Grid of braille dots: eight per cell, two by four.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

/// Grid of dots. A cell has the colour of the last dot set in it.
pub(super) struct Dots {
    width: i32,
    height: i32,
    cells: Vec<(u8, Style)>,
}

impl Dots {
    /// Creates an empty grid of `width × height` cells.
    pub fn new(width: u16, height: u16) -> Self {
        let cells = vec![(0, Style::new()); usize::from(width) * usize::from(height)];
        Self { width: 2 * i32::from(width), height: 4 * i32::from(height), cells }
    }

    /// Sets a dot, if it is within the grid.
    pub fn set(&mut self, x: i32, y: i32, style: Style) {
        // Bits of Unicode's braille patterns, row by row.
        const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        if (0..self.width).contains(&x) && (0..self.height).contains(&y) {
            let cell = &mut self.cells[(y / 4 * (self.width / 2) + x / 2) as usize];
            cell.0 |= BITS[y as usize % 4][x as usize % 2];
            cell.1 = style;
        }
    }

    /// Draws a straight line, both ends included.
    pub fn line(&mut self, (x0, y0): (i32, i32), (x1, y1): (i32, i32), style: Style) {
        let (dx, dy) = (x1 - x0, y1 - y0);
        let steps = dx.abs().max(dy.abs());
        for i in 0..=steps {
            let along = |from: i32, by: i32| {
                let share = f64::from(i) / f64::from(steps.max(1));
                from + (f64::from(by) * share).round() as i32
            };
            self.set(along(x0, dx), along(y0, dy), style);
        }
    }

    /// Draws the dots that are set.
    pub fn draw(&self, buffer: &mut Buffer, area: Rect) {
        for (i, &(bits, style)) in self.cells.iter().enumerate().filter(|(_, cell)| cell.0 != 0) {
            let (x, y) = (i as i32 % (self.width / 2), i as i32 / (self.width / 2));
            let symbol = char::from_u32(0x2800 + u32::from(bits)).unwrap_or(' ');
            set(buffer, area.x + x as u16, area.y + y as u16, symbol, style);
        }
    }
}

/// Draws a character, if its cell is on the screen.
pub(super) fn set(buffer: &mut Buffer, x: u16, y: u16, symbol: char, style: Style) {
    if let Some(cell) = buffer.cell_mut((x, y)) {
        cell.set_char(symbol).set_style(style);
    }
}
