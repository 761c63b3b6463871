//! `rsna-tui evaluate`: scores each fold's best weights on the studies that the fold was not trained on.

use super::{
    named_run::named_run,
    out::{Destination, check_folder, make_folder},
    predict::warn_left_out,
    progress::Progress,
    recorded,
    trained::{self, Trained},
};
use crate::{
    cli,
    config::{Config, Precision},
    export::{self, Chart, svg},
    predict::{Ensemble, Predicted, table},
    print::CommandOutput,
    report::scores,
    run::{
        event::{Position, Worst},
        folder::Folder,
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
use std::path::{Path, PathBuf};

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
    let folder = named_run(&args.named)?;
    let (dir, destinations) = destinations(args, &folder)?;
    let config = trained::config(&folder, &args.network.sets)?;
    let trained = trained::of_run(&folder, args.folds.as_deref())?;
    let device = super::set_up(&config, &args.network.device, Precision::F32)?;
    let data = recorded::data(&folder, &config)?;
    let of_fold = |t: &Trained| -> Vec<study::Study> {
        data.table.studies.iter().filter(|s| s.fold == t.fold).cloned().collect()
    };
    let all: Vec<Vec<study::Study>> = trained.iter().map(of_fold).collect();
    if let Some(at) = all.iter().position(Vec::is_empty) {
        let fold = trained[at].fold;
        bail!("no study of {} is in fold {fold}", config.data.table.display());
    }
    data.check_slices(&config, &all.concat())?;
    let mut found: Vec<(usize, Predicted)> = Vec::new();
    let mut folds = Vec::new();
    let mut progress = Progress::new("scoring", 0, all.iter().map(Vec::len).sum());
    for (trained, studies) in trained.iter().zip(all) {
        let networks = [trained.network(&config, &device.device)?];
        let ensemble = Ensemble::new(&config, &networks, args.network.views, &device.device);
        let first = found.len();
        let skipped = ensemble.run(
            &config,
            data.source.clone(),
            studies.into(),
            |predicted| -> Result<()> {
                found.push((trained.fold, predicted));
                progress.step();
                Ok(())
            },
        )?;
        warn_left_out(&skipped);
        let Some(scores) = Scores::of(&scored(&found[first..]), &config.score, config.seed) else {
            bail!("no study of fold {} could be scored", trained.fold);
        };
        folds.push(OfFold { fold: trained.fold, epoch: trained.epoch, scores });
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
    let files = files(&evaluation, (&found, &studies), &config)?;
    for (destination, bytes) in destinations.iter().zip(files) {
        destination.write(&bytes)?;
    }
    let unseen = match data.record {
        Some(_) => "each scored by the best weights of the fold that has not seen it",
        None => "each scored by the best weights of the fold that data.table names now",
    };
    let mut lines = said(&folder, &dir, (&evaluation, unseen), &worst(&found, &studies));
    if args.out.is_none() {
        lines.push(format!("look at the worst: rsna-tui attach {}, key 4", folder.name));
    }
    Ok(lines.into())
}

/// Returns the output folder and the destinations of [`FILES`] in it.
fn destinations(args: &cli::Evaluate, folder: &Folder) -> Result<(PathBuf, Vec<Destination>)> {
    let dir = args.out.clone().unwrap_or_else(|| folder.path().join(EVALUATION));
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
    folder: &Folder,
    dir: &Path,
    (evaluation, how): (&Evaluation, &str),
    worst: &[(f64, &(usize, Predicted))],
) -> Vec<String> {
    let mut lines = vec![format!("{}: {} studies, {how}", folder.name, evaluation.all.studies)];
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
