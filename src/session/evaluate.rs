//! `rsna-tui evaluate`: scores each fold's best weights on the studies that the fold was not trained on; of
//! several runs, the mean of their networks that were not.

use super::{
    members::Members,
    out::{Destination, check_folder, make_folder},
    predict::warn_left_out,
    progress::Progress,
};
use crate::{
    cli,
    config::{Config, Precision},
    export::{self, Chart, svg},
    predict::{self, Ensemble, Predicted, table},
    print::CommandOutput,
    report::scores,
    run::{
        event::{Position, Worst},
        status,
    },
    score::{
        PATIENT, Scores, Study,
        aggregate::Logits,
        evaluation::{Evaluation, FORMAT, OfFold},
        loss,
    },
    study,
    train::{outputs::Output, worst::Ranking},
    view::format,
};
use eyre::{Result, bail, eyre};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Name of the evaluation's folder within the run's.
pub(super) const EVALUATION: &str = "evaluation";
/// Name of the file of each fold's worst studies, for the crops view.
pub(super) const WORST: &str = "worst.json";
/// Names of all files written. The scores come last: if they exist, the others are complete.
const FILES: [&str; 7] =
    ["oof.csv", "roc.csv", "roc.svg", "reliability.csv", "reliability.svg", WORST, "scores.json"];
/// Size of plots whose axes both go from 0 to 1.
const SQUARE: svg::Options = svg::Options { width: 620, height: 640, legend: true };
/// Number of worst studies named.
const MOST_WORST: usize = 10;

/// Predicts, scores, writes the results and summarizes them.
pub fn evaluate(args: &cli::Evaluate) -> Result<CommandOutput> {
    if args.runs.len() > 1 && args.out.is_none() {
        bail!(
            "evaluate {}: the scores of several runs belong into none of their folders; give one with \
             --out DIR",
            args.runs.join(" ")
        );
    }
    let members = Members::open(&args.named(), &args.network.sets, args.folds.as_deref())?;
    let (dir, destinations) = destinations(args, &members)?;
    let config = &members.first().config;
    let device = super::set_up(config, &args.network.device, Precision::F32)?;
    let shared = members.data()?;
    let data = shared.first();
    let trained: BTreeSet<usize> =
        members.iter().flat_map(|member| member.trained.iter().map(|t| t.fold)).collect();
    let of_fold = |&fold: &usize| -> Vec<study::Study> {
        data.table.studies.iter().filter(|s| s.fold == fold).cloned().collect()
    };
    let all: Vec<Vec<study::Study>> = trained.iter().map(of_fold).collect();
    if let Some((fold, _)) = trained.iter().zip(&all).find(|(_, studies)| studies.is_empty()) {
        bail!("no study of {} is in fold {fold}", config.data.table.display());
    }
    shared.check_slices(config, &all.concat())?;
    let mut found: Vec<(usize, Predicted)> = Vec::new();
    let mut folds = Vec::new();
    let mut progress = Progress::new("scoring", 0, all.iter().map(Vec::len).sum());
    for (&fold, studies) in trained.iter().zip(all) {
        let (mut networks, mut plans) = (Vec::new(), Vec::new());
        for member in members.iter() {
            let own = member.networks(Some(fold), &device.device)?;
            plans.extend(vec![predict::plan(&member.config, &device.device, 1); own.len()]);
            networks.extend(own);
        }
        let ensemble = Ensemble::new(config, &networks, args.network.views, &device.device);
        let ensemble = ensemble.planned(plans);
        let first = found.len();
        let skipped = ensemble.run(
            config,
            data.source.clone(),
            studies.into(),
            |predicted| -> Result<()> {
                found.push((fold, predicted));
                progress.step();
                Ok(())
            },
        )?;
        warn_left_out(&skipped);
        let Some(scores) = Scores::of(&scored(&found[first..]), &config.score, config.seed) else {
            bail!("no study of fold {fold} could be scored");
        };
        // Several networks are of several epochs.
        let of_only = members.only().and_then(|only| only.trained.iter().find(|t| t.fold == fold));
        folds.push(OfFold { fold, epoch: of_only.and_then(|trained| trained.epoch), scores });
    }
    drop(progress);
    let studies = scored(&found);
    let all = Scores::of(&studies, &config.score, config.seed);
    let evaluation = Evaluation {
        format: FORMAT.into(),
        made: status::now(),
        rules: config.score.clone(),
        views: args.network.views,
        all: all.ok_or_else(|| eyre!("there is no study to score"))?,
        guess: loss::guess(&studies),
        folds,
    };
    make_folder(&dir)?;
    let files = files(&evaluation, (&found, &studies), config)?;
    for (destination, bytes) in destinations.iter().zip(files) {
        destination.write(&bytes)?;
    }
    let unseen = match (members.only(), &data.record) {
        (None, _) => "each scored by the best weights of all folds that have not seen it, together",
        (_, Some(_)) => "each scored by the best weights of the fold that has not seen it",
        (_, None) => "each scored by the best weights of the fold that data.table names now",
    };
    let name = members.names();
    let mut lines = said(&name, &dir, (&evaluation, unseen), &worst(&found, &studies));
    if args.out.is_none() {
        lines.push(format!("look at the worst: rsna-tui attach {name}, key 4"));
    }
    Ok(lines.into())
}

