//! What the trainer and the views say to each other, and a run's folder.

pub mod channel;
pub mod command;
pub mod event;
pub mod folder;

pub use command::Command;
pub use event::Event;
