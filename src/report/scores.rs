//! Out-of-fold scores as text lines, tables and charts.

use super::{
    gather::Report,
    tables::{self, Cell, Table},
};
use crate::{
    export::{Axis, Chart, Series, Style, chart::Weight},
    run::event::Epoch,
    score::{
        Figure, NAMES, PATIENT, Scores, Study, TARGETS, TargetScores, calibration::Bin, column,
        evaluation::Evaluation, ranks::Ranked,
    },
    view::Fold,
};

/// Returns the validation scores of each fold's best epoch; `None` if no epoch has any.
pub(super) fn at_best(report: &Report) -> Option<Table> {
    let row = |epoch: &Epoch| -> Option<Vec<Cell>> {
        let scores = epoch.scores.as_ref()?;
        let patient = scores.patient();
        let cells = [
            epoch.at.fold.to_string(),
            epoch.at.epoch.to_string(),
            format!("{}/{}", patient.positives, scores.studies),
            figure(Some(scores.competition)),
            figure(patient.auc),
            figure(patient.average_precision),
            figure(patient.sensitivity),
            figure(Some(patient.ece)),
            scores.vertebra_auc().map_or("–".into(), |auc| format!("{auc:.3}")),
        ];
        Some(cells.map(Cell::from).into())
    };
    let best = tables::sorted(report).into_iter().filter_map(Fold::best_epoch);
    let rows: Vec<Vec<Cell>> = best.filter_map(row).collect();
    let head = vec![
        "fold",
        "epoch",
        "positives",
        "competition metric",
        "patient AUC",
        "patient AP",
        "patient sensitivity",
        "patient ECE",
        "mean vertebra AUC",
    ];
    (!rows.is_empty()).then(|| Table { head, words: 1, rows, ..Table::default() })
}

/// Returns a target's name in a table.
fn name(target: usize) -> &'static str {
    if target == PATIENT { "patient" } else { NAMES[target] }
}

/// Formats as `0.912 [0.870, 0.951]`.
fn figure(figure: Option<Figure>) -> String {
    match figure {
        None => "–".into(),
        Some(Figure { value, interval: None }) => format!("{value:.3}"),
        Some(Figure { value, interval: Some((low, high)) }) => {
            format!("{value:.3} [{low:.3}, {high:.3}]")
        }
    }
}

/// Formats as `0.912 [0.87, 0.95]`.
fn brief(figure: Option<Figure>) -> String {
    match figure {
        Some(Figure { value, interval: Some((low, high)) }) => {
            format!("{value:.3} [{low:.2}, {high:.2}]")
        }
        other => self::figure(other),
    }
}

/// Formats a target's scores, in the order of [`HEADS`].
fn figures(target: &TargetScores) -> [String; 5] {
    let TargetScores { log_loss, auc, average_precision, sensitivity, ece, .. } = *target;
    [auc, average_precision, sensitivity, Some(log_loss), Some(ece)].map(figure)
}

const HEADS: [&str; 5] = ["ROC AUC", "average precision", "sensitivity", "log loss", "ECE"];

/// Formats the evaluation in lines of 80 characters, without intervals that do not fit.
pub fn lines(evaluation: &Evaluation) -> Vec<String> {
    let all = &evaluation.all;
    let mut lines = vec![
        format!("competition metric {}", figure(Some(all.competition))),
        guess(evaluation),
        String::new(),
    ];
    let rows: Vec<[String; 7]> = (0..TARGETS)
        .map(|t| {
            let target = &all.targets[t];
            let TargetScores { positives, log_loss, auc, average_precision, ece, .. } = *target;
            let alone =
                |figure: Option<Figure>| figure.map_or("–".into(), |f| format!("{:.3}", f.value));
            [
                name(t).into(),
                format!("{positives}/{}", all.studies),
                brief(auc),
                brief(average_precision),
                alone(target.sensitivity),
                alone(Some(log_loss)),
                alone(Some(ece)),
            ]
        })
        .collect();
    let head = ["", "pos.", "ROC AUC", "avg. precision", "sens.", "log loss", "ECE"];
    let head = head.map(String::from);
    let widths: Vec<usize> = (0..head.len())
        .map(|c| rows.iter().chain([&head]).map(|r| r[c].chars().count()).max().unwrap_or(0))
        .collect();
    for row in std::iter::once(&head).chain(&rows) {
        let cells = row.iter().zip(&widths).enumerate().map(|(c, (text, &width))| match c {
            0 => format!("{text:<width$}"),
            _ => format!("{text:>width$}"),
        });
        lines.push(cells.collect::<Vec<_>>().join("  ").trim_end().to_string());
    }
    lines.extend(notes(evaluation).split("; ").map(String::from));
    lines.push(String::new());
    for fold in &evaluation.folds {
        let Scores { studies, competition, .. } = &fold.scores;
        let epoch = fold.epoch.map_or(String::new(), |epoch| format!(", epoch {epoch}"));
        let auc = fold.scores.patient().auc.map(|auc| Figure { interval: None, ..auc });
        lines.push(format!(
            "fold {}{epoch}: {studies} studies, competition metric {}, patient AUC {}",
            fold.fold,
            figure(Some(*competition)),
            figure(auc)
        ));
    }
    lines
}

/// Describes the scores of a constant prediction.
pub fn guess(evaluation: &Evaluation) -> String {
    format!(
        "a guess at each target's share of positives scores {:.3}, all 0.5 score 0.693",
        evaluation.guess
    )
}

