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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Panes {
    pub folds: Rect,
    pub progress: Rect,
    pub loss: Rect,
    pub vertebrae: Option<Rect>,
    pub crops: Option<Rect>,
    pub schedule: Option<Rect>,
    pub log: Option<Rect>,
}

/// Computes the panes of `body`; `None` if it is too small. `folds`: number of folds;
/// `crops`: whether there is a pane of crops.
pub fn panes(body: Rect, folds: u16, crops: bool) -> Option<Panes> {
    if body.width < OVERVIEW.0 || body.height < OVERVIEW.1 {
        return None;
    }
    Some(match body.width >= 104 && body.height >= 29 {
        true => wide(body, folds, crops),
        false => small(body, folds, crops),
    })
}

/// Rows of the folds' table, including its frame and heading.
fn fold_rows(folds: u16, most: u16) -> u16 {
    (folds + 3).clamp(8, most.max(8))
}

/// Two columns: figures on the left, progress and pictures on the right.
fn wide(body: Rect, folds: u16, crops: bool) -> Panes {
    use Constraint::{Fill, Length, Percentage};
    let right_width = (body.width * 2 / 5).clamp(44, 96);
    let [left, right] = Layout::horizontal([Fill(1), Length(right_width)]).areas(body);
    let high = body.height >= 44;
    let top = fold_rows(folds, body.height / 3);
    // Vertebrae, study head and AUCs, with a frame.
    let low = if high { 13 } else { 11 };
    let [folds, loss, low] = Layout::vertical([Length(top), Fill(1), Length(low)]).areas(left);
    let [vertebrae, schedule] = Layout::horizontal([Percentage(46), Fill(1)]).areas(low);
    let [progress, rest] = Layout::vertical([Length(8), Fill(1)]).areas(right);
    let (crops, schedule, log) = match (crops, high) {
        (true, true) => {
            // Two rows of good pictures suffice; the log gets the rest.
            let log = rest.height.saturating_sub(42).max(8);
            let [crops, log] = Layout::vertical([Fill(1), Length(log)]).areas(rest);
            (Some(crops), schedule, log)
        }
        (true, false) => {
            let [schedule, log] = Layout::vertical([Length(6), Fill(1)]).areas(schedule);
            (Some(rest), schedule, log)
        }
        (false, _) => (None, schedule, rest),
    };
    let (vertebrae, schedule, log) = (Some(vertebrae), Some(schedule), Some(log));
    Panes { folds, progress, loss, vertebrae, crops, schedule, log }
}

/// Folds and progress at the top; loss, vertebrae and a picture below; a log if there is enough
/// height.
fn small(body: Rect, folds: u16, crops: bool) -> Panes {
    use Constraint::{Fill, Length};
    let top = fold_rows(folds, body.height / 3).min(body.height / 2);
    let log = if body.height >= 32 { body.height / 5 } else { 0 };
    let [upper, lower, log] = Layout::vertical([Length(top), Fill(1), Length(log)]).areas(body);
    let progress = if body.width >= 76 { 30 } else { 24 };
    let [folds, progress] = Layout::horizontal([Fill(1), Length(progress)]).areas(upper);
    let crop_width = match crops && body.width >= 76 && lower.height >= 10 {
        // In cells, a half-block picture is twice as wide as high.
        true => (2 * lower.height.saturating_sub(4) + 2).clamp(20, body.width / 3),
        false => 0,
    };
    let [loss, vertebrae, crops] =
        Layout::horizontal([Fill(1), Length(19), Length(crop_width)]).areas(lower);
    let there = |area: Rect| (!area.is_empty()).then_some(area);
    let (crops, log) = (there(crops), there(log));
    Panes { folds, progress, loss, vertebrae: Some(vertebrae), crops, schedule: None, log }
}
