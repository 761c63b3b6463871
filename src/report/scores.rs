//! Scores as text lines, tables and charts.

use super::{
    document::{Column, Table},
    gather::Report,
};
use crate::{
    export::{Axis, Chart, Series, Style, Weight},
    score::{
        Figure, NAMES, PATIENT, Scores, Study, TARGETS, calibration::Bin, column,
        evaluation::Evaluation, ranks::Ranked,
    },
    view::{Fold, format},
};

/// Returns the validation scores of each fold's best epoch.
pub(super) fn at_best(report: &Report) -> Table {
    let best = report.folds().into_iter().filter_map(Fold::best_epoch);
    Table::of(
        1,
        best.filter_map(|epoch| Some((epoch.at, epoch.scores.as_ref()?))),
        &[
            ("fold", &|(at, _)| at.fold.to_string()),
            ("epoch", &|(at, _)| at.epoch.to_string()),
            ("positives", &|(_, s)| format!("{}/{}", s.patient().positives, s.studies)),
            ("competition metric", &|(_, s)| figure(Some(s.competition))),
            ("patient AUC", &|(_, s)| figure(s.patient().auc)),
            ("patient AP", &|(_, s)| figure(s.patient().average_precision)),
            ("patient sensitivity", &|(_, s)| figure(s.patient().sensitivity)),
            ("patient ECE", &|(_, s)| figure(Some(s.patient().ece))),
            ("mean vertebra AUC", &|(_, s)| format::auc(s.vertebra_auc())),
        ],
    )
}

/// Returns a target's name in a table.
fn name(target: usize) -> &'static str {
    if target == PATIENT { "patient" } else { NAMES[target] }
}

/// Formats as `0.912 [0.870, 0.951]`.
fn figure(figure: Option<Figure>) -> String {
    rounded(figure, 3)
}

/// Formats as [`figure`] does, with the interval's ends to so many `decimals`.
fn rounded(figure: Option<Figure>, decimals: usize) -> String {
    let Some(Figure { value, interval }) = figure else { return "–".into() };
    let ends = |(low, high): (f64, f64)| format!(" [{low:.decimals$}, {high:.decimals$}]");
    format!("{value:.3}{}", interval.map_or(String::new(), ends))
}

/// Formats the evaluation in lines of 80 characters, without intervals that do not fit.
pub fn lines(evaluation: &Evaluation) -> Vec<String> {
    let all = &evaluation.all;
    let mut lines = vec![
        format!("competition metric {}", figure(Some(all.competition))),
        guess(evaluation),
        String::new(),
    ];
    let alone = |figure: Option<Figure>| format::auc(figure.map(|figure| figure.value));
    let head = ["", "pos.", "ROC AUC", "avg. precision", "sens.", "log loss", "ECE"];
    let rows = all.targets.iter().enumerate().map(|(t, target)| {
        [
            name(t).into(),
            format!("{}/{}", target.positives, all.studies),
            rounded(target.auc, 2),
            rounded(target.average_precision, 2),
            alone(target.sensitivity),
            alone(Some(target.log_loss)),
            alone(Some(target.ece)),
        ]
    });
    let rows: Vec<[String; 7]> = std::iter::once(head.map(String::from)).chain(rows).collect();
    let width = |c: usize| rows.iter().map(|row| row[c].chars().count()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    for [first, rest @ ..] in &rows {
        let mut line = format!("{first:<0$}", widths[0]);
        for (text, width) in rest.iter().zip(&widths[1..]) {
            line += &format!("  {text:>width$}");
        }
        lines.push(line);
    }
    lines.extend(notes(evaluation).split("; ").map(String::from));
    lines.push(String::new());
    for fold in &evaluation.folds {
        let Scores { studies, competition, .. } = &fold.scores;
        let epoch = fold.epoch.map_or(String::new(), |epoch| format!(", epoch {epoch}"));
        lines.push(format!(
            "fold {}{epoch}: {studies} studies, competition metric {}, patient AUC {}",
            fold.fold,
            figure(Some(*competition)),
            alone(fold.scores.patient().auc)
        ));
    }
    lines
}

/// Describes the scores of a constant prediction.
pub(super) fn guess(evaluation: &Evaluation) -> String {
    format!(
        "a guess at each target's share of positives scores {:.3}, all 0.5 score 0.693",
        evaluation.guess
    )
}

/// Names folds whose best epoch has changed since they were evaluated; `None` if no fold's has.
pub(super) fn outdated(evaluation: &Evaluation, folds: &[Fold]) -> Option<String> {
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
pub(super) fn notes(evaluation: &Evaluation) -> String {
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
pub(super) fn targets(evaluation: &Evaluation) -> Table {
    Table::of(
        1,
        evaluation.all.targets.iter().enumerate(),
        &[
            ("", &|(t, _)| name(*t).into()),
            ("positives", &|(_, target)| target.positives.to_string()),
            ("ROC AUC", &|(_, target)| figure(target.auc)),
            ("average precision", &|(_, target)| figure(target.average_precision)),
            ("sensitivity", &|(_, target)| figure(target.sensitivity)),
            ("log loss", &|(_, target)| figure(Some(target.log_loss))),
            ("ECE", &|(_, target)| figure(Some(target.ece))),
        ],
    )
}

/// Makes a table with one row per fold, and one of all folds together.
pub(super) fn folds(evaluation: &Evaluation) -> Table {
    let columns: [Column<(String, String, &Scores)>; 6] = [
        ("fold", &|(name, ..)| name.clone()),
        ("epoch", &|(_, epoch, _)| epoch.clone()),
        ("studies", &|(.., scores)| scores.studies.to_string()),
        ("competition metric", &|(.., scores)| figure(Some(scores.competition))),
        ("patient AUC", &|(.., scores)| figure(scores.patient().auc)),
        ("patient AP", &|(.., scores)| figure(scores.patient().average_precision)),
    ];
    let folds = evaluation.folds.iter().map(|fold| {
        let epoch = fold.epoch.map_or("–".into(), |epoch| epoch.to_string());
        (fold.fold.to_string(), epoch, &fold.scores)
    });
    let all = [("all".into(), String::new(), &evaluation.all)];
    let foot = Table::of(1, all, &columns).rows;
    Table { foot, ..Table::of(1, folds, &columns) }
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
    let title = "ROC curves, out of fold; AUC".into();
    let (x, y) = (share("1 − specificity"), share("sensitivity"));
    Chart { title, x, y, series, ..Chart::default() }
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
    let marked = |style, shape| Style { marker: Some(shape), ..style };
    Chart {
        title: "reliability, out of fold".into(),
        x: share("mean predicted probability"),
        y: share("share of positives"),
        series: vec![
            diagonal(),
            Series::line("vertebrae", curve(&vertebrae), marked(style(0), 0)),
            Series::line("patient", curve(&[PATIENT]), marked(style(PATIENT), 1)),
        ],
        ..Chart::default()
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
