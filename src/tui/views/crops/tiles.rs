//! Tiles of one or several studies.

use super::listed::{SliceNumber, wrong_by};
use crate::run::event::Prediction;
use crate::tui::pictures::tiles::{CAPTION, Tile, cells, place};
use crate::tui::pictures::{Contrast, Slice, Wanted};
use crate::view::format;
use ratatui::layout::Rect;

/// Minimum side of a picture among several, columns.
const LEAST_SIDE: u16 = 14;
/// Minimum width for a caption without abbreviations, columns.
const ROOMY: usize = 30;

/// A slice to show.
pub struct SliceTile<'a> {
    /// Index of the study in the list.
    pub entry: usize,
    /// The network's prediction for the study.
    pub prediction: &'a Prediction,
    /// The slice's number.
    pub place: SliceNumber,
    /// The slice, and whether the network saw an augmented version of it; or the reason why there
    /// is none.
    pub slice: Result<(Slice, bool), String>,
}

/// Display options of slices.
#[derive(Debug, Clone, Copy)]
pub struct TileStyle {
    /// Before augmentation.
    pub raw: bool,
    /// With the mask's outline.
    pub outline: bool,
    /// Grey window.
    pub contrast: Contrast,
}

/// Areas for `count` pictures with captions, as large as possible; fewer if they would be too
/// small.
pub fn grid(inner: Rect, count: usize) -> Vec<Rect> {
    let side = |columns: u16, rows: u16| {
        let width = inner.width / columns - u16::from(columns > 1);
        width.min(2 * (inner.height / rows).saturating_sub(CAPTION))
    };
    let mut best = (1, 1);
    for count in (1..=count.min(32) as u16).rev() {
        let shapes = (1..=count).map(|columns| (columns, count.div_ceil(columns)));
        let shapes = shapes.filter(|&(columns, _)| columns <= inner.width);
        best = shapes.max_by_key(|&(columns, rows)| side(columns, rows)).unwrap_or((1, 1));
        if side(best.0, best.1) >= LEAST_SIDE {
            break;
        }
    }
    cells(inner, best, count)
}

/// Lays out the tiles of `shown`, each in its area, and lists their pictures.
pub fn tiles(shown: Vec<(SliceTile, Rect)>, style: TileStyle) -> (Vec<Tile>, Vec<Wanted>) {
    let mut wanted = Vec::new();
    let tile = |(tile, area): (SliceTile, Rect)| {
        let SliceTile { entry, prediction, place: at, slice } = tile;
        let (slice, differ) = match slice {
            Ok(slice) => slice,
            Err(why) => {
                let caption = caption(prediction, at, false, area.width.into());
                return Tile { area, caption, entry, picture: Err(why) };
            }
        };
        let (size, area) = place((slice.width, slice.height), area);
        let caption = caption(prediction, at, style.raw && differ, size.width.into());
        wanted.push(Wanted { slice, size, outline: style.outline, contrast: style.contrast });
        Tile { area, caption, entry, picture: Ok(wanted.len() - 1) }
    };
    let tiles = shown.into_iter().map(tile).collect();
    (tiles, wanted)
}

/// Caption of a slice. `of_another`: the probability belongs to the augmented version, not to the
/// picture shown.
fn caption(
    prediction: &Prediction,
    place: SliceNumber,
    of_another: bool,
    width: usize,
) -> [String; 2] {
    let SliceNumber { vertebra, slice } = place;
    let label = prediction.labels[usize::from(vertebra).clamp(1, 7) - 1];
    let p = prediction.of_vertebra(vertebra).get(usize::from(slice));
    let p = p.copied().unwrap_or(f32::NAN);
    let mark = if wrong_by(p, label) > 0.5 { '×' } else { '✓' };
    let n = prediction.slices_per_vertebra();
    let (level, figures) = match (width >= ROOMY, of_another) {
        (true, false) => (
            format!("C{vertebra} slice {slice} of {n} · "),
            format!("label {label} · predicted {p:.2} {mark}"),
        ),
        (true, true) => (
            format!("C{vertebra} slice {slice} of {n} · "),
            format!("label {label} · predicted {p:.2} {mark} of the augmented one"),
        ),
        (false, false) => (format!("C{vertebra} s{slice} "), format!("y {label} p {p:.2} {mark}")),
        (false, true) => (format!("C{vertebra} s{slice} "), format!("y {label} aug {p:.2} {mark}")),
    };
    let study = format::study(&prediction.study, width.saturating_sub(level.chars().count() + 1));
    [format!("{level}{study}"), figures]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_as_large_as_they_can_be_and_within() {
        let inner = Rect::new(3, 2, 142, 55);
        let areas = grid(inner, 8);
        assert_eq!(areas.len(), 8);
        assert!(areas.iter().all(|area| inner.intersection(*area) == *area));
        assert!(areas[0].width >= 34, "{areas:?}");
        assert_eq!(grid(inner, 1), [inner]);
        assert!(grid(Rect::new(0, 0, 46, 19), 8).len() >= 6);
        for (width, height) in [(0, 0), (1, 1), (3, 1), (5, 40)] {
            grid(Rect::new(0, 0, width, height), 8);
        }
    }
}
