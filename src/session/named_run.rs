//! Finds the run that a command names.

use crate::{
    cli::NamedRun,
    run::folder::{self, Folder},
};
use eyre::{Result, eyre};
use std::path::{Path, PathBuf};

/// Returns the runs folder from the command line, or else from the config.
pub(super) fn runs_dir(given: Option<&PathBuf>) -> Result<PathBuf> {
    match given {
        Some(dir) => Ok(dir.clone()),
        None => Ok(super::load(None, false, &[])?.run.dir),
    }
}

/// Opens the run for reading.
pub(super) fn named_run(named: &NamedRun) -> Result<Folder> {
    let run = named.run.as_deref();
    let is_path = |run: &&str| run.contains(std::path::is_separator) || matches!(*run, "." | "..");
    if let Some(path) = run.filter(is_path) {
        return folder_at(Path::new(path));
    }
    let found = Folder::open(&runs_dir(named.runs_dir.as_ref())?, run);
    // Within the runs folder, a name completed by Tab is also a path.
    match (found, run.map(Path::new)) {
        (Err(folder::Error::NotThere(_)), Some(here)) if here.join("config.toml").is_file() => {
            folder_at(here)
        }
        (found, _) => Ok(found?),
    }
}

fn folder_at(path: &Path) -> Result<Folder> {
    let whole = std::fs::canonicalize(path).map_err(|e| {
        eyre!("{}: {e}; give a run's name, or its folder as a path", path.display())
    })?;
    Ok(Folder::at(whole)?)
}