/// Names folds whose best epoch has changed since they were evaluated; `None` if no fold's has.
pub fn outdated(evaluation: &Evaluation, folds: &[Fold]) -> Option<String> {
    let now = |number: usize| {
        folds.iter().find(|f| f.plan.fold == number)?.best_epoch().map(|epoch| epoch.at.epoch)
    };
    let other = evaluation.folds.iter().filter(|f| f.epoch.is_some() && now(f.fold) != f.epoch);
    let other: Vec<String> = other.map(|f| f.fold.to_string()).collect();
    (!other.is_empty()).then(|| {
        format!(
            "trained on since: fold {} had another best epoch then; rsna-tui evaluate scores anew",
            other.join(", ")
        )
    })
}

/// Explains the columns in a sentence.
pub fn notes(evaluation: &Evaluation) -> String {
    let rules = &evaluation.rules;
    let intervals = match rules.bootstrap {
        0 => String::new(),
        n => format!("; [95 % intervals of {n} resamples of the studies]"),
    };
    let views = match evaluation.views {
        1 => String::new(),
        n => format!("; mean over {n} views of each study"),
    };
    format!(
        "sensitivity at a specificity of {} or more; ECE over {} bins{views}{intervals}",
        rules.specificity, rules.bins
    )
}

/// Makes a table with one row per target.
pub fn targets(evaluation: &Evaluation) -> Table {
    let scores = &evaluation.all;
    let row = |t: usize| -> Vec<Cell> {
        let target = &scores.targets[t];
        let first = [name(t).to_string(), target.positives.to_string()];
        first.into_iter().chain(figures(target)).map(Cell::from).collect()
    };
    let head = ["", "positives"].into_iter().chain(HEADS).collect();
    Table { head, words: 1, rows: (0..TARGETS).map(row).collect(), ..Table::default() }
}

/// Makes a table with one row per fold.
pub fn folds(evaluation: &Evaluation) -> Table {
    let row = |name: String, epoch: String, scores: &Scores| -> Vec<Cell> {
        let patient = scores.patient();
        let cells = [
            name,
            epoch,
            scores.studies.to_string(),
            figure(Some(scores.competition)),
            figure(patient.auc),
            figure(patient.average_precision),
        ];
        cells.map(Cell::from).into()
    };
    let of_fold = evaluation.folds.iter().map(|fold| {
        let epoch = fold.epoch.map_or("–".into(), |epoch| epoch.to_string());
        row(fold.fold.to_string(), epoch, &fold.scores)
    });
    Table {
        head: vec!["fold", "epoch", "studies", "competition metric", "patient AUC", "patient AP"],
        words: 1,
        rows: of_fold.collect(),
        foot: vec![row("all".into(), String::new(), &evaluation.all)],
        more: 0,
    }
}

/// Draws ROC curves of C1..C7, faintly, and of the patient.
pub fn roc(studies: &[Study]) -> Chart {
    let mut series = vec![diagonal()];
    for t in 0..TARGETS {
        let (labels, scores) = column(studies, t);
        let ranked = Ranked::new(&scores, &labels);
        let ones = vec![1; labels.len()];
        let (Some(curve), Some(figures)) = (ranked.roc(), ranked.figures(&ones, 0.0)) else {
            continue;
        };
        let name = format!("{} {:.3}", name(t), figures.auc);
        series.push(Series::line(name, curve, style(t)));
    }
    Chart {
        title: "ROC curves, out of fold; AUC".into(),
        x: share("1 − specificity"),
        y: share("sensitivity"),
        series,
        marks: Vec::new(),
    }
}

/// Draws the mean probability and the share of positives of each bin, for all vertebrae together and
/// for the patient.
pub fn reliability(studies: &[Study], bins: usize) -> Chart {
    let curve = |targets: &[usize]| -> Vec<(f64, f64)> {
        let columns = targets.iter().map(|&t| column(studies, t));
        let (labels, p): (Vec<_>, Vec<_>) = columns.flat_map(|(y, p)| y.into_iter().zip(p)).unzip();
        let bins = Bin::of(&labels, &p, &vec![1; labels.len()], bins);
        bins.iter().filter_map(Bin::means).collect()
    };
    let vertebrae: Vec<usize> = (0..PATIENT).collect();
    let marked = |series: Series, shape| Series {
        style: Style { marker: Some(shape), ..series.style },
        ..series
    };
    Chart {
        title: "reliability, out of fold".into(),
        x: share("mean predicted probability"),
        y: share("share of positives"),
        series: vec![
            diagonal(),
            marked(Series::line("vertebrae", curve(&vertebrae), style(0)), 0),
            marked(Series::line("patient", curve(&[PATIENT]), style(PATIENT)), 1),
        ],
        marks: Vec::new(),
    }
}

fn share(label: &str) -> Axis {
    Axis { range: Some((0.0, 1.0)), ..Axis::new(label) }
}

fn diagonal() -> Series {
    let style = Style { color: Style::INK, dash: 1, marker: None, weight: Weight::Faint };
    Series::line("", vec![(0.0, 0.0), (1.0, 1.0)], style)
}

fn style(target: usize) -> Style {
    match target {
        PATIENT => Style { color: Style::INK, dash: 0, marker: None, weight: Weight::Strong },
        // After using every colour, change the dash.
        t => Style { marker: None, dash: t + t / Style::INK, ..Style::nth(t) },
    }
}
