//! What tests, benchmarks and the fuzzer share, and no user gets: the events of a made-up run, and every
//! reader of outside data as a function of bytes.

pub mod fuzz;
pub mod script;
pub mod shared;
