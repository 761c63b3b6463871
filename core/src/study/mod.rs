//! Reads studies from disk, or draws phantom ones, and makes batches of them.
//!
//! | file | contents |
//! |---|---|
//! | [`table`] | the CSV of studies: labels of C1..C7 and folds |
//! | [`record`] | the studies that a run was trained on, kept in its folder |
//! | [`slice_source`] | trait for reading the pixels of a slice |
//! | [`slices`] | a source: the `.npy` files of the crops |
//! | [`phantom`] | a source: drawn vertebrae for the demo and the tests |
//! | [`batch`] | order of a study's images, mixup, conversion to the network's input format |
//! | [`loader`] | worker threads that prepare a fold's batches ahead of the trainer |
//! | [`constant`] | crops in which all pixels are the same |
//! | [`Images`] | the pixels of a study, in a reusable buffer |
//!
//! A *slice* is one `.npy` file, uint8 `[H, W, 6]`: five neighbouring CT planes and the vertebra's
//! mask. A *study* has 7 vertebrae × 15 slices = 105 slices. All randomness is keyed
//! ([`crate::rng`]), so batches do not depend on the number of workers or on where an epoch
//! is resumed.

pub mod batch;
mod buffers;
pub mod constant;
pub mod loader;
pub mod phantom;
pub mod record;
pub mod slice_source;
pub mod slices;
pub mod table;

pub use batch::{Batch, Mixup, Recipe, study_order};
pub use buffers::Images;
pub use constant::Constant;
pub use loader::{Loader, Skipped};
pub use phantom::Phantom;
pub use record::Record;
pub use slice_source::{Checked, SliceSource};
pub use slices::NpyFolder;
pub use table::{Study, Table, prevalence};

use std::path::PathBuf;
use std::sync::Arc;

/// Index of a slice in its study, independent of shuffles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SliceIndex {
    /// 0..7 for C1..C7.
    pub vertebra: u8,
    /// 0-based within the vertebra.
    pub slice: u8,
}

impl SliceIndex {
    /// Returns the index of the `n`-th slice of a study with `slices` slices per vertebra.
    pub fn of(n: usize, slices: usize) -> Self {
        Self { vertebra: (n / slices) as u8, slice: (n % slices) as u8 }
    }
}

