//! What rsna-tui trains and how, without a terminal: see the table of modules in the `rsna_tui` crate, which
//! re-exports these.

pub mod augment;
#[doc(hidden)]
pub mod bounded;
pub mod config;
pub mod contact_sheet;
pub mod device;
pub mod net;
pub mod outline;
pub mod panics;
pub mod predict;
pub mod print;
pub mod rng;
pub mod run;
pub mod score;
pub mod selftest;
mod simd;
pub mod study;
pub mod train;
