//! Layout of the panes for a given size.

use ratatui::layout::{Constraint, Layout, Rect};

/// Minimum size; on smaller terminals only a message is shown.
pub const MINIMUM: (u16, u16) = (40, 12);
/// Minimum size for the overview's panes; below it the compact overview is shown.
const OVERVIEW: (u16, u16) = (60, 13);

/// Parts of the screen common to all views; `None` = no room for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    pub header: Rect,
    pub tabs: Rect,
    pub alarm: Option<Rect>,
    pub body: Rect,
    pub keys: Rect,
}

/// Computes the parts of `area`; `None` if it is too small. `alarm`: rows reserved for the alarm.
pub fn parts(area: Rect, alarm: u16) -> Option<Parts> {
    if area.width < MINIMUM.0 || area.height < MINIMUM.1 {
        return None;
    }
    let rows = [1, 1, alarm].map(Constraint::Length);
    let [header, tabs, alarm_area, body, keys] =
        Layout::vertical(rows.into_iter().chain([Constraint::Fill(1), Constraint::Length(1)]))
            .areas(area);
    Some(Parts { header, tabs, alarm: (alarm > 0).then_some(alarm_area), body, keys })
}

/// Areas of the overview's panes; `None` = no room for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Panes {
    pub overview: Rect,
    pub progress: Rect,
    pub loss: Rect,
    pub vertebrae: Option<Rect>,
    pub crops: Option<Rect>,
    pub schedule: Option<Rect>,
    pub log: Option<Rect>,
}

/// Computes the panes of `body`; `None` if it is too small. `folds`: number of folds in the
/// overview; `crops`: whether there is a pane of crops.
pub fn panes(body: Rect, folds: u16, crops: bool) -> Option<Panes> {
    if body.width < OVERVIEW.0 || body.height < OVERVIEW.1 {
        return None;
    }
    let panes = Panes::default();
    Some(match body.width >= 104 && body.height >= 29 {
        true => wide(panes, body, folds, crops),
        false => small(panes, body, folds, crops),
    })
}

/// Rows of the overview, including its frame and heading.
fn overview_rows(folds: u16, most: u16) -> u16 {
    (folds + 3).clamp(8, most.max(8))
}

/// Two columns: figures on the left, progress and pictures on the right.
fn wide(mut panes: Panes, body: Rect, folds: u16, crops: bool) -> Panes {
    let right_width = (body.width * 2 / 5).clamp(44, 96);
    let [left, right] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(right_width)]).areas(body);
    let top = overview_rows(folds, body.height / 3);
    // Vertebrae, study head and AUCs, with a frame.
    let low = if body.height >= 44 { 13 } else { 11 };
    let [overview, loss, low] =
        Layout::vertical([Constraint::Length(top), Constraint::Fill(1), Constraint::Length(low)])
            .areas(left);
    panes.overview = overview;
    panes.loss = loss;
    let [vertebrae, schedule] =
        Layout::horizontal([Constraint::Percentage(46), Constraint::Fill(1)]).areas(low);
    panes.vertebrae = Some(vertebrae);
    let [progress, rest] =
        Layout::vertical([Constraint::Length(8), Constraint::Fill(1)]).areas(right);
    panes.progress = progress;
    match (crops, body.height >= 44) {
        (true, true) => {
            // Two rows of good pictures suffice; the log gets the rest.
            let log = rest.height.saturating_sub(42).max(8);
            let [crops, log] =
                Layout::vertical([Constraint::Fill(1), Constraint::Length(log)]).areas(rest);
            (panes.crops, panes.log, panes.schedule) = (Some(crops), Some(log), Some(schedule));
        }
        (true, false) => {
            let [schedule, log] =
                Layout::vertical([Constraint::Length(6), Constraint::Fill(1)]).areas(schedule);
            (panes.crops, panes.log, panes.schedule) = (Some(rest), Some(log), Some(schedule));
        }
        (false, _) => (panes.log, panes.schedule) = (Some(rest), Some(schedule)),
    }
    panes
}

/// Overview and progress at the top; loss, vertebrae and a picture below; a log if there is enough
/// height.
fn small(mut panes: Panes, body: Rect, folds: u16, crops: bool) -> Panes {
    let top = overview_rows(folds, body.height / 3).min(body.height / 2);
    let log = if body.height >= 32 { body.height / 5 } else { 0 };
    let [upper, lower, log_area] =
        Layout::vertical([Constraint::Length(top), Constraint::Fill(1), Constraint::Length(log)])
            .areas(body);
    panes.log = (log > 0).then_some(log_area);
    let [overview, progress] = Layout::horizontal([
        Constraint::Fill(1),
        Constraint::Length(if body.width >= 76 { 30 } else { 24 }),
    ])
    .areas(upper);
    (panes.overview, panes.progress) = (overview, progress);
    let crop_width = match crops && body.width >= 76 && lower.height >= 10 {
        // In cells, a half-block picture is twice as wide as high.
        true => (2 * lower.height.saturating_sub(4) + 2).clamp(20, body.width / 3),
        false => 0,
    };
    let [loss, vertebrae, crops] = Layout::horizontal([
        Constraint::Fill(1),
        Constraint::Length(19),
        Constraint::Length(crop_width),
    ])
    .areas(lower);
    (panes.loss, panes.vertebrae) = (loss, Some(vertebrae));
    panes.crops = (crop_width > 0).then_some(crops);
    panes
}
