//! Training of one fold: epochs of training and validation, `best`, `last` and the log, as in the
//! notebook's `run`.

use super::{
    Error, Result,
    adamw::AdamW,
    checkpoint::{self, Best, Progress, TrainSums, check_finite},
    control::{Control, Flow},
    fold_inputs::Fold,
    log::{ctime, log_line, trim_log},
    loss::Weights,
    metrics::cost,
    preview::Previews,
    schedule,
    skips::Skips,
    step::{Bytes, Images},
};
use crate::{
    config::{Config, Metric},
    net::Classifier,
    run::{
        Event, catalogue,
        event::{
            self, ConstantStudy, Epoch, EpochStarted, FoldEvent, FoldState, Level, Position, Worst,
        },
        folder::append_line,
        journal,
    },
    study::{Batch, Constant, Loader},
};
use std::{cell::Cell, ops::Range, sync::Arc, time::Instant};

mod checkpoints;
mod steps;
mod validation;

use validation::Validation;

/// Maximum of `checkpoint.keep`.
pub const MOST_KEPT: usize = 100;
/// Maximum number of studies per event, which bounds the length of a journal line.
const MOST_CONSTANT: usize = 500;

impl Images for Batch {
    fn fill(&self, range: Range<usize>, out: &mut [f32]) {
        self.images_f32(range, out);
    }
    fn size(&self) -> usize {
        self.size
    }
    fn studies(&self) -> Vec<String> {
        self.studies.iter().map(ToString::to_string).collect()
    }
    fn bytes(&self) -> Option<Bytes<'_>> {
        let t = self.images_per_study;
        let mixed = self.mixup.as_ref().map(|mixup| {
            let partner = mixup.partner.iter().flat_map(|b| b * t..(b + 1) * t);
            (partner.map(|i| i as u32).collect(), mixup.shares())
        });
        Some(Bytes { pieces: self.images.iter().map(|images| &images[..]).collect(), mixed })
    }
}

/// Results of a fold, even if it fails.
#[derive(Debug, Default)]
pub struct Found {
    /// The best epoch, if one was completed.
    pub best: Option<Best>,
    /// Studies that could not be read.
    pub skips: Skips,
}

/// State of a fold during training.
struct Training<'a, 'f> {
    fold: &'f Fold<'a>,
    model: &'f Classifier,
    optimizer: AdamW,
    weights: Weights,
    place: &'f Cell<Position>,
    previews: Previews,
    /// Time of the last GPU query.
    asked: Option<Instant>,
    /// Sums over the steps of the current epoch.
    sums: TrainSums,
    /// Batches of the current epoch taken from the loader.
    batches: usize,
    /// Consecutive batches that were left out.
    left_out: usize,
    /// Steps since the last checkpoint, and its time.
    since: (usize, Instant),
    found: &'f mut Found,
}

impl Fold<'_> {
    /// Trains `model` for all epochs and obeys `control` between steps. Returns the state in which the
    /// fold was left; after `Stopped`, the run ends.
    ///
    /// `place` is kept up to date, so that a caller that catches an error or a panic knows where it
    /// happened. `found` is filled even on an error.
    ///
    /// Errors: when a loss or gradient is not finite or a study cannot be read (`last` is saved first),
    /// when a file cannot be written, or when candle fails.
    pub fn run(
        &self,
        model: &Classifier,
        control: &mut Control,
        place: &Cell<Position>,
        found: &mut Found,
    ) -> Result<FoldState> {
        found.skips.fold = self.plan.fold;
        // Read from `last`, if it exists.
        found.best = None;
        place.set(Position { fold: self.plan.fold, epoch: 0, step: 0 });
        let sizes = model.parameters.trainable.iter().map(|p| p.var.elem_count());
        let mut training = Training {
            fold: self,
            model,
            optimizer: AdamW::new(&self.config.train, sizes),
            weights: Weights::from(&self.config.train),
            place,
            previews: Previews::new(self.config.ui.preview_seconds, self.previews.clone()),
            asked: None,
            sums: TrainSums::default(),
            batches: 0,
            left_out: 0,
            since: (0, Instant::now()),
            found,
        };
        let from = training.go_on(control)?;
        let left = training.epochs(from, control);
        training.found.skips.tell(self.events);
        if let Err(Error::NonFinite { .. } | Error::Study(_)) = &left {
            // The weights are those after the previous step.
            training.save(control)?;
        }
        let state = left?;
        // Wait for the disk before announcing the end of the fold.
        control.saved_all(training.at())?;
        self.events.send(Event::Fold(FoldEvent { at: training.at(), state }));
        Ok(state)
    }
}

