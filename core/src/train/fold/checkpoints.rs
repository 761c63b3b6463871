//! Checkpoints of a fold in training: what they hold, and when they are written.

use super::Training;
use crate::{
    config::Config,
    run::event::{CheckpointKind, FoldState, Position},
    train::{
        Result,
        checkpoint::{Progress, Snapshot},
        control::{Control, Flow},
        saver::File,
    },
};
use std::time::Instant;

impl Training<'_, '_> {
    /// Obeys pending commands. Returns `Some` to leave the fold in that state, after saving `last`.
    pub(super) fn obey(&self, control: &mut Control) -> Result<Option<FoldState>> {
        loop {
            match control.check(self.at())? {
                Flow::Continue => return Ok(None),
                Flow::Save => self.save_if(true, control)?,
                Flow::Leave(state) => {
                    // To continue the fold in this process needs `last`, even with the notebook's DEBUG.
                    let needed = matches!(state, FoldState::Paused | FoldState::Waiting);
                    self.save_if(needed || !self.fold.job.debug, control)?;
                    return Ok(Some(state));
                }
            }
        }
    }

    /// Writes `last` in mid-epoch without a command; not with the notebook's DEBUG.
    pub(super) fn save(&self, control: &mut Control) -> Result<()> {
        self.save_if(!self.fold.job.debug, control)
    }

    /// Saves a checkpoint if `checkpoint.every_steps` or `checkpoint.every_minutes` is due.
    pub(super) fn save_by_the_way(&mut self, control: &mut Control) -> Result<()> {
        let settings = &self.fold.config.checkpoint;
        let (steps, when) = &mut self.since;
        *steps += 1;
        let minutes = when.elapsed().as_secs_f64() / 60.0;
        let due = (settings.every_steps > 0 && *steps >= settings.every_steps)
            || (settings.every_minutes > 0.0 && minutes >= settings.every_minutes);
        // The end of the epoch is saved anyway.
        if due && self.at().step < self.fold.plan.steps {
            self.since = (0, Instant::now());
            self.save(control)?;
        }
        Ok(())
    }

    fn save_if(&self, wanted: bool, control: &mut Control) -> Result<()> {
        let Position { fold, epoch, step } = self.at();
        let epoch = epoch.saturating_sub(1);
        let what = (fold, epoch, step, self.fold.config.seed);
        // Saving it again would push an older generation out.
        if !wanted || control.is_saved(what) {
            return Ok(());
        }
        let file = self.last(control, epoch, step)?;
        self.stands(control, epoch, step);
        control.save(what, self.at(), vec![file])
    }

    /// Writes `last` at the end of an epoch, and `best` if `is_best`.
    pub(super) fn save_epoch(&mut self, control: &mut Control, is_best: bool) -> Result<()> {
        self.since = (0, Instant::now());
        let at = self.at();
        let mut files = Vec::new();
        if is_best {
            files.push(File {
                kind: CheckpointKind::Best,
                snapshot: Snapshot::best(self.model)?,
                path: self.fold.best_path(),
                older: Vec::new(),
            });
        }
        // The notebook's DEBUG writes no `last`.
        if !self.fold.job.debug {
            files.push(self.last(control, at.epoch, 0)?);
        }
        self.stands(control, at.epoch, 0);
        control.save((at.fold, at.epoch, 0, self.fold.config.seed), at, files)?;
        control.write_state(at)
    }

    fn last(&self, control: &Control, epoch: usize, step: usize) -> Result<File> {
        let Self { fold, sums, batches, .. } = *self;
        let (seed, number, best) = (fold.config.seed, fold.plan.fold, self.found.best);
        let progress = Progress { fold: number, seed, epoch, step, batches, sums, best };
        let config = Config { seed, ..control.config.clone() }.to_toml();
        let snapshot = Snapshot::last(self.model, &self.optimizer, &progress, &config)?;
        let older = (1..fold.config.checkpoint.keep).map(|older| fold.last(older)).collect();
        Ok(File { kind: CheckpointKind::Last, snapshot, path: fold.last(0), older })
    }

    /// Records the fold's progress for `state.json`.
    fn stands(&self, control: &mut Control, epoch: usize, step: usize) {
        if let Some(entry) = control.queue.get_mut(self.fold.plan.fold) {
            (entry.epoch, entry.step) = (epoch, step);
            entry.best = self.found.best.map(|best| self.fold.best(best));
        }
    }
}
