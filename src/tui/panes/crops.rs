//! Pane of the current batch's crops as pictures with the mask's outline.

use crate::run::event::{Crop, Preview};
use crate::tui::pictures::tiles::{CAPTION, Tile, Tiles, cells, draw, place};
use crate::tui::pictures::{Contrast, Encoder, Pictures, Slice, Wanted};
use crate::tui::theme;
use crate::view::{State, format};
use ratatui::Frame;
use ratatui::layout::{Rect, Size};

/// Smallest side of a good picture; several are shown only if each is at least this large.
const GOOD_SIDE: u16 = 36;
/// State of the pane.
pub struct Gallery {
    /// Encodes the pictures.
    pub encoder: Encoder<Tiles>,
    /// Whether to show slices before augmentation.
    pub raw: bool,
}

impl Gallery {
    /// Creates an empty pane.
    pub fn new(pictures: Pictures) -> Self {
        Self { encoder: Encoder::new(pictures, 0), raw: false }
    }

    /// Whether pictures are shown at all.
    pub fn wanted(&self) -> bool {
        self.encoder.pictures() != Pictures::Off
    }

    /// Draws the newest preview. `covered`: an overlay is on top.
    pub fn draw(&mut self, frame: &mut Frame, area: Rect, state: &State, covered: bool) {
        let preview = state.preview.as_ref().filter(|p| !p.crops.is_empty());
        let of_fold = state.shared;
        let title = preview.map_or("crops".into(), |p| title(p, self.raw, of_fold, area.width));
        let inner = theme::framed(frame, area, &title);
        let Some(preview) = preview else {
            return theme::middle(frame, inner, "no preview yet");
        };
        let new = tiles(preview, self.raw, inner);
        draw(frame, inner, &mut self.encoder, Some(new), None, covered);
    }
}

/// Title of the pane, as long as its width allows.
///
/// `of_fold`: several are in training.
fn title(preview: &Preview, raw: bool, of_fold: bool, width: u16) -> String {
    let what = match raw || !preview.crops.iter().any(is_augmented) {
        true => "raw crops",
        false => "augmented crops",
    };
    let place = match of_fold {
        true => format!("{what} · {}", preview.at),
        false => format!("{what} · epoch {} step {}", preview.at.epoch, preview.at.step),
    };
    let what = match of_fold {
        true => format!("{what} · fold {}", preview.at.fold),
        false => what.into(),
    };
    let all = format!("{place} · mask outlined");
    // The frame's corners, and a space on either side.
    let room = usize::from(width.saturating_sub(4));
    let fitting = [all, place].into_iter().find(|title| title.chars().count() <= room);
    fitting.unwrap_or(what)
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
fn tiles(preview: &Preview, raw: bool, inner: Rect) -> (Vec<Tile>, Vec<Wanted>) {
    let shape @ (columns, rows) = grid(inner.as_size(), preview.crops.len());
    let (mut tiles, mut wanted) = (Vec::new(), Vec::new());
    if inner.width / columns < 6 || inner.height / rows < CAPTION + 3 {
        return (tiles, wanted);
    }
    for (crop, cell) in preview.crops.iter().zip(cells(inner, shape, preview.crops.len())) {
        let Crop { height, width, .. } = *crop;
        let (size, area) = place((width, height), cell);
        // A caption may be wider than a narrow picture.
        let caption = caption(crop, raw, area.width.into());
        let shown = if raw { crop.raw.as_ref() } else { Some(&crop.seen) };
        let picture = shown.map(|_| wanted.len()).ok_or_else(|| "(cannot be read)".into());
        tiles.push(Tile { area, caption, entry: 0, picture });
        wanted.extend(shown.map(|picture| {
            let slice = Slice { height, width, picture: picture.clone() };
            Wanted { slice, size, outline: true, contrast: Contrast::default() }
        }));
    }
    (tiles, wanted)
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
