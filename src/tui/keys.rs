//! The keys: one table that dispatches, explains, and can be changed by the config.

mod map;
mod table;

pub use map::{Key, Keymap};
pub use table::BINDINGS;

use super::views::{VIEWS, View};
use crate::run::FoldAction;
use crossterm::event::KeyCode;

/// What a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Pause, or go on.
    TogglePause,
    /// End after the epoch at hand.
    StopAfterEpoch,
    /// Save `last` and go on.
    Checkpoint,
    /// Ask for more epochs.
    MoreEpochs,
    /// Ask for another learning rate to end at.
    RateEnd,
    /// Something about the fold looked at.
    Fold(OfFold),
    /// Leave the dashboard and training alone, where training is another process.
    Detach,
    /// Ask, then end at once; when the run is over, leave.
    Quit,
    /// Back to the shell until it says `fg`.
    Suspend,
    /// Show another view.
    Show(View),
    /// Show the view to the right.
    NextView,
    /// Show the view to the left.
    PreviousView,
    /// Look at the fold before.
    FoldBefore,
    /// Look at the fold after.
    FoldAfter,
    /// Scroll the log by lines (negative = back), by pages, or to an end.
    Log(Scroll),
    /// Something about what of the log is seen.
    LogFilter(LogKey),
    /// Something about the chart in view.
    Chart(ChartKey),
    /// Look at another vertebra.
    Vertebra(Scroll),
    /// Move along the table of the folds' epochs, by epochs.
    EpochBefore,
    /// As [`Self::EpochBefore`], on.
    EpochAfter,
    /// Move through the runs.
    Runs(Scroll),
    /// Lay the run's curve over the others, or take it away.
    MarkRun,
    /// Something about the crops in view.
    Crops(CropKey),
    /// Show the crops before augmentation, or as the network sees them.
    ToggleRaw,
    /// Take the alert at the top as seen.
    Acknowledge,
    /// Write the chart in view as files.
    Export,
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

/// How a list moves.
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

impl Scroll {
    /// What a key does to a list that lies on top, whatever the view's keys are.
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

/// What a key does about what of the log is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogKey {
    /// All lines, warnings and errors, or errors alone.
    Level,
    /// Type what to look for.
    Search,
    /// The match before, upwards.
    Older,
    /// The match after, downwards.
    Newer,
}

/// What a key does about a chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChartKey {
    /// The cursor to the left.
    CursorLeft,
    /// The cursor to the right.
    CursorRight,
    /// What is seen to the left.
    PanLeft,
    /// What is seen to the right.
    PanRight,
    /// Nearer, around the cursor.
    ZoomIn,
    /// Farther.
    ZoomOut,
    /// All of it.
    Whole,
    /// A logarithmic axis, or a linear one.
    Log,
    /// More smoothing; after the strongest none.
    Smoothing,
    /// The next figure.
    Figure,
    /// All folds in one chart, or the one looked at.
    Together,
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
    List,
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

/// The views in which a key works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope(u8);

impl Scope {
    /// Everywhere.
    pub const ALL: Self = Self(0xff);

    /// In these.
    pub const fn of(views: &[View]) -> Self {
        let (mut bits, mut i) = (0, 0);
        while i < views.len() {
            bits |= 1 << views[i].index();
            i += 1;
        }
        Self(bits)
    }

    /// Everywhere but in these.
    pub const fn but(views: &[View]) -> Self {
        Self(!Self::of(views).0)
    }

    /// Whether `view` is among them.
    pub fn holds(self, view: View) -> bool {
        self.0 & (1 << view.index()) != 0
    }

    /// Whether there is a view in both.
    pub fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The first of them.
    pub fn first(self) -> View {
        VIEWS.into_iter().find(|&view| self.holds(view)).unwrap_or_default()
    }
}

/// An action, its keys and its words.
#[derive(Debug)]
pub struct Binding {
    /// Its name in the config's `[keys]`.
    pub name: &'static str,
    /// What it does.
    pub action: Action,
    /// Its keys, unless the config says others.
    pub keys: &'static [Key],
    /// Where it works.
    pub scope: Scope,
    /// For the key line, and who gets room there first, from 1; empty = not on it.
    pub short: (u8, &'static str),
    /// For the help; empty: it shares the line of the one before, whose opposite it is.
    pub help: &'static str,
}
