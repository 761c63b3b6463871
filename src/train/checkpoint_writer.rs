//! Contents of a checkpoint, and when one is written.

use super::{
    Result,
    adamw::AdamW,
    checkpoint::{Best, Progress, Snapshot, TrainSums},
    control::{Control, Flow},
    fold_inputs::Fold,
    saver::File,
};
use crate::{
    config::Config,
    net::Classifier,
    run::event::{CheckpointKind, FoldState, Position},
};

/// State of a fold between two steps, to be saved.
pub(super) struct CheckpointWriter<'a> {
    pub fold: &'a Fold<'a>,
    pub model: &'a Classifier,
    pub optimizer: &'a AdamW,
    /// Sums over the steps of the current epoch.
    pub sums: TrainSums,
    /// Batches of the current epoch taken from the loader.
    pub batches: usize,
    /// The best epoch so far.
    pub best: Option<Best>,
}

impl CheckpointWriter<'_> {
    /// Obeys pending commands at `at`, the current epoch and the steps done in it. Returns `Some` to
    /// leave the fold in that state, after saving `last`.
    pub fn obey(&self, control: &mut Control, at: Position) -> Result<Option<FoldState>> {
        loop {
            match control.check(at)? {
                Flow::Continue => return Ok(None),
                Flow::Save => self.save_if(true, control, at)?,
                Flow::Leave(state) => {
                    // To continue the fold in this process needs `last`, even with the notebook's DEBUG.
                    let needed = matches!(state, FoldState::Paused | FoldState::Waiting);
                    self.save_if(needed || !self.fold.job.debug, control, at)?;
                    return Ok(Some(state));
                }
            }
        }
    }

    /// Writes `last` in mid-epoch without a command; not with the notebook's DEBUG.
    pub fn save(&self, control: &mut Control, at: Position) -> Result<()> {
        self.save_if(!self.fold.job.debug, control, at)
    }

    fn save_if(&self, wanted: bool, control: &mut Control, at: Position) -> Result<()> {
        let (epoch, step) = (at.epoch.saturating_sub(1), at.step);
        let what = (at.fold, epoch, step, self.fold.config.seed);
        // Saving it again would push an older generation out.
        if !wanted || control.is_saved(what) {
            return Ok(());
        }
        let file = self.last(control, epoch, step)?;
        self.stands(control, epoch, step);
        control.save(what, at, vec![file])
    }

    /// Writes `last` at the end of an epoch, and `best` if `is_best`.
    pub fn save_epoch(&self, control: &mut Control, at: Position, is_best: bool) -> Result<()> {
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
        let Self { fold, sums, batches, best, .. } = *self;
        let (seed, number) = (fold.config.seed, fold.plan.fold);
        let progress = Progress { fold: number, seed, epoch, step, batches, sums, best };
        let config = Config { seed, ..control.config.clone() }.to_toml();
        let snapshot = Snapshot::last(self.model, self.optimizer, &progress, &config)?;
        let older = (1..fold.config.checkpoint.keep).map(|older| fold.last(older)).collect();
        Ok(File { kind: CheckpointKind::Last, snapshot, path: fold.last(0), older })
    }

    /// Records the fold's progress for `state.json`.
    fn stands(&self, control: &mut Control, epoch: usize, step: usize) {
        if let Some(entry) = control.queue.get_mut(self.fold.plan.fold) {
            (entry.epoch, entry.step) = (epoch, step);
            entry.best = self.best.map(|best| self.fold.best(best));
        }
    }
}
