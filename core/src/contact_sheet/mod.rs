//! An image of a study before and after augmentation: the notebook's `dataset_show` figure.
//!
//! Each row is a slice. Its columns are pairs of CT and mask: first the raw slice, then the slice as
//! augmented in some epochs. The CT's colours are the channels 0, 1 and 2, as in the notebook; in
//! augmented slices the mask is outlined.

mod canvas;
mod font;

use crate::config::{CHANNELS, Config, VERTEBRAE};
use crate::outline;
use crate::study::{Error, Recipe, SliceIndex, SliceSource, Study};
use canvas::{Canvas, Color, LINE, text_width};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use rayon::prelude::*;
use std::collections::VecDeque;
use std::ops::Range;

/// Minimum side of a slice in pixels, so that headings fit; smaller slices are enlarged.
const READABLE: usize = 128;
/// Margin around the sheet and between two pairs in pixels.
const MARGIN: usize = 12;
/// Gap between two images in pixels.
const GAP: usize = 4;
/// Letters of a row's name, such as `SLICE 14`.
const NAME: usize = 8;
/// Height above the first row in pixels: two lines of text.
const TOP: usize = 2 * (LINE + MARGIN) + MARGIN;

const PAPER: Color = [24; 3];
const INK: Color = [230; 3];

/// Contents of the sheet.
pub struct ContactSheet<'a> {
    /// Settings of the training.
    pub config: &'a Config,
    /// The study.
    pub study: &'a Study,
    /// Fold whose training uses the study.
    pub fold: usize,
    /// Epochs of that fold, from 1; a pair of columns for each.
    pub epochs: Range<usize>,
    /// Slices of the study, a row for each.
    pub places: Vec<SliceIndex>,
}

impl ContactSheet<'_> {
    /// Enlargement of a slice's pixels.
    fn zoom(&self) -> usize {
        READABLE.div_ceil(self.config.data.image_size)
    }

    /// Height and width of an image on the sheet in pixels.
    fn tile(&self) -> usize {
        self.zoom() * self.config.data.image_size
    }

    /// Left edge of pair `i`; pair 0 is the raw slice.
    fn x(&self, i: usize) -> usize {
        MARGIN + text_width(NAME) + i * (2 * self.tile() + GAP + MARGIN)
    }

    /// Returns the width and height of the sheet in pixels.
    pub fn size(&self) -> (usize, usize) {
        (self.x(1 + self.epochs.len()), TOP + self.places.len() * (self.tile() + GAP) + MARGIN)
    }

    /// Draws the sheet as a PNG, with its rows in parallel. The same settings give the same bytes.
    ///
    /// Errors: when a slice cannot be read.
    pub fn png(&self, source: &dyn SliceSource) -> Result<Vec<u8>, Error> {
        let (width, height) = self.size();
        let mut pixels = vec![PAPER; width * height];
        let (top, rows) = pixels.split_at_mut(width * TOP);
        self.headings(&mut Canvas { pixels: top, width });
        rows.par_chunks_mut(width * (self.tile() + GAP))
            .zip(&self.places)
            .try_for_each(|(pixels, &place)| self.row(source, place, Canvas { pixels, width }))?;
        let mut png = Vec::new();
        PngEncoder::new_with_quality(&mut png, CompressionType::Default, FilterType::Adaptive)
            .write_image(
                &pixels.into_flattened(),
                width as u32,
                height as u32,
                ExtendedColorType::Rgb8,
            )
            .expect("pixels of the sheet's size go into a PNG in memory");
        Ok(png)
    }

    fn headings(&self, canvas: &mut Canvas) {
        let title = format!("{}  SEED {}  FOLD {}", self.study.uid, self.config.seed, self.fold);
        canvas.text(MARGIN, MARGIN, &title, INK);
        let epochs = self.epochs.clone().map(|epoch| format!("EPOCH {epoch}"));
        for (i, name) in std::iter::once("RAW".to_string()).chain(epochs).enumerate() {
            let y = MARGIN + LINE + MARGIN;
            canvas.text(self.x(i), y, &name, INK);
            canvas.text(self.x(i) + self.tile() + GAP, y, "MASK", INK);
        }
    }

    fn row(
        &self,
        source: &dyn SliceSource,
        place: SliceIndex,
        mut canvas: Canvas,
    ) -> Result<(), Error> {
        let (config, study) = (self.config, self.study);
        let name = [
            format!("C{}", place.vertebra + 1),
            format!("SLICE {}", place.slice),
            format!("LABEL {}", study.labels[usize::from(place.vertebra)]),
        ];
        for (i, line) in name.iter().enumerate() {
            canvas.text(MARGIN, i * (LINE + GAP), line, INK);
        }
        self.pair(0, &Recipe::valid(config).image(source, study, place)?, &mut canvas);
        for (i, epoch) in self.epochs.clone().enumerate() {
            let recipe = Recipe::train(config, self.fold, epoch);
            self.pair(1 + i, &recipe.image(source, study, place)?, &mut canvas);
        }
        Ok(())
    }

    /// Draws `image`, uint8 `[size, size, 6]`, as CT and mask into pair `i`.
    fn pair(&self, i: usize, image: &[u8], canvas: &mut Canvas) {
        let size = self.config.data.image_size;
        let (pixels, _) = image.as_chunks::<CHANNELS>();
        let mask: Vec<u8> = pixels.iter().map(|p| p[CHANNELS - 1]).collect();
        // The raw slice has no outline.
        let edge = if i == 0 { vec![false; mask.len()] } else { outline::edge(&mask, size, size) };
        let ct = |p: usize| match edge[p] {
            true => outline::COLOR,
            false => [pixels[p][0], pixels[p][1], pixels[p][2]],
        };
        canvas.picture((self.x(i), 0), size, self.zoom(), ct);
        let x = self.x(i) + self.tile() + GAP;
        canvas.picture((x, 0), size, self.zoom(), |p| [mask[p]; 3]);
    }
}

