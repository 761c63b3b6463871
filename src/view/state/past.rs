//! A journal's past, folded into a run's state.

use super::*;

impl Past for State {
    fn event(&mut self, stamped: &Stamped) {
        self.apply(stamped);
    }

    fn pace(&mut self, at: f64, pace: Pace) {
        let raised = self.alerts.raised();
        self.at = at;
        self.history.add_pace(at, pace);
        Past::pace(&mut self.alerts, at, pace);
        self.log_alerts(raised);
    }

    fn step(&mut self, at: Position, step: &Brief) {
        self.select(at.fold);
        if let Some(fold) = self.folds.get_mut(self.current).filter(|f| f.plan.fold == at.fold) {
            fold.add_brief(at, step);
        }
        let raised = self.alerts.raised();
        Past::step(&mut self.alerts, at, step);
        self.log_alerts(raised);
    }

    fn recent(&mut self, stamped: &Stamped) {
        self.at = self.at.max(stamped.at);
        Past::recent(&mut self.alerts, stamped);
        match &stamped.event {
            Event::Step(step) => {
                self.progress.add_step(step);
                if let Some(fold) = self.fold_mut(step.at.fold) {
                    fold.add_figures(step);
                }
                self.step = Some(step.clone());
            }
            Event::ValidStep(step) => {
                self.progress.add_valid(step);
                if let Some(fold) = self.fold_mut(step.at.fold) {
                    fold.add_valid(step);
                }
            }
            _ => {}
        }
    }
}
