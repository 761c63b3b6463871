//! A question that wants a yes.

use super::{help, theme};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Stop training and leave?
    Quit,
    /// Give up the fold with this number?
    SkipFold(usize),
}

/// Draws the question in the middle of `area`.
pub fn draw(frame: &mut Frame, area: Rect, question: Question) {
    let lines = match question {
        Question::Quit => vec![
            Line::from("Stop training and quit?  y/n").style(theme::KEY),
            Line::from("It saves `last` after the step at hand."),
        ],
        Question::SkipFold(fold) => vec![
            Line::from(format!("Give up fold {fold} and go on?  y/n")).style(theme::KEY),
            Line::from("Its remaining epochs are lost; its `best` stays."),
        ],
    };
    help::popup(frame, area, "question", lines);
}
