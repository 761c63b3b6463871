//! Crops of the current batch as pictures, with the mask's outline.

use super::theme;
use crate::outline;
use crate::run::event::{self, Crop, Preview};
use crate::view::{State, format};
use image::imageops::{FilterType, resize};
use image::{DynamicImage, GrayImage, Rgb, RgbImage};
use ratatui::Frame;
use ratatui::layout::{Rect, Size};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;
use ratatui_image::Resize;
use ratatui_image::picker::{Picker, ProtocolType};
use ratatui_image::protocol::{Protocol, halfblocks::Halfblocks};

/// Side from which a picture counts as good; more than one are shown only as large as this.
const GOOD_SIDE: u16 = 36;
/// Rows under a picture.
const CAPTION: u16 = 2;

/// How pictures are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pictures {
    /// Pixels by kitty's graphics protocol, whose pictures are cells of text to everyone between.
    Kitty,
    /// Half blocks in 24-bit colour: two pixels a cell.
    TrueColor,
    /// Half blocks in the 256-colour palette.
    Indexed,
    /// A character a cell, without colour.
    Characters,
    /// None: the run makes no previews.
    Off,
}

impl Pictures {
    /// What the terminal can show, from its environment variables. It is not asked: an answer
    /// that comes late over a slow line would be taken for keys.
    pub fn of_terminal(variable: impl Fn(&str) -> Option<String>) -> Self {
        let is = |name: &str, values: &[&str]| {
            variable(name).is_some_and(|v| values.contains(&v.as_str()))
        };
        if variable("NO_COLOR").is_some_and(|v| !v.is_empty())
            || is("TERM", &["linux", "dumb", "vt100", "vt220"])
        {
            Self::Characters
        } else if is("TERM", &["xterm-kitty", "xterm-ghostty"]) {
            Self::Kitty
        } else if is("COLORTERM", &["truecolor", "24bit"]) {
            Self::TrueColor
        } else {
            Self::Indexed
        }
    }
}

/// A picture ready to draw.
struct Tile {
    area: Rect,
    caption: [String; 2],
    picture: Picture,
}

enum Picture {
    Encoded(Protocol),
    Characters(Vec<String>),
    /// There is none: why.
    Missing(&'static str),
}

/// The pane's pictures, encoded once a preview, side of the augmentation and size.
pub struct Gallery {
    pictures: Pictures,
    /// Whether slices are shown as they were before augmentation.
    raw: bool,
    made_for: Option<(u64, bool, Rect)>,
    tiles: Vec<Tile>,
}

impl Gallery {
    /// An empty pane.
    pub fn new(pictures: Pictures) -> Self {
        Self { pictures, raw: false, made_for: None, tiles: Vec::new() }
    }

    /// Shows the slices before augmentation, or as the network sees them.
    pub fn toggle_raw(&mut self) {
        self.raw = !self.raw;
    }

    /// Encodes the pictures anew for the next draw.
    pub fn forget(&mut self) {
        self.made_for = None;
    }

    /// Whether there is a pane at all.
    pub fn wanted(&self) -> bool {
        self.pictures != Pictures::Off
    }

    /// Draws the newest preview.
    pub fn draw(&mut self, frame: &mut Frame, area: Rect, state: &State) {
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
        let wanted = Some((state.previews, self.raw, inner));
        if self.made_for != wanted {
            self.tiles = tiles(preview, self.raw, inner, self.pictures);
            self.made_for = wanted;
        }
        for tile in &self.tiles {
            self.draw_tile(frame, tile);
        }
    }

