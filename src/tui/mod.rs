//! The run as a terminal dashboard.

mod app;
mod confirm;
mod crops;
mod fold_keys;
mod header;
mod help;
mod input;
mod key_line;
mod keys;
mod layout;
mod log;
mod loss;
mod overview;
mod pictures;
mod progress;
mod schedule;
mod screen;
mod slices;
mod summary;
mod suspend;
mod terminal;
mod theme;
mod vertebrae;

pub use app::{Attachment, Exit, Signals, run};
pub use keys::{BINDINGS, Binding};
pub use pictures::Pictures;
pub use screen::{Reply, Screen};
pub use terminal::restore as restore_terminal;
