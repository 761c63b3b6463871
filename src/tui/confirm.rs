//! Confirmation dialogs.

use super::action::Scroll;
use super::{help, theme};
use crate::config::MOST_EPOCHS;
use crate::view::{State, format};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

/// A question that needs confirmation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Stop training and quit?
    Quit,
    /// Train the fold with this number now?
    Start(usize),
    /// Skip the fold with this number?
    Skip(usize),
    /// Retrain the fold with this number?
    Retrain(usize),
    /// Train each fold for this many epochs? The arrow keys change the number.
    Epochs(usize),
    /// Let the learning rate fall to this [`rate`]? The arrow keys change it.
    Rate(i32),
}

/// Element of the series …, 0.1, 0.2, 0.5, 1, 2, 5, 10, …; element 0 is 1.
pub fn rate(place: i32) -> f64 {
    let power = place.div_euclid(3);
    let text = format!("{}e{power}", [1, 2, 5][place.rem_euclid(3) as usize]);
    // Parsing the digits gives exactly the number that a user would write.
    text.parse().unwrap_or(0.0)
}

/// Index of the largest element that does not exceed `rate_now`; that of 1e-6 if there is none.
pub fn place(rate_now: f64) -> i32 {
    (-60..30).rev().find(|&at| rate(at) <= rate_now * 1.000_001).unwrap_or(-18)
}

impl Question {
    /// The question after an arrow key; `None` if there is nothing to change.
    pub fn changed(self, scroll: Scroll, state: &State) -> Option<Self> {
        let plan = state.plan.as_ref()?;
        let highest = plan.learning_rates.iter().copied().fold(0.0, f64::max);
        let by = match scroll {
            Scroll::Up => 1,
            Scroll::Down => -1,
            Scroll::PageUp => 10,
            Scroll::PageDown => -10,
            Scroll::Home | Scroll::End => return None,
        };
        Some(match self {
            Self::Epochs(n) => {
                let least = plan.epochs.saturating_add(1).min(MOST_EPOCHS);
                Self::Epochs(n.saturating_add_signed(by).clamp(least, MOST_EPOCHS))
            }
            Self::Rate(at) => {
                let next = (at + by.signum() as i32).max(-40);
                Self::Rate(if rate(next) <= highest { next } else { at })
            }
            _ => return None,
        })
    }
}

/// Draws the question in the middle of `area`.
pub fn draw(frame: &mut Frame, area: Rect, question: Question, state: &State) {
    let in_training = state.in_training().map(|fold| fold.plan.fold);
    let text = match question {
        Question::Quit if state.attached && state.shared => {
            "Leave this dashboard (d) or stop all processes (y)?  Esc\n\
             Left alone they train on. Stopped, each saves `last` first."
                .into()
        }
        Question::Quit if state.shared => {
            "Stop all processes and quit?  y/n\nEach saves `last` after the step at hand.".into()
        }
        Question::Quit if state.attached => "Leave this dashboard (d) or stop training (y)?  Esc\n\
             Left alone it trains on. Stopped, it saves `last` first."
            .into(),
        Question::Quit if state.is_held() => "Stop training and quit?  y/n\n\
             `last` cannot be written now: what is not on disk is lost."
            .into(),
        Question::Quit => {
            "Stop training and quit?  y/n\nIt saves `last` after the step at hand.".into()
        }
        Question::Start(fold) => match in_training.filter(|&other| other != fold) {
            Some(other) => format!(
                "Train fold {fold} now?  y/n\n\
                 Fold {other} waits where it stands, and goes on\n\
                 by itself when its turn comes."
            ),
            None => format!("Train fold {fold} now?  y/n\nNo other fold is in training."),
        },
        Question::Skip(fold) => {
            let trained = in_training == Some(fold) || (state.shared && state.is_trained(fold));
            let kept = match trained {
                true => "The next one goes on. Its newest weights are kept:",
                false => "What it has so far is kept:",
            };
            format!("Give up fold {fold}?  y/n\n{kept}\nf brings it back.")
        }
        Question::Epochs(n) => format!(
            "Train each fold for {n} epochs?  ↑↓ change  y/n\n\
             It has {} now.\n\
             The learning rate's cosine is stretched over all of them from\n\
             the next step on; folds that are done go on.",
            state.plan.as_ref().map_or(0, |plan| plan.epochs)
        ),
        Question::Rate(at) => format!(
            "Let the learning rate fall to {}?  ↑↓ change  y/n\n\
             From the next step on it follows the cosine that ends there.",
            format::learning_rate(rate(at))
        ),
        Question::Retrain(fold) => format!(
            "Train fold {fold} again under a new seed?  y/n\n\
             It goes to the end of the queue. What it left is kept."
        ),
    };
    let mut lines: Vec<Line> = text.lines().map(|line| Line::from(line.to_string())).collect();
    lines[0].style = theme::KEY;
    help::popup(frame, area, "question", lines);
}
