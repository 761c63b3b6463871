//! An image to draw on.

use super::font;

/// Red, green and blue.
pub type Color = [u8; 3];

/// Size of a letter's pixel in image pixels.
const LETTER: usize = 2;

/// Height of a line of text in pixels.
pub const LINE: usize = LETTER * font::HEIGHT;

/// Returns the width of `letters` letters in pixels.
pub const fn text_width(letters: usize) -> usize {
    LETTER * font::ADVANCE * letters
}

/// A horizontal strip of an image; drawing outside it has no effect.
pub struct Canvas<'a> {
    /// Pixels, row by row.
    pub pixels: &'a mut [Color],
    /// Width of a row in pixels.
    pub width: usize,
}

impl Canvas<'_> {
    /// Fills a square of `side` pixels with its upper left corner at (`x`, `y`).
    fn square(&mut self, x: usize, y: usize, side: usize, color: Color) {
        for y in y..y + side {
            let row = self.pixels.iter_mut().skip(y * self.width).take(self.width);
            row.skip(x).take(side).for_each(|pixel| *pixel = color);
        }
    }

    /// Writes one line of text with its upper left corner at (`x`, `y`).
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

    /// Draws an image of `size × size` pixels, each enlarged to `zoom × zoom`, with its upper left corner
    /// at (`x`, `y`). `color`: colour of a pixel of the image by its index, row by row.
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