impl Training<'_, '_> {
    fn at(&self) -> Position {
        self.place.get()
    }

    fn state(&self, state: FoldState, control: &mut Control) {
        control.queue.stands(self.fold.plan.fold, state);
        self.fold.events.send(Event::Fold(FoldEvent { at: self.at(), state }));
        control.acknowledge_obeyed();
    }

    /// Resumes from `last` if it exists. Returns the epochs done and the steps done in the next one.
    fn go_on(&mut self, control: &mut Control) -> Result<(usize, usize)> {
        let fold = self.fold;
        let (last, refused) = checkpoint::newest((0..=MOST_KEPT).map(|older| fold.last(older)));
        let Some(last) = last else {
            return match refused.into_iter().next() {
                Some((path, why)) => Err(Error::Resume { path, why }),
                None => Ok((0, 0)),
            };
        };
        for (path, why) in refused {
            let (path, taken) = (path.display(), last.path.display());
            fold.events.log(Level::Warn, format!("{path}: {why}; going on from {taken}"));
        }
        let progress = checkpoint::load_last(self.model, &mut self.optimizer, &last)?;
        let Progress { epoch, step, batches, sums, best, .. } = progress;
        (self.sums, self.batches) = (sums, batches);
        if step > 0 && self.sums.seconds == 0.0 {
            // Checkpoints hold no times, so that equal runs write equal files: the journal has them.
            let journal = fold.job.folder.journal();
            let seconds = journal::step_seconds(&journal, self.at().fold, epoch + 1, step);
            self.sums.seconds = seconds.unwrap_or(0.0);
        }
        self.found.best = best;
        // Later epochs are trained again, so remove them from the log.
        let log = fold.log();
        let number = self.at().fold;
        control.persist(self.at(), &log, |_| trim_log(&log, number, epoch))?;
        let (next, all) = (epoch + 1, fold.config.train.epochs);
        self.place.set(Position { epoch: next.min(all.max(epoch)), step, ..self.at() });
        let message = match (epoch >= all, step) {
            (true, _) => format!("fold {number}: its {epoch} epochs are done"),
            (false, 0) => format!("going on with fold {number} epoch {next}"),
            (false, _) => format!("going on with fold {number} epoch {next} after step {step}"),
        };
        fold.events.log(Level::Info, message);
        Ok((epoch, step))
    }

    /// Runs the epochs after the first `done`, of which the next has `steps` steps done.
    fn epochs(
        &mut self,
        (done, steps): (usize, usize),
        control: &mut Control,
    ) -> Result<FoldState> {
        // Number of epochs that the loader was created for.
        let mut prepared = control.config.train.epochs;
        let mut loader = self.loader(done + 1, control);
        let mut epoch = done;
        while epoch < control.config.train.epochs {
            epoch += 1;
            if epoch > prepared {
                prepared = control.config.train.epochs;
                loader = self.loader(epoch, control);
            }
            let step = if epoch == done + 1 { steps } else { 0 };
            self.place.set(Position { epoch, step, ..self.at() });
            let lr = schedule::learning_rate(&control.config.train, epoch);
            self.state(FoldState::Training, control);
            self.fold
                .events
                .send(Event::EpochStarted(EpochStarted { at: self.at(), learning_rate: lr }));
            if let Some(left) = self.train_epoch(&mut loader, control)? {
                return Ok(left);
            }
            // Validation does not use every weight, so it would not notice all of them.
            check_finite(self.model)?;
            self.state(FoldState::Validating, control);
            let validation = match self.validate(&mut loader, control)? {
                Ok(validation) => validation,
                Err(left) => return Ok(left),
            };
            self.tell_constant(&mut loader);
            self.finish_epoch(validation, control)?;
            if epoch == control.config.train.epochs {
                break;
            }
            // Commands that arrived while the epoch ended apply to this epoch.
            loop {
                match control.check(self.at())? {
                    Flow::Save => control.save_with_epoch(self.at())?,
                    Flow::Continue if control.stop_after_epoch => return Ok(FoldState::Stopped),
                    Flow::Continue => break,
                    Flow::Leave(state) => return Ok(state),
                }
            }
        }
        Ok(FoldState::Done)
    }

