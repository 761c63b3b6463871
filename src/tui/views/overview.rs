//! Overview: is it going well? The panes that fit, or a line for each.

use super::log;
use crate::tui::context::Context;
use crate::tui::layout;
use crate::tui::panes::crops::Gallery;
use crate::tui::panes::{compact, folds, loss, progress, schedule, vertebrae};
use ratatui::Frame;
use ratatui::layout::Rect;

/// Draws the panes; returns whether crops are among them.
pub fn draw(
    log: &mut log::View,
    gallery: &mut Gallery,
    frame: &mut Frame,
    area: Rect,
    context: &Context,
) -> bool {
    let Context { state, shown, covered, .. } = *context;
    let fold = context.fold();
    let count = state.folds.len().min(99) as u16;
    let Some(panes) = layout::panes(area, count, gallery.wanted()) else {
        compact::draw(frame, area, state, fold);
        return false;
    };
    folds::draw(frame, panes.folds, state, shown);
    progress::draw(frame, panes.progress, state);
    loss::draw(frame, panes.loss, fold, shown != state.current);
    if let Some(area) = panes.vertebrae {
        vertebrae::draw(frame, area, fold);
    }
    if let Some(area) = panes.schedule {
        schedule::draw(frame, area, state);
    }
    if let Some(area) = panes.log {
        log.draw_pane(frame, area, state);
    }
    if let Some(area) = panes.crops {
        gallery.draw(frame, area, state, covered);
    }
    panes.crops.is_some()
}
