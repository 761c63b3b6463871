//! The views, each answering a question: one table of what they are called, draw, export and scroll.
//! And the row of tabs.

pub mod crops;
pub mod curves;
pub mod folds;
pub mod log;
pub mod overview;
pub mod runs;
pub mod system;
pub mod vertebrae;

use super::action::Scroll;
use super::context::{Context, View};
use super::pictures::Pictures;
use super::{panes, theme};
use crate::export::Chart;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};

/// Lines of text that a notch of the mouse's wheel scrolls; it selects one row of a table.
pub const NOTCH: usize = 3;

/// What the views remember from frame to frame.
pub struct Views {
    /// The log, as a view and as a pane of the overview.
    pub log: log::View,
    /// The chart of the curves.
    pub curves: curves::View,
    /// The comparison of the folds.
    pub folds: folds::View,
    /// The losses by vertebra.
    pub vertebrae: vertebrae::View,
    /// The comparison with other runs.
    pub runs: runs::View,
    /// The slices of studies.
    pub crops: crops::Slices,
    /// The overview's pane of crops.
    pub gallery: panes::crops::Gallery,
    /// Whether the newest frame shows crops.
    pub crops_shown: bool,
}

impl Views {
    /// Creates all views.
    pub fn new(pictures: Pictures) -> Self {
        Self {
            log: log::View::default(),
            curves: curves::View::default(),
            folds: folds::View::default(),
            vertebrae: vertebrae::View::default(),
            runs: runs::View::default(),
            crops: crops::Slices::new(pictures),
            gallery: panes::crops::Gallery::new(pictures),
            crops_shown: false,
        }
    }
}

/// Scrolls a view.
pub type Scroller = fn(&mut Views, Scroll, &Context);

/// What there is to know of a view.
pub struct Entry {
    /// The view.
    pub view: View,
    /// Its name on the tab.
    pub name: &'static str,
    /// The name of its key in the config's `[keys]`.
    pub action: &'static str,
    /// Its key.
    pub key: &'static str,
    /// Draws it.
    pub draw: fn(&mut Views, &mut Frame, Rect, &Context),
    /// Its charts for export, if it has any.
    pub charts: Option<fn(&mut Views, &Context) -> Vec<Chart>>,
    /// Rows of a notch of the mouse's wheel, and what scrolling does, if it scrolls.
    pub scroll: Option<(usize, Scroller)>,
    /// What Esc does.
    pub close: fn(&mut Views),
}

/// All views, in the order of their tabs.
pub const VIEWS: [Entry; 8] = [
    Entry {
        view: View::Overview,
        name: "Overview",
        action: "view_overview",
        key: "1",
        draw: |views, frame, area, at| {
            let Views { log, gallery, .. } = views;
            views.crops_shown = overview::draw(log, gallery, frame, area, at);
        },
        charts: Some(|_, at| one(curves::View::default().export(at.state, at.shown))),
        scroll: Some((NOTCH, |views, scroll, at| views.log.scroll(scroll, at.state, false))),
        close: |views| views.log.clear(),
    },
    Entry {
        view: View::Curves,
        name: "Curves",
        action: "view_curves",
        key: "2",
        draw: |views, frame, area, at| views.curves.draw(frame, area, at.state, at.shown),
        charts: Some(|views, at| one(views.curves.export(at.state, at.shown))),
        scroll: None,
        close: |views| _ = views.curves.put_cursor_away(),
    },
    Entry {
        view: View::Vertebrae,
        name: "Vertebrae",
        action: "view_vertebrae",
        key: "3",
        draw: |views, frame, area, at| views.vertebrae.draw(frame, area, at.fold()),
        charts: Some(|views, at| one(at.fold().and_then(|fold| views.vertebrae.export(fold)))),
        scroll: Some((1, |views, scroll, _| views.vertebrae.scroll(scroll))),
        close: |_| {},
    },
    Entry {
        view: View::Crops,
        name: "Crops",
        action: "view_crops",
        key: "4",
        draw: |views, frame, area, at| {
            views.crops_shown = true;
            views.crops.draw(frame, area, at, views.gallery.raw);
        },
        charts: None,
        scroll: None,
        close: |views| views.crops.release(),
    },
    Entry {
        view: View::Folds,
        name: "Folds",
        action: "view_folds",
        key: "5",
        draw: |views, frame, area, at| views.folds.draw(frame, area, at.state, at.shown),
        charts: Some(|_, at| one(folds::export(at.state))),
        scroll: None,
        close: |views| views.folds.follow(),
    },
    Entry {
        view: View::System,
        name: "System",
        action: "view_system",
        key: "6",
        draw: |_, frame, area, at| system::draw(frame, area, at.state),
        charts: Some(|_, at| system::export(at.state)),
        scroll: None,
        close: |_| {},
    },
    Entry {
        view: View::Log,
        name: "Log",
        action: "view_log",
        key: "7",
        draw: |views, frame, area, at| views.log.draw(frame, area, at.state),
        charts: None,
        scroll: Some((NOTCH, |views, scroll, at| views.log.scroll(scroll, at.state, true))),
        close: |views| views.log.clear(),
    },
    Entry {
        view: View::Runs,
        name: "Runs",
        action: "view_runs",
        key: "8",
        draw: |views, frame, area, at| views.runs.draw(frame, area, at.state, at.now),
        charts: Some(|views, at| one(views.runs.export(at.state))),
        scroll: Some((1, |views, scroll, _| views.runs.scroll(scroll))),
        close: |_| {},
    },
];

