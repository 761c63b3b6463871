//! Export of the visible chart to the run's folder.

use super::{Reply, Screen};
use crate::export;
use crate::run::folder::Folder;

impl Screen {
    /// Writes the visible charts to `exports/` in the run's folder and shows where.
    pub(super) fn export(&mut self) -> Reply {
        let (view, views, context) = self.current(self.state.at);
        let Some(charts) = view.charts else {
            return self.notice("this view has no chart to write");
        };
        let mut charts = charts(views, &context);
        charts.retain(|chart| !chart.is_empty());
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
}
