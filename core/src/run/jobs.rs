//! `slurm/jobs.json`: the job arrays by which a run was submitted to Slurm.

use super::{
    folder::{Folder, write_atomically},
    status,
};
use crate::bounded;
use serde::{Deserialize, Serialize};
use std::{fs, io};

/// Value of [`Jobs::format`].
const FORMAT: &str = "rsna-tui jobs 1";
/// Maximum size of the file in bytes.
const LONGEST: u64 = 16 << 20;
/// Maximum number of arrays that are remembered: Slurm forgets jobs soon after their end.
const MOST: usize = 1000;

/// The job arrays of a run, the oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Jobs {
    /// [`FORMAT`]
    pub format: String,
    /// The arrays.
    pub jobs: Vec<Array>,
}

/// A job array, a task a fold: the number of a task is that of its fold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Array {
    /// Its id.
    pub job: u64,
    /// The folds that it trains.
    pub folds: Vec<usize>,
    /// Unix time of its submission.
    pub submitted: f64,
}

impl Jobs {
    /// Reads those of the run; none if it was never submitted.
    ///
    /// Errors: when the file cannot be read, or is not of this format; one sentence.
    pub fn read(run: &Folder) -> io::Result<Self> {
        let path = run.jobs();
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        match bounded::read(&path, LONGEST) {
            Ok(bytes) => Self::of_bytes(&bytes)
                .map_err(|why| named(io::Error::new(io::ErrorKind::InvalidData, why))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Self { format: FORMAT.into(), jobs: Vec::new() })
            }
            Err(error) => Err(named(error)),
        }
    }

    /// Like [`Self::read`], from the file's bytes.
    pub fn of_bytes(bytes: &[u8]) -> Result<Self, String> {
        let jobs: Self =
            serde_json::from_slice(bytes).map_err(|e| bounded::excerpt(&e.to_string(), 200))?;
        if jobs.format != FORMAT {
            let format = bounded::excerpt(&jobs.format, 40);
            return Err(format!("its format is {format:?}, not {FORMAT:?}"));
        }
        if jobs.jobs.len() > MOST {
            return Err(format!("it has more than {MOST} jobs"));
        }
        Ok(jobs)
    }

    /// Adds an array that was just submitted to those of the run, and writes them atomically.
    pub fn add(run: &Folder, job: u64, folds: Vec<usize>) -> io::Result<()> {
        let mut all = Self::read(run)?;
        all.jobs.push(Array { job, folds, submitted: status::now() });
        let excess = all.jobs.len().saturating_sub(MOST);
        all.jobs.drain(..excess);
        let mut text = serde_json::to_vec_pretty(&all)?;
        text.push(b'\n');
        let path = run.jobs();
        fs::create_dir_all(path.parent().unwrap_or(run.path()))?;
        write_atomically(&path, &text)
    }

    /// Ids of the arrays.
    pub fn ids(&self) -> Vec<u64> {
        self.jobs.iter().map(|array| array.job).collect()
    }
}
