//! Marks of what happened, on the time axis.

use crate::tui::theme;
use crate::view::{Fold, Mark};
use ratatui::style::Style;

/// Symbol, style and word of a mark.
pub fn appearance(mark: Mark) -> (char, Style, &'static str) {
    match mark {
        Mark::Best => ('★', theme::GOOD, "best"),
        Mark::Saved => ('◆', theme::FAINT, "saved"),
        Mark::Paused => ('‖', theme::WARN, "paused"),
        Mark::Resumed => ('▸', theme::WARN, "went on"),
        Mark::Rate => ('◇', theme::WARN, "rate changed"),
        Mark::NonFinite => ('×', theme::ALARM, "not finite"),
    }
}

/// Marks of a fold, important ones last, so that they are drawn on top of others.
pub fn marks(fold: &Fold) -> Vec<(f64, char, Style)> {
    let grave = |mark: Mark| match mark {
        Mark::Saved => 0,
        Mark::Resumed => 1,
        Mark::Paused => 2,
        Mark::Best => 3,
        Mark::Rate => 4,
        Mark::NonFinite => 5,
    };
    let mut marks = fold.curve.marks.clone();
    marks.sort_by_key(|(_, mark)| grave(*mark));
    let drawn = marks.into_iter().map(|(x, mark)| {
        let (symbol, style, _) = appearance(mark);
        (f64::from(x), symbol, style)
    });
    drawn.collect()
}
