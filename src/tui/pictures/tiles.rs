//! Tiles: pictures with captions, side by side.

use super::{Encoder, Ready, Wanted};
use crate::tui::theme;
use crate::view::format;
use ratatui::Frame;
use ratatui::layout::{Rect, Size};
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Wrap};

/// Rows of the caption under a picture.
pub const CAPTION: u16 = 2;

/// Area and caption of a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Tile {
    /// Area of the picture and its caption.
    pub area: Rect,
    /// The caption.
    pub caption: [String; CAPTION as usize],
    /// Index of the study in the pane's list.
    pub entry: usize,
    /// Index of the picture, or the reason why there is none.
    pub picture: Result<usize, String>,
}

/// Everything in a pane besides the pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct Tiles {
    /// Area of all tiles.
    pub inner: Rect,
    /// The tiles.
    pub tiles: Vec<Tile>,
}

/// The first `count` cells of a grid over `inner`, with a blank column between them.
pub fn cells(inner: Rect, (columns, rows): (u16, u16), count: usize) -> Vec<Rect> {
    let (width, height) = (inner.width / columns, inner.height / rows);
    let cell = |i: u16| Rect {
        x: inner.x + i % columns * width,
        y: inner.y + i / columns * height,
        width: width - u16::from(columns > 1),
        height,
    };
    (0..columns * rows).take(count).map(cell).collect()
}

/// Size of a picture as large as fits into `cell`, and its area with its caption.
pub fn place(pixels: (usize, usize), cell: Rect) -> (Size, Rect) {
    let size = fit(pixels, Size::new(cell.width, cell.height.saturating_sub(CAPTION)));
    let area = Rect {
        x: cell.x + (cell.width - size.width) / 2,
        width: size.width,
        height: (size.height + CAPTION).min(cell.height),
        ..cell
    };
    (size, area)
}

/// The largest size in cells that keeps the picture's aspect ratio, with cells twice as high as
/// wide.
fn fit((width, height): (usize, usize), room: Size) -> Size {
    let (w, h) = (width.max(1) as f64, height.max(1) as f64);
    let scale = (f64::from(room.width) / w).min(2.0 * f64::from(room.height) / h);
    let cells = |x: f64| x.round().max(1.0) as u16;
    Size::new(cells(w * scale).min(room.width), cells(h * scale / 2.0).min(room.height))
}

/// Requests the tiles and draws those that are ready for the same area. `None` in place of new
/// tiles keeps the last ones. `chosen`: index of the study to mark among several. `covered`: an
/// overlay is on top.
pub fn draw(
    frame: &mut Frame,
    inner: Rect,
    encoder: &mut Encoder<Tiles>,
    new: Option<(Vec<Tile>, Vec<Wanted>)>,
    chosen: Option<usize>,
    covered: bool,
) {
    let hidden = covered && encoder.pictures().are_painted();
    let ready = match new {
        Some((tiles, wanted)) => encoder.show(Tiles { inner, tiles }, wanted),
        None => encoder.last(),
    };
    let Some(Ready { of, pictures }) = ready.filter(|r| r.of.inner == inner && !hidden) else {
        return theme::middle(frame, inner, "·");
    };
    for Tile { area, caption: [first, second], entry, picture } in &of.tiles {
        let height = area.height.saturating_sub(CAPTION);
        let upper = Rect { height, ..*area };
        match picture.as_ref().map(|&i| pictures.get(i)) {
            Ok(Some(encoded)) => encoded.draw(frame, upper),
            Ok(None) => theme::middle(frame, upper, "·"),
            Err(why) => {
                let why = Paragraph::new(format::sanitized(why)).style(theme::WARN);
                frame.render_widget(why.wrap(Wrap { trim: true }), upper);
            }
        }
        let caption = Rect { y: upper.bottom(), height: area.height - height, ..*area };
        let (mark, style) = match chosen == Some(*entry) {
            true => ("▸", theme::KEY),
            false => ("", Style::new()),
        };
        let lines =
            vec![Line::styled(format!("{mark}{first}"), style), Line::from(second.as_str())];
        frame.render_widget(Paragraph::new(lines), caption);
    }
}
