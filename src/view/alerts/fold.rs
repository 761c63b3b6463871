//! Folds a run's events into its alerts, live or from a journal. Everything that shows alerts or acts on
//! them folds the events here: the views' state, and the command of `ui.on_alert`.

use super::{Alerts, Kind, MOST_FOLDS};
use crate::run::event::{Event, Stamped};
use crate::run::journal;
use crate::view::format;
use std::path::Path;

impl Alerts {
    /// Takes in an event.
    pub fn apply(&mut self, stamped: &Stamped) {
        self.pass(stamped.at);
        match &stamped.event {
            Event::RunStarted(plan) => {
                let folds = plan.folds.iter().take(MOST_FOLDS);
                self.baselines = folds.map(|fold| (fold.fold, fold.baseline)).collect();
                self.planned = plan.epochs;
                self.start(plan);
            }
            Event::Planned(planned) => self.planned = planned.epochs,
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
                let what = if error.fatal { "the run ended in " } else { "" };
                let text = format!("{what}{}: {}", error.at, format::brief(&error.message));
                self.state(Kind::Error, text);
            }
            Event::RunFinished(_) => self.held(None),
            _ => {}
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
