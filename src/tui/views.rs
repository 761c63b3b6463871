//! The views, each answering a question, and the row of tabs.

use super::theme;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};

/// A view, which fills the screen between header and key line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum View {
    /// Is it going well?
    #[default]
    Overview,
    /// What changed, and when?
    Curves,
    /// Which level is hard?
    Vertebrae,
    /// What does it see, and where is it wrong?
    Crops,
    /// How do the folds compare?
    Folds,
    /// Is the machine busy, and with what?
    System,
    /// What has happened?
    Log,
    /// Is it better than before?
    Runs,
}

/// All views, in the order of their number keys.
pub const VIEWS: [View; 8] = [
    View::Overview,
    View::Curves,
    View::Vertebrae,
    View::Crops,
    View::Folds,
    View::System,
    View::Log,
    View::Runs,
];

impl View {
    /// Name of the view.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Curves => "Curves",
            Self::Vertebrae => "Vertebrae",
            Self::Crops => "Crops",
            Self::Folds => "Folds",
            Self::System => "System",
            Self::Log => "Log",
            Self::Runs => "Runs",
        }
    }

    /// Index in [`VIEWS`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The view `by` places to the right, wrapping around.
    pub fn beside(self, by: isize) -> Self {
        let count = VIEWS.len() as isize;
        VIEWS[(self.index() as isize + by).rem_euclid(count) as usize]
    }
}

/// Amount of text in the tabs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Words {
    All,
    Own,
}

/// Texts of the tabs for a width.
fn texts(shown: View, width: u16) -> Vec<String> {
    let with = |words: Words| -> Vec<String> {
        let text = |(i, view): (usize, &View)| match words {
            Words::Own if *view != shown => format!(" {} ", i + 1),
            _ => format!(" {} {} ", i + 1, view.name()),
        };
        VIEWS.iter().enumerate().map(text).collect()
    };
    let all = with(Words::All);
    let long: usize = all.iter().map(|text| text.chars().count()).sum();
    if long <= width.into() { all } else { with(Words::Own) }
}

/// Draws the tabs.
pub fn draw(frame: &mut Frame, area: Rect, shown: View) {
    let tabs = texts(shown, area.width).into_iter().zip(VIEWS).map(|(text, view)| {
        let own = view == shown;
        Span::styled(
            text,
            if own { theme::KEY.add_modifier(Modifier::REVERSED) } else { theme::FAINT },
        )
    });
    frame.render_widget(Line::from_iter(tabs), area);
}

/// The view whose tab is at `column` of a row of the given width.
pub fn at(column: u16, width: u16, shown: View) -> Option<View> {
    let mut end = 0;
    texts(shown, width).into_iter().zip(VIEWS).find_map(|(text, view)| {
        end += text.chars().count() as u16;
        (column < end).then_some(view)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tabs_fit_and_are_found_where_they_are_drawn() {
        for width in [40, 60, 80, 200] {
            for view in VIEWS {
                let texts = texts(view, width);
                let long: usize = texts.iter().map(|t| t.chars().count()).sum();
                assert!(long <= width.into(), "{width}: {long}");
                let before: usize = texts[..view.index()].iter().map(|t| t.chars().count()).sum();
                assert_eq!(at(before as u16 + 1, width, view), Some(view));
            }
        }
        assert_eq!(at(199, 200, View::Log), None);
    }

    #[test]
    fn beside_the_last_is_the_first() {
        assert_eq!(View::Runs.beside(1), View::Overview);
        assert_eq!(View::Overview.beside(-1), View::Runs);
    }
}
