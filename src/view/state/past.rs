//! A journal's past, folded into a run's state.

use super::*;

impl Past for State {
    fn event(&mut self, stamped: &Stamped) {
        self.apply(stamped);
    }

    fn pace(&mut self, at: f64, pace: Pace) {
        let raised = self.alerts.raised();
        self.pass(at);
        self.add_pace(pace);
        self.log_alerts(raised);
    }

    fn step(&mut self, at: Position, step: &Brief) {
        self.select(at.fold);
        if let Some(fold) = self.folds.get_mut(self.current).filter(|f| f.plan.fold == at.fold) {
            fold.add_brief(at, step);
        }
        let raised = self.alerts.raised();
        self.add_figures(at, step);
        self.log_alerts(raised);
    }

    fn recent(&mut self, stamped: &Stamped) {
        self.pass(self.at.max(stamped.at));
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
