//! Reads the contents of a report from a run's folder.

use super::{evaluated::Evaluated, settings::Settings};
use crate::{
    bounded,
    run::{
        event::{Event, Level, Stamped},
        folder::Folder,
        journal, shared,
        status::Status,
    },
    study::Record,
    view::{Fold, LogLine, State, format, text},
};
use image::{ImageFormat, ImageReader};
use std::{
    collections::{BTreeMap, VecDeque},
    fs, io,
    path::{Path, PathBuf},
};

/// Maximum config size, in bytes.
const LONGEST_CONFIG: u64 = 1 << 20;
/// Maximum size of a picture of crops, and of all of them together, in bytes.
const LARGEST_PICTURE: u64 = 4 << 20;
const LARGEST_PICTURES: usize = 24 << 20;
/// Maximum height and width of a picture, in pixels.
const HIGHEST: u32 = 1 << 13;
/// Most files examined in the folder of pictures.
const MOST_FILES: usize = 100_000;
/// Most folds with pictures, whatever the folder contains.
const MOST_FOLDS: usize = 100;
/// Most warnings and errors kept: the first and the newest.
const MOST_TROUBLES: usize = 200;

/// Contents of a report.
#[derive(Debug)]
pub struct Report {
    /// Name of the run.
    pub name: String,
    /// State of the run, from its journal.
    pub state: State,
    /// Its `state.json`, if it can be read.
    pub status: Option<Status>,
    /// Whether a process is training it.
    pub in_use: bool,
    /// Whether several processes train its folds.
    pub shared: bool,
    /// Unix times of the journal's first and newest event.
    pub times: Option<(f64, f64)>,
    /// Unix time of the report.
    pub now: f64,
    /// Warnings and errors, oldest first, without those between the first and the newest.
    pub troubles: VecDeque<LogLine>,
    /// Number of warnings and errors, including those not kept.
    pub troubles_total: usize,
    /// Number of times that another process resumed the run.
    pub resumed: usize,
    /// Its out-of-fold scores, if `rsna-tui evaluate` wrote any; or why they are missing.
    pub evaluated: Option<Result<Evaluated, String>>,
    /// Its settings, or why they are missing.
    pub settings: Result<Settings, String>,
    /// The newest crops of each fold, by fold number.
    pub pictures: Vec<Picture>,
    /// Number of studies in all folds and CRC-32 of their record, if there is one; or why they are unknown.
    pub trained_on: Result<Option<(usize, u32)>, String>,
    /// Number of journal lines that cannot be parsed.
    pub damaged: usize,
}

/// A PNG of a fold's crops.
#[derive(Debug, PartialEq)]
pub struct Picture {
    /// Number of the fold.
    pub fold: usize,
    /// The epoch, from 1, at whose end they were the newest crops.
    pub epoch: usize,
    /// The file's bytes.
    pub png: Vec<u8>,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

impl Report {
    /// Reads a run's folder. `now`: Unix time.
    ///
    /// Errors: when its journal cannot be read. The report itself states what else is missing or damaged.
    pub fn of(folder: &Folder, now: f64) -> Result<Self, journal::Error> {
        let in_use = folder.is_in_use();
        let mut report = Self::replayed(|also| State::of_run_with(folder, also))?;
        if in_use {
            report.state.reopen();
        }
        Ok(Self {
            name: format::brief(&folder.name),
            status: status(folder).ok(),
            in_use,
            shared: folder.is_shared(),
            now,
            evaluated: Evaluated::of(&folder.path().join("evaluation")),
            settings: settings(&folder.config()),
            trained_on: trained_on(&folder.studies()),
            pictures: pictures(folder),
            ..report
        })
    }

    /// Returns the folds by number; the run's state lists them in queue order.
    pub(super) fn folds(&self) -> Vec<&Fold> {
        let mut folds: Vec<&Fold> = self.state.folds.iter().collect();
        folds.sort_by_key(|fold| fold.plan.fold);
        folds
    }

    /// Makes a report from a journal alone.
    ///
    /// Errors: when it cannot be read.
    pub fn of_journal(path: &Path) -> Result<Self, journal::Error> {
        Self::replayed(|also| State::of_journal_with(path, None, also))
    }

