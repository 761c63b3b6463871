//! Encodes a slice for the terminal.

use super::Pictures;
use crate::outline;
use crate::run::event;
use base64::{Engine, engine::general_purpose::STANDARD};
use image::imageops::{FilterType, resize};
use image::{DynamicImage, GrayImage, ImageFormat, Rgb, RgbImage};
use ratatui::Frame;
use ratatui::layout::{Rect, Size};
use ratatui::text::{Line, Text};
use ratatui_image::Image;
use ratatui_image::protocol::{
    Protocol, halfblocks::Halfblocks, iterm2::Iterm2, kitty::Kitty, sixel::Sixel,
};
use std::fmt::Write;
use std::io::Cursor;

/// Pixels per cell if the terminal does not report them.
const CELL: (u16, u16) = (8, 16);
/// Side in pixels of a picture that the terminal scales itself: at most the slice's own resolution,
/// and at least enough for a thin outline.
const SIDES: std::ops::RangeInclusive<usize> = 288..=512;
/// Change of the window's level per step, grey values.
const LEVEL_STEP: i32 = 8;
/// Change of the window's width per step: narrower by a fifth.
const WIDTH_STEP: (i32, i32) = (4, 5);

/// Planes of a slice.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// Height, pixels.
    pub height: usize,
    /// Width, pixels.
    pub width: usize,
    /// The planes, `height × width` each.
    pub picture: event::Picture,
}

impl Slice {
    /// Whether its sides are those of a picture.
    fn is_sensible(&self) -> bool {
        [self.height, self.width].iter().all(|side| (1..=4096).contains(side))
    }
}

/// Grey window, in steps relative to the default from the picture's 1st to its 99th percentile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Contrast {
    /// Steps by which the window is narrower (positive, more contrast) or wider (negative).
    pub width: i8,
    /// Steps by which the window's centre is higher (positive, darker picture) or lower (negative).
    pub level: i8,
}

impl Contrast {
    /// Maximum number of steps in either direction.
    const MOST: i8 = 8;

    /// Changes the window by this many steps, within the limits.
    pub fn changed(self, width: i8, level: i8) -> Self {
        let further = |x: i8, by: i8| x.saturating_add(by).clamp(-Self::MOST, Self::MOST);
        Self { width: further(self.width, width), level: further(self.level, level) }
    }

    /// Grey values that become black and white.
    fn limits(self, low: i32, high: i32) -> (i32, i32) {
        let (mut low, mut high) = (low, high);
        for _ in 0..self.width.unsigned_abs() {
            let (from, to) = match self.width > 0 {
                true => WIDTH_STEP,
                false => (WIDTH_STEP.1, WIDTH_STEP.0),
            };
            let (middle, width) = ((low + high) / 2, (high - low) * from / to);
            (low, high) = (middle - width / 2, middle + (width + 1) / 2);
        }
        let shift = i32::from(self.level) * LEVEL_STEP;
        (low + shift, high + shift)
    }
}

/// A picture to encode.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// The slice.
    pub slice: Slice,
    /// Size in cells.
    pub size: Size,
    /// Whether to outline the mask.
    pub outline: bool,
    /// The grey window.
    pub contrast: Contrast,
}

/// An encoded picture, ready to be drawn.
pub enum Encoded {
    /// Pixels or half blocks, by one of the protocols.
    Cells(Protocol),
    /// Rows of characters.
    Characters(Vec<String>),
    /// The size is not sensible, or the number of pixels does not match it.
    Broken,
}

impl Encoded {
    /// Encodes a picture. `id`: its number in kitty's protocol.
    pub fn new(pictures: Pictures, wanted: &Wanted, id: u32) -> Self {
        let encoded = match pictures {
            _ if !wanted.slice.is_sensible() => None,
            Pictures::Kitty => kitty(wanted, id),
            Pictures::Sixel => sixel(wanted),
            Pictures::Iterm => iterm(wanted),
            Pictures::Blocks => blocks(wanted),
            Pictures::Characters | Pictures::Off => characters(wanted),
        };
        encoded.unwrap_or(Self::Broken)
    }

    /// Draws the picture in the upper left of `area`.
    pub fn draw(&self, frame: &mut Frame, area: Rect) {
        match self {
            Self::Cells(protocol) => frame.render_widget(Image::new(protocol), area),
            Self::Characters(rows) => {
                frame.render_widget(Text::from_iter(rows.iter().map(String::as_str)), area);
            }
            Self::Broken => frame.render_widget(Line::from("(not a picture)"), area),
        }
    }
}

/// Scales the slice to `width × height` pixels, spreads its contrast, and finds the edge of its
/// mask.
fn scaled(wanted: &Wanted, width: u32, height: u32) -> Option<(GrayImage, Vec<bool>)> {
    let Slice { height: from_height, width: from_width, picture } = &wanted.slice;
    let from = |pixels: &[u8]| {
        GrayImage::from_raw(*from_width as u32, *from_height as u32, pixels.to_vec())
    };
    let mut grey = resize(&from(&picture.pixels)?, width, height, FilterType::CatmullRom);
    spread(&mut grey, wanted.contrast);
    if !wanted.outline {
        let none = vec![false; grey.as_raw().len()];
        return Some((grey, none));
    }
    let mask = resize(&from(&picture.mask)?, width, height, FilterType::Triangle);
    let edge = outline::edge(mask.as_raw(), width as usize, height as usize);
    Some((grey, edge))
}

