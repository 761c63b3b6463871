//! `[ui]`: the screen.

use serde::{Deserialize, Serialize};

/// `[ui]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ui {
    /// Seconds between previews; 0 = none.
    pub preview_seconds: f64,
    /// Frames a second at most.
    pub fps: u32,
    /// How slices are drawn.
    pub pictures: Pictures,
    /// Whether the mouse is the dashboard's instead of the terminal's.
    pub mouse: bool,
    /// Whether the terminal's bell rings for a new alert.
    pub bell: bool,
    /// What `sh -c` runs for a new alert; empty = nothing.
    pub on_alert: String,
    /// How many colours there are.
    pub colors: Colors,
    /// What they stand on.
    pub background: Background,
    /// Whether characters beyond ASCII are avoided.
    pub ascii: Ascii,
}

/// How slices are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pictures {
    /// By the environment.
    Auto,
    /// Pixels by kitty's graphics protocol.
    Kitty,
    /// Pixels by sixel graphics.
    Sixel,
    /// Pixels by iTerm2's inline images.
    Iterm,
    /// Half blocks.
    Blocks,
    /// Characters.
    Characters,
    /// Not at all.
    Off,
}

/// How many colours the terminal has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colors {
    /// By the environment: `NO_COLOR`, `COLORTERM`, `TERM`.
    Auto,
    /// 24 bits.
    Truecolor,
    /// A palette of 256.
    #[serde(rename = "256")]
    Indexed,
    /// Its own sixteen.
    #[serde(rename = "16")]
    Ansi,
    /// None.
    None,
}

/// What the terminal's text stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Background {
    /// By the environment (`COLORFGBG`), or colours that can be read on both.
    Auto,
    /// Dark.
    Dark,
    /// Light.
    Light,
}

/// Whether characters beyond ASCII are avoided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ascii {
    /// Where the locale is not UTF-8, and on the Linux console.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}
