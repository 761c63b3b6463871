//! Runs that are cut, steered from outside, or have trouble with their machine.

#[path = "../common/tiny.rs"]
mod tiny;

#[cfg(unix)]
mod alerts;
#[cfg(unix)]
mod faults;
mod resume;
#[cfg(unix)]
mod steer;
