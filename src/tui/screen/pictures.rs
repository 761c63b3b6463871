//! Pictures of the screen, and whether it moves.

use super::Screen;
use crate::run::SliceRequest;
use crate::tui::context::View;
use crate::tui::pictures::Encoder;
use crate::tui::pictures::tiles::Tiles;

impl Screen {
    fn encoders(&mut self) -> [&mut Encoder<Tiles>; 2] {
        [&mut self.views.gallery.encoder, &mut self.views.crops.encoder]
    }

    /// Moves encoding of pictures to threads of their own, which call `wake` when pictures are
    /// ready.
    pub fn encode_aside(&mut self, wake: impl Fn() + Clone + Send + 'static) {
        self.encoders().into_iter().for_each(|encoder| encoder.go_aside(wake.clone()));
    }

    /// Whether newer pictures are ready to be drawn.
    pub fn take_pictures(&mut self) -> bool {
        self.encoders().map(Encoder::take).contains(&true)
    }

    /// Encodes pictures again, after the terminal has lost its contents.
    pub fn forget_pictures(&mut self) {
        self.encoders().into_iter().for_each(Encoder::forget);
    }

    /// Returns a slice to request, once.
    pub fn take_slice_request(&mut self) -> Option<SliceRequest> {
        self.views.crops.take_slice_request()
    }

    /// Whether anything changes faster than once a second without events.
    pub fn is_animated(&self) -> bool {
        let moves = !self.state.is_over() && (!self.state.has_begun() || self.state.is_stopping());
        moves || (self.view == View::Runs && self.views.runs.is_waiting())
    }
}
