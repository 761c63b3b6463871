//! `rsna-tui` trains the 1st place "2.5D classification with LSTM, type 2" of the RSNA 2022
//! cervical-spine-fracture competition and shows the training live in the terminal.
//!
//! | module | contents | depends on |
//! |---|---|---|
//! | [`config`] | `config.toml`: types, defaults, checks | `augment` |
//! | [`rng`] | random streams, keyed from one seed | – |
//! | [`augment`] | augmentations of a slice and their keys in `[augment]` | `rng`, `simd` |
//! | [`panics`] | the message of a panic | – |
//! | `bounded` | reading untrusted files: regular files only, up to a size limit | `print` |
//! | [`print`] | output: control characters removed, never blocked by a terminal that does not read | – |
//! | `simd` | vector instructions, chosen at run time | – |
//! | [`outline`] | the contour of a mask | – |
//! | [`axis`] | scales and round values of a chart's axes | – |
//! | [`score`] | metrics of predictions | `config`, `rng` |
//! | [`study`] | from disk (or a phantom) to a batch | `config`, `augment`, `rng` |
//! | [`contact_sheet`] | a study before and after augmentation, as an image | `study`, `outline` |
//! | [`net`] | the network and its ops | `config`, `rng` |
//! | [`run`] | events, commands, the run folder | `config`, `score` |
//! | [`train`] | the trainer thread | `study`, `net`, `run`, `score` |
//! | [`predict`] | ensemble predictions for new studies | `config`, `study`, `net`, `train`, `run`, `score` |
//! | [`selftest`] | checks that a device computes correctly | `config`, `net`, `train`, `device` |
//! | [`view`] | state folded from events | `run` |
//! | [`export`] | a chart as SVG and CSV | `axis` |
//! | [`report`] | a run as one self-contained file | `view`, `run`, `study`, `score`, `export`, `axis`, `config` |
//! | [`tui`], [`headless`] | the two front ends | `config`, `view`, `run`, `score`, `outline`, `export`, `axis` |
//! | [`cli`], [`device`], [`session`] | the parts that `main` ties together | all |
//!
//! Dependencies run one way: a view receives events and sends commands and never sees a tensor, so what
//! it shows can be recorded, replayed and tested without a trainer.

pub use rsna_tui_core::{
    augment, config, contact_sheet, device, net, outline, panics, predict, print, rng, run, score,
    selftest, study, train,
};

use rsna_tui_core::bounded;

pub mod axis;
pub mod cli;
pub mod export;
pub mod headless;
pub mod report;
pub mod session;
pub mod tui;
pub mod view;
