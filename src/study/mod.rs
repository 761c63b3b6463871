//! From disk, or from made-up studies, to a batch.
//!
//! | file | what it holds |
//! |---|---|
//! | [`table`] | the CSV of studies: labels of C1..C7 and folds |
//! | [`record`] | the studies that a run was trained on, kept in its folder |
//! | [`slice_source`] | where a slice's pixels come from, as a trait |
//! | [`slices`] | a source: the `.npy` files of the crops |
//! | [`phantom`] | a source: made-up vertebrae for the demo and the tests |
//! | [`augment`] | one transform a file, and the pipeline that strings them together |
//! | [`batch`] | one study's images in their order, mixup, pixels as the network takes them |
//! | [`loader`] | worker threads that fill a fold's batches ahead of the trainer |
//! | [`constant`] | crops without a picture: every pixel the same |
//! | [`single_slice`] | one slice by itself, raw and augmented |
//! | [`Images`] | a study's pixels, in a buffer that is used again |
//!
//! A *slice* is one `.npy` file, uint8 `[H, W, 6]`: five neighbouring CT planes and the vertebra's
//! mask. A *study* is 7 vertebrae × 15 slices = 105 of them. All randomness is keyed
//! ([`crate::rng`]), so the batches do not depend on the number of workers or on where an epoch
//! is resumed.

pub mod augment;
pub mod batch;
mod buffers;
pub mod constant;
pub mod loader;
pub mod phantom;
pub mod record;
pub mod single_slice;
pub mod slice_source;
pub mod slices;
pub mod table;

pub use batch::{Batch, Mixup, SliceIndex, study_order};
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

/// Why no batch can be made: one sentence that names file, row or key, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The table cannot be read at all.
    #[error("cannot read the table {}: {source}; give the CSV of the studies as {key}", path.display())]
    TableUnreadable {
        /// The CSV.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
        /// What names the table: `data.table` or `--studies`.
        key: &'static str,
    },
    /// The file is something else than a CSV.
    #[error("the table {} is {what}, not a CSV (UTF-8 text with commas between the cells); {advice}", path.display())]
    TableKind {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// The table was read, and is wrong.
    #[error("the table {} has {total} problem{}: {shown}; correct it, or give another as {key}", path.display(), plural(*total))]
    Table {
        /// The CSV.
        path: PathBuf,
        /// How many things are wrong.
        total: usize,
        /// The first of them, with line and column.
        shown: String,
        /// What names the table: `data.table` or `--studies`.
        key: &'static str,
    },
    /// A chosen fold validates on nothing.
    #[error("fold {fold} has no study: the table holds fold{} {folds}; choose among them in train.folds", plural(*count))]
    FoldEmpty {
        /// The fold of `train.folds`.
        fold: usize,
        /// Number of folds in the table.
        count: usize,
        /// The folds of the table.
        folds: String,
    },
    /// A chosen fold trains on less than a batch.
    #[error("fold {fold} trains on {studies} stud{}, fewer than train.batch_size = {batch_size}, and a short batch is dropped, so no step would be left; {}", if *studies == 1 { "y" } else { "ies" }, advice_batch_size(*studies))]
    FoldSmall {
        /// The fold of `train.folds`.
        fold: usize,
        /// Studies of the other folds.
        studies: usize,
        /// `train.batch_size`.
        batch_size: usize,
    },
    /// The folder of crops is missing or closed.
    #[error("cannot read the folder data.dir = {}: {source}; set data.dir to the folder of the .npy crops", dir.display())]
    DataDir {
        /// `data.dir`.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A folder without crops.
    #[error("{} holds no crops: expected files {{StudyInstanceUID}}_{{1..7}}_{{slice}}.npy; give another folder", dir.display())]
    NoCrops {
        /// The folder.
        dir: PathBuf,
    },
    /// One slice cannot be used.
    #[error("study {study} C{} slice {slice}: {} {problem}", vertebra + 1, path.display())]
    Slice {
        /// StudyInstanceUID.
        study: Arc<str>,
        /// 0..7 for C1..C7.
        vertebra: usize,
        /// 0-based.
        slice: usize,
        /// The `.npy` file.
        path: PathBuf,
        /// What is wrong, as the rest of a sentence.
        problem: String,
    },
    /// What the check before training found: everything at once.
    #[error("{total} of {files} slice files under data.dir = {} cannot be used: {shown}; restore these files or leave their studies out of data.table", dir.display())]
    Slices {
        /// `data.dir`.
        dir: PathBuf,
        /// Files that cannot be used.
        total: usize,
        /// Files looked at.
        files: usize,
        /// The first of them.
        shown: String,
    },
    /// Phantoms are never written among other files.
    #[error("{} is not empty; give a new or empty folder to write phantom studies to", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// What was asked of the phantom cannot be drawn.
    #[error("phantom {what} = {value}: expected {expected}")]
    Phantom {
        /// The quantity.
        what: &'static str,
        /// As given.
        value: usize,
        /// What is allowed.
        expected: &'static str,
    },
    /// A file could not be written.
    #[error("cannot write {}: {reason}; check the free space and the rights of the folder", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A study cannot be read, now that training is under way.
    #[error(
        "{source} (tried {tries} times); restore it, or set data.on_error = \"skip\" to train without such studies"
    )]
    Unreadable {
        /// What is wrong, and with which file.
        source: Box<Error>,
        /// How often it was tried.
        tries: usize,
    },
    /// So many studies were left out that nothing is left.
    #[error(
        "no batch of {what} could be made, so many of its studies cannot be read; the first: {first}; restore the files under data.dir"
    )]
    NothingLeft {
        /// The training epoch or the validation.
        what: String,
        /// What was wrong with the first of them.
        first: String,
    },
    /// A worker panicked: a fault of this program, not of the data.
    #[error(
        "a loader thread panicked on study {study}: {message}; this is a fault of rsna-tui, please report it"
    )]
    Panic {
        /// StudyInstanceUID.
        study: Arc<str>,
        /// What the panic said.
        message: String,
    },
    /// The system gives no thread.
    #[error(
        "cannot start a loader thread: {source}; lower data.workers or raise the limit on threads"
    )]
    Threads {
        /// Why.
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

/// The first `most` of `items`, joined by `; `, and how many more there are.
fn first_of<T: std::fmt::Display>(items: &[T], most: usize) -> String {
    let mut text: Vec<String> = items.iter().take(most).map(T::to_string).collect();
    if items.len() > most {
        text.push(format!("and {} more", items.len() - most));
    }
    text.join("; ")
}

#[cfg(test)]
mod golden {
    //! The golden cases, where they are there.

    use std::path::Path;

    /// A file of the golden folder; `None`, said aloud, where it is not there.
    pub fn read(name: &str) -> Option<Vec<u8>> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let dirs = ["tests/golden", "../shared/golden"];
        let found = dirs.iter().find_map(|dir| std::fs::read(root.join(dir).join(name)).ok());
        if found.is_none() {
            println!("skipped: {name} is neither in {} nor in {}", dirs[0], dirs[1]);
        }
        found
    }
}
