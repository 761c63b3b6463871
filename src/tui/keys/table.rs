//! All key bindings, in the order of the help.

mod pictures_and_lists;

use super::Action::{
    Acknowledge, Chart, Checkpoint, Close, Crops, Detach, EpochAfter, EpochBefore, Export, Fold,
    FoldAfter, FoldBefore, Help, Log, LogFilter, MarkRun, MoreEpochs, NextView, PreviousView, Quit,
    RateEnd, Runs, Show, StopAfterEpoch, Summary, Suspend, TogglePause, ToggleRaw, Vertebra,
};
use super::{Action, Binding, ChartKey, CropKey, Key, LogKey, OfFold, Scope, Scroll};
use crate::run::FoldAction;
use crate::tui::views::View;
use crossterm::event::KeyCode;
use pictures_and_lists::PICTURES_AND_LISTS;

const ALL: Scope = Scope::ALL;
/// Views with actions on the selected fold.
const FOLDS: Scope = Scope::of(&[View::Overview, View::Folds]);
/// Views where the left and right keys select the fold.
const LOOK: Scope = Scope::of(&[View::Overview, View::Vertebrae]);
/// Views where the up and down keys select the fold.
const ROWS: Scope = Scope::of(&[View::Curves, View::Folds]);
const CURVES: Scope = Scope::of(&[View::Curves]);
const CROPS: Scope = Scope::of(&[View::Crops]);
const VERTEBRAE: Scope = Scope::of(&[View::Vertebrae]);
/// Views where the log scrolls.
const LINES: Scope = Scope::of(&[View::Overview, View::Log]);
const LOG: Scope = Scope::of(&[View::Log]);
const RUNS: Scope = Scope::of(&[View::Runs]);

const fn fold(action: FoldAction) -> Action {
    Fold(OfFold::Act(action))
}

