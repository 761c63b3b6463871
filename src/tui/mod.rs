//! The run as a terminal dashboard.

mod app;
mod backend;
mod capture;
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
mod progress;
mod schedule;
mod screen;
mod stray;
mod summary;
mod suspend;
mod terminal;
mod theme;
mod vertebrae;
mod wake;

pub use app::{Attachment, Exit, Signals, run};
pub use backend::{Backend, Device};
pub use crops::Pictures;
pub use keys::{BINDINGS, Binding};
pub use screen::{Reply, Screen};
pub use terminal::restore as restore_terminal;
pub use wake::Waker;
