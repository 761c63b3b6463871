//! Draws the screen: header, current view, key line and overlay.

use super::{Notice, Overlay, Screen};
use crate::run::event::Level;
use crate::tui::panes::header;
use crate::tui::{confirm, key_line, layout, summary, theme, views};
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
                    Some(Overlay::Help) => {
                        let shown = (self.view, self.state.shared);
                        self.help.draw(frame, area, &self.keys, shown);
                    }
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
        self.views.crops_shown = false;
        let (view, views, context) = self.current(now);
        (view.draw)(views, frame, parts.body, &context);
        match &mut self.notice {
            Some(Notice { until: Some(until), .. }) if now > *until => self.notice = None,
            Some(Notice { until, .. }) => *until = until.or(Some(now + NOTICE)),
            None => {}
        }
        match &self.notice {
            Some(notice) => key_line::notice(frame, parts.keys, &notice.text, notice.done),
            None => {
                let (crops, keys, view) = (self.views.crops_shown, &self.keys, self.view);
                let context =
                    key_line::Context { state: &self.state, fold: self.fold(), view, keys, crops };
                key_line::draw(frame, parts.keys, &context);
            }
        }
    }
}

fn too_small(frame: &mut Frame, area: Rect) {
    let (width, height) = layout::MINIMUM;
    let text = format!("terminal too small: {width}×{height} needed");
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
}
