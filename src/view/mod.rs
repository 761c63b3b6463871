//! A run's state, folded from its events. Independent of any terminal: the dashboard and the
//! headless output show the same figures from it, and replaying a recorded run gives the same
//! state.

pub mod alerts;
pub mod constant;
mod curve;
pub mod fold;
pub mod format;
mod pending;
pub mod progress;
mod recent;
pub mod report;
pub mod runs;
pub mod series;
pub mod slice_cache;
pub mod state;
mod status;
pub mod system;
pub mod text;
pub mod worker;

pub use alerts::{Alert, Alerts};
pub use curve::{Curve, Mark};
pub use fold::Fold;
pub use fold::word;
pub use progress::Progress;
pub use recent::{Mean, mean};
pub use series::{Ema, Point, Series, Smoothed, Span};
pub use state::{Crew, LogLine, State};
pub use status::Alarm;
