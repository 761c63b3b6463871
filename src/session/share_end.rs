//! The report and the notebook's logs of a shared run, put together from its folds'.

use crate::{
    bounded,
    config::Config,
    run::{
        event::{Event, SkippedStudy},
        folder::{Folder, write_atomically},
        journal, replay, shared,
    },
    view::report,
};
use eyre::{Result, eyre};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
};

/// Maximum size of a fold's log in bytes.
const LONGEST_LOG: u64 = 256 << 20;

/// Writes `report.txt` and the logs of all folds into the folder of a shared run, if no fold of it is in
/// training any more. They are those of a run of one process that trains the folds in the order of the config.
///
/// Returns whether they were written. Workers that end at the same time may all call it.
///
/// Errors: when a file cannot be read or written.
pub(super) fn finish(folder: &Folder) -> Result<bool> {
    let status = shared::status(folder)?;
    if replay::finished(&status, Vec::new()).is_none() {
        return Ok(false);
    }
    let failed = |path: &std::path::Path, e| eyre!("cannot write {}: {e}", path.display());
    if let Some(finished) = replay::finished(&status, left_out(folder)?) {
        let path = folder.report();
        write_atomically(&path, report::text(&finished).as_bytes())
            .map_err(|e| failed(&path, e))?;
    }
    let config = Config::load(Some(&folder.config()), false, &[])?;
    let logs = folder.path().join("logs");
    fs::create_dir_all(&logs).map_err(|e| failed(&logs, e))?;
    for name in names(folder, &config) {
        let mut text = String::new();
        for &fold in &config.train.folds {
            let path = folder.of_fold(fold).path().join("logs").join(&name);
            match bounded::read_text(&path, LONGEST_LOG) {
                Ok(of_fold) => text += &of_fold,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(eyre!("cannot read {}: {error}", path.display())),
            }
        }
        let path = logs.join(name);
        write_atomically(&path, text.as_bytes()).map_err(|e| failed(&path, e))?;
    }
    Ok(true)
}

/// The studies that the folds' newest processes left out, by fold.
fn left_out(folder: &Folder) -> Result<Vec<SkippedStudy>> {
    let mut skipped = BTreeMap::new();
    replay::for_each(folder, |stamped, _| {
        if let (Event::RunFinished(finished), Some(fold)) = (&stamped.event, stamped.fold) {
            skipped.insert(fold, finished.skipped.clone());
        }
        Ok::<(), journal::Error>(())
    })?;
    Ok(skipped.into_values().flatten().collect())
}

/// Names of the folds' logs: one, and another for each seed that a fold was trained again with.
fn names(folder: &Folder, config: &Config) -> BTreeSet<OsString> {
    let kind = &config.run.kernel_type;
    let is_log = |name: &OsString| {
        let own = name.to_str().and_then(|name| name.strip_prefix(&**kind)?.strip_suffix(".txt"));
        own.is_some_and(|suffix| suffix.is_empty() || suffix.starts_with("_seed"))
    };
    let logs = folder.fold_folders().into_iter().map(|fold| fold.path().join("logs"));
    let entries = logs.flat_map(fs::read_dir).flatten().flatten();
    entries.map(|entry| entry.file_name()).filter(is_log).collect()
}
