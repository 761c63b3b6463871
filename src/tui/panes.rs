//! The parts of views.

pub mod compact;
pub mod crops;
pub mod folds;
pub mod header;
pub mod loss;
pub mod progress;
pub mod schedule;
pub mod vertebrae;
pub mod workers;