    /// Makes a report of the events that `replay` passes on.
    fn replayed(
        replay: impl FnOnce(Also) -> Result<(State, usize), journal::Error>,
    ) -> Result<Self, journal::Error> {
        let (mut troubles, mut troubles_total, mut resumed) = (VecDeque::new(), 0, 0);
        let mut times = None;
        let (state, damaged) = replay(&mut |stamped, time| {
            let Stamped { at, event, .. } = stamped;
            resumed += usize::from(matches!(event, Event::RunStarted(plan) if plan.resumed));
            let line = text::of_event(event).filter(|(level, _)| *level >= Level::Warn);
            // The report words the run's outcome itself.
            if let (Some((level, text)), false) = (line, matches!(event, Event::RunFinished(_))) {
                troubles_total += 1;
                if troubles.len() == MOST_TROUBLES {
                    troubles.remove(MOST_TROUBLES / 2);
                }
                troubles.push_back(LogLine { at: *at, level, text: format::brief(&text) });
            }
            if time > 0.0 {
                // The folds of a shared run come one after the other, whenever they were trained.
                times = Some(match times {
                    Some((first, newest)) if stamped.fold.is_some() => {
                        (time.min(first), time.max(newest))
                    }
                    Some((first, _)) => (first, time),
                    None => (time, time),
                });
            }
        })?;
        Ok(Self {
            name: state.plan.as_ref().map(|plan| plan.name.clone()).unwrap_or_default(),
            state,
            status: None,
            in_use: false,
            shared: false,
            times,
            now: 0.0,
            evaluated: None,
            troubles,
            troubles_total,
            resumed,
            settings: Err("There is no config.toml.".into()),
            pictures: Vec::new(),
            trained_on: Ok(None),
            damaged,
        })
    }
}

/// Takes an event with its Unix time.
type Also<'a> = &'a mut dyn FnMut(&Stamped, f64);

fn status(folder: &Folder) -> io::Result<Status> {
    if !folder.is_shared() {
        bounded::plain_file(&folder.state())?;
    }
    shared::status(folder)
}

fn settings(path: &Path) -> Result<Settings, String> {
    bounded::plain_file(path)
        .and_then(|()| bounded::read_text(path, LONGEST_CONFIG))
        .map_err(|e| format!("config.toml cannot be read: {e}"))
        .and_then(|text| Settings::of(&text))
}

fn trained_on(path: &Path) -> Result<Option<(usize, u32)>, String> {
    match bounded::plain_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found.map_err(|e| format!("studies.csv cannot be read: {e}"))?,
    }
    let record = Record::read(path).map_err(|e| e.to_string())?;
    Ok(record.map(|r| (r.table.studies.len(), r.checksum)))
}

/// Reads the newest picture of each fold, if any.
fn pictures(folder: &Folder) -> Vec<Picture> {
    let mut newest: BTreeMap<usize, (usize, PathBuf)> = BTreeMap::new();
    let folders = std::iter::once(folder.clone()).chain(folder.fold_folders());
    let files = folders.flat_map(|folder| fs::read_dir(folder.path().join("previews")));
    for entry in files.flatten().take(MOST_FILES).flatten() {
        let name = entry.file_name();
        let Some((fold, epoch)) = name.to_str().and_then(fold_and_epoch) else { continue };
        if newest.get(&fold).is_none_or(|(newest, _)| epoch > *newest)
            && (newest.len() < MOST_FOLDS || newest.contains_key(&fold))
        {
            newest.insert(fold, (epoch, entry.path()));
        }
    }
    let mut bytes = 0;
    let read = |(fold, (epoch, path)): (usize, (usize, PathBuf))| picture(fold, epoch, &path);
    let fits = |picture: &Picture| {
        bytes += picture.png.len();
        bytes <= LARGEST_PICTURES
    };
    newest.into_iter().filter_map(read).take_while(fits).collect()
}

/// Parses `fold0_epoch012.png`.
fn fold_and_epoch(name: &str) -> Option<(usize, usize)> {
    let (fold, epoch) = name.strip_prefix("fold")?.strip_suffix(".png")?.split_once("_epoch")?;
    let number = |digits: &str| {
        let plain = digits.len() <= 9 && digits.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| digits.parse().ok()).flatten()
    };
    Some((number(fold)?, number(epoch)?))
}

/// Reads a picture; `None` if it is invalid or too large for a page.
fn picture(fold: usize, epoch: usize, path: &Path) -> Option<Picture> {
    bounded::plain_file(path).ok()?;
    let png = bounded::read(path, LARGEST_PICTURE).ok()?;
    let reader = ImageReader::with_format(io::Cursor::new(&png), ImageFormat::Png);
    let (width, height) = reader.into_dimensions().ok()?;
    let sensible = (1..=HIGHEST).contains(&width) && (1..=HIGHEST).contains(&height);
    sensible.then_some(Picture { fold, epoch, png, width, height })
}
