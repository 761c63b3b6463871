//! Runs that are cut, steered from outside, or have trouble with their machine.

#[cfg(unix)]
mod alerts;
#[cfg(unix)]
mod faults;
mod resume;
#[cfg(unix)]
mod steer;
