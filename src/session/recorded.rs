//! Records which studies a run was trained on, and compares them with the table and the crops whenever
//! the run is used again.

use crate::{
    config::Config,
    print,
    run::folder::{self, Folder, write_atomically},
    study::{self, Checked, Record, SliceSource, Table, record},
};
use eyre::{Result, eyre};
use std::{path::Path, sync::Arc};

/// A run's studies.
pub(super) struct Data {
    /// `None`: the run was started by a version that kept no record.
    pub record: Option<Record>,
    /// The table that the run was trained on; without a record, the current `data.table`.
    pub table: Table,
    /// Source of the slices.
    pub source: Arc<dyn SliceSource>,
}

/// Records the studies that a run will train on. `checked`: the result of checking these studies.
pub(super) fn write(folder: &Folder, table: &Table, checked: Checked, sample: bool) -> Result<()> {
    let path = folder.studies();
    let written = record::to_bytes(table, &checked.fingerprints, sample)
        .and_then(|bytes| write_atomically(&path, &bytes));
    Ok(written.map_err(|source| folder::Error::Io { path, source })?)
}

/// Returns the studies that a run was trained on. `data.table` must still match; if it is gone, the
/// record replaces it.
///
/// Errors: when the record is damaged, or the table has other studies, labels or folds.
pub(super) fn data(folder: &Folder, config: &Config) -> Result<Data> {
    let data = read_or_warn(folder, config)?;
    let Some(record) = &data.record else { return Ok(data) };
    let path = match config.is_phantom() {
        true => Path::new("the table of made-up studies"),
        false => &config.data.table,
    };
    match super::table(config) {
        Ok(now) => record.check_table(&now, path)?,
        Err(study::Error::TableUnreadable { source, .. })
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            print::warn(format_args!(
                "{} is missing: taking the run's record of it, {}",
                path.display(),
                record.path.display()
            ));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(data)
}

/// Returns the studies that a run was trained on, whatever `data.table` contains now. Warns if the run
/// has no record.
///
/// Errors: see [`read`].
pub(super) fn read_or_warn(folder: &Folder, config: &Config) -> Result<Data> {
    let data = read(folder, config)?;
    if data.record.is_none() {
        print::warn(format_args!(
            "{} was begun by a version that did not record what it trains on: data.table is taken as \
             it is now",
            folder.name
        ));
    }
    Ok(data)
}

/// Reads a run's studies from its record, or from `data.table` if it has none, without comparing the
/// two.
///
/// Errors: when the record is damaged, or there is neither a record nor a table.
pub(super) fn read(folder: &Folder, config: &Config) -> Result<Data> {
    let record = Record::read(&folder.studies())?;
    let table = match &record {
        Some(record) => record.table.clone(),
        None => super::table(config)?,
    };
    Ok(Data { record, table, source: super::source(config) })
}

impl Data {
    /// Compares the slices of `studies` with those that the run was trained on.
    ///
    /// Errors: when they differ.
    pub(super) fn same_slices(&self, studies: &[study::Study], fingerprints: &[u32]) -> Result<()> {
        match &self.record {
            Some(record) => record.check_slices(studies, fingerprints).map_err(|e| eyre!("{e}")),
            None => Ok(()),
        }
    }
}