const fn bind(
    name: &'static str,
    action: Action,
    keys: &'static [Key],
    scope: Scope,
    short: (u8, &'static str),
    help: &'static str,
) -> Binding {
    Binding { name, action, keys, scope, short, help }
}

/// Hidden on the key line.
const NOT_SHOWN: (u8, &str) = (0, "");

/// Keys of the run, the folds, the curves and the vertebrae.
const RUN_AND_CHARTS: &[Binding] = &[
    bind(
        "pause",
        TogglePause,
        &[Key::char('p')],
        ALL,
        (1, "pause"),
        "pause after the step at hand, or go on",
    ),
    bind(
        "stop_after_epoch",
        StopAfterEpoch,
        &[Key::char('s')],
        ALL,
        (7, "stop after epoch"),
        "finish this epoch, validate, save and end",
    ),
    bind(
        "checkpoint",
        Checkpoint,
        &[Key::char('k')],
        ALL,
        (10, "save"),
        "save `last` after the step at hand",
    ),
    bind(
        "more_epochs",
        MoreEpochs,
        &[Key::char('u')],
        ALL,
        NOT_SHOWN,
        "more epochs (asks how many)",
    ),
    bind(
        "rate_end",
        RateEnd,
        &[Key::char('j')],
        ALL,
        NOT_SHOWN,
        "another learning rate to end at (asks which)",
    ),
    bind(
        "fold_hold",
        Fold(OfFold::Hold),
        &[Key::char('f')],
        FOLDS,
        (4, "pause"),
        "pause this fold, or put it back in the queue",
    ),
    bind(
        "fold_start",
        fold(FoldAction::Start),
        &[Key::char('g')],
        FOLDS,
        (5, "start now"),
        "train this fold now, in the other's place",
    ),
    bind(
        "fold_earlier",
        fold(FoldAction::Earlier),
        &[Key::char('[')],
        FOLDS,
        (8, "move"),
        "this fold one place forward, or back",
    ),
    bind("fold_later", fold(FoldAction::Later), &[Key::char(']')], FOLDS, NOT_SHOWN, ""),
    bind(
        "fold_skip",
        fold(FoldAction::Skip),
        &[Key::char('n')],
        FOLDS,
        (6, "give up"),
        "give this fold up (asks); f brings it back",
    ),
    bind(
        "fold_again",
        fold(FoldAction::Retrain),
        &[Key::char('a')],
        FOLDS,
        (5, "again"),
        "train a done fold again, new seed (asks)",
    ),
    bind(
        "fold_before",
        FoldBefore,
        &[Key::code(KeyCode::Left)],
        LOOK,
        NOT_SHOWN,
        "the fold to look at, which keys act on",
    ),
    bind("fold_after", FoldAfter, &[Key::code(KeyCode::Right)], LOOK, NOT_SHOWN, ""),
    bind(
        "fold_above",
        FoldBefore,
        &[Key::code(KeyCode::Up)],
        ROWS,
        NOT_SHOWN,
        "the fold to look at, which keys act on",
    ),
    bind("fold_below", FoldAfter, &[Key::code(KeyCode::Down)], ROWS, NOT_SHOWN, ""),
    bind(
        "epoch_before",
        EpochBefore,
        &[Key::code(KeyCode::Left)],
        Scope::of(&[View::Folds]),
        NOT_SHOWN,
        "the epoch whose figures are told",
    ),
    bind(
        "epoch_after",
        EpochAfter,
        &[Key::code(KeyCode::Right)],
        Scope::of(&[View::Folds]),
        NOT_SHOWN,
        "",
    ),
    bind(
        "cursor_left",
        Chart(ChartKey::CursorLeft),
        &[Key::code(KeyCode::Left)],
        CURVES,
        (3, "cursor"),
        "the cursor, which tells all values",
    ),
    bind(
        "cursor_right",
        Chart(ChartKey::CursorRight),
        &[Key::code(KeyCode::Right)],
        CURVES,
        NOT_SHOWN,
        "",
    ),
    bind(
        "zoom_in",
        Chart(ChartKey::ZoomIn),
        &[Key::char('+'), Key::char('=')],
        CURVES,
        (4, "zoom"),
        "nearer around the cursor, or farther",
    ),
    bind("zoom_out", Chart(ChartKey::ZoomOut), &[Key::char('-')], CURVES, NOT_SHOWN, ""),
    bind(
        "pan_left",
        Chart(ChartKey::PanLeft),
        &[Key::char(','), Key::char('<')],
        CURVES,
        (9, "pan"),
        "what is seen to the left, or right",
    ),
    bind(
        "pan_right",
        Chart(ChartKey::PanRight),
        &[Key::char('.'), Key::char('>')],
        CURVES,
        NOT_SHOWN,
        "",
    ),
    bind(
        "zoom_whole",
        Chart(ChartKey::Whole),
        &[Key::char('0')],
        CURVES,
        (9, "all"),
        "the whole fold",
    ),
    bind(
        "figure",
        Chart(ChartKey::Figure),
        &[Key::char('v')],
        CURVES,
        (5, "figure"),
        "losses, by head, rate, gradients, AUC",
    ),
    bind(
        "smoothing",
        Chart(ChartKey::Smoothing),
        &[Key::char('m')],
        CURVES,
        (6, "smooth"),
        "how much the curves are smoothed",
    ),
    bind(
        "log_scale",
        Chart(ChartKey::Log),
        &[Key::char('l')],
        CURVES,
        (7, "log"),
        "logarithmic or linear",
    ),
    bind(
        "together",
        Chart(ChartKey::Together),
        &[Key::char('t')],
        CURVES,
        (8, "folds"),
        "all folds in one chart, or one",
    ),
    bind(
        "vertebra_above",
        Vertebra(Scroll::Up),
        &[Key::code(KeyCode::Up)],
        VERTEBRAE,
        (4, "level"),
        "the vertebra whose curve is drawn",
    ),
    bind(
        "vertebra_below",
        Vertebra(Scroll::Down),
        &[Key::code(KeyCode::Down)],
        VERTEBRAE,
        NOT_SHOWN,
        "",
    ),
    bind(
        "crops_raw",
        ToggleRaw,
        &[Key::char('r')],
        Scope::of(&[View::Overview, View::Crops]),
        (9, "raw/augmented"),
        "crops: raw, or as the network sees them",
    ),
    bind(
        "acknowledge",
        Acknowledge,
        &[Key::char('x')],
        ALL,
        (3, "seen"),
        "take the alert at the top as seen",
    ),
];

/// All key bindings, in the order of the help.
pub const BINDINGS: &[Binding] = &{
    const FIRST: usize = RUN_AND_CHARTS.len();
    let mut all = [RUN_AND_CHARTS[0]; FIRST + PICTURES_AND_LISTS.len()];
    let mut i = 0;
    while i < all.len() {
        all[i] = if i < FIRST { RUN_AND_CHARTS[i] } else { PICTURES_AND_LISTS[i - FIRST] };
        i += 1;
    }
    all
};
