//! Studies left out because they could not be read: logged when it happens and at the end of a fold.

use crate::{
    run::{
        channel::EventSender,
        event::{Level, SkippedStudy},
    },
    study::Loader,
};

/// Maximum number of studies listed in the log at the end of a fold.
const NAMED: usize = 20;

/// Studies that a fold left out, in order of first occurrence.
#[derive(Debug, Default)]
pub struct Skips {
    /// The fold's number.
    pub fold: usize,
    /// The studies, without duplicates.
    pub studies: Vec<SkippedStudy>,
}

impl Skips {
    /// Records the studies that `loader` has left out since the last call and logs a warning for each.
    /// `place`: where training is, in words.
    pub fn note(&mut self, loader: &mut Loader, place: &str, events: &EventSender) {
        for skipped in loader.take_skipped() {
            events.log(Level::Warn, format!("{place}: left out: {}", skipped.reason));
            match self.studies.iter_mut().find(|s| *s.study == *skipped.study) {
                Some(study) => study.times += 1,
                None => self.studies.push(SkippedStudy {
                    fold: self.fold,
                    study: skipped.study.to_string(),
                    times: 1,
                    message: skipped.reason,
                }),
            }
        }
    }

    /// Logs all of them again, if there are any, at the end of the fold.
    pub fn tell(&self, events: &EventSender) {
        let Self { fold, studies } = self;
        if studies.is_empty() {
            return;
        }
        let n = studies.len();
        let were = if n == 1 { "study was" } else { "studies were" };
        events.log(Level::Warn, format!("fold {fold}: {n} {were} left out of batches:"));
        for s in studies.iter().take(NAMED) {
            let times = format!("{} time{}", s.times, if s.times == 1 { "" } else { "s" });
            events.log(Level::Warn, format!("fold {fold}: {times}: {}", s.message));
        }
        if n > NAMED {
            let more = format!("fold {fold}: and {} more, see report.txt", n - NAMED);
            events.log(Level::Warn, more);
        }
    }
}
