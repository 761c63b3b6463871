//! Terminal dashboard of a run.

mod action;
mod app;
mod appearance;
mod backend;
mod capture;
mod confirm;
mod context;
mod decode;
mod fold_keys;
mod heat;
mod help;
mod input;
mod key_line;
mod keys;
mod layout;
mod panes;
mod pictures;
mod plot;
mod range;
mod screen;
mod stray;
mod summary;
mod suspend;
mod terminal;
mod theme;
mod tty;
mod views;
#[cfg(unix)]
mod wait;
mod wake;

pub use action::Action;
pub use app::{Attachment, Exit, Settings, Signals, run};
pub use appearance::{Appearance, Depth, Ground};
pub use backend::{Backend, Device};
pub use context::View;
pub use keys::{BINDINGS, Binding, Keymap};
pub use pictures::Pictures;
pub use screen::{Reply, Screen};
pub use terminal::restore as restore_terminal;
pub use views::VIEWS;
pub use views::runs::Answer;
pub use wake::Waker;
