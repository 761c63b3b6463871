//! The table of key bindings, in the order of the help.

use super::Binding;
use crate::run::FoldAction;
use crate::tui::action::Action::{
    Acknowledge, Chart, Checkpoint, Close, Crops, Detach, EpochAfter, EpochBefore, Export, Fold,
    FoldAfter, FoldBefore, Help, LogFilter, MarkRun, MoreEpochs, NextView, PauseWorker,
    PreviousView, Quit, RateEnd, Scroll, Show, StopAfterEpoch, Summary, Suspend, TogglePause,
    ToggleRaw, Watch,
};
use crate::tui::action::{Action, ChartKey, CropKey, LogKey, OfFold, Scroll as To, Watch as Of};
use crate::tui::context::View;
use crate::tui::views::VIEWS;
use std::sync::LazyLock;

const fn bind(
    name: &'static str,
    action: Action,
    keys: &'static str,
    help: &'static str,
) -> Binding {
    Binding { name, action, keys, views: &[], short: (0, ""), help }
}

/// The opposite of the action before it, whose help is for both.
const fn opposite(name: &'static str, action: Action, keys: &'static str) -> Binding {
    bind(name, action, keys, "")
}

impl Binding {
    /// Puts the action on the key line. `rank`: from 1, the first to get room.
    const fn short(self, rank: u8, label: &'static str) -> Self {
        Self { short: (rank, label), ..self }
    }
}

const fn fold(action: FoldAction) -> Action {
    Fold(OfFold::Act(action))
}

/// The run.
const RUN: &[Binding] = &[
    bind("pause", TogglePause, "p", "pause after the step at hand, or go on").short(1, "pause"),
    bind("stop_after_epoch", StopAfterEpoch, "s", "finish this epoch, validate, save and end")
        .short(7, "stop after epoch"),
    bind("checkpoint", Checkpoint, "k", "save `last` after the step at hand").short(10, "save"),
    bind("more_epochs", MoreEpochs, "u", "more epochs (asks how many)"),
    bind("rate_end", RateEnd, "j", "another learning rate to end at (asks which)"),
];

/// The selected fold.
const FOLD: &[Binding] = &[
    bind("fold_hold", Fold(OfFold::Hold), "f", "pause this fold, or put it back in the queue")
        .short(4, "pause"),
    bind("fold_start", fold(FoldAction::Start), "g", "train this fold now, in the other's place")
        .short(5, "start now"),
    bind("fold_earlier", fold(FoldAction::Earlier), "[", "this fold one place forward, or back")
        .short(8, "move"),
    opposite("fold_later", fold(FoldAction::Later), "]"),
    bind("fold_skip", fold(FoldAction::Skip), "n", "give this fold up (asks); f brings it back")
        .short(6, "give up"),
    bind("fold_again", fold(FoldAction::Retrain), "a", "train a done fold again, new seed (asks)")
        .short(5, "again"),
];

/// The process that trains the selected fold, where several do.
const WORKER: &[Binding] = &[
    bind("watch", Watch(Of::Selected), "w", "watch this fold: its steps, pictures, machine")
        .short(3, "watch"),
    bind("worker_pause", PauseWorker, "h", "pause this fold's process alone, or let it go on"),
];

/// The watched fold, where several are in training.
const WATCHED: &[Binding] = &[
    bind(
        "watch_after",
        Watch(Of::After),
        "c",
        "watch the next fold in training, or the one before",
    )
    .short(8, "next fold"),
    opposite("watch_before", Watch(Of::Before), "z"),
];

/// Selection of the fold, side by side.
const LOOK: &[Binding] = &[
    bind("fold_before", FoldBefore, "Left", "the fold to look at, which keys act on"),
    opposite("fold_after", FoldAfter, "Right"),
];

/// Selection of the fold, one above the other.
const ROWS: &[Binding] = &[
    bind("fold_above", FoldBefore, "Up", "the fold to look at, which keys act on"),
    opposite("fold_below", FoldAfter, "Down"),
];

