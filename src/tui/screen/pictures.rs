//! Pictures of the screen, and whether it moves.

use super::*;

impl Screen {
    /// Moves encoding of pictures to threads of their own, which call `wake` when pictures are
    /// ready.
    pub fn encode_aside(&mut self, wake: impl Fn() + Clone + Send + 'static) {
        self.pictures.go_aside(wake.clone());
        self.slices.go_aside(wake);
    }

    /// Whether newer pictures are ready to be drawn.
    pub fn take_pictures(&mut self) -> bool {
        self.pictures.take() | self.slices.take()
    }

    /// Returns a slice to request, once.
    pub fn take_slice_request(&mut self) -> Option<SliceRequest> {
        self.slices.take_slice_request()
    }

    /// Encodes pictures again, after the terminal has lost its contents.
    pub fn forget_pictures(&mut self) {
        self.pictures.forget();
        self.slices.forget();
    }

    /// Whether anything changes faster than once a second without events.
    pub fn is_animated(&self) -> bool {
        (self.view == View::Runs && self.runs.is_waiting()) || self.moves()
    }

    fn moves(&self) -> bool {
        !self.state.is_over() && (!self.state.has_begun() || self.state.is_stopping())
    }
}
