//! Pane of the current batch's crops as pictures with the mask's outline.

use super::pictures::{Contrast, Encoder, Pictures, Slice, Wanted, placeholder};
use super::theme;
use crate::run::event::{Crop, Preview};
use crate::view::{State, format};
use ratatui::Frame;
use ratatui::layout::{Rect, Size};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

/// Smallest side of a good picture; several are shown only if each is at least this large.
const GOOD_SIDE: u16 = 36;
/// Rows of the caption under a picture.
const CAPTION: u16 = 2;

/// Area and caption of a picture.
#[derive(Debug, Clone, PartialEq)]
struct Tile {
    area: Rect,
    caption: [String; 2],
    /// Index of the picture; `None` if it cannot be read.
    picture: Option<usize>,
}

/// Everything in the pane besides the pictures.
#[derive(Debug, Clone, PartialEq)]
struct Tiles {
    inner: Rect,
    tiles: Vec<Tile>,
}

/// State of the pane.
pub struct Gallery {
    encoder: Encoder<Tiles>,
    /// Whether to show slices before augmentation.
    raw: bool,
}

impl Gallery {
    /// Creates an empty pane.
    pub fn new(pictures: Pictures) -> Self {
        Self { encoder: Encoder::new(pictures, 0), raw: false }
    }

    /// Whether slices are shown before augmentation.
    pub fn raw(&self) -> bool {
        self.raw
    }

    /// Moves encoding to a thread of its own, which calls `wake` when pictures are ready.
    pub fn go_aside(&mut self, wake: impl Fn() + Send + 'static) {
        self.encoder.go_aside(wake);
    }

    /// Whether newer pictures are ready to be drawn.
    pub fn take(&mut self) -> bool {
        self.encoder.take()
    }

    /// Discards the encoded pictures, so that the next draw encodes them again.
    pub fn forget(&mut self) {
        self.encoder.forget();
    }

    /// Switches between slices before augmentation and as the network sees them.
    pub fn toggle_raw(&mut self) {
        self.raw = !self.raw;
    }

    /// Whether pictures are shown at all.
    pub fn wanted(&self) -> bool {
        self.encoder.pictures() != Pictures::Off
    }

    /// Draws the newest preview. `covered`: an overlay is on top.
    pub fn draw(&mut self, frame: &mut Frame, area: Rect, state: &State, covered: bool) {
        let preview = state.preview.as_ref().filter(|p| !p.crops.is_empty());
        let title = preview.map_or("crops".into(), |p| title(p, self.raw, area.width));
        let block = theme::pane(&title);
        let inner = block.inner(area);
        frame.render_widget(block, area);
        let Some(preview) = preview else {
            let text = Line::styled("no preview yet", theme::FAINT).centered();
            frame.render_widget(
                text,
                Rect { y: inner.y + inner.height / 2, height: 1.min(inner.height), ..inner },
            );
            return;
        };
        let (tiles, wanted) = tiles(preview, self.raw, inner);
        let covered = covered && self.encoder.pictures().are_painted();
        let ready = self.encoder.show(Tiles { inner, tiles }, wanted);
        let Some(ready) = ready.filter(|ready| ready.of.inner == inner && !covered) else {
            return placeholder(frame, inner);
        };
        for tile in &ready.of.tiles {
            let height = tile.area.height.saturating_sub(CAPTION);
            let picture = Rect { height, ..tile.area };
            match tile.picture.and_then(|i| ready.pictures.get(i)) {
                Some(encoded) => encoded.draw(frame, picture),
                None => frame.render_widget(Line::from("(cannot be read)"), picture),
            }
            let height = tile.area.height - height;
            let caption = Rect { y: picture.bottom(), height, ..tile.area };
            let lines: Vec<Line> = tile.caption.iter().map(|l| Line::from(l.as_str())).collect();
            frame.render_widget(Paragraph::new(lines), caption);
        }
    }
}

/// Title of the pane, as long as its width allows.
fn title(preview: &Preview, raw: bool, width: u16) -> String {
    let what = match raw || !preview.crops.iter().any(is_augmented) {
        true => "raw crops",
        false => "augmented crops",
    };
    let place = format!("{what} · epoch {} step {}", preview.at.epoch, preview.at.step);
    let all = format!("{place} · mask outlined");
    // The frame's corners, and a space on either side.
    let room = usize::from(width.saturating_sub(4));
    let fitting = [all, place].into_iter().find(|title| title.chars().count() <= room);
    fitting.unwrap_or(what.into())
}

