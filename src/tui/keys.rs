//! Key bindings: a single table for dispatch, help and the config's changes.

mod map;
mod table;

pub use map::{Key, Keymap};
pub use table::BINDINGS;

use super::views::{VIEWS, View};
use crate::run::FoldAction;
use crossterm::event::KeyCode;

/// Effect of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Pause or resume training.
    TogglePause,
    /// End the run after the current epoch.
    StopAfterEpoch,
    /// Save `last` and continue.
    Checkpoint,
    /// Open the question about more epochs.
    MoreEpochs,
    /// Open the question about another final learning rate.
    RateEnd,
    /// Act on the selected fold.
    Fold(OfFold),
    /// Leave the dashboard without affecting training in another process.
    Detach,
    /// Ask, then stop immediately; once the run is over, leave.
    Quit,
    /// Return to the shell until `fg`.
    Suspend,
    /// Switch to this view.
    Show(View),
    /// Switch to the view to the right.
    NextView,
    /// Switch to the view to the left.
    PreviousView,
    /// Select the previous fold.
    FoldBefore,
    /// Select the next fold.
    FoldAfter,
    /// Scroll the log by lines or pages, or to an end.
    Log(Scroll),
    /// Change the visible part of the log.
    LogFilter(LogKey),
    /// Act on the visible chart.
    Chart(ChartKey),
    /// Select another vertebra.
    Vertebra(Scroll),
    /// Select the previous epoch in the folds' table.
    EpochBefore,
    /// Select the next epoch in the folds' table.
    EpochAfter,
    /// Scroll the list of runs.
    Runs(Scroll),
    /// Add the selected run's curve to the chart, or remove it.
    MarkRun,
    /// Act on the view of the crops.
    Crops(CropKey),
    /// Switch between crops before augmentation and as the network sees them.
    ToggleRaw,
    /// Acknowledge the alert at the top.
    Acknowledge,
    /// Export the visible chart to files.
    Export,
    /// Show the summary of a finished run.
    Summary,
    /// Show the help overlay.
    Help,
    /// Close the overlay.
    Close,
}

/// Action on the selected fold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfFold {
    /// Pause the fold, or put it back into the queue.
    Hold,
    /// An action that does not depend on the fold's state.
    Act(FoldAction),
}

/// Movement in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scroll {
    /// One line up.
    Up,
    /// One line down.
    Down,
    /// One page up.
    PageUp,
    /// One page down.
    PageDown,
    /// To the oldest line.
    Home,
    /// To the newest line, and follow.
    End,
}

impl Scroll {
    /// Movement for a key in an overlay, independent of the view's bindings.
    pub fn of(code: KeyCode) -> Option<Self> {
        Some(match code {
            KeyCode::Up => Self::Up,
            KeyCode::Down => Self::Down,
            KeyCode::PageUp => Self::PageUp,
            KeyCode::PageDown => Self::PageDown,
            KeyCode::Home => Self::Home,
            KeyCode::End => Self::End,
            _ => return None,
        })
    }
}

/// Action on the visible part of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogKey {
    /// Cycle through all lines, warnings and errors, and errors only.
    Level,
    /// Type a search term.
    Search,
    /// Go to the previous match, upwards.
    Older,
    /// Go to the next match, downwards.
    Newer,
}

/// Action on a chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChartKey {
    /// Move the cursor to the left.
    CursorLeft,
    /// Move the cursor to the right.
    CursorRight,
    /// Pan to the left.
    PanLeft,
    /// Pan to the right.
    PanRight,
    /// Zoom in around the cursor.
    ZoomIn,
    /// Zoom out.
    ZoomOut,
    /// Show everything.
    Whole,
    /// Switch between a logarithmic and a linear axis.
    Log,
    /// Cycle through the smoothing strengths, including none.
    Smoothing,
    /// Show the next figure.
    Figure,
    /// Switch between all folds and the selected one.
    Together,
}

/// Action on the view of the crops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CropKey {
    /// Select the previous slice.
    SliceBefore,
    /// Select the next slice.
    SliceAfter,
    /// Select the vertebra above.
    VertebraAbove,
    /// Select the vertebra below.
    VertebraBelow,
    /// Select the slice with the largest error.
    MostWrong,
    /// Select the previous study.
    StudyBefore,
    /// Select the next study.
    StudyAfter,
    /// Switch between the worst studies and those of the current batch.
    List,
    /// Switch between all studies and one.
    Grid,
    /// Switch the mask's outline on or off.
    Outline,
    /// Increase the contrast.
    Narrower,
    /// Decrease the contrast.
    Wider,
    /// Make the picture brighter.
    Brighter,
    /// Make the picture darker.
    Darker,
    /// Reset the contrast to the picture's own.
    Reset,
}

/// Views in which a key works, as a bit set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope(u8);

impl Scope {
    /// All views.
    pub const ALL: Self = Self(0xff);

    /// Only these views.
    pub const fn of(views: &[View]) -> Self {
        let (mut bits, mut i) = (0, 0);
        while i < views.len() {
            bits |= 1 << views[i].index();
            i += 1;
        }
        Self(bits)
    }

    /// All views except these.
    pub const fn but(views: &[View]) -> Self {
        Self(!Self::of(views).0)
    }

    /// Whether `view` is included.
    pub fn holds(self, view: View) -> bool {
        self.0 & (1 << view.index()) != 0
    }

    /// Whether any view is in both.
    pub fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The first view included.
    pub fn first(self) -> View {
        VIEWS.into_iter().find(|&view| self.holds(view)).unwrap_or_default()
    }
}

/// An action with its keys and descriptions.
#[derive(Debug, Clone, Copy)]
pub struct Binding {
    /// Name in the config's `[keys]`.
    pub name: &'static str,
    /// The action.
    pub action: Action,
    /// Default keys.
    pub keys: &'static [Key],
    /// Views where it works.
    pub scope: Scope,
    /// Rank on the key line, from 1 (first to get room), and label; an empty label hides it.
    pub short: (u8, &'static str),
    /// Help text. If empty, the action is the opposite of the previous one and shares its line.
    pub help: &'static str,
}
