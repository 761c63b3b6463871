//! All keys, in the order in which they are explained.

use super::Action::{
    Acknowledge, Chart, Checkpoint, Close, Detach, EpochAfter, EpochBefore, Fold, FoldAfter,
    FoldBefore, Help, Log, LogFilter, MarkRun, MoreEpochs, NextView, PreviousView, Quit, RateEnd,
    Runs, Show, StopAfterEpoch, Summary, Suspend, TogglePause, ToggleRaw, Vertebra,
};
use super::{Action, Binding, ChartKey, Key, LogKey, OfFold, Scope, Scroll};
use crate::run::FoldAction;
use crate::tui::views::View;
use crossterm::event::KeyCode;

const ALL: Scope = Scope::ALL;
/// Where folds are steered.
const FOLDS: Scope = Scope::of(&[View::Overview, View::Folds]);
/// Where the fold looked at is chosen sideways.
const LOOK: Scope = Scope::of(&[View::Overview, View::Vertebrae]);
/// Where it is a row.
const ROWS: Scope = Scope::of(&[View::Curves, View::Folds]);
const CURVES: Scope = Scope::of(&[View::Curves]);
const VERTEBRAE: Scope = Scope::of(&[View::Vertebrae]);
/// Where the log scrolls.
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

/// Not on the key line.
const NOT_SHOWN: (u8, &str) = (0, "");

/// All keys, in the order in which they are explained.
pub const BINDINGS: &[Binding] = &[
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
        fold(FoldAction::Again),
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
    bind(
        "log_up",
        Log(Scroll::Up),
        &[Key::code(KeyCode::Up)],
        LINES,
        NOT_SHOWN,
        "log: a line back, or on",
    ),
    bind("log_down", Log(Scroll::Down), &[Key::code(KeyCode::Down)], LINES, NOT_SHOWN, ""),
    bind(
        "log_page_up",
        Log(Scroll::PageUp),
        &[Key::code(KeyCode::PageUp)],
        LINES,
        NOT_SHOWN,
        "log: a page back, or on",
    ),
    bind(
        "log_page_down",
        Log(Scroll::PageDown),
        &[Key::code(KeyCode::PageDown)],
        LINES,
        NOT_SHOWN,
        "",
    ),
    bind(
        "log_oldest",
        Log(Scroll::Home),
        &[Key::code(KeyCode::Home)],
        LINES,
        NOT_SHOWN,
        "log: the oldest line, or follow the newest",
    ),
    bind("log_newest", Log(Scroll::End), &[Key::code(KeyCode::End)], LINES, NOT_SHOWN, ""),
    bind(
        "log_level",
        LogFilter(LogKey::Level),
        &[Key::char('v')],
        LOG,
        (3, "level"),
        "all lines, warnings, or errors alone",
    ),
    bind(
        "log_search",
        LogFilter(LogKey::Search),
        &[Key::char('/')],
        LOG,
        (4, "search"),
        "look for a text (Enter ends, Esc clears)",
    ),
    bind(
        "log_older",
        LogFilter(LogKey::Older),
        &[Key::char('n')],
        LOG,
        (5, "match"),
        "the match above, or below",
    ),
    bind("log_newer", LogFilter(LogKey::Newer), &[Key::char('b')], LOG, NOT_SHOWN, ""),
    bind(
        "run_above",
        Runs(Scroll::Up),
        &[Key::code(KeyCode::Up)],
        RUNS,
        NOT_SHOWN,
        "the run above, or below",
    ),
    bind("run_below", Runs(Scroll::Down), &[Key::code(KeyCode::Down)], RUNS, NOT_SHOWN, ""),
    bind(
        "run_mark",
        MarkRun,
        &[Key::char('o')],
        RUNS,
        (3, "overlay"),
        "lay its curve over the others, or not",
    ),
    bind("view_overview", Show(View::Overview), &[Key::char('1')], ALL, NOT_SHOWN, "the views"),
    bind("view_curves", Show(View::Curves), &[Key::char('2')], ALL, NOT_SHOWN, ""),
    bind("view_vertebrae", Show(View::Vertebrae), &[Key::char('3')], ALL, NOT_SHOWN, ""),
    bind("view_crops", Show(View::Crops), &[Key::char('4')], ALL, NOT_SHOWN, ""),
    bind("view_folds", Show(View::Folds), &[Key::char('5')], ALL, NOT_SHOWN, ""),
    bind("view_system", Show(View::System), &[Key::char('6')], ALL, NOT_SHOWN, ""),
    bind("view_log", Show(View::Log), &[Key::char('7')], ALL, NOT_SHOWN, ""),
    bind("view_runs", Show(View::Runs), &[Key::char('8')], ALL, NOT_SHOWN, ""),
    bind(
        "next_view",
        NextView,
        &[Key::code(KeyCode::Tab)],
        ALL,
        NOT_SHOWN,
        "the next view, or the one before",
    ),
    bind("previous_view", PreviousView, &[Key::code(KeyCode::BackTab)], ALL, NOT_SHOWN, ""),
    bind(
        "results",
        Summary,
        &[Key::code(KeyCode::Enter)],
        Scope::but(&[View::Crops]),
        (4, "results"),
        "results, once the run is over",
    ),
    bind(
        "detach",
        Detach,
        &[Key::char('d')],
        ALL,
        (3, "leave"),
        "leave; training goes on (if detached)",
    ),
    bind("quit", Quit, &[Key::char('q')], ALL, (2, "quit"), "save and quit (asks while training)"),
    bind(
        "interrupt",
        Quit,
        &[Key::control('c')],
        ALL,
        NOT_SHOWN,
        "as q; once more = yes (if detached: leave)",
    ),
    bind("suspend", Suspend, &[Key::control('z')], ALL, NOT_SHOWN, "to the shell; `fg` comes back"),
    bind("help", Help, &[Key::char('?')], ALL, (3, "help"), "show or hide these keys"),
    bind("close", Close, &[Key::code(KeyCode::Esc)], ALL, NOT_SHOWN, "close what lies on top"),
];
