//! Adapts frames to the terminal's capabilities. Panes use the sixteen ANSI colours and Unicode
//! characters; as the last step of drawing, both are mapped to what the terminal supports.

use crate::config::{Ascii, Background, Colors, Ui};
use ratatui::buffer::Buffer;
use ratatui::style::Color;

/// Placeholder character of kitty's graphics protocol, in every cell of a picture; the cell's
/// colour is the picture's number.
const KITTY: char = '\u{10eeee}';

/// Colour depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// 24-bit colour.
    TrueColor,
    /// The 256-colour palette.
    Indexed,
    /// The terminal's own sixteen colours.
    Ansi,
    /// No colours (`NO_COLOR`).
    Monochrome,
}

/// Background that text is drawn on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// Unknown: use colours that are readable on both.
    Unknown,
    /// Dark.
    Dark,
    /// Light.
    Light,
}

/// The terminal's capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appearance {
    /// Colour depth.
    pub depth: Depth,
    /// Background.
    pub ground: Ground,
    /// Whether only ASCII is safe.
    pub ascii: bool,
}

impl Appearance {
    /// Sixteen colours and Unicode.
    pub const PLAIN: Self = Self { depth: Depth::Ansi, ground: Ground::Unknown, ascii: false };

    /// Determines the capabilities from the config and, where it says `auto`, from environment
    /// variables. The terminal itself is not queried: over a slow connection, a late reply would be
    /// read as key presses.
    pub fn of_terminal(variable: impl Fn(&str) -> Option<String>, config: &Ui) -> Self {
        let set = |name: &str| variable(name).filter(|v| !v.is_empty());
        let term = set("TERM").unwrap_or_default();
        let poor = ["vt100", "vt220"].contains(&term.as_str());
        let true_color = ["xterm-kitty", "xterm-ghostty"].contains(&term.as_str())
            || set("COLORTERM").is_some_and(|v| ["truecolor", "24bit"].contains(&v.as_str()));
        let depth = match config.colors {
            Colors::Truecolor => Depth::TrueColor,
            Colors::Indexed => Depth::Indexed,
            Colors::Ansi => Depth::Ansi,
            Colors::None => Depth::Monochrome,
            Colors::Auto if poor || set("NO_COLOR").is_some() => Depth::Monochrome,
            Colors::Auto if true_color => Depth::TrueColor,
            Colors::Auto if term.contains("256color") => Depth::Indexed,
            Colors::Auto => Depth::Ansi,
        };
        // rxvt, Konsole and others set "foreground;background", where backgrounds 7 and 9 to 15 are
        // light.
        let colour_number = set("COLORFGBG").and_then(|v| v.rsplit(';').next()?.parse::<u8>().ok());
        let ground = match (config.background, colour_number) {
            (Background::Dark, _) => Ground::Dark,
            (Background::Light, _) | (Background::Auto, Some(7 | 9..=15)) => Ground::Light,
            (Background::Auto, Some(_)) => Ground::Dark,
            (Background::Auto, None) => Ground::Unknown,
        };
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
        let utf8 = locale.to_lowercase().replace('-', "").contains("utf8");
        let ascii = match config.ascii {
            Ascii::Always => true,
            Ascii::Never => false,
            Ascii::Auto => !utf8 || poor || term == "linux",
        };
        Self { depth, ground, ascii }
    }

    /// Maps a frame's colours and characters to what the terminal supports.
    pub fn apply(self, buffer: &mut Buffer) {
        for cell in &mut buffer.content {
            if cell.symbol().contains(KITTY) {
                continue;
            }
            (cell.fg, cell.bg) = (self.color(cell.fg), self.color(cell.bg));
            if self.ascii && !cell.symbol().is_ascii() {
                let plain = ascii(cell.symbol());
                cell.set_char(plain);
            }
        }
    }

    fn color(self, color: Color) -> Color {
        match (self.depth, color) {
            (_, Color::Reset) => Color::Reset,
            (Depth::Monochrome, _) => Color::Reset,
            (Depth::Ansi, Color::Rgb(r, g, b)) => nearest_ansi(r, g, b),
            (Depth::Ansi, named) => named,
            (Depth::TrueColor, Color::Rgb(r, g, b)) if r == g && g == b => short_grey(r),
            (Depth::TrueColor, named) => self.named(named).unwrap_or(named),
            (Depth::Indexed, Color::Rgb(..)) => indexed(color),
            (Depth::Indexed, named) => self.named(named).map_or(named, indexed),
        }
    }