    /// Creates a loader from `epoch` on, which skips the batches that are already trained.
    fn loader(&self, epoch: usize, control: &Control) -> Loader {
        let fold = self.fold;
        let (train, valid) = (fold.train.clone(), fold.valid.clone());
        let config = Config { seed: fold.config.seed, ..control.config.clone() };
        let from = (epoch, self.batches);
        Loader::fold(fold.job.source.clone(), train, valid, &config, self.at().fold, from)
    }

    /// Reports studies with constant crops, each study once per run.
    fn tell_constant(&self, loader: &mut Loader) {
        let fold = self.fold;
        let mut known = fold.constant.borrow_mut();
        let mut studies: Vec<ConstantStudy> = loader
            .take_constant()
            .into_iter()
            .filter(|constant| known.insert(constant.study.clone()))
            .map(|Constant { study, slices }| ConstantStudy { study: study.to_string(), slices })
            .collect();
        studies.sort_by(|a, b| a.study.cmp(&b.study));
        for studies in studies.chunks(MOST_CONSTANT) {
            fold.events.send(Event::Constant(event::Constant {
                at: self.at(),
                slices_per_vertebra: fold.config.data.slices_per_vertebra,
                studies: studies.to_vec(),
            }));
        }
    }

    fn finish_epoch(&mut self, v: Validation, control: &mut Control) -> Result<()> {
        let fold = self.fold;
        let sums = std::mem::take(&mut self.sums);
        self.batches = 0;
        let lr = schedule::learning_rate(&control.config.train, self.at().epoch);
        let n = sums.steps as f64;
        let select = fold.config.select.metric;
        let at = self.at();
        let before = self.found.best.map_or(f64::INFINITY, |b| b.metric);
        let mut done = Epoch {
            at,
            learning_rate: lr,
            train_loss: sums.loss / n,
            train_slice_loss: sums.slice / n,
            train_study_loss: sums.study / n,
            valid_loss: v.loss,
            valid_slice_loss: v.slice,
            valid_study_loss: v.study,
            valid_vertebra_loss: v.vertebra,
            slice_auc: v.slice_auc,
            study_auc: v.study_auc,
            metric: f64::NAN,
            best_metric: before,
            is_best: false,
            scores: v.scores.map(Arc::new),
            train_seconds: sums.seconds,
            valid_seconds: v.seconds,
            valid_batches: v.batches,
        };
        let line = log_line(&ctime(), at.fold, at.epoch, lr, done.train_loss, v.loss);
        let path = fold.log();
        control.persist(at, &path, |_| append_line(&path, &line))?;

        if sums.steps > 0 {
            done.metric = cost(select, &done);
        }
        let metric = done.metric;
        if !metric.is_finite() {
            let why = match (sums.steps, v.loss.is_finite()) {
                (0, _) => "every batch of it was left out".into(),
                (_, false) => format!("its validation loss is {}", v.loss),
                (_, true) => format!("its {} is not defined", catalogue::selecting(select).label),
            };
            let Position { fold: number, epoch, .. } = at;
            let message = format!("fold {number} epoch {epoch} cannot be the best: {why}");
            fold.events.log(Level::Warn, message);
        }
        let is_best = metric.is_finite() && metric < before;
        if is_best {
            let (epoch, slice_auc) = (at.epoch, v.slice_auc);
            let valid_loss = (select != Metric::Loss).then_some(v.loss);
            self.found.best = Some(Best { metric, epoch, valid_loss, slice_auc });
        }
        (done.best_metric, done.is_best) = (metric.min(before), is_best);
        fold.events.send(Event::Epoch(done));
        fold.events.send(Event::Worst(Worst { at, studies: v.worst }));
        fold.events.log(Level::Info, line.find("Fold ").map_or(&*line, |i| &line[i..]));
        self.save_epoch(control, is_best)
    }
}
