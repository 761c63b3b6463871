//! Crops view: what does the network see, and where is it wrong? Shows the worst studies of a
//! validation, or those of the current batch, slice by slice.

mod listed;
mod panes;
mod tiles;

use crate::run::SliceRequest;
use crate::run::event::{Prediction, Preview};
use crate::tui::action::CropKey;
use crate::tui::context::Context;
use crate::tui::pictures::tiles::{Tiles, draw};
use crate::tui::pictures::{Contrast, Encoder, Pictures};
use crate::tui::theme;
use crate::view::{Fold, State};
use listed::{Entry, Listed, SliceNumber, StudyList, most_wrong};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use tiles::{SliceTile, TileStyle};

/// Seconds after which an unanswered request for a slice is repeated.
const PATIENCE: f64 = 2.0;
/// Shown when pictures are switched off.
const OFF: &str = "pictures are off: ui.pictures";
/// Shown when a slice can no longer be read.
const OVER: &str =
    "the run is over: rsna-tui attach reads its slices, where the crops are still there";

/// State of the view.
pub struct Slices {
    /// Encodes the pictures.
    pub encoder: Encoder<Tiles>,
    list: StudyList,
    /// The batch being looked at; `None` = the newest.
    held: Option<Preview>,
    /// The selected study and its row. The row selects a study if the list does not contain this
    /// one.
    study: (Option<String>, usize),
    /// The selected slice; `None` = the one with the largest error.
    place: Option<SliceNumber>,
    /// Whether to show all studies at once.
    grid: bool,
    style: TileStyle,
    /// The newest request and, once known, its time in seconds since the run started.
    asked: Option<(SliceRequest, Option<f64>)>,
    /// The request to send next.
    wanted: Option<SliceRequest>,
}

impl Slices {
    /// Creates a view that shows the worst studies, one at a time.
    pub fn new(pictures: Pictures) -> Self {
        Self {
            encoder: Encoder::new(pictures, 1),
            list: StudyList::default(),
            held: None,
            study: (None, 0),
            place: None,
            grid: false,
            style: TileStyle { raw: false, outline: true, contrast: Contrast::default() },
            asked: None,
            wanted: None,
        }
    }

    /// Returns the slice to request, once.
    pub fn take_slice_request(&mut self) -> Option<SliceRequest> {
        self.wanted.take()
    }

    /// Follows the newest batch again.
    pub fn release(&mut self) {
        self.held = None;
    }

