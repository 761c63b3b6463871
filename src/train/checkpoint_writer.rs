//! What a checkpoint is made of, and when it is written.

use super::{
    Result,
    adamw::AdamW,
    checkpoint::{Best, Progress, Snapshot, TrainSums},
    control::{Control, Flow},
    fold_inputs::{End, Fold},
    saver::{File, Job},
};
use crate::{
    config::Config,
    net::Classifier,
    run::event::{CheckpointKind, FoldState, Position},
};

/// A fold between two steps.
pub(super) struct CheckpointWriter<'a> {
    pub fold: &'a Fold<'a>,
    pub model: &'a Classifier,
    pub optimizer: &'a AdamW,
    /// The epoch at hand, as far as it is trained.
    pub sums: TrainSums,
    /// Batches of it that were trained on.
    pub batches: usize,
    /// The best epoch so far.
    pub best: Option<Best>,
}

impl CheckpointWriter<'_> {
    /// Obeys what was asked at `at`, an epoch at hand and steps done in it. `Some` where that is
    /// to leave the fold: `last` holds it then.
    pub fn obey(&self, control: &mut Control, at: Position) -> Result<Option<End>> {
        loop {
            let end = match control.check(at)? {
                Flow::Continue => return Ok(None),
                Flow::Save => {
                    self.save_if(true, control, at)?;
                    continue;
                }
                Flow::Leave(state) => End::Left(state),
                Flow::Stop => End::Stopped,
            };
            // A fold that is to go on in this process needs it, whatever the notebook's DEBUG says.
            let needed = matches!(end, End::Left(FoldState::Paused | FoldState::Waiting));
            self.save_if(needed || !self.fold.debug, control, at)?;
            return Ok(Some(end));
        }
    }

    /// Writes `last` in mid-epoch, unasked: not in the notebook's DEBUG.
    pub fn save(&self, control: &mut Control, at: Position) -> Result<()> {
        self.save_if(!self.fold.debug, control, at)
    }

    fn save_if(&self, wanted: bool, control: &mut Control, at: Position) -> Result<()> {
        let (epoch, step) = (at.epoch.saturating_sub(1), at.step);
        let what = (at.fold, epoch, step, self.fold.config.seed);
        // Once more would push the one before out of those that are kept.
        if !wanted || control.is_saved(what) {
            return Ok(());
        }
        let file = self.last(control, epoch, step)?;
        self.stands(control, epoch, step);
        control.save(what, Job { at, files: vec![file] })
    }

    /// Writes `last` at the end of the epoch, and `best` where it is that.
    pub fn save_epoch(&self, control: &mut Control, at: Position, is_best: bool) -> Result<()> {
        let mut files = Vec::new();
        if is_best {
            files.push(File {
                kind: CheckpointKind::Best,
                snapshot: Snapshot::best(self.model)?,
                path: self.fold.folder.best(at.fold, self.fold.retrain_seed),
                older: Vec::new(),
            });
        }
        // The notebook's DEBUG has none.
        if !self.fold.debug {
            files.push(self.last(control, at.epoch, 0)?);
        }
        self.stands(control, at.epoch, 0);
        control.save((at.fold, at.epoch, 0, self.fold.config.seed), Job { at, files })?;
        control.write_state(at)
    }

    fn last(&self, control: &Control, epoch: usize, step: usize) -> Result<File> {
        let Self { fold, sums, batches, best, .. } = *self;
        let (seed, number) = (fold.config.seed, fold.plan.fold);
        let progress = Progress { fold: number, seed, epoch, step, batches, sums, best };
        let config = Config { seed, ..control.config.clone() }.to_toml();
        let snapshot = Snapshot::last(self.model, self.optimizer, &progress, &config)?;
        let older = (1..fold.config.checkpoint.keep).map(|older| fold.last(older)).collect();
        Ok(File { kind: CheckpointKind::Last, snapshot, path: fold.last(0), older })
    }

    /// Notes where the fold stands, for `state.json`.
    fn stands(&self, control: &mut Control, epoch: usize, step: usize) {
        if let Some(entry) = control.queue.get_mut(self.fold.plan.fold) {
            (entry.epoch, entry.step) = (epoch, step);
            entry.best = self.best.map(|best| self.fold.best(best));
        }
    }
}
