//! Reads the slices that are only shown, in a thread of their own: those that a view requests, also during
//! a pause or a long step, and those of previews, for which the trainer does not wait.

use super::preview::picture;
use crate::{
    bounded::excerpt,
    config::{Config, VERTEBRAE},
    run::{
        channel::EventSender,
        event::{Crop, Event, Level, Picture, Preview, SliceContent, SliceReply, SliceRequest},
    },
    study::{Recipe, Record, SliceIndex, SliceSource, Study, Table, record::check_study},
};
use crossbeam_channel::{Receiver, never, select};
use std::{cell::RefCell, collections::HashMap, sync::Arc};

/// Most characters of a study's name in an error.
const NAMED: usize = 80;

/// Reads and augments slices.
pub struct SliceReader {
    config: Config,
    table: Table,
    source: Arc<dyn SliceSource>,
    /// The run's record of its studies, if the slices may have changed since.
    record: Option<Record>,
    /// Results of comparing a study's slices with the record, by study.
    compared: RefCell<HashMap<Arc<str>, Result<(), String>>>,
}

impl SliceReader {
    /// Makes a reader for a run with these settings and studies.
    pub fn new(config: Config, table: Table, source: Arc<dyn SliceSource>) -> Self {
        Self { config, table, source, record: None, compared: RefCell::default() }
    }

    /// Shows only studies whose slices match `record`.
    pub fn compared_with(self, record: Option<Record>) -> Self {
        Self { record, ..self }
    }

    /// Answers `requests`, and completes `previews`, on `events`, until the senders of requests are gone.
    /// Training works without it.
    pub fn open(
        self,
        requests: Receiver<SliceRequest>,
        mut previews: Receiver<Preview>,
        events: &EventSender,
    ) {
        let answers = events.clone();
        let read = move || {
            loop {
                let event = select! {
                    recv(requests) -> wanted => match wanted {
                        Ok(wanted) => Event::SliceReply(self.answer(wanted)),
                        Err(_) => return,
                    },
                    recv(previews) -> preview => match preview {
                        Ok(preview) => Event::Preview(self.completed(preview)),
                        Err(_) => {
                            previews = never();
                            continue;
                        }
                    },
                };
                answers.send(event);
            }
        };
        if let Err(error) = std::thread::Builder::new().name("slice-reader".into()).spawn(read) {
            let message = format!("no thread to read slices for the views of crops: {error}");
            events.log(Level::Warn, message);
        }
    }

    fn study(&self, uid: &str) -> Option<&Study> {
        self.table.studies.iter().find(|study| *study.uid == *uid)
    }

    /// Adds the slices before augmentation, where they can be read.
    fn completed(&self, mut preview: Preview) -> Preview {
        let fold = preview.at.fold;
        preview.crops.iter_mut().for_each(|crop| crop.raw = self.raw(crop, fold));
        preview
    }

    fn raw(&self, crop: &Crop, fold: usize) -> Option<Picture> {
        let study = self.study(&crop.study)?;
        if study.fold == fold {
            // Validation studies are not augmented.
            return Some(crop.seen.clone());
        }
        let place = SliceIndex { vertebra: crop.vertebra - 1, slice: crop.slice };
        Recipe::valid(&self.config).image(&*self.source, study, place).ok().map(|raw| picture(&raw))
    }

    fn answer(&self, wanted: SliceRequest) -> SliceReply {
        let found = self.slice(&wanted).unwrap_or_else(SliceContent::Nothing);
        SliceReply { wanted, found }
    }

    /// Errors: when the slice cannot be shown; one sentence.
    fn slice(&self, wanted: &SliceRequest) -> Result<SliceContent, String> {
        let study = self.study(&wanted.study).ok_or_else(|| {
            format!("the run's table has no study {}", excerpt(&wanted.study, NAMED))
        })?;
        let slices = self.config.data.slices_per_vertebra;
        let (vertebra, slice) = (usize::from(wanted.vertebra), usize::from(wanted.slice));
        if !(1..=VERTEBRAE).contains(&vertebra) || slice >= slices {
            return Err(format!("a study has no C{vertebra} slice {slice}"));
        }
        if let Some(record) = &self.record {
            let mut compared = self.compared.borrow_mut();
            let compare = || check_study(record, &*self.source, study);
            compared.entry(study.uid.clone()).or_insert_with(compare).clone()?;
        }
        let place = SliceIndex { vertebra: wanted.vertebra - 1, slice: wanted.slice };
        let config = Config { seed: wanted.seed, ..self.config.clone() };
        let as_text = |e: crate::study::Error| e.to_string();
        let image = |recipe: Recipe| recipe.image(&*self.source, study, place).map_err(as_text);
        let raw = picture(&image(Recipe::valid(&config))?);
        let seen = match study.fold == wanted.fold {
            // Validation does not augment.
            true => raw.clone(),
            false => picture(&image(Recipe::train(&config, wanted.fold, wanted.epoch))?),
        };
        let size = config.data.image_size;
        Ok(SliceContent::Slice { height: size, width: size, seen, raw })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Set,
        run::channel::channel,
        study::{Error, Loader, Phantom},
        train::preview::tests::{SETTINGS, previewed},
    };
    use std::time::Duration;

    /// A source in which every slice is missing.
    struct Gone;

