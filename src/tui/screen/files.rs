//! Export of the visible chart to the run's folder.

use super::{Reply, Screen};
use crate::export::{self, Chart};
use crate::run::folder::Folder;
use crate::tui::views::View;
use crate::tui::{curves, folds, system};

impl Screen {
    /// Writes the visible charts to `exports/` in the run's folder and shows where.
    pub(super) fn export(&mut self) -> Reply {
        let charts: Vec<Chart> = self.charts().into_iter().filter(|c| !c.is_empty()).collect();
        if matches!(self.view, View::Crops | View::Log) {
            return self.notice("this view has no chart to write");
        }
        if charts.is_empty() {
            return self.notice("there is no chart yet to write");
        }
        let name = self.state.plan.as_ref().map(|plan| plan.name.clone());
        let folder = self.dir.as_deref().zip(name.as_deref());
        let Some(Ok(folder)) = folder.map(|(dir, name)| Folder::open(dir, Some(name))) else {
            return self.notice("the run's folder is not here: rsna-tui report writes charts too");
        };
        let dir = folder.path().join("exports");
        let mut written = Vec::new();
        for chart in &charts {
            match export::write(&dir, &chart.title, chart) {
                Ok(paths) => written.extend(paths),
                Err(error) => {
                    return self.notice(format!("cannot write into {}: {error}", dir.display()));
                }
            }
        }
        match (written.first(), written.len()) {
            (Some(first), 2) => self.done(format!("wrote {} and .csv", first.display())),
            (_, n) => self.done(format!("wrote {n} files into {}", dir.display())),
        }
    }

    fn charts(&mut self) -> Vec<Chart> {
        let shown = self.shown();
        match self.view {
            View::Overview => {
                curves::View::default().export(&self.state, shown).into_iter().collect()
            }
            View::Curves => self.curves.export(&self.state, shown).into_iter().collect(),
            View::Vertebrae => {
                self.fold().and_then(|fold| self.levels.export(fold)).into_iter().collect()
            }
            View::Folds => folds::export(&self.state).into_iter().collect(),
            View::Runs => self.runs.export(&self.state).into_iter().collect(),
            View::System => system::export(&self.state),
            View::Crops | View::Log => Vec::new(),
        }
    }
}
