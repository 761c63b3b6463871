//! Finds the run that a command names.

use crate::run::folder::{self, Folder};
use eyre::{Result, eyre};
use std::path::{Path, PathBuf};

/// Returns the runs folder from the command line, or else from the config.
pub(super) fn runs_dir(given: Option<&PathBuf>) -> Result<PathBuf> {
    match given {
        Some(dir) => Ok(dir.clone()),
        None => Ok(super::load(None, false, &[])?.run.dir),
    }
}

/// Opens the run with that name or folder path, for reading; without `run`, the newest one.
pub(super) fn named_run(run: Option<&str>, dir: Option<&PathBuf>) -> Result<Folder> {
    let is_path = |run: &&str| run.contains(std::path::is_separator) || matches!(*run, "." | "..");
    let Some(path) = run.filter(is_path) else {
        let found = Folder::open(&runs_dir(dir)?, run);
        // Within the runs folder, a name completed by Tab is also a path.
        return match (found, run.map(Path::new)) {
            (Err(folder::Error::NotThere(_)), Some(here)) if here.join("config.toml").is_file() => {
                Ok(folder_at(here)?)
            }
            (found, _) => Ok(found?),
        };
    };
    folder_at(Path::new(path))
}

fn folder_at(path: &Path) -> Result<Folder> {
    let whole = std::fs::canonicalize(path).map_err(|e| {
        eyre!("{}: {e}; give a run's name, or its folder as a path", path.display())
    })?;
    Ok(Folder::at(whole)?)
}