/// Reasons why no batch can be made: one sentence that names the file, row or key, and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The table cannot be read at all.
    #[error("cannot read the table {}: {source}; give the CSV of the studies as {key}", path.display())]
    TableUnreadable {
        /// The CSV.
        path: PathBuf,
        /// Reason.
        source: std::io::Error,
        /// The setting that names the table: `data.table` or `--studies`.
        key: &'static str,
    },
    /// The file is not a CSV.
    #[error("the table {} is {what}, not a CSV (UTF-8 text with commas between the cells); {advice}", path.display())]
    TableKind {
        /// The file.
        path: PathBuf,
        /// Its actual format.
        what: &'static str,
        /// Remedy.
        advice: &'static str,
    },
    /// The table is readable but has errors.
    #[error("the table {} has {total} problem{}: {shown}; correct it, or give another as {key}", path.display(), plural(*total))]
    Table {
        /// The CSV.
        path: PathBuf,
        /// Number of problems.
        total: usize,
        /// The first problems, with line and column.
        shown: String,
        /// The setting that names the table: `data.table` or `--studies`.
        key: &'static str,
    },
    /// A chosen fold has no validation studies.
    #[error("fold {fold} has no study: the table holds fold{} {folds}; choose among them in train.folds", plural(*count))]
    FoldEmpty {
        /// The fold of `train.folds`.
        fold: usize,
        /// Number of folds in the table.
        count: usize,
        /// The folds of the table.
        folds: String,
    },
    /// A chosen fold has fewer training studies than a batch.
    #[error("fold {fold} trains on {studies} stud{}, fewer than train.batch_size = {batch_size}, and a short batch is dropped, so no step would be left; {}", if *studies == 1 { "y" } else { "ies" }, advice_batch_size(*studies))]
    FoldSmall {
        /// The fold of `train.folds`.
        fold: usize,
        /// Number of studies in the other folds.
        studies: usize,
        /// `train.batch_size`.
        batch_size: usize,
    },
    /// The folder of crops cannot be read.
    #[error("cannot read the folder data.dir = {}: {source}; set data.dir to the folder of the .npy crops", dir.display())]
    DataDir {
        /// `data.dir`.
        dir: PathBuf,
        /// Reason.
        source: std::io::Error,
    },
    /// The folder contains no crops.
    #[error("{} holds no crops: expected files {{StudyInstanceUID}}_{{1..7}}_{{slice}}.npy; give another folder", dir.display())]
    NoCrops {
        /// The folder.
        dir: PathBuf,
    },
    /// A slice cannot be used.
    #[error("study {study} C{} slice {}: {} {problem}", at.vertebra + 1, at.slice, path.display())]
    Slice {
        /// StudyInstanceUID.
        study: Arc<str>,
        /// The slice.
        at: SliceIndex,
        /// The `.npy` file.
        path: PathBuf,
        /// The problem, as the rest of a sentence.
        problem: String,
    },
    /// All problems found by the check before training.
    #[error("{total} of {files} slice files under data.dir = {} cannot be used: {shown}; restore these files or leave their studies out of data.table", dir.display())]
    Slices {
        /// `data.dir`.
        dir: PathBuf,
        /// Number of files that cannot be used.
        total: usize,
        /// Number of files checked.
        files: usize,
        /// The first problems.
        shown: String,
    },
    /// The folder for phantoms is not empty.
    #[error("{} is not empty; give a new or empty folder to write phantom studies to", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// A phantom of this size or number cannot be drawn.
    #[error("phantom {what} = {value}: expected {expected}")]
    Phantom {
        /// The quantity.
        what: &'static str,
        /// Its value.
        value: usize,
        /// Allowed values.
        expected: &'static str,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {reason}; check the free space and the rights of the folder", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Reason.
        reason: String,
    },
    /// A study cannot be read during training.
    #[error(
        "{source} (tried {tries} times); restore it, or set data.on_error = \"skip\" to train without such studies"
    )]
    Unreadable {
        /// The problem, with the file.
        source: Box<Error>,
        /// Number of attempts.
        tries: usize,
    },
    /// All batches of a pass were lost because their studies cannot be read.
    #[error(
        "no batch of {what} could be made, so many of its studies cannot be read; the first: {first}; restore the files under data.dir"
    )]
    NothingLeft {
        /// The pass: a training epoch or the validation.
        what: String,
        /// The problem with the first of them.
        first: String,
    },
    /// A worker panicked: a bug in the program, not in the data.
    #[error(
        "a loader thread panicked on study {study}: {message}; this is a fault of rsna-tui, please report it"
    )]
    Panic {
        /// StudyInstanceUID.
        study: Arc<str>,
        /// Message of the panic.
        message: String,
    },
    /// The system cannot start a thread.
    #[error(
        "cannot start a loader thread: {source}; lower data.workers or raise the limit on threads"
    )]
    Threads {
        /// Reason.
        source: std::io::Error,
    },
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

fn advice_batch_size(studies: usize) -> String {
    match studies {
        0 | 1 => "add studies to data.table or leave the fold out of train.folds".into(),
        n => format!("set train.batch_size to at most {n}"),
    }
}

/// Joins the first `most` of `items` by `; `, and adds how many more there are.
fn first_of<T: std::fmt::Display>(items: &[T], most: usize) -> String {
    let mut text: Vec<String> = items.iter().take(most).map(T::to_string).collect();
    if items.len() > most {
        text.push(format!("and {} more", items.len() - most));
    }
    text.join("; ")
}

#[cfg(test)]
pub(crate) mod golden {
    //! Reads the golden test cases if they are present.

    use std::path::Path;

    /// Reads a file of the golden folder. Prints a message and returns `None` if it is missing.
    pub fn read(name: &str) -> Option<Vec<u8>> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let dirs = ["tests/golden", "../shared/golden"];
        let found = dirs.iter().find_map(|dir| std::fs::read(root.join(dir).join(name)).ok());
        if found.is_none() {
            println!("skipped: {name} is neither in {} nor in {}", dirs[0], dirs[1]);
        }
        found
    }
}
