//! Folds a run's events into its alerts, live or from a journal. Everything that shows alerts or acts on
//! them folds the events here: the views' state, and the command of `ui.on_alert`.

use super::{Alerts, Kind, MOST_FOLDS};
use crate::run::event::{Event, Stamped, Worker, WorkerState};
use crate::run::journal;
use crate::view::{format, worker};
use std::path::Path;

impl Alerts {
    /// Takes in an event.
    pub fn apply(&mut self, stamped: &Stamped) {
        self.pass(stamped.at);
        self.worker = match &stamped.event {
            Event::Worker(worker) => Some(worker.fold),
            _ => stamped.fold,
        };
        if self.worker.is_some_and(|fold| !self.baselines.contains_key(&fold)) {
            // Of a fold that the plan does not have.
            return;
        }
        match &stamped.event {
            Event::RunStarted(plan) if stamped.fold.is_some() => {
                if !plan.resumed {
                    self.steps.retain(|fold, _| stamped.fold != Some(*fold));
                    self.epochs.retain(|fold, _| stamped.fold != Some(*fold));
                }
                self.start(plan);
            }
            Event::RunStarted(plan) => {
                let folds = plan.folds.iter().take(MOST_FOLDS);
                self.baselines = folds.map(|fold| (fold.fold, fold.baseline)).collect();
                self.planned = plan.epochs;
                self.start(plan);
            }
            Event::Planned(planned) => self.planned = planned.epochs,
            Event::Worker(worker) => self.process(worker),
            Event::Retrain(event) => self.retrain(event.at.fold),
            Event::Step(step) => {
                self.pace(step);
                if let Some(&baseline) = self.baselines.get(&step.at.fold) {
                    self.step(step, baseline);
                }
            }
            Event::Epoch(epoch) if self.baselines.contains_key(&epoch.at.fold) => {
                self.epoch(epoch, self.planned);
            }
            Event::LeftOut(left_out) => self.left_out(left_out.at),
            Event::System(system) => self.system(system),
            Event::Gpu(gpu) => self.gpu(gpu),
            Event::Trainer(event) => {
                self.held(event.reason.as_ref().map(|reason| format::brief(reason)));
            }
            Event::Error(error) => {
                // The others train on when one process ends.
                let all = error.fatal && stamped.fold.is_none();
                let what = if all { "the run ended in " } else { "" };
                let text = format!("{what}{}: {}", error.at, format::brief(&error.message));
                self.state(Kind::Error, text);
            }
            Event::RunFinished(_) => self.held(None),
            _ => {}
        }
    }

    /// Takes in what is known of the process that trains a fold.
    fn process(&mut self, worker: &Worker) {
        match worker.state {
            WorkerState::Died => {
                self.drop(Kind::Silent);
                self.state(Kind::Died, worker::line(worker).1);
                self.leave_process();
            }
            WorkerState::Silent => self.state(Kind::Silent, worker::line(worker).1),
            WorkerState::Training => {
                self.drop(Kind::Silent);
                let by = worker::process(worker).map(|process| format!(" by {process}"));
                self.append(Kind::Died, &format!(" · taken over{}", by.unwrap_or_default()));
                self.end(Kind::Died);
            }
            WorkerState::Ended | WorkerState::Preempted => {
                self.drop(Kind::Silent);
                self.leave_process();
            }
            // Died stands until the job trains the fold.
            WorkerState::Pending => self.drop(Kind::Silent),
        }
    }

    /// Folds the first `upto` bytes of a journal, or all of it.
    ///
    /// Errors: when it cannot be read, or has an unknown format.
    pub fn of_journal(path: &Path, upto: Option<u64>) -> Result<Self, journal::Error> {
        let mut alerts = Self::default();
        journal::for_each(path, upto, |stamped, _| {
            alerts.apply(stamped);
            Ok::<(), journal::Error>(())
        })?;
        Ok(alerts)
    }
}
