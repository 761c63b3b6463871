//! `[ui]`: settings of the dashboard.

use serde::{Deserialize, Serialize};

/// `[ui]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ui {
    /// Seconds between previews; 0: no previews.
    pub preview_seconds: f64,
    /// Maximum frames per second.
    pub fps: u32,
    /// How slices are drawn.
    pub pictures: Pictures,
    /// Whether the dashboard receives mouse events instead of the terminal.
    pub mouse: bool,
    /// Whether to ring the terminal's bell for a new alert.
    pub bell: bool,
    /// Command that `sh -c` runs for a new alert; empty: none.
    pub on_alert: String,
    /// Number of colours to use.
    pub colors: Colors,
    /// Background of the terminal.
    pub background: Background,
    /// When to avoid non-ASCII characters.
    pub ascii: Ascii,
}

/// How slices are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pictures {
    /// Detected from the environment.
    Auto,
    /// Pixels, by kitty's graphics protocol.
    Kitty,
    /// Pixels, by sixel graphics.
    Sixel,
    /// Pixels, by iTerm2's inline images.
    Iterm,
    /// Half blocks.
    Blocks,
    /// Characters.
    Characters,
    /// No pictures.
    Off,
}

/// Number of colours of the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colors {
    /// Detected from the environment: `NO_COLOR`, `COLORTERM`, `TERM`.
    Auto,
    /// 24-bit colour.
    Truecolor,
    /// A palette of 256 colours.
    #[serde(rename = "256")]
    Indexed,
    /// The terminal's 16 colours.
    #[serde(rename = "16")]
    Ansi,
    /// No colour.
    None,
}

/// Background of the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Background {
    /// Detected from the environment (`COLORFGBG`); otherwise colours legible on both.
    Auto,
    /// Dark.
    Dark,
    /// Light.
    Light,
}

/// When to avoid non-ASCII characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ascii {
    /// If the locale is not UTF-8, and on the Linux console.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}
