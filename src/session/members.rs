//! The networks of one or several runs, which score or predict together.

use super::{
    named_run::named_run,
    recorded::{self, Data},
    trained::{self, Trained},
};
use crate::{
    cli::NamedRun,
    config::{Config, Set},
    net::Classifier,
    run::folder::Folder,
    study::{Study, Table, record},
};
use candle_core::Device;
use eyre::{Result, bail};
use std::collections::HashMap;

/// A run and those of its networks that take part.
pub(super) struct Member {
    /// The run.
    pub folder: Folder,
    /// Its settings, with the command line's changes.
    pub config: Config,
    /// The best weights of its folds, by fold.
    pub trained: Vec<Trained>,
}

/// Several runs, or one.
pub(super) struct Members(Vec<Member>);

impl Members {
    /// Opens the runs with the folds `wanted`, or all that are done.
    ///
    /// Errors: as for [`trained::of_run`]; when a run is named twice; and when two runs do not take the same
    /// crops or do not turn logits into probabilities in the same way.
    pub fn open(named: &[NamedRun], sets: &[Set], wanted: Option<&[usize]>) -> Result<Self> {
        let mut members: Vec<Member> = Vec::new();
        for named in named {
            let folder = named_run(named)?;
            if let Some(twice) = members.iter().find(|m| is_same(&m.folder, &folder)) {
                bail!("the run {} is named twice", twice.folder.name);
            }
            let config = trained::config(&folder, sets)?;
            let trained = trained::of_run(&folder, wanted)?;
            members.push(Member { folder, config, trained });
        }
        let (first, others) = members.split_first().expect("at least one run is named");
        others.iter().try_for_each(|other| fits(first, other))?;
        Ok(Self(members))
    }

    /// The runs.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.0.iter()
    }

    /// The run that was named first. Its data and rules are those of all.
    pub fn first(&self) -> &Member {
        &self.0[0]
    }

    /// The only run, if there is only one.
    pub fn only(&self) -> Option<&Member> {
        if let [only] = &self.0[..] { Some(only) } else { None }
    }

    /// The runs' names: `a + b`.
    pub fn names(&self) -> String {
        self.iter().map(|member| &*member.folder.name).collect::<Vec<_>>().join(" + ")
    }

    /// Settings of each network, in the order of the runs.
    pub fn configs(&self) -> Vec<&Config> {
        let each = self.0.iter().flat_map(|member| member.trained.iter().map(move |_| member));
        each.map(|member| &member.config).collect()
    }

    /// Reads the studies that the runs were trained on.
    ///
    /// Errors: as for [`recorded::data`]; and when two runs were not trained on the same studies, labels and
    /// folds.
    pub fn data(&self) -> Result<Studies> {
        let read = |member: &Member| recorded::data(&member.folder, &member.config);
        let all: Vec<Data> = self.iter().map(read).collect::<Result<_>>()?;
        let (first, others) = all.split_first().expect("at least one run is named");
        for (other, member) in others.iter().zip(&self.0[1..]) {
            if let Some(why) = difference(&first.table, &other.table) {
                let (a, b) = (&self.first().folder.name, &member.folder.name);
                bail!(
                    "the runs {a} and {b} were not trained on the same folds: in {b} {why} in {a}; \
                     score each by itself"
                );
            }
        }
        Ok(Studies(all))
    }
}

/// The studies of several runs, which are the same.
pub(super) struct Studies(Vec<Data>);

impl Studies {
    /// Those of the first run, with its crops.
    pub fn first(&self) -> &Data {
        &self.0[0]
    }

    /// Checks the slices of `studies` and compares them with those that the runs were trained on.
    ///
    /// Errors: when slices cannot be used, or differ.
    pub fn check_slices(&self, config: &Config, studies: &[Study]) -> Result<()> {
        let source = &self.first().source;
        let checked = super::check_slices(config, studies, |studies| source.check(studies))?;
        self.same_slices(studies, &checked.fingerprints)
    }

    /// Like [`Data::same_slices`], for each of the runs.
    pub fn same_slices(&self, studies: &[Study], fingerprints: &[u32]) -> Result<()> {
        self.0.iter().try_for_each(|data| data.same_slices(studies, fingerprints))
    }
}

impl Member {
    /// Loads the networks that take part, or of these only those of `fold`.
    pub fn networks(&self, fold: Option<usize>, device: &Device) -> Result<Vec<Classifier>> {
        let wanted = |trained: &&Trained| fold.is_none_or(|fold| trained.fold == fold);
        self.trained.iter().filter(wanted).map(|t| t.network(&self.config, device)).collect()
    }
}

fn is_same(a: &Folder, b: &Folder) -> bool {
    let whole = |folder: &Folder| folder.path().canonicalize().ok();
    a.path() == b.path() || whole(a).is_some_and(|a| whole(b) == Some(a))
}

/// Errors: when the networks of two runs cannot see the same batch, or have their logits read by other rules.
fn fits(a: &Member, b: &Member) -> Result<()> {
    let setting = |key, of: fn(&Config) -> usize| (key, of(&a.config), of(&b.config));
    let settings = [
        setting("data.image_size", |config| config.data.image_size),
        setting("data.slices_per_vertebra", |config| config.data.slices_per_vertebra),
    ];
    let (name_a, name_b) = (&a.folder.name, &b.folder.name);
    if let Some((key, of_a, of_b)) = settings.into_iter().find(|(_, a, b)| a != b) {
        bail!(
            "the runs {name_a} and {name_b} do not go together: {key} is {of_a} in {name_a} and {of_b} \
             in {name_b}"
        );
    }
    if a.config.score != b.config.score {
        bail!(
            "the runs {name_a} and {name_b} differ in [score]: give the rules for both with --set, as in \
             --set score.patient=study_head"
        );
    }
    Ok(())
}

/// How a table differs from `first`, as the beginning of a clause that ends in the first run's name.
fn difference(first: &Table, other: &Table) -> Option<String> {
    let mut missing: HashMap<&str, &Study> =
        first.studies.iter().map(|study| (&*study.uid, study)).collect();
    for study in &other.studies {
        match missing.remove(&*study.uid) {
            None => return Some(format!("there is study {}, which is not", record::name(study))),
            Some(was) => {
                if let Some((now, was)) = record::difference(was, study) {
                    let was = was.trim_start_matches("was ");
                    return Some(format!("study {} {now}, but {was}", record::name(study)));
                }
            }
        }
    }
    let gone = first.studies.iter().find(|study| missing.contains_key(&*study.uid))?;
    Some(format!("there is no study {}, which is", record::name(gone)))
}