/// Selection of the epoch in the folds' table.
const EPOCHS: &[Binding] = &[
    bind("epoch_before", EpochBefore, "Left", "the epoch whose figures are told"),
    opposite("epoch_after", EpochAfter, "Right"),
];

/// The chart.
const CHART: &[Binding] = &[
    bind("cursor_left", Chart(ChartKey::CursorLeft), "Left", "the cursor, which tells all values")
        .short(3, "cursor"),
    opposite("cursor_right", Chart(ChartKey::CursorRight), "Right"),
    bind("zoom_in", Chart(ChartKey::ZoomIn), "+ =", "nearer around the cursor, or farther")
        .short(4, "zoom"),
    opposite("zoom_out", Chart(ChartKey::ZoomOut), "-"),
    bind("pan_left", Chart(ChartKey::PanLeft), ", <", "what is seen to the left, or right")
        .short(9, "pan"),
    opposite("pan_right", Chart(ChartKey::PanRight), ". >"),
    bind("zoom_whole", Chart(ChartKey::Whole), "0", "the whole fold").short(9, "all"),
    bind("figure", Chart(ChartKey::Figure), "v", "losses, by head, rate, gradients, AUC")
        .short(5, "figure"),
    bind("smoothing", Chart(ChartKey::Smoothing), "m", "how much the curves are smoothed")
        .short(6, "smooth"),
    bind("log_scale", Chart(ChartKey::Log), "l", "logarithmic or linear").short(7, "log"),
    bind("together", Chart(ChartKey::Together), "t", "all folds in one chart, or one")
        .short(8, "folds"),
];

/// Selection of the vertebra.
const VERTEBRA: &[Binding] = &[
    bind("vertebra_above", Scroll(To::Up), "Up", "the vertebra whose curve is drawn")
        .short(4, "level"),
    opposite("vertebra_below", Scroll(To::Down), "Down"),
];

/// Pictures wherever they are.
const RAW: &[Binding] =
    &[bind("crops_raw", ToggleRaw, "r", "crops: raw, or as the network sees them")
        .short(9, "raw/augmented")];

/// The alert at the top.
const ALERT: &[Binding] =
    &[bind("acknowledge", Acknowledge, "x", "take the alert at the top as seen").short(3, "seen")];

/// The crops' view.
const PICTURES: &[Binding] = &[
    bind("slice_before", Crops(CropKey::SliceBefore), "Left", "the slice before, or after")
        .short(3, "slice"),
    opposite("slice_after", Crops(CropKey::SliceAfter), "Right"),
    bind(
        "crop_vertebra_above",
        Crops(CropKey::VertebraAbove),
        "Up",
        "the vertebra above, or below",
    )
    .short(3, "vertebra"),
    opposite("crop_vertebra_below", Crops(CropKey::VertebraBelow), "Down"),
    bind("study_before", Crops(CropKey::StudyBefore), "PgUp", "the study before, or after")
        .short(4, "study"),
    opposite("study_after", Crops(CropKey::StudyAfter), "PgDn"),
    bind(
        "slice_most_wrong",
        Crops(CropKey::MostWrong),
        "Home",
        "the slice that it is most wrong about",
    ),
    bind("crops_source", Crops(CropKey::List), "w", "the worst studies, or the batch's")
        .short(5, "worst/batch"),
    bind("crops_grid", Crops(CropKey::Grid), "Enter", "all studies at once, or one")
        .short(6, "all/one"),
    bind("mask_outline", Crops(CropKey::Outline), "o", "the mask's outline, or none")
        .short(8, "mask"),
    bind(
        "window_narrower",
        Crops(CropKey::Narrower),
        "+ =",
        "window: narrower (more contrast), or wider",
    )
    .short(9, "window"),
    opposite("window_wider", Crops(CropKey::Wider), "-"),
    bind("level_brighter", Crops(CropKey::Brighter), ") .", "level: brighter, or darker")
        .short(9, "level"),
    opposite("level_darker", Crops(CropKey::Darker), "( ,"),
    bind("window_reset", Crops(CropKey::Reset), "0", "the picture's own window and level"),
    bind("crops_fold_before", FoldBefore, "[", "the fold whose worst studies are listed"),
    opposite("crops_fold_after", FoldAfter, "]"),
];

