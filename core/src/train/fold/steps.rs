//! Training steps of an epoch.

use super::Training;
use crate::{
    config::OnError,
    net::Classifier,
    run::{
        Event,
        event::{FoldState, LeftOut, Level, Position, Step},
    },
    study::{Batch, Loader},
    train::{
        Error, Result,
        control::Control,
        metrics::VertebraLoss,
        schedule,
        step::{Images, StepOutput, Targets},
    },
};
use std::time::{Duration, Instant};

/// Interval between GPU queries.
const GPU_EVERY: Duration = Duration::from_secs(2);
/// Consecutive batches that may be left out before the fold fails.
const MOST_LEFT_OUT: usize = 10;

impl Training<'_, '_> {
    /// Makes the steps of the loader's current phase. Returns `Some` if the fold was left in that state.
    pub(super) fn train_epoch(
        &mut self,
        loader: &mut Loader,
        control: &mut Control,
    ) -> Result<Option<FoldState>> {
        let fold = self.fold;
        loop {
            let start = Instant::now();
            let batch = loader.next();
            self.found.skips.note(loader, &self.at().to_string(), fold.events);
            let Some(batch) = batch.transpose()? else { break };
            let data_seconds = start.elapsed().as_secs_f64();
            let at = self.at();
            if let Some(left) = self.obey(control)? {
                return Ok(Some(left));
            }
            self.place.set(Position { step: at.step + 1, ..at });
            let lr = schedule::learning_rate(&control.config.train, at.epoch);
            fold.faults.at_step((self.at().epoch - 1) * fold.plan.steps + self.at().step);
            let made = match fold.faults.spoils(loader.taken()) {
                true => Err(Error::NonFinite { what: "the loss".into(), studies: batch.studies() }),
                false => self.train_step(&batch, lr, data_seconds),
            };
            let step = match made {
                Ok(step) => step,
                Err(error) => {
                    // No step was made.
                    self.place.set(at);
                    self.leave_out(error, loader)?;
                    continue;
                }
            };
            self.left_out = 0;
            self.sums.loss += step.loss;
            self.sums.slice += step.slice_loss;
            self.sums.study += step.study_loss;
            self.sums.steps += 1;
            self.sums.seconds += step.data_seconds + step.compute_seconds;
            self.batches = loader.taken();
            fold.events.send(Event::Step(step));
            self.ask_gpu();
            self.save_by_the_way(control)?;
        }
        Ok(None)
    }

    fn train_step(&mut self, batch: &Batch, lr: f64, data_seconds: f64) -> Result<Step> {
        let fold = self.fold;
        let config = fold.config;
        let start = Instant::now();
        let mixed = batch.targets_mixed();
        let lambda = batch.mixup.as_ref().map(|m| m.lambda);
        let targets = Targets { own: &batch.targets, mixed: mixed.as_deref().zip(lambda) };
        let key = Classifier::dropout_key(
            config.seed,
            self.at().fold,
            self.at().epoch,
            self.at().step - 1,
        );
        let stepper = fold.stepper(self.model);
        let out = stepper.step(&mut self.optimizer, lr, batch, targets, self.weights, Some(key))?;
        let compute_seconds = start.elapsed().as_secs_f64();
        self.tell(&out);
        let logits = (&out.slice_logits[..], &out.study_logits[..]);
        self.previews.offer(batch, logits, self.at());

        let mut vertebrae = VertebraLoss::default();
        let positive = self.weights.positive;
        let places = || batch.places.iter().map(|p| usize::from(p.vertebra));
        let share = lambda.unwrap_or(1.0);
        vertebrae.add(&out.slice_logits, &batch.targets, places(), positive, share);
        if let (Some(mixed), Some(mixup)) = (&mixed, &batch.mixup) {
            // The partner's share of a mixed slice counts for the partner's vertebra.
            let t = batch.images_per_study;
            let partners = (0..batch.targets.len())
                .map(|i| usize::from(batch.places[mixup.partner[i / t] * t + i % t].vertebra));
            vertebrae.add(&out.slice_logits, mixed, partners, positive, 1.0 - share);
        }
        Ok(Step {
            at: self.at(),
            steps: fold.plan.steps,
            loss: out.loss.loss,
            slice_loss: out.loss.slice,
            study_loss: out.loss.study,
            vertebra_loss: vertebrae.means().map(|l| l.unwrap_or(0.0)),
            grad_norm: out.grad_norm,
            skipped: out.skipped,
            learning_rate: lr,
            mixup: lambda,
            images: batch.targets.len(),
            data_seconds,
            compute_seconds,
        })
    }

    /// Reports the state of the GPU, at most every two seconds.
    fn ask_gpu(&mut self) {
        let Some(monitor) = self.fold.monitor else { return };
        if self.asked.is_some_and(|asked| asked.elapsed() < GPU_EVERY) {
            return;
        }
        self.asked = Some(Instant::now());
        if let Some(gpu) = monitor.read() {
            self.fold.events.send(Event::Gpu(gpu));
        }
    }

    /// Logs a smaller memory plan and a skipped step.
    fn tell(&self, out: &StepOutput) {
        let (fold, at) = (self.fold, self.at());
        let before = fold.memory.replace(out.plan);
        if before != out.plan {
            let n = out.plan.chunk;
            let message = format!(
                "{at}: out of memory; made again with {n} images at once, as all from now on"
            );
            fold.events.log(Level::Warn, message);
        }
        if let (true, Some(scaler)) = (out.skipped, self.optimizer.scaler) {
            let scale = scaler.scale;
            let message = format!(
                "{at}: a gradient was not finite in f16; step skipped, loss scale now {scale}"
            );
            fold.events.log(Level::Warn, message);
        }
    }

    /// Leaves out a batch whose loss or gradient is not finite, if the config allows that. Weights,
    /// moments and running statistics are as before the batch: training again from the last checkpoint
    /// without it would give the same bits.
    fn leave_out(&mut self, error: Error, loader: &Loader) -> Result<()> {
        let skip = self.fold.config.train.on_nonfinite == OnError::Skip;
        let Error::NonFinite { what, studies } = error else { return Err(error) };
        if !skip || self.left_out == MOST_LEFT_OUT {
            return Err(Error::NonFinite { what, studies });
        }
        self.left_out += 1;
        self.batches = loader.taken();
        self.fold.events.send(Event::LeftOut(LeftOut { at: self.at(), what, studies }));
        Ok(())
    }
}
