//! Limits the length of journal lines: no event may exceed the longest line that readers accept.

use super::Written;
use crate::{
    bounded::excerpt,
    run::event::{Event, Level, Log, SliceContent},
};

/// Limits tried in turn: characters per text and items per list of an event.
const KEPT: [(usize, usize); 4] = [(4096, 100_000), (1024, 4096), (256, 1024), (64, 128)];

/// Formats the event as a line with its end, shortened if necessary to `most` bytes.
pub(super) fn line(event: &Event, elapsed: f64, time: f64, most: usize) -> Vec<u8> {
    let whole = serialized(event, elapsed, time);
    if whole.len() <= most {
        return whole;
    }
    for (texts, items) in KEPT {
        let mut shorter = event.clone();
        shorten(&mut shorter, texts, items);
        let line = serialized(&shorter, elapsed, time);
        if line.len() <= most {
            return line;
        }
    }
    let message = format!("an event of {} bytes was too long to be kept", whole.len());
    serialized(&Event::Log(Log { level: Level::Warn, message }), elapsed, time)
}

fn serialized(event: &Event, elapsed: f64, time: f64) -> Vec<u8> {
    // Serializing plain data into memory cannot fail.
    let mut line = serde_json::to_vec(&Written { event, elapsed, time }).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Cuts every text and every list of an event that has no fixed length.
fn shorten(event: &mut Event, texts: usize, items: usize) {
    let cut = |text: &mut String| {
        if text.chars().nth(texts).is_some() {
            *text = excerpt(text, texts);
        }
    };
    match event {
        Event::RunStarted(e) => {
            [&mut e.name, &mut e.folder, &mut e.device, &mut e.model].into_iter().for_each(cut);
            e.learning_rates.truncate(items);
            e.folds.truncate(items);
        }
        Event::Planned(e) => {
            e.learning_rates.truncate(items);
            e.changes.truncate(items);
            e.changes.iter_mut().for_each(cut);
        }
        Event::Queue(e) => e.folds.truncate(items),
        Event::LeftOut(e) => {
            cut(&mut e.what);
            e.studies.truncate(items);
            e.studies.iter_mut().for_each(cut);
        }
        Event::Worst(e) => {
            e.studies.truncate(items);
            e.studies.iter_mut().for_each(|study| cut(&mut study.prediction.study));
        }
        Event::Constant(e) => {
            e.studies.truncate(items);
            e.studies.iter_mut().for_each(|study| cut(&mut study.study));
        }
        Event::Ack(e) => e.refused.iter_mut().for_each(cut),
        Event::Preview(e) => {
            e.crops.truncate(items);
            e.predictions.truncate(items);
            e.crops.iter_mut().for_each(|crop| cut(&mut crop.study));
            e.predictions.iter_mut().for_each(|of| cut(&mut of.study));
        }
        Event::SliceReply(e) => {
            cut(&mut e.wanted.study);
            if let SliceContent::Nothing(why) = &mut e.found {
                cut(why);
            }
        }
        Event::Gpu(e) => e.throttled.iter_mut().for_each(cut),
        Event::Checkpoint(e) => cut(&mut e.path),
        Event::Trainer(e) => e.reason.iter_mut().for_each(cut),
        Event::Log(e) => cut(&mut e.message),
        Event::Error(e) => cut(&mut e.message),
        Event::RunFinished(e) => {
            e.best.truncate(items);
            e.best.iter_mut().for_each(|best| cut(&mut best.path));
            e.skipped.truncate(items);
            for of in &mut e.skipped {
                cut(&mut of.study);
                cut(&mut of.message);
            }
        }
        // These hold only numbers.
        Event::Fold(_)
        | Event::Retrain(_)
        | Event::EpochStarted(_)
        | Event::Step(_)
        | Event::ValidStep(_)
        | Event::Epoch(_)
        | Event::System(_) => {}
    }
}
