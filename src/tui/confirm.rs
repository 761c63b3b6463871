//! A question that wants a yes.

use super::{help, theme};
use crate::view::State;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Stop training and leave?
    Quit,
    /// Train the fold with this number now?
    Start(usize),
    /// Give up the fold with this number?
    Skip(usize),
    /// Train the fold with this number again?
    Again(usize),
}

/// Draws the question in the middle of `area`.
pub fn draw(frame: &mut Frame, area: Rect, question: Question, state: &State) {
    let in_training = state.in_training().map(|fold| fold.plan.fold);
    let (asked, told) = match question {
        Question::Quit if state.attached => (
            "Leave this dashboard (d) or stop training (y)?  Esc".into(),
            vec!["Left alone it trains on. Stopped, it saves `last` first.".into()],
        ),
        Question::Quit if state.is_held() => (
            "Stop training and quit?  y/n".into(),
            vec!["`last` cannot be written now: what is not on disk is lost.".into()],
        ),
        Question::Quit => (
            "Stop training and quit?  y/n".into(),
            vec!["It saves `last` after the step at hand.".into()],
        ),
        Question::Start(fold) => (
            format!("Train fold {fold} now?  y/n"),
            match in_training.filter(|&other| other != fold) {
                Some(other) => vec![
                    format!("Fold {other} waits where it stands, and goes on"),
                    "by itself when its turn comes.".into(),
                ],
                None => vec!["No other fold is in training.".into()],
            },
        ),
        Question::Skip(fold) => (
            format!("Give up fold {fold}?  y/n"),
            vec![
                match in_training == Some(fold) {
                    true => "The next one goes on. Its newest weights are kept:".into(),
                    false => "What it has so far is kept:".into(),
                },
                "f brings it back.".into(),
            ],
        ),
        Question::Again(fold) => (
            format!("Train fold {fold} again under a new seed?  y/n"),
            vec!["It goes to the end of the queue. What it left is kept.".into()],
        ),
    };
    let mut lines = vec![Line::from(asked).style(theme::KEY)];
    lines.extend(told.into_iter().map(Line::<'static>::from));
    help::popup(frame, area, "question", lines);
}
