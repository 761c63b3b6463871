//! Slices as pictures: what the terminal supports, and encoding in the background.

mod encode;
mod encoder;
pub mod tiles;

pub use encode::{Contrast, Encoded, Slice, Wanted};
pub use encoder::{Encoder, Ready};

use super::appearance::{Appearance, Depth};
use crate::config;

/// Technique for drawing pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pictures {
    /// Pixels by kitty's graphics protocol, with placeholder characters, which multiplexers pass on
    /// as text.
    Kitty,
    /// Pixels by DEC's sixel graphics.
    Sixel,
    /// Pixels by iTerm2's inline images.
    Iterm,
    /// Half-block characters: two pixels per cell.
    Blocks,
    /// One character per cell, without colour.
    Characters,
    /// No pictures.
    Off,
}

impl Pictures {
    /// Determines the technique from the config or, if it says `auto`, from environment variables.
    /// The terminal itself is not queried: over a slow connection, a late reply would be read as
    /// key presses.
    pub fn of_terminal(variable: impl Fn(&str) -> Option<String>, asked: config::Pictures) -> Self {
        match asked {
            config::Pictures::Auto => {}
            config::Pictures::Kitty => return Self::Kitty,
            config::Pictures::Sixel => return Self::Sixel,
            config::Pictures::Iterm => return Self::Iterm,
            config::Pictures::Blocks => return Self::Blocks,
            config::Pictures::Characters => return Self::Characters,
            config::Pictures::Off => return Self::Off,
        }
        let value = |name: &str| variable(name).filter(|v| !v.is_empty()).unwrap_or_default();
        let (term, program) = (value("TERM"), value("TERM_PROGRAM"));
        let is_set = |name: &str| !value(name).is_empty();
        let begins = |names: &[&str]| names.iter().any(|name| term.starts_with(name));
        if is_set("NO_COLOR") || ["linux", "vt100", "vt220"].contains(&term.as_str()) {
            Self::Characters
        } else if is_set("TMUX") || is_set("STY") || begins(&["tmux", "screen"]) {
            // A terminal multiplexer passes pixels on only if configured to.
            Self::Blocks
        } else if begins(&["xterm-kitty", "xterm-ghostty"])
            || program == "ghostty"
            || (program.is_empty() && is_set("KITTY_WINDOW_ID"))
        {
            Self::Kitty
        } else if ["iTerm.app", "WezTerm", "mintty"].contains(&program.as_str())
            || value("LC_TERMINAL") == "iTerm2"
        {
            Self::Iterm
        } else if begins(&["foot", "mlterm", "contour"]) {
            Self::Sixel
        } else {
            Self::Blocks
        }
    }

    /// Replaces half blocks if the terminal lacks the colours or characters for them.
    pub fn within(self, appearance: Appearance) -> Self {
        let plain = appearance.ascii || appearance.depth == Depth::Monochrome;
        match self {
            Self::Blocks if plain => Self::Characters,
            pictures => pictures,
        }
    }

    /// Whether a picture's pixels stay on the terminal until overwritten, so that an overlay drawn
    /// on top and removed leaves a hole.
    pub fn are_painted(self) -> bool {
        matches!(self, Self::Sixel | Self::Iterm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_terminal_is_known_by_its_environment() {
        let of = |pairs: &[(&str, &str)]| {
            let variable = |name: &str| {
                pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.to_string())
            };
            Pictures::of_terminal(variable, config::Pictures::Auto)
        };
        assert_eq!(of(&[("TERM", "xterm-256color")]), Pictures::Blocks);
        assert_eq!(of(&[("TERM", "linux")]), Pictures::Characters);
        assert_eq!(of(&[("TERM", "xterm-kitty")]), Pictures::Kitty);
        assert_eq!(of(&[("KITTY_WINDOW_ID", "1"), ("TERM", "xterm-256color")]), Pictures::Kitty);
        let within = [("KITTY_WINDOW_ID", "1"), ("TERM_PROGRAM", "vscode")];
        assert_eq!(of(&within), Pictures::Blocks, "another terminal, begun from kitty");
        assert_eq!(of(&[("TERM_PROGRAM", "WezTerm")]), Pictures::Iterm);
        let through_ssh = [("TERM", "xterm-256color"), ("LC_TERMINAL", "iTerm2")];
        assert_eq!(of(&through_ssh), Pictures::Iterm);
        assert_eq!(of(&[("TERM", "foot-extra")]), Pictures::Sixel);
        let multiplexed = [("TERM", "tmux-256color"), ("LC_TERMINAL", "iTerm2")];
        assert_eq!(of(&multiplexed), Pictures::Blocks);
        assert_eq!(of(&[("TERM", "xterm-kitty"), ("TMUX", "/tmp/x")]), Pictures::Blocks);
        assert_eq!(of(&[("NO_COLOR", "1"), ("TERM", "xterm-kitty")]), Pictures::Characters);
    }

    #[test]
    fn the_config_has_the_last_word() {
        let tmux = |name: &str| (name == "TMUX").then(|| "x".to_string());
        assert_eq!(Pictures::of_terminal(tmux, config::Pictures::Sixel), Pictures::Sixel);
        assert_eq!(Pictures::of_terminal(tmux, config::Pictures::Off), Pictures::Off);
    }
}