    /// Handles a key; returns the reason if it cannot.
    pub fn key(
        &mut self,
        key: CropKey,
        state: &State,
        fold: Option<&Fold>,
    ) -> Result<(), &'static str> {
        let TileStyle { outline, contrast, .. } = &mut self.style;
        match key {
            CropKey::List => {
                self.list = match self.list {
                    StudyList::Worst => StudyList::Batch,
                    StudyList::Batch => StudyList::Worst,
                };
                (self.held, self.study, self.place) = (None, (None, 0), None);
                return Ok(());
            }
            CropKey::Outline => *outline = !*outline,
            CropKey::Narrower => *contrast = contrast.changed(1, 0),
            CropKey::Wider => *contrast = contrast.changed(-1, 0),
            CropKey::Brighter => *contrast = contrast.changed(0, -1),
            CropKey::Darker => *contrast = contrast.changed(0, 1),
            CropKey::Reset => *contrast = Contrast::default(),
            CropKey::Grid => self.grid = !self.grid,
            _ => return self.walk(key, state, fold),
        }
        Ok(())
    }

    /// Selects another study or slice.
    fn walk(
        &mut self,
        key: CropKey,
        state: &State,
        fold: Option<&Fold>,
    ) -> Result<(), &'static str> {
        if self.list == StudyList::Batch && self.held.is_none() {
            // Keep this batch when the next one arrives.
            self.held = state.preview.clone();
        }
        let held = self.held.clone();
        let listed = listed(self.list, held.as_ref(), state, fold)
            .filter(|listed| !listed.entries.is_empty())
            .ok_or("there is no study to look at yet")?;
        let at = self.chosen(&listed);
        let entry = listed.entries[at];
        let SliceNumber { vertebra, slice } = self.slice_in(&listed, entry.prediction);
        let last = entry.prediction.slices_per_vertebra().saturating_sub(1).min(255) as u8;
        let study = match key {
            CropKey::StudyBefore => Some(at.saturating_sub(1)),
            CropKey::StudyAfter => Some((at + 1).min(listed.entries.len() - 1)),
            _ => None,
        };
        let place = match key {
            CropKey::SliceBefore => Some(SliceNumber { vertebra, slice: slice.saturating_sub(1) }),
            CropKey::SliceAfter => {
                Some(SliceNumber { vertebra, slice: slice.saturating_add(1).min(last) })
            }
            CropKey::VertebraAbove => Some(SliceNumber { vertebra: (vertebra - 1).max(1), slice }),
            CropKey::VertebraBelow => Some(SliceNumber { vertebra: (vertebra + 1).min(7), slice }),
            CropKey::MostWrong => Some(most_wrong(entry.prediction)),
            _ => None,
        };
        match (study, place) {
            (Some(at), _) => {
                self.study = (Some(listed.entries[at].prediction.study.clone()), at);
                self.place = None;
            }
            (None, place) => {
                self.study = (Some(entry.prediction.study.clone()), at);
                self.place = place;
                // Single slices are shown in one picture.
                self.grid = false;
                // Request the slice now instead of at the next frame, which may be a while off.
                let request = place.map(|place| listed.request(entry.prediction, place));
                let request =
                    request.filter(|request| listed.slice(state, request, false).is_none());
                if let (Some(request), true) = (request, state.can_read_slices()) {
                    self.wanted = Some(request.clone());
                    self.asked = Some((request, None));
                }
            }
        }
        Ok(())
    }

    /// Index of the selected study.
    fn chosen(&self, listed: &Listed) -> usize {
        let (study, row) = &self.study;
        let same = |entry: &Entry| Some(&entry.prediction.study) == study.as_ref();
        let last = listed.entries.len().saturating_sub(1);
        listed.entries.iter().position(same).unwrap_or((*row).min(last))
    }

    /// The selected slice of the selected study.
    fn slice_in(&self, listed: &Listed, prediction: &Prediction) -> SliceNumber {
        let own = self.study.0.as_ref() == Some(&prediction.study);
        self.place.filter(|_| own).unwrap_or_else(|| listed.first_slice(prediction))
    }

    /// Draws the view. If a slice is missing, [`Self::take_slice_request`] returns the request.
    /// `raw`: show slices before augmentation.
    pub fn draw(&mut self, frame: &mut Frame, area: Rect, context: &Context, raw: bool) {
        self.style.raw = raw;
        let held = self.held.take();
        let listed = listed(self.list, held.as_ref(), context.state, context.fold());
        match listed.filter(|listed| !listed.entries.is_empty()) {
            Some(listed) => self.draw_listed(frame, area, context, &listed, held.is_some()),
            None => self.draw_nothing(frame, area, context),
        }
        self.held = held;
    }

    fn draw_nothing(&self, frame: &mut Frame, area: Rect, context: &Context) {
        let why = match self.list {
            StudyList::Worst if context.fold().is_none() => "the run is starting",
            StudyList::Worst => "no study was validated yet; w shows the batch at hand",
            StudyList::Batch => "no crops were shown yet; w shows the worst of the last validation",
        };
        let inner = theme::framed(frame, area, "crops");
        theme::middle(frame, inner, why);
    }

    fn draw_listed(
        &mut self,
        frame: &mut Frame,
        area: Rect,
        context: &Context,
        listed: &Listed,
        held: bool,
    ) {
        let at = self.chosen(listed);
        let entry = listed.entries[at];
        let place = self.slice_in(listed, entry.prediction);
        let areas = areas(area, listed.entries.len() as u16);
        if let Some(area) = areas.studies {
            let title = self.title(listed, held);
            let entries = (&listed.entries[..], at);
            panes::studies(frame, area, &title, entries, &context.state.constant);
        }
        if let Some(area) = areas.levels {
            panes::levels(frame, area, entry.prediction, place);
        }
        if let Some(area) = areas.strip {
            panes::strip(frame, area, entry.prediction, place, &context.state.constant);
        }
        let title = self.picture_title(listed);
        let inner = theme::framed(frame, areas.picture, &title);
        let shown: Vec<usize> = match self.grid {
            true => (0..listed.entries.len()).collect(),
            false => vec![at],
        };
        self.draw_pictures(frame, inner, context, listed, (&shown, at, place));
    }

    fn title(&self, listed: &Listed, held: bool) -> String {
        let (epoch, step) = (listed.at.epoch, listed.at.step);
        match self.list {
            StudyList::Worst => format!("worst · fold {} epoch {epoch}", listed.at.fold),
            StudyList::Batch if held => format!("batch · epoch {epoch} step {step} · held"),
            StudyList::Batch => format!("batch · epoch {epoch} step {step}"),
        }
    }

    fn picture_title(&self, listed: &Listed) -> String {
        let TileStyle { raw, outline, contrast } = self.style;
        let what = match (self.list, raw) {
            (_, true) => "raw",
            (StudyList::Worst, false) => "as validated",
            (StudyList::Batch, false) => "as the network saw it",
        };
        let contrast = match contrast {
            Contrast { width: 0, level: 0 } => String::new(),
            Contrast { width, level } => format!(" · window {:+} level {level:+}", -width),
        };
        let mask = if outline { " · mask outlined" } else { "" };
        let many =
            if self.grid { format!("{} studies · ", listed.entries.len()) } else { String::new() };
        format!("{many}{what}{mask}{contrast}")
    }

    /// Draws the pictures of the studies `shown`; the selected one, with index `at`, by its slice
    /// `place`.
    fn draw_pictures(
        &mut self,
        frame: &mut Frame,
        inner: Rect,
        context: &Context,
        listed: &Listed,
        (shown, at, place): (&[usize], usize, SliceNumber),
    ) {
        let off = self.encoder.pictures() == Pictures::Off;
        let (mut there, mut missing) = (Vec::new(), None);
        for (&entry, area) in shown.iter().zip(tiles::grid(inner, shown.len())) {
            let prediction = listed.entries[entry].prediction;
            let place = if entry == at { place } else { listed.first_slice(prediction) };
            let request = listed.request(prediction, place);
            let slice = match listed.slice(context.state, &request, self.style.raw) {
                _ if off => Err(OFF.into()),
                Some(slice) => slice,
                None if !context.state.can_read_slices() => Err(OVER.into()),
                None => {
                    missing = missing.or(Some(request));
                    continue;
                }
            };
            there.push((SliceTile { entry, prediction, place, slice }, area));
        }
        self.ask(missing.as_ref(), context.now);
        // Keep the previous picture until the new one is ready.
        let new = (!there.is_empty()).then(|| tiles::tiles(there, self.style));
        let chosen = (shown.len() > 1).then_some(at);
        draw(frame, inner, &mut self.encoder, new, chosen, context.covered);
    }

    /// Requests `missing`, unless that was done recently.
    fn ask(&mut self, missing: Option<&SliceRequest>, now: f64) {
        let asked = self.asked.take().filter(|(asked, _)| Some(asked) == missing);
        let when = asked.map(|(_, when)| when.unwrap_or(now)).filter(|when| now - when < PATIENCE);
        if when.is_none() {
            self.wanted = missing.cloned();
        }
        self.asked = missing.map(|missing| (missing.clone(), Some(when.unwrap_or(now))));
    }
}