fn one(chart: Option<Chart>) -> Vec<Chart> {
    chart.into_iter().collect()
}

impl View {
    /// Its entry in [`VIEWS`].
    pub fn entry(self) -> &'static Entry {
        const ENTRIES: &[Entry] = &VIEWS;
        &ENTRIES[self as usize]
    }

    /// Its name on the tab.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// The view `by` places to the right, wrapping around.
    pub fn beside(self, by: isize) -> Self {
        let count = VIEWS.len() as isize;
        VIEWS[(self as isize + by).rem_euclid(count) as usize].view
    }
}

/// Texts of the tabs for a width: only the numbers of the others if there is no room for all.
fn texts(shown: View, width: u16) -> [String; VIEWS.len()] {
    let all = VIEWS.map(|entry| format!(" {} {} ", entry.key, entry.name));
    let long: usize = all.iter().map(|text| text.chars().count()).sum();
    if long <= width.into() {
        return all;
    }
    VIEWS.map(|entry| match entry.view == shown {
        true => format!(" {} {} ", entry.key, entry.name),
        false => format!(" {} ", entry.key),
    })
}

/// Draws the tabs.
pub fn draw(frame: &mut Frame, area: Rect, shown: View) {
    let tabs = texts(shown, area.width).into_iter().zip(VIEWS).map(|(text, entry)| {
        Span::styled(
            text,
            match entry.view == shown {
                true => theme::KEY.add_modifier(Modifier::REVERSED),
                false => theme::FAINT,
            },
        )
    });
    frame.render_widget(Line::from_iter(tabs), area);
}

/// The view whose tab is at `column` of a row of the given width.
pub fn at(column: u16, width: u16, shown: View) -> Option<View> {
    let mut end = 0;
    texts(shown, width).into_iter().zip(VIEWS).find_map(|(text, entry)| {
        end += text.chars().count() as u16;
        (column < end).then_some(entry.view)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tabs_fit_and_are_found_where_they_are_drawn() {
        for width in [40, 60, 80, 200] {
            for view in VIEWS.map(|entry| entry.view) {
                let texts = texts(view, width);
                let long: usize = texts.iter().map(|t| t.chars().count()).sum();
                assert!(long <= width.into(), "{width}: {long}");
                let before: usize = texts[..view as usize].iter().map(|t| t.chars().count()).sum();
                assert_eq!(at(before as u16 + 1, width, view), Some(view));
            }
        }
        assert_eq!(at(199, 200, View::Log), None);
    }

    #[test]
    fn each_view_has_its_entry() {
        assert!(VIEWS.iter().all(|entry| entry.view.name() == entry.name));
    }

    #[test]
    fn beside_the_last_is_the_first() {
        assert_eq!(View::Runs.beside(1), View::Overview);
        assert_eq!(View::Overview.beside(-1), View::Runs);
    }
}
