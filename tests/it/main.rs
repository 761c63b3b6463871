//! All integration tests as one program: one link instead of one per file, and helpers are shared without
//! being compiled again. `cargo test --test it screens::` runs one module.

mod backbones;
mod broken_data;
mod cli;
mod determinism;
mod fuzz_seeds;
mod golden;
#[cfg(all(feature = "cuda", unix))]
mod gpu;
mod headless;
#[cfg(feature = "hub")]
mod hub;
mod instructions;
#[cfg(unix)]
mod irregular_files;
#[cfg(unix)]
mod kernels;
mod monkey;
mod outputs;
mod predict;
#[cfg(unix)]
mod pty;
mod recovery;
mod reference;
mod report;
mod scaler;
mod screens;
mod selftest;
mod shared;
mod shared_scores;
#[cfg(unix)]
mod slurm;
mod tensorboard;
mod tiny;
mod trained_on;
mod weights;
#[cfg(unix)]
mod workers;