/// Spreads the greys between the 1st and the 99th percentile, modified by `contrast`, over the
/// whole range.
fn spread(grey: &mut GrayImage, contrast: Contrast) {
    let mut sorted = grey.as_raw().clone();
    sorted.sort_unstable();
    let at = |share: usize| sorted.get(sorted.len() * share / 100).copied().unwrap_or(0);
    let (low, high) = contrast.limits(at(1).into(), at(99).into());
    if high > low {
        for pixel in grey.pixels_mut() {
            pixel[0] = ((i32::from(pixel[0]) - low) * 255 / (high - low)).clamp(0, 255) as u8;
        }
    }
}

/// Scales the slice to `width × height` pixels and draws the mask's outline.
fn outlined(wanted: &Wanted, width: u32, height: u32) -> Option<RgbImage> {
    let (grey, edge) = scaled(wanted, width, height)?;
    // In a small picture the outline covers much of the bone, so make it more transparent.
    let share = if width.min(height) < 30 { 1 } else { 2 };
    Some(RgbImage::from_fn(width, height, |x, y| {
        let v = grey.get_pixel(x, y)[0];
        if edge[(y * width + x) as usize] {
            // Blend, so that the pixels under the outline still show.
            Rgb(outline::COLOR
                .map(|c| ((u16::from(c) * share + u16::from(v) * (3 - share)) / 3) as u8))
        } else {
            Rgb([v; 3])
        }
    }))
}

fn blocks(wanted: &Wanted) -> Option<Encoded> {
    let Size { width, height } = wanted.size;
    let picture = outlined(wanted, width.into(), 2 * u32::from(height))?;
    let blocks = Halfblocks::new(picture.into(), wanted.size).ok()?;
    Some(Encoded::Cells(Protocol::Halfblocks(blocks)))
}

/// The slice at about its own resolution, for a terminal that scales it to cells.
fn native(wanted: &Wanted) -> Option<RgbImage> {
    let Slice { width, height, .. } = wanted.slice;
    let longer = width.max(height);
    let scaled = |side: usize| (side * longer.clamp(*SIDES.start(), *SIDES.end()) / longer).max(1);
    outlined(wanted, scaled(width) as u32, scaled(height) as u32)
}

/// Whether pixels pass through a terminal multiplexer.
fn is_multiplexed() -> bool {
    std::env::var_os("TMUX").is_some_and(|v| !v.is_empty())
}

fn kitty(wanted: &Wanted, id: u32) -> Option<Encoded> {
    let picture = DynamicImage::from(native(wanted)?);
    let kitty = Kitty::new(picture, wanted.size, id, is_multiplexed(), true).ok()?;
    Some(Encoded::Cells(Protocol::Kitty(kitty)))
}

fn sixel(wanted: &Wanted) -> Option<Encoded> {
    let size = wanted.size;
    // Reported by the terminal's driver, so the terminal is not queried.
    let window = crossterm::terminal::window_size().ok();
    let cell = window
        .filter(|w| w.width > 0 && w.height > 0 && w.columns > 0 && w.rows > 0)
        .map_or(CELL, |w| (w.width / w.columns, w.height / w.rows));
    let (width, height) = (size.width * cell.0, size.height * cell.1);
    let picture = outlined(wanted, width.into(), height.into())?;
    let sixel = Sixel::new(picture.into(), size, false).ok()?;
    Some(Encoded::Cells(Protocol::Sixel(sixel)))
}

/// <https://iterm2.com/documentation-images.html>. The size is given in cells, so a cell's size in
/// pixels does not matter.
fn iterm(wanted: &Wanted) -> Option<Encoded> {
    let size @ Size { width, height } = wanted.size;
    let mut png = Cursor::new(Vec::new());
    native(wanted)?.write_to(&mut png, ImageFormat::Png).ok()?;
    let png = png.into_inner();
    let is_tmux = is_multiplexed();
    let (start, escape, end) = match is_tmux {
        true => ("\x1bPtmux;", "\x1b\x1b", "\x1b\\"),
        false => ("", "\x1b", ""),
    };
    let mut data = String::from(start);
    // Erase the area row by row, then move the cursor back up.
    for _ in 0..height {
        let _ = write!(data, "{escape}[{width}X{escape}[1B");
    }
    let _ = write!(
        data,
        "{escape}[{height}A{escape}]1337;File=inline=1;size={};width={width};height={height};\
         preserveAspectRatio=0;doNotMoveCursor=1:{}\x07{end}",
        png.len(),
        STANDARD.encode(&png)
    );
    Some(Encoded::Cells(Protocol::ITerm2(Iterm2 { data, size, is_tmux })))
}