/// Whether the network saw an augmented version of the slice.
fn is_augmented(crop: &Crop) -> bool {
    crop.raw.as_ref() != Some(&crop.seen)
}

/// Columns and rows of the picture grid: as many pictures as can be good, or one.
fn grid(area: Size, count: usize) -> (u16, u16) {
    let mut best = (1, 1);
    for columns in 1..=(area.width / GOOD_SIDE).max(1) {
        for rows in 1..=(area.height / (GOOD_SIDE / 2 + CAPTION)).max(1) {
            let more = columns * rows > best.0 * best.1;
            if more
                && usize::from((columns - 1) * rows.max(1)) < count
                && usize::from(rows) <= count
            {
                best = (columns, rows);
            }
        }
    }
    best
}

/// Lays out the tiles and lists their pictures.
fn tiles(preview: &Preview, raw: bool, area: Rect) -> (Vec<Tile>, Vec<Wanted>) {
    let (columns, rows) = grid(area.as_size(), preview.crops.len());
    let (width, height) = (area.width / columns, area.height / rows);
    let (mut tiles, mut wanted) = (Vec::new(), Vec::new());
    if width < 6 || height < CAPTION + 3 {
        return (tiles, wanted);
    }
    for (i, crop) in preview.crops.iter().take(usize::from(columns * rows)).enumerate() {
        let (column, row) = (i as u16 % columns, i as u16 / columns);
        // Leave a blank column between pictures.
        let gap = u16::from(columns > 1);
        let size = fit((crop.width, crop.height), Size::new(width - gap, height - CAPTION));
        let area = Rect {
            x: area.x + column * width + (width - gap - size.width) / 2,
            y: area.y + row * height,
            width: size.width,
            height: size.height + CAPTION,
        };
        let shown = if raw { crop.raw.as_ref() } else { Some(&crop.seen) };
        // A caption may be wider than a narrow picture.
        let caption = caption(crop, raw, area.width as usize);
        tiles.push(Tile { area, caption, picture: shown.is_some().then_some(wanted.len()) });
        wanted.extend(shown.map(|picture| {
            let Crop { height, width, .. } = *crop;
            let slice = Slice { height, width, picture: picture.clone() };
            Wanted { slice, size, outline: true, contrast: Contrast::default() }
        }));
    }
    (tiles, wanted)
}

/// The largest size in cells that keeps the picture's aspect ratio, with cells twice as high as
/// wide.
pub fn fit((width, height): (usize, usize), room: Size) -> Size {
    let (w, h) = (width.max(1) as f64, height.max(1) as f64);
    let scale = (f64::from(room.width) / w).min(2.0 * f64::from(room.height) / h);
    let cells = |x: f64| x.round().max(1.0) as u16;
    Size::new(cells(w * scale).min(room.width), cells(h * scale / 2.0).min(room.height))
}

fn caption(crop: &Crop, raw: bool, width: usize) -> [String; 2] {
    let level = format!("C{} slice {} ", crop.vertebra, crop.slice);
    let level = if width < 24 { format!("C{} s{} ", crop.vertebra, crop.slice) } else { level };
    let study = format::study(&crop.study, width.saturating_sub(level.chars().count()));
    let right = (crop.probability >= 0.5) == (crop.label >= 0.5);
    let mark = if right { '✓' } else { '×' };
    let label = (crop.label * 100.0).round() / 100.0;
    let p = crop.probability;
    // The probability belongs to the augmented picture, not to the one shown.
    let of_another = raw && is_augmented(crop);
    let figures = match (width < 24, of_another) {
        (true, false) => format!("y {label} p {p:.2} {mark}"),
        (true, true) => format!("y {label} aug p {p:.2} {mark}"),
        (false, false) => format!("label {label}  predicted {p:.2} {mark}"),
        (false, true) => format!("label {label}  augmented {p:.2} {mark}"),
    };
    [format!("{level}{study}"), figures]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_few_and_large() {
        assert_eq!(grid(Size::new(46, 24), 4), (1, 1));
        assert_eq!(grid(Size::new(78, 24), 4), (2, 1));
        assert_eq!(grid(Size::new(78, 24), 1), (1, 1));
        assert_eq!(grid(Size::new(20, 10), 4), (1, 1));
        assert_eq!(grid(Size::new(0, 0), 4), (1, 1));
    }
}