/// Returns the output folder and the destinations of [`FILES`] in it.
fn destinations(args: &cli::Evaluate, members: &Members) -> Result<(PathBuf, Vec<Destination>)> {
    let own = || members.first().folder.path().join(EVALUATION);
    let dir = args.out.clone().unwrap_or_else(own);
    check_folder(&dir, "an evaluation")?;
    let destination = |name| Destination::of(&dir.join(name), args.out.is_some(), args.force);
    let destinations = FILES.into_iter().map(destination).collect::<Result<_>>()?;
    Ok((dir, destinations))
}

fn scored(found: &[(usize, Predicted)]) -> Vec<Study> {
    found.iter().map(|(_, p)| Study::new(p.labels, p.probabilities)).collect()
}

/// Returns the studies with the highest contribution to the competition's metric, worst first.
fn worst<'a>(
    found: &'a [(usize, Predicted)],
    studies: &[Study],
) -> Vec<(f64, &'a (usize, Predicted))> {
    let mut all: Vec<_> = studies.iter().map(loss::of_exam).zip(found).collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    all.truncate(MOST_WORST);
    all
}

/// Returns the contents of [`FILES`].
fn files(
    evaluation: &Evaluation,
    (found, studies): (&[(usize, Predicted)], &[Study]),
    config: &Config,
) -> std::io::Result<[Vec<u8>; FILES.len()]> {
    let mut oof = Vec::new();
    table::write_out_of_fold(&mut oof, found.iter().map(|(fold, p)| (*fold, p)))?;
    let curve = |chart: Chart| -> std::io::Result<[Vec<u8>; 2]> {
        let mut points = Vec::new();
        export::points(&chart, &mut points)?;
        Ok([points, svg::document(&chart, &SQUARE).into_bytes()])
    };
    let [roc, roc_drawn] = curve(scores::roc(studies))?;
    let [bins, bins_drawn] = curve(scores::reliability(studies, config.score.bins))?;
    let worst: Vec<Worst> =
        evaluation.folds.iter().map(|fold| worst_of_fold(fold, found, config)).collect();
    let worst = serde_json::to_vec(&worst)?;
    let mut json = serde_json::to_vec_pretty(evaluation)?;
    json.push(b'\n');
    Ok([oof, roc, roc_drawn, bins, bins_drawn, worst, json])
}

/// Returns a fold's worst studies, in the form of a validation's.
fn worst_of_fold(fold: &OfFold, found: &[(usize, Predicted)], config: &Config) -> Worst {
    let mut ranking = Ranking::default();
    for (_, p) in found.iter().filter(|(of, _)| *of == fold.fold) {
        let logits = Logits { slices: p.slices.clone(), study: p.logits[PATIENT] as f32 };
        let output = Output { study: p.study.clone(), labels: p.labels, logits };
        ranking.add_one(output, config.train.positive_weight);
    }
    let at = Position { fold: fold.fold, epoch: fold.epoch.unwrap_or(0), step: 0 };
    Worst { at, studies: ranking.worst() }
}

/// Returns the output to print.
fn said(
    name: &str,
    dir: &Path,
    (evaluation, how): (&Evaluation, &str),
    worst: &[(f64, &(usize, Predicted))],
) -> Vec<String> {
    let mut lines = vec![format!("{name}: {} studies, {how}", evaluation.all.studies)];
    lines.extend(scores::lines(evaluation));
    lines.push(String::new());
    lines.push("worst studies, by their share of the competition's metric".into());
    lines.push(format!(
        "{:>8}  {:>4}  {:<14} {:>7}  study",
        "metric", "fold", "fractured", "patient"
    ));
    for (loss, (fold, p)) in worst {
        let fractured = format::fractured(p.labels);
        let patient = p.probabilities[PATIENT];
        lines.push(format!("{loss:>8.4}  {fold:>4}  {fractured:<14} {patient:>7.3}  {}", p.study));
    }
    lines.push(String::new());
    lines.push(format!(
        "wrote oof.csv, scores.json, roc.svg and reliability.svg to {}",
        dir.display()
    ));
    lines
}
