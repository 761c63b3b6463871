//! Reads a journal's lines as events.

use super::{Error, Lines};
use crate::{
    bounded::excerpt,
    run::event::{Event, Stamped},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use std::{
    borrow::Cow,
    collections::{BTreeSet, HashSet},
    path::Path,
};

/// Most kinds and most unknown names kept, whatever a journal contains.
const MOST_NAMES: usize = 100;

/// The fields of every line.
#[derive(Deserialize)]
pub(super) struct Head<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    elapsed: f64,
    /// Unix time, 0 if there is none.
    #[serde(default)]
    pub(super) time: f64,
}

impl<'a> Head<'a> {
    pub(super) fn of(line: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok().filter(|head: &Self| head.elapsed.is_finite())
    }

    pub(super) fn event(&self, line: &[u8]) -> Option<Event> {
        fn only<T: DeserializeOwned>(line: &[u8]) -> Option<T> {
            serde_json::from_slice(line).ok()
        }
        // A line of known type takes a third of the time: to find the type of an `Event`, serde keeps
        // copies of all fields. Hence the most frequent ones by themselves.
        match &*self.r#type {
            "step" => only(line).map(Event::Step),
            "valid_step" => only(line).map(Event::ValidStep),
            "gpu" => only(line).map(Event::Gpu),
            "system" => only(line).map(Event::System),
            _ => only(line),
        }
    }
}

/// Parses a line.
pub fn parse(line: &[u8]) -> Option<Stamped> {
    let head = Head::of(line)?;
    Some(Stamped::new(head.elapsed, head.event(line)?))
}

/// What a reader passed over.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Passed {
    /// Number of lines that are not events.
    pub damaged: usize,
    /// Kinds of events, and fields as `kind.field`, that this version does not know.
    pub unknown: BTreeSet<String>,
    /// Kinds whose fields were compared.
    seen: HashSet<String>,
}

impl Passed {
    /// Notes what is unknown in `line`, the first of its kind.
    fn compare(&mut self, kind: &str, line: &[u8], event: &Event) {
        if self.seen.len() >= MOST_NAMES || self.seen.contains(kind) {
            return;
        }
        self.seen.insert(kind.into());
        if *event == Event::Unknown {
            self.unknown.insert(excerpt(kind, 40));
        } else if let (Ok(Value::Object(there)), Ok(known)) =
            (serde_json::from_slice(line), serde_json::to_value(event))
        {
            let absent = |key: &str| !matches!(key, "elapsed" | "time") && known.get(key).is_none();
            let new = there.iter().filter(|(key, value)| absent(key) && !value.is_null());
            let new = new.take(MOST_NAMES).map(|(key, _)| format!("{kind}.{}", excerpt(key, 40)));
            self.unknown.extend(new);
        }
    }
}

/// Passes the events of a journal's first `upto` bytes, or of all of it, to `take`: complete and in
/// order, with their Unix time (0 if there is none).
///
/// Errors: when the journal cannot be read, is no journal, or is of a newer version; and those of
/// `take`.
pub fn for_each<E: From<Error>>(
    path: &Path,
    upto: Option<u64>,
    mut take: impl FnMut(&Stamped, f64) -> Result<(), E>,
) -> Result<Passed, E> {
    let failed = |source| Error::Io { path: path.into(), source };
    let mut lines = Lines::open(path, upto)?;
    let mut passed = Passed::default();
    while let Some((_, line)) = lines.next().map_err(failed)? {
        let read = Head::of(line).and_then(|head| Some((head.event(line)?, head)));
        let Some((event, head)) = read else {
            passed.damaged += 1;
            continue;
        };
        passed.compare(&head.r#type, line, &event);
        if event != Event::Unknown {
            take(&Stamped::new(head.elapsed, event), head.time)?;
        }
    }
    Ok(passed)
}

/// Returns the seconds, waiting and computing, of the first `steps` steps of an epoch, in the order of
/// training; of the fold's newest training.
///
/// Errors: as for [`for_each`].
pub fn step_seconds(path: &Path, fold: usize, epoch: usize, steps: usize) -> Result<f64, Error> {
    let mut seconds = 0.0;
    for_each(path, None, |stamped, _| {
        match &stamped.event {
            Event::Retrain(e) if e.at.fold == fold => seconds = 0.0,
            Event::Step(s) if (s.at.fold, s.at.epoch) == (fold, epoch) && s.at.step <= steps => {
                seconds += s.seconds();
            }
            _ => {}
        }
        Ok::<(), Error>(())
    })?;
    Ok(seconds)
}
