//! What keys do.

use super::context::View;
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
    /// Watch a fold, where several processes train.
    Watch(Watch),
    /// Pause the selected fold's process alone, or resume it.
    PauseWorker,
    /// Scroll the view's list, or select another of its rows.
    Scroll(Scroll),
    /// Change the visible part of the log.
    LogFilter(LogKey),
    /// Act on the visible chart.
    Chart(ChartKey),
    /// Select the previous epoch in the folds' table.
    EpochBefore,
    /// Select the next epoch in the folds' table.
    EpochAfter,
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

/// The fold to watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// The selected one.
    Selected,
    /// The one in training before.
    Before,
    /// The next one in training.
    After,
}

impl Action {
    /// Whether it makes sense only where several processes train.
    pub fn is_of_workers(self) -> bool {
        matches!(self, Self::Watch(_) | Self::PauseWorker)
    }
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
    /// Row of a list of `rows` after the movement from row `at`. A page is all of a short list.
    pub fn row(self, at: usize, rows: usize) -> usize {
        let last = rows.saturating_sub(1);
        match self {
            Self::Up => at.saturating_sub(1),
            Self::Down => at.saturating_add(1).min(last),
            Self::PageUp | Self::Home => 0,
            Self::PageDown | Self::End => last,
        }
    }

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
