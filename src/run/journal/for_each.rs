//! Reads a journal line by line, with wall-clock times.

use super::{Error, Lines, scan};
use crate::run::event::{Event, Stamped};
use serde::Deserialize;
use std::path::Path;

#[derive(Deserialize)]
struct Read {
    #[serde(flatten)]
    event: Event,
    elapsed: f64,
    #[serde(default)]
    time: f64,
}

/// Passes every event of a journal to `take`, complete and in order, with its Unix time (0 if it has
/// none). Returns the number of lines that could not be parsed.
///
/// Errors: when the journal cannot be read, is no journal, or is of a newer version; and those of
/// `take`.
pub fn for_each<E: From<Error>>(
    path: &Path,
    mut take: impl FnMut(&Stamped, f64) -> Result<(), E>,
) -> Result<usize, E> {
    let failed = |source| Error::Io { path: path.into(), source };
    let mut lines = Lines::open(path, None)?;
    let mut strange = 0;
    while let Some((_, line)) = lines.next().map_err(failed)? {
        match parse(line) {
            Some((stamped, time)) => take(&stamped, time)?,
            None => strange += 1,
        }
    }
    Ok(strange)
}

/// Like [`for_each`], without the most frequent events: steps, validation batches, and the state of the
/// GPU and the machine. Returns the Unix times of the first and the newest event, if they have any.
///
/// Errors: when the journal cannot be read, is no journal, or is of a newer version.
pub fn highlights(
    path: &Path,
    mut take: impl FnMut(&Stamped),
) -> Result<Option<(f64, f64)>, Error> {
    let failed = |source| Error::Io { path: path.into(), source };
    let mut lines = Lines::open(path, None)?;
    let mut times = None;
    while let Some((_, line)) = lines.next().map_err(failed)? {
        if let Some(time) = scan::time(line).filter(|&time| time > 0.0) {
            times = Some((times.map_or(time, |(first, _)| first), time));
        }
        let common = matches!(scan::kind(line), Some("step" | "valid_step" | "gpu" | "system"));
        if !common && let Some((stamped, _)) = parse(line) {
            take(&stamped);
        }
    }
    Ok(times)
}

fn parse(line: &[u8]) -> Option<(Stamped, f64)> {
    let Read { event, elapsed, time } = serde_json::from_slice(line).ok()?;
    elapsed.is_finite().then_some((Stamped { at: elapsed, event }, time))
}
