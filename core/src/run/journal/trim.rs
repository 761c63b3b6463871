//! A journal cut back to what checkpoints know.

use super::{Error, Lines, parse};
use crate::{
    bounded,
    run::{
        event::{Checkpoint, Epoch, Event, FoldEvent, LeftOut, Step, ValidStep, Worst},
        unfinished::Unfinished,
    },
};
use std::{
    fs::File,
    io::{self, Write},
    path::Path,
};

/// Progress of a fold in its checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Number of the fold.
    pub fold: usize,
    /// Epochs done.
    pub epochs: usize,
    /// Steps done in the next.
    pub steps: usize,
}

impl Known {
    /// Whether training repeats `event`, because the checkpoint does not include it.
    fn lacks(&self, event: &Event) -> bool {
        let next = self.epochs.saturating_add(1);
        match event {
            Event::Step(Step { at, .. })
            | Event::Checkpoint(Checkpoint { at, .. })
            | Event::Fold(FoldEvent { at, .. })
            | Event::LeftOut(LeftOut { at, .. }) => {
                at.fold == self.fold && (at.epoch, at.step) > (next, self.steps)
            }
            Event::EpochStarted(e) => {
                e.at.fold == self.fold && (e.at.epoch, e.at.step) >= (next, self.steps)
            }
            Event::Epoch(Epoch { at, .. })
            | Event::Worst(Worst { at, .. })
            | Event::ValidStep(ValidStep { at, .. }) => {
                at.fold == self.fold && at.epoch > self.epochs
            }
            Event::RunStarted(_)
            | Event::Queue(_)
            | Event::Retrain(_)
            | Event::Planned(_)
            | Event::Preview(_)
            | Event::SliceReply(_)
            | Event::Gpu(_)
            | Event::System(_)
            | Event::Constant(_)
            | Event::Trainer(_)
            | Event::Ack(_)
            | Event::Worker(_)
            | Event::Log(_)
            | Event::Error(_)
            | Event::RunFinished(_)
            | Event::Unknown => false,
        }
    }
}

/// Removes events after the folds' checkpoints, whose steps are repeated, and an unfinished last line.
/// Returns the run's seconds at the end, and the device that last trained it.
///
/// Errors: when it cannot be read or written, is no journal, or is of a newer version.
pub fn trim(path: &Path, known: &[Known]) -> Result<(f64, Option<String>), Error> {
    let failed = |source| Error::Io { path: path.into(), source };
    if !path.exists() {
        return Ok((0.0, None));
    }
    let mut lines = Lines::open(path, None)?;
    let (mut seconds, mut device, mut end) = (0.0, None, lines.next_start());
    // Where the lines begin that are removed, and their fold.
    let mut beyond: Vec<(u64, usize)> = Vec::new();
    while let Some((start, line)) = lines.next().map_err(failed)? {
        // A line of a newer version may count its seconds in another way.
        if let Some(stamped) = parse(line).filter(|stamped| stamped.event != Event::Unknown) {
            seconds = stamped.at;
            let lacking = known.iter().find(|known| known.lacks(&stamped.event));
            beyond.extend(lacking.map(|known| (start, known.fold)));
            match stamped.event {
                // Only what follows belongs to the training that continues.
                Event::Retrain(e) => beyond.retain(|&(_, fold)| fold != e.at.fold),
                Event::RunStarted(plan) => device = Some(plan.device),
                _ => {}
            }
        }
        end = lines.next_start();
    }
    if beyond.is_empty() {
        let file = bounded::open_with(path, File::options().write(true)).map_err(failed)?;
        file.set_len(end).map_err(failed)?;
        return Ok((seconds, device));
    }
    let write = || -> io::Result<()> {
        let mut out = Unfinished::create(path)?;
        let mut lines = Lines::open(path, Some(end)).map_err(io::Error::other)?;
        out.write_all(&lines.head)?;
        let mut beyond = beyond.iter().peekable();
        while let Some((start, line)) = lines.next()? {
            if beyond.next_if(|(removed, _)| *removed == start).is_none() {
                out.write_all(line)?;
                out.write_all(b"\n")?;
            }
        }
        out.finish()
    };
    write().map_err(failed)?;
    Ok((seconds, device))
}
