//! `rsna-tui` trains the RSNA 2022 cervical-spine-fracture 1st place "2.5D classification with
//! LSTM, type 2" and shows the training live in the terminal.
//!
//! | module | what it holds | knows of |
//! |---|---|---|
//! | [`config`] | `config.toml`: types, defaults, checks | – |
//! | [`rng`] | one seed, keyed streams | – |
//! | [`panics`] | what a panic said | – |
//! | `bounded` | regular files from elsewhere, up to a bound | `print` |
//! | [`print`] | text as it leaves the program: clean, and without waiting for a terminal that does not read | – |
//! | `simd` | vectors chosen at run time | – |
//! | [`outline`] | where a mask ends | – |
//! | [`score`] | how good predictions are | `config`, `rng` |
//! | [`study`] | from disk (or a phantom) to a batch | `config`, `rng` |
//! | [`contact_sheet`] | a study before and after augmentation, as a picture | `study`, `outline` |
//! | [`net`] | the network and its ops | `config`, `rng` |
//! | [`run`] | events, commands, the run's folder | `config`, `score` |
//! | [`train`] | the trainer thread | `study`, `net`, `run`, `score` |
//! | [`predict`] | an ensemble over studies that nobody trains on | `config`, `study`, `net`, `train`, `run`, `score` |
//! | [`selftest`] | whether a device computes right | `config`, `net`, `train`, `device` |
//! | [`view`] | state folded from events | `run` |
//! | [`export`] | a chart as SVG and CSV | – |
//! | [`report`] | a run as one file to send | `view`, `run`, `study`, `score`, `export`, `config` |
//! | [`tui`], [`headless`] | the two front ends | `config`, `view`, `run`, `score`, `outline`, `export` |
//! | [`cli`], [`device`], [`session`] | what `main` ties them together with | all |
//! | `fuzz` | what reads from outside, as functions of bytes | all |
//!
//! The arrows run one way: a view hears events and sends commands and never sees a tensor, so
//! that what it shows can be recorded, replayed and tested without a trainer.

pub(crate) mod bounded;
pub mod cli;
pub mod config;
pub mod contact_sheet;
pub mod device;
pub mod export;
#[doc(hidden)]
pub mod fuzz;
pub mod headless;
pub mod net;
pub mod outline;
pub mod panics;
pub mod predict;
pub mod print;
pub mod report;
pub mod rng;
pub mod run;
pub mod score;
pub mod selftest;
pub mod session;
pub(crate) mod simd;
pub mod study;
pub mod train;
pub mod tui;
pub mod view;