    /// Maps an ANSI colour to Okabe and Ito's palette, which colour-blind readers can distinguish
    /// (<https://jfly.uni-koeln.de/color/>); darker on light backgrounds, and medium on unknown
    /// ones.
    fn named(self, color: Color) -> Option<Color> {
        let (dark, light, either) = match color {
            Color::Cyan => (0x56b4e9, 0x0069a6, 0x3a90cf),
            Color::Magenta => (0xe69f00, 0xa85e00, 0xcf8000),
            Color::Green => (0x1fc194, 0x00775a, 0x12a078),
            Color::Yellow => (0xf0e442, 0x7d6a00, 0xb39b00),
            Color::Red => (0xf0732b, 0xb83200, 0xd55e00),
            Color::Blue => (0x6f9df5, 0x2f54b0, 0x5079d6),
            Color::LightMagenta => (0xdd94bd, 0x9c3f78, 0xc06a9c),
            Color::DarkGray => (0x808080, 0x757575, 0x7c7c7c),
            Color::Gray => (0xb4b4b4, 0x505050, 0x8c8c8c),
            _ => return None,
        };
        let rgb: u32 = match self.ground {
            Ground::Dark => dark,
            Ground::Light => light,
            Ground::Unknown => either,
        };
        let [_, r, g, b] = rgb.to_be_bytes();
        Some(Color::Rgb(r, g, b))
    }
}

/// A grey that takes few bytes to encode, because half-block pictures are most of the traffic on a
/// slow line. Light greys use the 256-colour palette, which is shorter and fine enough there; it
/// has too few dark greys.
fn short_grey(v: u8) -> Color {
    match v {
        0..60 => Color::Rgb(v & !3, v & !3, v & !3),
        _ => indexed(Color::Rgb(v, v, v)),
    }
}

/// The nearest colour of the 256-colour palette.
pub fn indexed(color: Color) -> Color {
    let Color::Rgb(r, g, b) = color else { return color };
    if r == g && g == b {
        return Color::Indexed(match r {
            0..4 => 16,
            247.. => 231,
            grey => 232 + (grey.saturating_sub(3) / 10).min(23),
        });
    }
    let level = |v: u8| match v {
        0..48 => 0,
        48..115 => 1,
        _ => (v - 35) / 40,
    };
    Color::Indexed(16 + 36 * level(r) + 6 * level(g) + level(b))
}

/// Approximately nearest of the sixteen colours, for pictures and heat maps.
fn nearest_ansi(r: u8, g: u8, b: u8) -> Color {
    let (high, low) = (r.max(g).max(b), r.min(g).min(b));
    if high - low < 40 {
        return match high {
            0..64 => Color::Black,
            64..128 => Color::DarkGray,
            128..208 => Color::Gray,
            _ => Color::White,
        };
    }
    let strong = |v: u8| u16::from(v) > (u16::from(high) + u16::from(low)) / 2;
    match (strong(r), strong(g), strong(b)) {
        (true, false, false) => Color::Red,
        (false, true, false) => Color::Green,
        (false, false, true) => Color::Blue,
        (true, true, _) => Color::Yellow,
        (true, false, true) => Color::Magenta,
        (false, true, true) => Color::Cyan,
        (false, false, false) => Color::Gray,
    }
}

