//! Mouse input, if enabled by `ui.mouse`.

use super::{Overlay, Reply, Screen};
use crate::tui::keys::Scroll;
use crate::tui::views::{self, View};
use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};

/// Lines per notch of the wheel.
const NOTCH: usize = 3;

impl Screen {
    /// Handles a mouse event. Clicks select tabs and place the chart's cursor, dragging pans the
    /// chart, and the wheel zooms it; elsewhere the wheel scrolls.
    pub fn mouse(&mut self, event: &MouseEvent) -> Reply {
        let wheel = match event.kind {
            MouseEventKind::ScrollUp => Some(Scroll::Up),
            MouseEventKind::ScrollDown => Some(Scroll::Down),
            _ => None,
        };
        if let Some(wheel) = wheel {
            self.roll(wheel, event.column);
            return Reply::Nothing;
        }
        match event.kind {
            MouseEventKind::Down(MouseButton::Left) if event.row == self.tabs.y => {
                if let Some(view) = views::at(event.column, self.tabs.width, self.view) {
                    self.show(view);
                }
            }
            MouseEventKind::Down(MouseButton::Left) if self.view == View::Curves => {
                self.curves.lens().point_at(event.column);
                self.dragged_from = Some(event.column);
            }
            MouseEventKind::Drag(MouseButton::Left) if self.view == View::Curves => {
                if let Some(from) = self.dragged_from.replace(event.column) {
                    self.curves.lens().drag(i32::from(event.column) - i32::from(from));
                }
            }
            MouseEventKind::Up(_) => self.dragged_from = None,
            _ => {}
        }
        Reply::Nothing
    }

    fn roll(&mut self, wheel: Scroll, column: u16) {
        for _ in 0..NOTCH {
            match (self.overlay, self.view) {
                (Some(Overlay::Help), _) => self.help.scroll(wheel),
                (Some(_), _) => {}
                (None, View::Runs) => return self.runs.scroll(wheel),
                (None, View::Vertebrae) => return self.levels.scroll(wheel),
                (None, View::Curves) => {
                    let factor = if wheel == Scroll::Up { 0.8 } else { 1.25 };
                    return self.curves.lens().zoom_at(factor, column);
                }
                (None, view) => self.log.scroll(wheel, &self.state, view == View::Log),
            }
        }
    }
}