fn characters(wanted: &Wanted) -> Option<Encoded> {
    const RAMP: &[u8] = b" .:-=+*#%@";
    let (width, height) = (u32::from(wanted.size.width), u32::from(wanted.size.height));
    let (grey, edge) = scaled(wanted, width, height)?;
    let character = |x: u32, y: u32| match edge[(y * width + x) as usize] {
        true => 'o',
        false => {
            let v = usize::from(grey.get_pixel(x, y)[0]);
            RAMP[v * (RAMP.len() - 1) / 255] as char
        }
    };
    let row = |y: u32| (0..width).map(|x| character(x, y)).collect();
    Some(Encoded::Characters((0..height).map(row).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bright square with its mask on a dark ramp, 64 × 64 pixels.
    fn wanted(outline: bool, contrast: Contrast) -> Wanted {
        let square = |i: usize| (16..48).contains(&(i % 64)) && (16..48).contains(&(i / 64));
        let pixels = (0..64 * 64).map(|i| if square(i) { 200 } else { (i % 64) as u8 }).collect();
        let mask = (0..64 * 64).map(|i| if square(i) { 255 } else { 0 }).collect();
        let slice = Slice { height: 64, width: 64, picture: event::Picture { pixels, mask } };
        Wanted { slice, size: Size::new(32, 16), outline, contrast }
    }

    fn data(encoded: Encoded) -> String {
        match encoded {
            Encoded::Cells(Protocol::Sixel(sixel)) => sixel.data,
            Encoded::Cells(Protocol::ITerm2(iterm)) => iterm.data,
            _ => panic!("no pixels"),
        }
    }

    #[test]
    fn characters_show_the_square_and_its_outline_where_wanted() {
        let rows = |wanted: &Wanted| match characters(wanted).unwrap() {
            Encoded::Characters(rows) => rows,
            _ => panic!("no characters"),
        };
        let with = rows(&wanted(true, Contrast::default()));
        assert_eq!((with.len(), with[0].len()), (16, 32));
        assert!(with[4].contains("oooo") && with[8].contains("%%%%"), "{with:#?}");
        let without = rows(&wanted(false, Contrast::default()));
        assert!(without.iter().all(|row| !row.contains('o')), "{without:#?}");
    }

    #[test]
    fn a_narrow_window_is_black_and_white_and_a_high_level_dark() {
        let mean = |contrast| {
            let (grey, _) = scaled(&wanted(false, contrast), 64, 64).unwrap();
            let middle = grey.as_raw().iter().filter(|&&v| (1..255).contains(&v)).count();
            (grey.as_raw().iter().map(|&v| u64::from(v)).sum::<u64>() / 4096, middle)
        };
        let (own, greys) = mean(Contrast::default());
        let narrow = mean(Contrast::default().changed(8, 0));
        assert!(narrow.1 < greys / 3, "{narrow:?} {greys}");
        assert!(mean(Contrast::default().changed(0, 8)).0 < own);
        assert!(mean(Contrast::default().changed(0, -8)).0 > own);
        assert_eq!(Contrast::default().changed(100, -100), Contrast { width: 8, level: -8 });
        assert_eq!(Contrast::default().limits(10, 200), (10, 200));
    }

    #[test]
    fn pixels_fill_their_cells() {
        let wanted = wanted(true, Contrast::default());
        let sixel = data(sixel(&wanted).unwrap());
        assert!(sixel.contains("\x1bP") && sixel.ends_with("\x1b\\"), "{sixel:.80?}");
        let iterm = data(iterm(&wanted).unwrap());
        assert!(iterm.contains("width=32;height=16;preserveAspectRatio=0"), "{iterm:.200?}");
        let base64 = iterm.rsplit(':').next().unwrap().trim_end_matches(['\x07', '\x1b', '\\']);
        let png = STANDARD.decode(base64).unwrap();
        let picture = image::load_from_memory(&png).unwrap().to_rgb8();
        assert_eq!(picture.dimensions(), (288, 288));
        assert!(picture.pixels().any(|p| p[0] > p[2] + 100), "an outline");
        assert!(matches!(kitty(&wanted, 7), Some(Encoded::Cells(Protocol::Kitty(_)))));
    }

    #[test]
    fn what_is_no_picture_is_said_to_be_none() {
        let mut broken = wanted(true, Contrast::default());
        broken.slice.height = 65;
        for pictures in [Pictures::Kitty, Pictures::Sixel, Pictures::Iterm, Pictures::Blocks] {
            assert!(matches!(Encoded::new(pictures, &broken, 1), Encoded::Broken));
        }
        for (width, height) in [(usize::MAX, 64), (0, 64), (4097, usize::MAX)] {
            (broken.slice.width, broken.slice.height) = (width, height);
            for pictures in [Pictures::Kitty, Pictures::Iterm, Pictures::Characters] {
                assert!(matches!(Encoded::new(pictures, &broken, 1), Encoded::Broken));
            }
        }
    }
}