/// ASCII replacement for a character that panes draw.
fn ascii(symbol: &str) -> char {
    match symbol.chars().next().unwrap_or(' ') {
        '─' | '━' | '╌' | '┄' | '┅' | '–' | '—' => '-',
        '│' | '┃' | '▏' | '▕' | '┆' | '┊' | '‖' => '|',
        '╭' | '╮' | '╰' | '╯' | '┌' | '┐' | '└' | '┘' | '┼' | '├' | '┤' | '┬' | '┴' => {
            '+'
        }
        '█' | '▓' | '▉' | '▊' | '▋' => '#',
        '▒' | '▌' | '▄' | '▅' | '▆' | '▇' | '▀' => '=',
        '░' | '▍' | '▎' | '▁' | '▂' | '▃' => '-',
        '●' | '◆' | '•' | '★' | '◐' | '◓' | '◑' | '◒' => '*',
        '○' | '◇' => 'o',
        '▲' | '↑' => '^',
        '▼' | '↓' => 'v',
        '←' | '‹' => '<',
        '→' | '▸' | '▶' | '›' => '>',
        '✓' => 'v',
        '×' => 'x',
        '·' | '…' => '.',
        '±' => '~',
        '≤' => '<',
        '≥' => '>',
        'µ' => 'u',
        '°' => '\'',
        // Replace a braille cell by the number of its dots: 1, 2, 3 or more.
        braille @ '\u{2800}'..='\u{28ff}' => match (braille as u32 & 0xff).count_ones() {
            0 => ' ',
            1 => '.',
            2 | 3 => ':',
            _ => '*',
        },
        _ => '?',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Set};
    use ratatui::layout::Rect;

    fn of(pairs: &[(&str, &str)], sets: &[&str]) -> Appearance {
        let variable =
            |name: &str| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.to_string());
        let sets: Vec<Set> = sets.iter().map(|set| Set::new(*set)).collect();
        Appearance::of_terminal(variable, &Config::load(None, false, &sets).unwrap().ui)
    }

    #[test]
    fn the_terminal_is_known_by_its_environment() {
        let utf8 = ("LANG", "C.UTF-8");
        let tmux = of(&[("TERM", "tmux-256color"), utf8], &[]);
        assert_eq!((tmux.depth, tmux.ground, tmux.ascii), (Depth::Indexed, Ground::Unknown, false));
        let true_color = of(&[("COLORTERM", "truecolor"), ("COLORFGBG", "0;15"), utf8], &[]);
        assert_eq!((true_color.depth, true_color.ground), (Depth::TrueColor, Ground::Light));
        assert_eq!(of(&[("NO_COLOR", "1"), utf8], &[]).depth, Depth::Monochrome);
        assert!(of(&[("TERM", "linux"), utf8], &[]).ascii, "its font has no braille");
        assert!(of(&[("TERM", "xterm"), ("LANG", "C")], &[]).ascii);
        let sets = ["ui.colors=\"256\"", "ui.background=dark", "ui.ascii=never"];
        let asked = of(&[("NO_COLOR", "1")], &sets);
        assert_eq!((asked.depth, asked.ground, asked.ascii), (Depth::Indexed, Ground::Dark, false));
    }

    #[test]
    fn colours_go_to_the_nearest_of_the_palette() {
        assert_eq!(indexed(Color::Rgb(0, 0, 0)), Color::Indexed(16));
        assert_eq!(indexed(Color::Rgb(8, 8, 8)), Color::Indexed(232));
        assert_eq!(indexed(Color::Rgb(238, 238, 238)), Color::Indexed(255));
        assert_eq!(indexed(Color::Rgb(255, 255, 255)), Color::Indexed(231));
        assert_eq!(indexed(Color::Rgb(255, 0, 0)), Color::Indexed(196));
        assert_eq!(indexed(Color::Reset), Color::Reset);
    }

    #[test]
    fn in_ascii_no_other_character_is_left() {
        let mut buffer = Buffer::with_lines(["╭─ loss ─╮", "│⣿⠁▲ 0.5…│", "日本      "]);
        Appearance { ascii: true, ..Appearance::PLAIN }.apply(&mut buffer);
        assert!(buffer.content.iter().all(|cell| cell.symbol().is_ascii()));
        assert_eq!(buffer.cell((0, 0)).map(|c| c.symbol()), Some("+"));
    }

    #[test]
    fn a_picture_in_kittys_protocol_stays_as_it_is() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 1, 1));
        // The first cell carries the picture's data.
        buffer.content[0].set_symbol("\x1b_Gi=9;AAAA\x1b\\\u{10eeee}").set_fg(Color::Rgb(0, 0, 9));
        let before = buffer.clone();
        Appearance { ascii: true, ..Appearance::PLAIN }.apply(&mut buffer);
        assert_eq!(buffer, before);
    }

    #[test]
    fn without_colours_there_is_none() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 2, 1));
        buffer.content[0].fg = Color::Cyan;
        buffer.content[1].bg = Color::Rgb(9, 9, 9);
        Appearance { depth: Depth::Monochrome, ..Appearance::PLAIN }.apply(&mut buffer);
        assert!(buffer.content.iter().all(|c| c.fg == Color::Reset && c.bg == Color::Reset));
    }
}
