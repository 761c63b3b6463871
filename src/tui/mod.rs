//! The run as a terminal dashboard.

mod app;
mod confirm;
mod crops;
mod help;
mod input;
mod keys;
mod layout;
mod log;
mod loss;
mod overview;
mod progress;
mod schedule;
mod screen;
mod summary;
mod terminal;
mod theme;
mod vertebrae;

pub use app::{Exit, Signals, run};
pub use crops::Pictures;
pub use screen::{Reply, Screen};
pub use terminal::restore as restore_terminal;
