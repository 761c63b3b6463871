//! A run's folder, and the messages between the trainer and the views.

pub mod catalogue;
pub mod channel;
pub mod claim;
pub mod command;
#[cfg(unix)]
pub mod control_socket;
pub mod event;
pub mod figure;
pub mod folder;
pub mod holder;
pub mod jobs;
pub mod journal;
pub mod latest;
mod position;
mod remote;
pub mod replay;
pub mod requests;
pub mod rules;
pub mod shared;
pub mod slurm;
pub mod status;
pub mod studies;
pub mod tensorboard;
pub mod unfinished;
mod worker;
pub mod write_errors;

pub use command::{Command, FoldAction, Request};
pub use event::Event;
pub use latest::Latest;
pub use studies::SliceRequest;