/// The log.
const LINES: &[Binding] = &[
    bind("log_up", Scroll(To::Up), "Up", "log: a line back, or on"),
    opposite("log_down", Scroll(To::Down), "Down"),
    bind("log_page_up", Scroll(To::PageUp), "PgUp", "log: a page back, or on"),
    opposite("log_page_down", Scroll(To::PageDown), "PgDn"),
    bind("log_oldest", Scroll(To::Home), "Home", "log: the oldest line, or follow the newest"),
    opposite("log_newest", Scroll(To::End), "End"),
];

/// Filter and search of the log.
const LINES_SHOWN: &[Binding] = &[
    bind("log_level", LogFilter(LogKey::Level), "v", "all lines, warnings, or errors alone")
        .short(3, "level"),
    bind("log_search", LogFilter(LogKey::Search), "/", "look for a text (Enter ends, Esc clears)")
        .short(4, "search"),
    bind("log_older", LogFilter(LogKey::Older), "n", "the match above, or below").short(5, "match"),
    opposite("log_newer", LogFilter(LogKey::Newer), "b"),
];

/// The list of runs.
const RUNS: &[Binding] = &[
    bind("run_above", Scroll(To::Up), "Up", "the run above, or below"),
    opposite("run_below", Scroll(To::Down), "Down"),
    bind("run_mark", MarkRun, "o", "lay its curve over the others, or not").short(3, "overlay"),
];

/// Views and charts.
const NEXT: &[Binding] = &[
    bind("next_view", NextView, "Tab", "the next view, or the one before"),
    opposite("previous_view", PreviousView, "BackTab"),
    bind("export", Export, "e", "write the chart in view as SVG and CSV"),
];

/// The results; in the crops Enter means another.
const RESULTS: &[Binding] =
    &[bind("results", Summary, "Enter", "results, once the run is over").short(4, "results")];

/// Leaving, and overlays.
const END: &[Binding] = &[
    bind("detach", Detach, "d", "leave; training goes on (if detached)").short(3, "leave"),
    bind("quit", Quit, "q", "save and quit (asks while training)").short(2, "quit"),
    bind("interrupt", Quit, "Ctrl-C", "as q; once more = yes (if detached: leave)"),
    bind("suspend", Suspend, "Ctrl-Z", "to the shell; `fg` comes back"),
    bind("help", Help, "?", "show or hide these keys").short(3, "help"),
    bind("close", Close, "Esc", "close what lies on top"),
];

/// All key bindings, in the order of the help.
pub static BINDINGS: LazyLock<Vec<Binding>> = LazyLock::new(|| {
    use View::{Crops, Curves, Folds, Log, Overview, Runs, System, Vertebrae};
    let show = VIEWS.map(|entry| {
        let help = if entry.view == View::default() { "the views" } else { "" };
        bind(entry.action, Show(entry.view), entry.key, help)
    });
    const EVERYWHERE: &[View] = &[];
    let groups: [(&'static [View], &[Binding]); 19] = [
        (EVERYWHERE, RUN),
        (&[Overview, Folds], FOLD),
        (&[Overview, Folds], WORKER),
        (EVERYWHERE, WATCHED),
        (&[Overview, Vertebrae], LOOK),
        (&[Curves, Folds], ROWS),
        (&[Folds], EPOCHS),
        (&[Curves], CHART),
        (&[Vertebrae], VERTEBRA),
        (&[Overview, Crops], RAW),
        (EVERYWHERE, ALERT),
        (&[Crops], PICTURES),
        (&[Overview, Log], LINES),
        (&[Log], LINES_SHOWN),
        (&[Runs], RUNS),
        (EVERYWHERE, &show),
        (EVERYWHERE, NEXT),
        (&[Overview, Curves, Vertebrae, Folds, System, Log, Runs], RESULTS),
        (EVERYWHERE, END),
    ];
    let of = |(views, group): (&'static [View], &[Binding])| {
        group.iter().map(|&binding| Binding { views, ..binding }).collect::<Vec<_>>()
    };
    groups.into_iter().flat_map(of).collect()
});
