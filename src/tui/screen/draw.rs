//! Draws the screen: header, current view, key line and overlay.

use super::{Notice, Overlay, Screen};
use crate::run::event::Level;
use crate::tui::views::{self, View};
use crate::tui::{compact, confirm, header, key_line, layout, loss, overview, progress, schedule};
use crate::tui::{slices, summary, system, theme, vertebrae};
use crate::view::Alarm;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Wrap};

/// Seconds for which a notice is shown, unless a key is pressed earlier.
const NOTICE: f64 = 8.0;

impl Screen {
    /// Draws everything. `now`: seconds since the run started.
    pub fn draw(&mut self, frame: &mut Frame, now: f64) {
        let area = frame.area();
        let alarm = self.state.alarm();
        let alarm_rows = match &alarm {
            Some(alarm) if alarm.text.chars().count() + 3 > area.width as usize => 2,
            Some(_) => 1,
            None => 0,
        };
        match layout::parts(area, alarm_rows) {
            None => too_small(frame, area),
            Some(parts) => {
                self.draw_parts(frame, &parts, now, alarm);
                match self.overlay {
                    Some(Overlay::Help) => self.help.draw(frame, area, &self.keys, self.view),
                    Some(Overlay::Summary) => summary::draw(frame, area, &self.state),
                    Some(Overlay::Confirm(question)) => {
                        confirm::draw(frame, area, question, &self.state);
                    }
                    None => {}
                }
            }
        }
        self.appearance.apply(frame.buffer_mut());
    }

    fn draw_parts(
        &mut self,
        frame: &mut Frame,
        parts: &layout::Parts,
        now: f64,
        alarm: Option<Alarm>,
    ) {
        header::draw(frame, parts.header, &self.state, now);
        views::draw(frame, parts.tabs, self.view);
        if let (Some(area), Some(Alarm { level, text })) = (parts.alarm, alarm) {
            let (mark, style) = match level {
                Level::Error => ("×", theme::ALARM),
                _ => ("!", theme::WARN),
            };
            let line = Line::from(format!("{mark} {text}")).style(style);
            frame.render_widget(Paragraph::new(line).wrap(Wrap { trim: true }), area);
        }
        self.tabs = parts.tabs;
        let crops = self.draw_view(frame, parts.body, now);
        match &mut self.notice {
            Some(Notice { until: Some(until), .. }) if now > *until => self.notice = None,
            Some(Notice { until, .. }) => *until = until.or(Some(now + NOTICE)),
            None => {}
        }
        match &self.notice {
            Some(notice) => key_line::notice(frame, parts.keys, &notice.text, notice.done),
            None => {
                let (state, fold, view) = (&self.state, self.fold(), self.view);
                let context = key_line::Context { state, fold, view, keys: &self.keys, crops };
                key_line::draw(frame, parts.keys, &context);
            }
        }
    }

    /// Draws the current view; returns whether it shows crops.
    fn draw_view(&mut self, frame: &mut Frame, area: Rect, now: f64) -> bool {
        match self.view {
            View::Overview => return self.draw_overview(frame, area),
            View::Curves => {
                let shown = self.shown();
                self.curves.draw(frame, area, &self.state, shown);
            }
            View::Runs => self.runs.draw(frame, area, &self.state, now),
            View::Vertebrae => self.levels.draw(frame, area, self.fold()),
            View::Folds => self.folds.draw(frame, area, &self.state, self.shown()),
            View::System => system::draw(frame, area, &self.state),
            View::Crops => {
                let context = slices::Context {
                    state: &self.state,
                    fold: self.state.folds.get(self.shown()),
                    raw: self.pictures.raw(),
                    covered: self.overlay.is_some(),
                    now,
                };
                self.slices.draw(frame, area, &context);
                return true;
            }
            View::Log => self.log.draw(frame, area, &self.state),
        }
        false
    }

    fn draw_overview(&mut self, frame: &mut Frame, area: Rect) -> bool {
        let folds = self.state.folds.len().min(99) as u16;
        let Some(panes) = layout::panes(area, folds, self.pictures.wanted()) else {
            compact::draw(frame, area, &self.state, self.fold());
            return false;
        };
        let state = &self.state;
        let shown = self.shown();
        overview::draw(frame, panes.overview, state, shown);
        progress::draw(frame, panes.progress, state);
        loss::draw(frame, panes.loss, self.fold(), shown != state.current);
        if let Some(area) = panes.vertebrae {
            vertebrae::draw(frame, area, self.fold());
        }
        if let Some(area) = panes.schedule {
            schedule::draw(frame, area, state);
        }
        if let Some(area) = panes.log {
            self.log.draw_pane(frame, area, state);
        }
        if let Some(area) = panes.crops {
            let covered = self.overlay.is_some();
            self.pictures.draw(frame, area, &self.state, covered);
        }
        panes.crops.is_some()
    }
}

fn too_small(frame: &mut Frame, area: Rect) {
    let (width, height) = layout::MINIMUM;
    let text = format!("terminal too small: {width}×{height} needed");
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
}
