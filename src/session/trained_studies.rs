//! Knows which studies the networks of runs were trained on.

use super::{members::Members, recorded};
use crate::{print, study::Study};
use eyre::{Result, bail};
use std::{collections::HashMap, sync::Arc};

/// The studies that the networks of one or several runs were trained on.
#[derive(Default)]
pub(super) struct TrainedStudies {
    /// Run and fold of each network.
    networks: Vec<(usize, usize)>,
    runs: Vec<Run>,
}

/// A run's studies.
struct Run {
    name: String,
    /// Fold of each study, by UID.
    folds: HashMap<Arc<str>, usize>,
}

impl TrainedStudies {
    /// Reads the studies from the runs' records. If there is none, warns, or with `unseen` returns an error.
    pub fn of(members: &Members, unseen: bool) -> Result<Self> {
        let mut of = Self::default();
        for (run, member) in members.iter().enumerate() {
            of.networks.extend(member.trained.iter().map(|t| (run, t.fold)));
            let folds = match recorded::read_or_warn(&member.folder, &member.config) {
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
            of.runs.push(Run { name: member.folder.name.clone(), folds });
        }
        Ok(of)
    }

    /// Whether the network was trained on the study: a fold trains on the studies of all other folds.
    pub fn include(&self, study: &str, network: usize) -> bool {
        let (run, own) = self.networks[network];
        self.runs[run].folds.get(study).is_some_and(|fold| *fold != own)
    }

    /// Returns a warning if a network was trained on a study. `unseen`: such networks are left out, so
    /// there is nothing to warn of.
    ///
    /// Errors: when no network would be left for a study.
    pub fn check(&self, studies: &[Study], unseen: bool) -> Result<Option<String>> {
        let by = |study: &Study| -> Vec<usize> {
            (0..self.networks.len()).filter(|&n| self.include(&study.uid, n)).collect()
        };
        let seen: Vec<(&Study, Vec<usize>)> =
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
                "{} of {all} studies were trained on by some of these folds, {} first ({}): \
                 their predictions look better than they are; --unseen leaves such folds out, study \
                 by study",
                seen.len(),
                study.uid,
                self.named(by)
            ))),
        }
    }

    /// Names networks: `fold 0, 2`; of several runs: `a fold 0, b fold 2`.
    fn named(&self, networks: &[usize]) -> String {
        let named = |&n: &usize| {
            let (run, fold) = self.networks[n];
            match self.runs.len() {
                1 => fold.to_string(),
                _ => format!("{} fold {fold}", self.runs[run].name),
            }
        };
        let all: Vec<String> = networks.iter().map(named).collect();
        format!("{}{}", if self.runs.len() == 1 { "fold " } else { "" }, all.join(", "))
    }
}
