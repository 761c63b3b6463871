//! Pixels to draw on.

use super::font;

/// Red, green and blue.
pub type Color = [u8; 3];

/// How large a letter's pixel is drawn.
const LETTER: usize = 2;

/// Height of a line of text, pixels.
pub const LINE: usize = LETTER * font::HEIGHT;

/// Width of `letters` letters, pixels.
pub const fn text_width(letters: usize) -> usize {
    LETTER * font::ADVANCE * letters
}

/// A part of a picture, as wide as it; what does not fit is left out.
pub struct Canvas<'a> {
    /// Row by row.
    pub pixels: &'a mut [Color],
    /// Pixels of a row.
    pub width: usize,
}

impl Canvas<'_> {
    /// Fills a square of `side` pixels whose upper left corner is (`x`, `y`).
    fn square(&mut self, x: usize, y: usize, side: usize, color: Color) {
        for y in y..y + side {
            let row = self.pixels.iter_mut().skip(y * self.width).take(self.width);
            row.skip(x).take(side).for_each(|pixel| *pixel = color);
        }
    }

    /// Writes one line of text whose upper left corner is (`x`, `y`).
    pub fn text(&mut self, x: usize, y: usize, text: &str, color: Color) {
        for (i, letter) in text.chars().enumerate() {
            for (column, bits) in font::columns(letter).into_iter().enumerate() {
                let x = x + LETTER * (font::ADVANCE * i + column);
                for row in (0..font::HEIGHT).filter(|row| bits >> row & 1 == 1) {
                    self.square(x, y + LETTER * row, LETTER, color);
                }
            }
        }
    }

    /// Draws a picture of `size × size` pixels, each `zoom × zoom` large, whose upper left corner
    /// is (`x`, `y`). `color`: of the picture's pixel, counted row by row.
    pub fn picture(
        &mut self,
        (x, y): (usize, usize),
        size: usize,
        zoom: usize,
        color: impl Fn(usize) -> Color,
    ) {
        for i in 0..size * size {
            self.square(x + zoom * (i % size), y + zoom * (i / size), zoom, color(i));
        }
    }
}