/// Picks `n` slices of a study, sorted by vertebra and slice. The vertebrae get the same number of
/// slices, give or take one. In each vertebra the middle slice comes first, then the middles of the
/// remaining ranges.
///
/// `slices`: number of slices per vertebra; `n` is at most 7 × `slices`.
pub fn places(n: usize, slices: usize) -> Vec<SliceIndex> {
    let mut places: Vec<SliceIndex> = halving(slices)
        .into_iter()
        .flat_map(|slice| halving(VERTEBRAE).into_iter().map(move |vertebra| (vertebra, slice)))
        .map(|(vertebra, slice)| SliceIndex { vertebra: vertebra as u8, slice: slice as u8 })
        .take(n)
        .collect();
    places.sort_by_key(|place| (place.vertebra, place.slice));
    places
}

/// Returns 0..`n` with the middle first, then the middles of both halves, and so on.
fn halving(n: usize) -> Vec<usize> {
    let mut parts = VecDeque::from([(0, n)]);
    let mut order = Vec::new();
    while let Some((start, end)) = parts.pop_front() {
        if start < end {
            let middle = (start + end) / 2;
            order.push(middle);
            parts.extend([(start, middle), (middle + 1, end)]);
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Set;
    use crate::study::Phantom;

    #[test]
    fn slices_are_spread_over_the_vertebrae_the_middle_ones_first() {
        let of = |n| -> Vec<(u8, u8)> {
            places(n, 15).iter().map(|p| (p.vertebra + 1, p.slice)).collect()
        };
        assert_eq!(of(1), [(4, 7)]);
        assert_eq!(of(3), [(2, 7), (4, 7), (6, 7)]);
        assert_eq!(of(7), (1..=7).map(|c| (c, 7)).collect::<Vec<_>>());
        assert_eq!(of(8)[3..5], [(4, 3), (4, 7)]);
        assert_eq!(of(105).len(), 105);
        assert!(of(105).windows(2).all(|p| p[0] < p[1]), "each once, in order");
        assert!(halving(0).is_empty());
    }

    #[test]
    fn pixels_stand_where_the_headings_say() {
        let sets = ["data.image_size=64", "data.slices_per_vertebra=3"].map(Set::new);
        let config = Config::load(None, false, &sets).unwrap();
        let source = Phantom::new(64, 3, 0);
        let table = Phantom::table(2, 2, 0);
        let (study, places) = (&table.studies[0], places(2, 3));
        let sheet = ContactSheet { config: &config, study, fold: 1, epochs: 3..5, places };
        let png = sheet.png(&source).unwrap();
        let picture = image::load_from_memory(&png).unwrap().into_rgb8();
        assert_eq!(picture.dimensions(), (sheet.size().0 as u32, sheet.size().1 as u32));

        let place = sheet.places[1];
        let raw = Recipe::valid(&config).image(&source, study, place).unwrap();
        let drawn = Recipe::train(&config, 1, 4).image(&source, study, place).unwrap();
        let y = TOP + sheet.tile() + GAP;
        for i in 0..64 * 64 {
            let at = |x: usize| {
                let (x, y) = (x + 2 * (i % 64), y + 2 * (i / 64));
                picture.get_pixel(x as u32 + 1, y as u32 + 1).0
            };
            assert_eq!(at(sheet.x(0)), raw[i * 6..i * 6 + 3]);
            assert_eq!(at(sheet.x(0) + sheet.tile() + GAP), [raw[i * 6 + 5]; 3]);
            let ct = at(sheet.x(2));
            assert!(ct == outline::COLOR || ct == drawn[i * 6..i * 6 + 3]);
            assert_eq!(at(sheet.x(2) + sheet.tile() + GAP), [drawn[i * 6 + 5]; 3]);
        }
    }
}
