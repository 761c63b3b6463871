//! Questions that the views ask of a run's state.

use super::*;

impl State {
    /// Whether no more events will come.
    pub fn is_over(&self) -> bool {
        self.finished.is_some() || self.vanished
    }

    /// Whether a request for a slice would be answered.
    pub fn can_read_slices(&self) -> bool {
        !self.is_over() || self.reads_slices
    }

    /// Whether the trainer is paused or about to pause.
    pub fn is_paused(&self) -> bool {
        match self.pending {
            Some(Command::Pause) => true,
            Some(Command::Resume) => false,
            _ if self.shared => self.all_are(|trainer| trainer == TrainerState::Paused),
            _ => self.trainer == Some(TrainerState::Paused),
        }
    }

    /// Whether the process of the event at hand was paused or about to pause.
    pub(super) fn was_paused(&self) -> bool {
        match self.shared {
            true => self.trainer == Some(TrainerState::Paused),
            false => self.is_paused(),
        }
    }

    /// Whether the trainer is on hold because of a problem.
    pub fn is_held(&self) -> bool {
        !self.is_over() && self.trainer == Some(TrainerState::Held)
    }

    /// Whether the run is stopping immediately.
    pub fn is_stopping(&self) -> bool {
        !self.is_over()
            && (self.pending == Some(Command::StopNow)
                || match self.shared {
                    true => self.all_are(|trainer| trainer == TrainerState::Stopping),
                    false => self.trainer == Some(TrainerState::Stopping),
                })
    }

    /// Whether any training step or validation batch has been done.
    pub fn has_begun(&self) -> bool {
        let begun = |fold: &Fold| fold.valid_batch > 0 || (self.shared && fold.at.epoch > 0);
        self.step.is_some() || self.folds.iter().any(begun)
    }

    /// The current fold, or the last one trained.
    pub fn fold(&self) -> Option<&Fold> {
        self.folds.get(self.current)
    }

    /// The fold in training or validation.
    pub fn in_training(&self) -> Option<&Fold> {
        self.fold().filter(|fold| fold.is_at_work() && !self.is_over())
    }

    /// Whether any fold is in training or validation.
    pub fn any_in_training(&self) -> bool {
        self.trained().next().is_some()
    }

    /// Whether only paused folds are left.
    pub fn lacks_a_fold(&self) -> bool {
        self.folds.iter().any(|fold| fold.state == FoldState::Paused)
            && !self.folds.iter().any(|fold| is_to_come(fold.state))
    }

    /// Current position of training.
    pub fn position(&self) -> Position {
        self.fold().map(|f| f.at).unwrap_or_default()
    }

    /// Seconds left in the run, or in the current epoch if the run stops after it. Includes
    /// validations and waiting folds, but neither pauses nor paused folds. `None` before the first
    /// step and when no work is left.
    pub fn seconds_left(&self) -> Option<f64> {
        let plan = self.plan.as_ref()?;
        if self.is_over() || self.is_stopping() || self.lacks_a_fold() {
            return None;
        }
        if self.shared {
            return self.shared_left(plan);
        }
        if self.stops_after_epoch {
            return self.progress.epoch_left(plan, self.fold()?);
        }
        self.progress.run_left(plan, &self.folds)
    }
}