/// The studies of `list`.
fn listed<'a>(
    list: StudyList,
    held: Option<&'a Preview>,
    state: &'a State,
    fold: Option<&'a Fold>,
) -> Option<Listed<'a>> {
    match list {
        StudyList::Worst => Listed::worst(state, fold?),
        StudyList::Batch => Listed::batch(state, held.or(state.preview.as_ref())?),
    }
}

/// Areas of the panes; `None` = no room for it.
struct Areas {
    studies: Option<Rect>,
    levels: Option<Rect>,
    strip: Option<Rect>,
    picture: Rect,
}

/// Places list and figures on the left and the picture next to them. `studies`: number of listed
/// studies.
fn areas(area: Rect, studies: u16) -> Areas {
    // A heading and seven rows, framed.
    const LEVELS: u16 = 10;
    // Higher bars are no easier to read.
    const STRIP: u16 = 16;
    let left = match area.width {
        ..60 => 0,
        60..100 => 34,
        100..160 => 44,
        _ => 62,
    };
    let [left, picture] =
        Layout::horizontal([Constraint::Length(left), Constraint::Fill(1)]).areas(area);
    if left.width == 0 || area.height < LEVELS + 4 {
        return Areas { studies: None, levels: None, strip: None, picture: area };
    }
    let rest = area.height - LEVELS;
    let strip = match rest.saturating_sub(studies + 3) {
        // Too low for a pane, so the list gets the room.
        0..6 => 0,
        rest => rest.min(STRIP),
    };
    let heights = [rest - strip, LEVELS, strip].map(Constraint::Length);
    let [studies, levels, strip] = Layout::vertical(heights).areas(left);
    let strip = (strip.height > 0).then_some(strip);
    Areas { studies: Some(studies), levels: Some(levels), strip, picture }
}