    fn draw_tile(&self, frame: &mut Frame, tile: &Tile) {
        let picture = Rect { height: tile.area.height.saturating_sub(CAPTION), ..tile.area };
        match &tile.picture {
            Picture::Encoded(protocol) => {
                frame.render_widget(ratatui_image::Image::new(protocol), picture);
            }
            Picture::Characters(rows) => {
                let rows: Vec<Line> = rows.iter().map(|row| Line::from(row.as_str())).collect();
                frame.render_widget(Paragraph::new(rows), picture);
            }
            Picture::Missing(why) => frame.render_widget(Line::from(*why), picture),
        }
        let caption = Rect {
            y: picture.bottom(),
            height: tile.area.bottom().saturating_sub(picture.bottom()),
            ..tile.area
        };
        let [what, figures] = &tile.caption;
        let lines = vec![Line::from(what.as_str()), Line::from(figures.as_str())];
        frame.render_widget(Paragraph::new(lines), caption);
    }
}

/// What is shown, as long as a pane of `width` has room for.
fn title(preview: &Preview, raw: bool, width: u16) -> String {
    let what = match raw || !preview.crops.iter().any(is_augmented) {
        true => "raw crops",
        false => "augmented crops",
    };
    let place = format!("{what} · epoch {} step {}", preview.at.epoch, preview.at.step);
    let all = format!("{place} · mask outlined");
    // The frame's corners and a space to either side.
    let room = usize::from(width.saturating_sub(4));
    let fitting = [all, place].into_iter().find(|title| title.chars().count() <= room);
    fitting.unwrap_or(what.into())
}

/// Whether the network saw something else than the slice as it is.
fn is_augmented(crop: &Crop) -> bool {
    crop.raw.as_ref() != Some(&crop.seen)
}

/// Columns and rows of the grid of pictures: as many as can be good, else one.
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

fn tiles(preview: &Preview, raw: bool, area: Rect, pictures: Pictures) -> Vec<Tile> {
    let (columns, rows) = grid(area.as_size(), preview.crops.len());
    let (width, height) = (area.width / columns, area.height / rows);
    if width < 6 || height < CAPTION + 3 {
        return Vec::new();
    }
    preview
        .crops
        .iter()
        .take(usize::from(columns * rows))
        .enumerate()
        .map(|(i, crop)| {
            let (column, row) = (i as u16 % columns, i as u16 / columns);
            // A column of space between two pictures.
            let gap = u16::from(columns > 1);
            let size = fit(crop, Size::new(width - gap, height - CAPTION));
            let area = Rect {
                x: area.x + column * width + (width - gap - size.width) / 2,
                y: area.y + row * height,
                width: size.width,
                height: size.height + CAPTION,
            };
            let shown = if raw { crop.raw.as_ref() } else { Some(&crop.seen) };
            let picture = match shown {
                None => Picture::Missing("(cannot be read)"),
                Some(shown) => {
                    let draw = match pictures {
                        Pictures::Characters | Pictures::Off => characters,
                        Pictures::TrueColor | Pictures::Indexed => blocks,
                        Pictures::Kitty => pixels,
                    };
                    draw(crop, shown, size).unwrap_or(Picture::Missing("(not a picture)"))
                }
            };
            // A short caption may be wider than a narrow picture.
            Tile { area, caption: caption(crop, raw, area.width as usize), picture }
        })
        .collect()
}

/// The largest size in cells that keeps the picture's shape, a cell being twice as high as wide.
fn fit(crop: &Crop, room: Size) -> Size {
    let (w, h) = (crop.width.max(1) as f64, crop.height.max(1) as f64);
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
    // The network judged the augmented picture, not the one shown.
    let of_another = raw && is_augmented(crop);
    let figures = match (width < 24, of_another) {
        (true, false) => format!("y {label} p {p:.2} {mark}"),
        (true, true) => format!("y {label} aug p {p:.2} {mark}"),
        (false, false) => format!("label {label}  predicted {p:.2} {mark}"),
        (false, true) => format!("label {label}  augmented {p:.2} {mark}"),
    };
    [format!("{level}{study}"), figures]
}

/// A crop's picture in `width × height` pixels with its contrast stretched, and where its mask ends.
fn scaled(
    crop: &Crop,
    shown: &event::Picture,
    width: u32,
    height: u32,
) -> Option<(GrayImage, Vec<bool>)> {
    let from =
        |pixels: &[u8]| GrayImage::from_raw(crop.width as u32, crop.height as u32, pixels.to_vec());
    if crop.width == 0 || crop.height == 0 || crop.width > 4096 || crop.height > 4096 {
        return None;
    }
    let mut grey = resize(&from(&shown.pixels)?, width, height, FilterType::CatmullRom);
    let mask = resize(&from(&shown.mask)?, width, height, FilterType::Triangle);
    stretch(&mut grey);
    let edge = outline::edge(mask.as_raw(), width as usize, height as usize);
    Some((grey, edge))
}

/// Spreads the greys between the 1st and the 99th percentile over the whole range.
fn stretch(grey: &mut GrayImage) {
    let mut sorted = grey.as_raw().clone();
    sorted.sort_unstable();
    let at = |share: usize| sorted.get(sorted.len() * share / 100).copied().unwrap_or(0);
    let (low, high) = (i32::from(at(1)), i32::from(at(99)));
    if high > low {
        for pixel in grey.pixels_mut() {
            pixel[0] = ((i32::from(pixel[0]) - low) * 255 / (high - low)).clamp(0, 255) as u8;
        }
    }
}

/// A crop's picture in `width × height` pixels with its mask's outline.
fn outlined(crop: &Crop, shown: &event::Picture, width: u32, height: u32) -> Option<DynamicImage> {
    let (grey, edge) = scaled(crop, shown, width, height)?;
    // In a small picture the outline is a large part of the bone, so more of that shines through.
    let share = if width.min(height) < 30 { 1 } else { 2 };
    let picture = RgbImage::from_fn(width, height, |x, y| {
        let v = grey.get_pixel(x, y)[0];
        if edge[(y * width + x) as usize] {
            // What lies under the outline still shows.
            Rgb(outline::COLOR
                .map(|c| ((u16::from(c) * share + u16::from(v) * (3 - share)) / 3) as u8))
        } else {
            Rgb([v; 3])
        }
    });
    Some(DynamicImage::ImageRgb8(picture))
}

fn blocks(crop: &Crop, shown: &event::Picture, size: Size) -> Option<Picture> {
    let picture = outlined(crop, shown, u32::from(size.width), 2 * u32::from(size.height))?;
    let blocks = Halfblocks::new(picture, size).ok()?;
    Some(Picture::Encoded(Protocol::Halfblocks(blocks)))
}

fn pixels(crop: &Crop, shown: &event::Picture, size: Size) -> Option<Picture> {
    // The terminal scales a picture to its cells, so their true size need not be asked for.
    let mut picker = Picker::halfblocks();
    picker.set_protocol_type(ProtocolType::Kitty);
    let cell = picker.font_size();
    let (width, height) = (size.width * cell.width, size.height * cell.height);
    let picture = outlined(crop, shown, width.into(), height.into())?;
    picker.new_protocol(picture, size, Resize::Fit(None)).ok().map(Picture::Encoded)
}

fn characters(crop: &Crop, shown: &event::Picture, size: Size) -> Option<Picture> {
    const RAMP: &[u8] = b" .:-=+*#%@";
    let (width, height) = (u32::from(size.width), u32::from(size.height));
    let (grey, edge) = scaled(crop, shown, width, height)?;
    let rows = (0..height)
        .map(|y| {
            (0..width)
                .map(|x| match edge[(y * width + x) as usize] {
                    true => 'o',
                    false => {
                        let v = usize::from(grey.get_pixel(x, y)[0]);
                        RAMP[v * (RAMP.len() - 1) / 255] as char
                    }
                })
                .collect()
        })
        .collect();
    Some(Picture::Characters(rows))
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

    #[test]
    fn the_terminal_is_known_by_its_environment() {
        let with = |pairs: &[(&str, &str)]| {
            let pairs: Vec<(String, String)> =
                pairs.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
            Pictures::of_terminal(move |name| {
                pairs.iter().find(|p| p.0 == name).map(|p| p.1.clone())
            })
        };
        assert_eq!(with(&[("COLORTERM", "truecolor")]), Pictures::TrueColor);
        assert_eq!(with(&[("TERM", "xterm-256color")]), Pictures::Indexed);
        assert_eq!(with(&[("TERM", "linux")]), Pictures::Characters);
        assert_eq!(with(&[("TERM", "xterm-kitty")]), Pictures::Kitty);
        let both = [("NO_COLOR", "1"), ("COLORTERM", "truecolor")];
        assert_eq!(with(&both), Pictures::Characters);
    }
}
