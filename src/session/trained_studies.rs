//! Knows which studies a run's networks were trained on.

use super::{recorded, trained::Trained};
use crate::{config::Config, print, run::folder::Folder, study::Study};
use eyre::{Result, bail};
use std::{collections::HashMap, sync::Arc};

/// The studies that the networks of a run were trained on.
#[derive(Default)]
pub(super) struct TrainedStudies {
    /// Fold of each network.
    networks: Vec<usize>,
    /// Fold of each of the run's studies, by UID.
    studies: HashMap<Arc<str>, usize>,
}

impl TrainedStudies {
    /// Reads the studies from the run's record. If there is none, warns, or with `unseen` returns an error.
    pub fn of(folder: &Folder, config: &Config, trained: &[Trained], unseen: bool) -> Result<Self> {
        let networks = trained.iter().map(|t| t.fold).collect();
        let studies = match recorded::read_or_warn(folder, config) {
            Ok(data) => {
                let studies = data.table.studies.into_iter();
                studies.map(|study| (study.uid, study.fold)).collect()
            }
            Err(error) if unseen => return Err(error),
            Err(error) => {
                print::warn(format_args!(
                    "cannot tell which studies these folds were trained on: {error}"
                ));
                HashMap::new()
            }
        };
        Ok(Self { networks, studies })
    }

    /// Whether the network was trained on the study: a fold trains on the studies of all other folds.
    pub fn include(&self, study: &str, network: usize) -> bool {
        self.studies.get(study).is_some_and(|fold| *fold != self.networks[network])
    }

    /// Returns a warning if a network was trained on a study. `unseen`: such networks are left out, so
    /// there is nothing to warn of.
    ///
    /// Errors: when no network would be left for a study.
    pub fn check(&self, studies: &[Study], unseen: bool) -> Result<Option<String>> {
        let by = |study: &Study| -> Vec<String> {
            let networks = (0..self.networks.len()).filter(|&n| self.include(&study.uid, n));
            networks.map(|n| self.networks[n].to_string()).collect()
        };
        let seen: Vec<(&Study, Vec<String>)> =
            studies.iter().map(|s| (s, by(s))).filter(|(_, by)| !by.is_empty()).collect();
        let all = studies.len();
        let mut by_all = seen.iter().filter(|(_, by)| by.len() == self.networks.len());
        match (seen.first(), by_all.next()) {
            (None, _) => Ok(None),
            (_, Some((study, _))) if unseen => bail!(
                "--unseen: all folds at hand were trained on {} of {all} studies, {} first: add \
                 their own folds with --folds, or leave them out with --studies",
                1 + by_all.count(),
                study.uid
            ),
            _ if unseen => Ok(None),
            (Some((study, by)), _) => Ok(Some(format!(
                "{} of {all} studies were trained on by some of these folds, {} first (fold {}): \
                 their predictions look better than they are; --unseen leaves such folds out, study \
                 by study",
                seen.len(),
                study.uid,
                by.join(", ")
            ))),
        }
    }
}
