//! Folds a run's events into its alerts, live or from a journal. Everything that shows alerts or acts on
//! them folds the events here: the views' state, and the command of `ui.on_alert`.

use super::{Alerts, Kind, MOST_FOLDS};
use crate::run::event::{Event, Position, Stamped};
use crate::run::journal::{self, Brief, Pace, Past};
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
                self.pace(Pace::of(step));
                self.brief_step(step.at, &Brief::of(step));
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
        journal::replay(path, upto, &mut alerts)?;
        Ok(alerts)
    }

    fn brief_step(&mut self, at: Position, step: &Brief) {
        if let Some(&baseline) = self.baselines.get(&at.fold) {
            self.step(at, step, baseline);
        }
    }
}

impl Past for Alerts {
    fn event(&mut self, stamped: &Stamped) {
        self.apply(stamped);
    }

    fn pace(&mut self, at: f64, pace: Pace) {
        self.pass(at);
        Alerts::pace(self, pace);
    }

    fn step(&mut self, at: Position, step: &Brief) {
        self.brief_step(at, step);
    }

    fn recent(&mut self, stamped: &Stamped) {
        self.pass(self.now.max(stamped.at));
    }
}
