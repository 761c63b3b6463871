//! Mouse input, if enabled by `ui.mouse`.

use super::{Overlay, Reply, Screen};
use crate::tui::action::Scroll;
use crate::tui::context::View;
use crate::tui::views;
use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};

impl Screen {
    /// Handles a mouse event. Clicks select tabs and place the chart's cursor, dragging pans the
    /// chart, and the wheel zooms it; elsewhere the wheel scrolls.
    pub fn mouse(&mut self, event: &MouseEvent) -> Reply {
        let chart = self.view == View::Curves;
        match event.kind {
            MouseEventKind::ScrollUp => self.roll(Scroll::Up, event.column),
            MouseEventKind::ScrollDown => self.roll(Scroll::Down, event.column),
            MouseEventKind::Down(MouseButton::Left) if event.row == self.tabs.y => {
                if let Some(view) = views::at(event.column, self.tabs.width, self.view) {
                    self.show(view);
                }
            }
            MouseEventKind::Down(MouseButton::Left) if chart => {
                self.views.curves.lens().point_at(event.column);
                self.dragged_from = Some(event.column);
            }
            MouseEventKind::Drag(MouseButton::Left) if chart => {
                if let Some(from) = self.dragged_from.replace(event.column) {
                    self.views.curves.lens().drag(i32::from(event.column) - i32::from(from));
                }
            }
            MouseEventKind::Up(_) => self.dragged_from = None,
            _ => {}
        }
        Reply::Nothing
    }

    fn roll(&mut self, wheel: Scroll, column: u16) {
        match self.overlay {
            Some(Overlay::Help) => (0..views::NOTCH).for_each(|_| self.help.scroll(wheel)),
            Some(_) => {}
            None if self.view == View::Curves => {
                let factor = if wheel == Scroll::Up { 0.8 } else { 1.25 };
                self.views.curves.lens().zoom_at(factor, column);
            }
            None => {
                let (view, views, context) = self.current(self.state.at);
                if let Some((rows, scroll)) = view.scroll {
                    (0..rows).for_each(|_| scroll(views, wheel, &context));
                }
            }
        }
    }
}
