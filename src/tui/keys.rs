//! The keys: one table that both dispatches and explains.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// What a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Pause, or go on.
    TogglePause,
    /// Ask, then give up the fold at hand.
    SkipFold,
    /// End after the epoch at hand.
    StopAfterEpoch,
    /// Ask, then end at once; when the run is over, leave.
    Quit,
    /// Look at the fold before.
    FoldBefore,
    /// Look at the fold after.
    FoldAfter,
    /// Scroll the log by lines (negative = back), by pages, or to an end.
    Log(Scroll),
    /// Show the crops before augmentation, or as the network sees them.
    ToggleRaw,
    /// Show the summary of a run that is over.
    Summary,
    /// Show the keys.
    Help,
    /// Close what lies on top.
    Close,
}

/// How the log moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scroll {
    /// A line back.
    Up,
    /// A line on.
    Down,
    /// A page back.
    PageUp,
    /// A page on.
    PageDown,
    /// The oldest line.
    Home,
    /// The newest line, and follow.
    End,
}

/// A key and what it does.
pub struct Binding {
    code: KeyCode,
    control: bool,
    /// What it does.
    pub action: Action,
    /// The key as it is written.
    pub key: &'static str,
    /// For the key line; empty = not on it.
    pub short: &'static str,
    /// For the help.
    pub help: &'static str,
}

const fn bind(
    code: KeyCode,
    action: Action,
    key: &'static str,
    short: &'static str,
    help: &'static str,
) -> Binding {
    Binding { code, control: false, action, key, short, help }
}

/// All keys.
pub const BINDINGS: &[Binding] = &[
    bind(
        KeyCode::Char('p'),
        Action::TogglePause,
        "p",
        "pause/resume",
        "pause after the step at hand, or go on",
    ),
    bind(
        KeyCode::Char('n'),
        Action::SkipFold,
        "n",
        "next fold",
        "give up this fold and go on with the next one (asks)",
    ),
    bind(
        KeyCode::Char('s'),
        Action::StopAfterEpoch,
        "s",
        "stop after epoch",
        "finish this epoch, validate, save and end",
    ),
    bind(KeyCode::Char('q'), Action::Quit, "q", "quit", "save and quit (asks while training)"),
    Binding {
        code: KeyCode::Char('c'),
        control: true,
        action: Action::Quit,
        key: "Ctrl-C",
        short: "",
        help: "the same as q; once more = yes",
    },
    bind(KeyCode::Char('?'), Action::Help, "?", "help", "show or hide these keys"),
    bind(
        KeyCode::Char('r'),
        Action::ToggleRaw,
        "r",
        "raw/augmented",
        "crops: before augmentation, or as the network sees them",
    ),
    bind(
        KeyCode::Left,
        Action::FoldBefore,
        "←",
        "",
        "look at the fold before (loss and vertebrae)",
    ),
    bind(
        KeyCode::Right,
        Action::FoldAfter,
        "→",
        "",
        "look at the fold after; beyond the last: follow training",
    ),
    bind(KeyCode::Up, Action::Log(Scroll::Up), "↑", "", "log: a line back"),
    bind(KeyCode::Down, Action::Log(Scroll::Down), "↓", "", "log: a line on"),
    bind(KeyCode::PageUp, Action::Log(Scroll::PageUp), "PgUp", "", "log: a page back"),
    bind(KeyCode::PageDown, Action::Log(Scroll::PageDown), "PgDn", "", "log: a page on"),
    bind(KeyCode::Home, Action::Log(Scroll::Home), "Home", "", "log: the oldest line"),
    bind(KeyCode::End, Action::Log(Scroll::End), "End", "", "log: the newest line, and follow"),
    bind(KeyCode::Enter, Action::Summary, "Enter", "", "results, once the run is over"),
    bind(KeyCode::Esc, Action::Close, "Esc", "", "close what lies on top"),
];

/// What `event` does, if anything.
pub fn action(event: &KeyEvent) -> Option<Action> {
    if event.kind == KeyEventKind::Release {
        return None;
    }
    let control = event.modifiers.contains(KeyModifiers::CONTROL);
    if event.modifiers.contains(KeyModifiers::ALT) {
        return None;
    }
    // Caps lock is no reason to be deaf.
    let code = match event.code {
        KeyCode::Char(c) => KeyCode::Char(c.to_ascii_lowercase()),
        code => code,
    };
    BINDINGS.iter().find(|b| b.code == code && b.control == control).map(|b| b.action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_bound_once_and_found() {
        for (i, b) in BINDINGS.iter().enumerate() {
            let modifiers = if b.control { KeyModifiers::CONTROL } else { KeyModifiers::NONE };
            assert_eq!(action(&KeyEvent::new(b.code, modifiers)), Some(b.action));
            assert!(!b.help.is_empty());
            assert!(BINDINGS[..i].iter().all(|o| (o.code, o.control) != (b.code, b.control)));
        }
    }

    #[test]
    fn control_and_alt_are_no_plain_keys() {
        let with = |m| KeyEvent::new(KeyCode::Char('n'), m);
        assert_eq!(action(&with(KeyModifiers::CONTROL)), None);
        assert_eq!(action(&with(KeyModifiers::ALT)), None);
        assert_eq!(action(&with(KeyModifiers::SHIFT)), Some(Action::SkipFold));
    }
}