    impl SliceSource for Gone {
        fn slice(&self, study: &Study, at: SliceIndex, _: &mut [u8]) -> Result<(), Error> {
            let (study, problem) = (study.uid.clone(), "is missing".into());
            Err(Error::Slice { study, at, path: "gone".into(), problem })
        }
    }

    fn completed(training: bool, source: Arc<dyn SliceSource>) -> Vec<Crop> {
        let config = Config::load(None, false, &SETTINGS.map(Set::new)).unwrap();
        let reader = SliceReader::new(config, Phantom::table(4, 2, 0), source);
        let (preview, _) = previewed(training);
        let crops = reader.completed(preview).crops;
        assert!(!crops.is_empty());
        crops
    }

    #[test]
    fn raw_is_the_sources_slice() {
        let source = Arc::new(Phantom::new(32, 15, 0));
        let (train, _) = Phantom::table(4, 2, 0).split(1);
        let mut image = vec![0; 32 * 32 * crate::config::CHANNELS];
        let mut augmented = 0;
        for crop in completed(true, source.clone()) {
            let study = train.iter().find(|s| *s.uid == *crop.study).unwrap();
            let at = SliceIndex { vertebra: crop.vertebra - 1, slice: crop.slice };
            source.slice(study, at, &mut image).unwrap();
            assert_eq!(crop.raw, Some(picture(&image)));
            augmented += usize::from(crop.raw.as_ref() != Some(&crop.seen));
        }
        assert!(augmented > 0, "no crop was augmented");
    }

    #[test]
    fn validation_shares_one_picture_and_a_lost_slice_has_no_raw_one() {
        for crop in completed(false, Arc::new(Gone)) {
            assert!(Arc::ptr_eq(&crop.raw.unwrap().pixels, &crop.seen.pixels));
        }
        assert!(completed(true, Arc::new(Gone)).iter().all(|crop| crop.raw.is_none()));
    }

    fn reader() -> SliceReader {
        let sets = [
            "data.image_size=32",
            "data.slices_per_vertebra=3",
            "train.batch_size=2",
            "train.mixup=0",
        ];
        let config = Config::load(None, false, &sets.map(Set::new)).unwrap();
        let (table, source) = (Phantom::table(4, 2, 0), Arc::new(Phantom::new(32, 3, 0)));
        SliceReader::new(config, table, source)
    }

    fn wanted(study: &str, vertebra: u8, slice: u8) -> SliceRequest {
        SliceRequest { fold: 1, epoch: 2, seed: 7, study: study.into(), vertebra, slice }
    }

    fn pictures(found: SliceContent) -> (Picture, Picture) {
        match found {
            SliceContent::Slice { seen, raw, .. } => (seen, raw),
            SliceContent::Nothing(why) => panic!("{why}"),
        }
    }

    #[test]
    fn what_is_seen_is_what_the_fold_trains_on_under_that_seed() {
        let reader = reader();
        let config = Config { seed: 7, ..reader.config.clone() };
        let (train, valid) = reader.table.split(1);
        let batch =
            Loader::train(reader.source.clone(), train.into(), &config, 1, 2).next().unwrap();
        let batch = batch.unwrap();
        let mut augmented = 0;
        for (i, place) in batch.places.iter().enumerate() {
            let study = &batch.studies[i / batch.images_per_study];
            let found = reader.slice(&wanted(study, place.vertebra + 1, place.slice)).unwrap();
            let (seen, raw) = pictures(found);
            assert_eq!(seen, picture(batch.image(i)));
            augmented += usize::from(seen != raw);
        }
        assert!(augmented > 20, "{augmented} of 42 slices are augmented");
        let (seen, raw) = pictures(reader.slice(&wanted(&valid[0].uid, 7, 2)).unwrap());
        assert_eq!(seen, raw, "a study that the fold validates on is seen as it is");
    }

    #[test]
    fn what_is_not_there_is_refused_in_a_sentence() {
        let reader = reader();
        let uid = reader.table.studies[0].uid.to_string();
        let cases = [
            (wanted("../../etc/passwd", 1, 0), "no study ../../etc/passwd"),
            (wanted(&"x\n".repeat(2000), 1, 0), "x x x …"),
            (wanted(&uid, 0, 0), "no C0 slice 0"),
            (wanted(&uid, 8, 0), "no C8 slice 0"),
            (wanted(&uid, 7, 3), "no C7 slice 3"),
        ];
        for (wanted, words) in cases {
            let SliceContent::Nothing(why) = reader.answer(wanted).found else { panic!("{words}") };
            assert!(why.contains(words.trim_end_matches('…')) && why.len() < 200, "{why}");
        }
        let far = SliceRequest { epoch: usize::MAX, seed: u64::MAX, ..wanted(&uid, 1, 0) };
        assert!(matches!(reader.answer(far).found, SliceContent::Slice { .. }));
    }

    #[test]
    fn whoever_asks_through_the_line_is_answered_by_an_event() {
        let reader = reader();
        let uid = reader.table.studies[0].uid.to_string();
        let (events, _commands, handle) = channel(None, 0.0);
        reader.open(handle.slice_requests.taker(), never(), &events);
        handle.slice_requests.put(wanted(&uid, 4, 1));
        let heard = handle.events.recv_timeout(Duration::from_secs(30)).unwrap();
        let Event::SliceReply(reply) = heard.event else { panic!("{heard:?}") };
        assert_eq!(reply.wanted, wanted(&uid, 4, 1));
        assert!(matches!(reply.found, SliceContent::Slice { height: 32, width: 32, .. }));
    }
}
