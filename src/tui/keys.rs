//! The keys: one table that both dispatches and explains.

use crate::run::FoldAction;
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// What a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Pause, or go on.
    TogglePause,
    /// End after the epoch at hand.
    StopAfterEpoch,
    /// Save `last` and go on.
    Checkpoint,
    /// Something about the fold looked at.
    Fold(OfFold),
    /// Leave the dashboard and training alone, where training is another process.
    Detach,
    /// Ask, then end at once; when the run is over, leave.
    Quit,
    /// Back to the shell until it says `fg`.
    Suspend,
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

/// What a key does about the fold looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfFold {
    /// Set it aside, or put it back into the queue.
    Hold,
    /// Anything else, which is one thing whatever its state.
    Act(FoldAction),
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

/// What a key does about the crops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CropKey {
    /// The slice before.
    SliceBefore,
    /// The slice after.
    SliceAfter,
    /// The vertebra above.
    VertebraAbove,
    /// The vertebra below.
    VertebraBelow,
    /// The slice that the network is most wrong about.
    MostWrong,
    /// The study before.
    StudyBefore,
    /// The study after.
    StudyAfter,
    /// The worst studies, or those of the batch at hand.
    Source,
    /// All studies at once, or one.
    Grid,
    /// With the mask's outline, or without it.
    Outline,
    /// More contrast.
    Narrower,
    /// Less contrast.
    Wider,
    /// A brighter picture.
    Brighter,
    /// A darker picture.
    Darker,
    /// The picture's own contrast.
    Reset,
}

/// A key, or the two that do a thing and its opposite, with their words.
pub struct Binding {
    /// The codes, whether each is with Ctrl, and what each does.
    pub keys: &'static [(KeyCode, bool, Action)],
    /// The keys as they are written.
    pub key: &'static str,
    /// For the key line; empty = not on it.
    pub short: &'static str,
    /// Who gets room on the key line first, from 1.
    pub rank: u8,
    /// For the help.
    pub help: &'static str,
}

const fn bind(
    keys: &'static [(KeyCode, bool, Action)],
    key: &'static str,
    (rank, short): (u8, &'static str),
    help: &'static str,
) -> Binding {
    Binding { keys, key, short, rank, help }
}

const fn fold(action: FoldAction) -> Action {
    Action::Fold(OfFold::Act(action))
}

/// Not on the key line.
const NOT_SHOWN: (u8, &str) = (0, "");

/// All keys, in the order in which they are explained.
pub const BINDINGS: &[Binding] = &[
    bind(
        &[(KeyCode::Char('p'), false, Action::TogglePause)],
        "p",
        (1, "pause"),
        "pause after the step at hand, or go on",
    ),
    bind(
        &[(KeyCode::Char('s'), false, Action::StopAfterEpoch)],
        "s",
        (7, "stop after epoch"),
        "finish this epoch, validate, save and end",
    ),
    bind(
        &[(KeyCode::Char('k'), false, Action::Checkpoint)],
        "k",
        (10, "save"),
        "save `last` after the step at hand",
    ),
    bind(
        &[(KeyCode::Char('f'), false, Action::Fold(OfFold::Hold))],
        "f",
        (4, "pause"),
        "pause this fold, or put it back in the queue",
    ),
    bind(
        &[(KeyCode::Char('g'), false, fold(FoldAction::Start))],
        "g",
        (5, "start now"),
        "train this fold now, in the other's place",
    ),
    bind(
        &[
            (KeyCode::Char('['), false, fold(FoldAction::Earlier)),
            (KeyCode::Char(']'), false, fold(FoldAction::Later)),
        ],
        "[ ]",
        (8, "move"),
        "this fold one place forward, or back",
    ),
    bind(
        &[(KeyCode::Char('n'), false, fold(FoldAction::Skip))],
        "n",
        (6, "give up"),
        "give this fold up (asks); f brings it back",
    ),
    bind(
        &[(KeyCode::Char('a'), false, fold(FoldAction::Again))],
        "a",
        (5, "again"),
        "train a done fold again, new seed (asks)",
    ),
    bind(
        &[(KeyCode::Char('d'), false, Action::Detach)],
        "d",
        (3, "leave"),
        "leave; training goes on (if detached)",
    ),
    bind(
        &[(KeyCode::Char('q'), false, Action::Quit)],
        "q",
        (2, "quit"),
        "save and quit (asks while training)",
    ),
    bind(
        &[(KeyCode::Char('c'), true, Action::Quit)],
        "Ctrl-C",
        NOT_SHOWN,
        "as q; once more = yes (if detached: leave)",
    ),
    bind(
        &[(KeyCode::Char('z'), true, Action::Suspend)],
        "Ctrl-Z",
        NOT_SHOWN,
        "to the shell; `fg` comes back",
    ),
    bind(&[(KeyCode::Char('?'), false, Action::Help)], "?", (3, "help"), "show or hide these keys"),
    bind(
        &[(KeyCode::Char('r'), false, Action::ToggleRaw)],
        "r",
        (9, "raw/augmented"),
        "crops: raw, or as the network sees them",
    ),
    bind(
        &[(KeyCode::Left, false, Action::FoldBefore), (KeyCode::Right, false, Action::FoldAfter)],
        "← →",
        NOT_SHOWN,
        "the fold to look at, which keys act on",
    ),
    bind(
        &[
            (KeyCode::Up, false, Action::Log(Scroll::Up)),
            (KeyCode::Down, false, Action::Log(Scroll::Down)),
        ],
        "↑ ↓",
        NOT_SHOWN,
        "log: a line back, or on",
    ),
    bind(
        &[
            (KeyCode::PageUp, false, Action::Log(Scroll::PageUp)),
            (KeyCode::PageDown, false, Action::Log(Scroll::PageDown)),
        ],
        "PgUp PgDn",
        NOT_SHOWN,
        "log: a page back, or on",
    ),
    bind(
        &[
            (KeyCode::Home, false, Action::Log(Scroll::Home)),
            (KeyCode::End, false, Action::Log(Scroll::End)),
        ],
        "Home End",
        NOT_SHOWN,
        "log: the oldest line, or follow the newest",
    ),
    bind(
        &[(KeyCode::Enter, false, Action::Summary)],
        "Enter",
        (4, "results"),
        "results, once the run is over",
    ),
    bind(&[(KeyCode::Esc, false, Action::Close)], "Esc", NOT_SHOWN, "close what lies on top"),
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
    let mut keys = BINDINGS.iter().flat_map(|binding| binding.keys);
    keys.find(|key| (key.0, key.1) == (code, control)).map(|key| key.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_bound_once_and_found() {
        let keys: Vec<_> = BINDINGS.iter().flat_map(|binding| binding.keys).collect();
        for (i, &&(code, control, what)) in keys.iter().enumerate() {
            let modifiers = if control { KeyModifiers::CONTROL } else { KeyModifiers::NONE };
            assert_eq!(action(&KeyEvent::new(code, modifiers)), Some(what));
            assert!(keys[..i].iter().all(|other| (other.0, other.1) != (code, control)));
        }
    }

    #[test]
    fn control_and_alt_are_no_plain_keys() {
        let with = |m| KeyEvent::new(KeyCode::Char('n'), m);
        assert_eq!(action(&with(KeyModifiers::CONTROL)), None);
        assert_eq!(action(&with(KeyModifiers::ALT)), None);
        assert_eq!(action(&with(KeyModifiers::SHIFT)), Some(fold(FoldAction::Skip)));
    }
}
