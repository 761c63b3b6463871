//! The report's charts.

use super::gather::Report;
use crate::{
    axis::ends,
    export::{Axis, Chart, Mark, Series, Style, Weight},
    run::event::Epoch,
    view::{self, Fold, format},
};

type Points = Vec<(f64, f64)>;

/// Most folds drawn in charts; tables show the others too.
const MOST_DRAWN: usize = 20;

/// Style of a line that belongs to no fold, in the text colour.
const INK: Style = Style { color: Style::INK, dash: 0, marker: None, weight: Weight::Strong };
/// Style of a reference line.
const CONSTANT: Style = Style { color: 2, dash: 1, marker: None, weight: Weight::Normal };
/// Style of the training loss.
const TRAIN: Style = Style { color: 0, dash: 0, marker: None, weight: Weight::Normal };
/// Style of the validation loss.
const VALID: Style = Style { color: 1, dash: 0, marker: Some(0), weight: Weight::Normal };

/// Returns the folds with any training, by number.
pub fn begun(report: &Report) -> Vec<&Fold> {
    let begun = |fold: &&Fold| fold.last_epoch().is_some() || !fold.curve.loss().is_empty();
    report.folds().into_iter().filter(begun).collect()
}

/// Returns the folds of [`begun`] that are drawn.
pub fn drawn(report: &Report) -> Vec<&Fold> {
    let mut folds = begun(report);
    folds.truncate(MOST_DRAWN);
    folds
}

/// Returns a fold's smoothed training loss and its validation loss, with their names.
pub fn bars(fold: &Fold) -> [(String, Vec<f64>); 2] {
    let smooth = fold.curve.smooth.series().points().iter();
    let train = smooth.map(|point| point.y.into()).collect();
    let valid = fold.done().map(|epoch| epoch.valid_loss).collect();
    [("train", train), ("valid", valid)]
        .map(|(what, values)| (format!("fold {:<3} {what}", fold.plan.fold), values))
}

/// Draws a fold's training loss, per step and smoothed, and its validation loss.
pub fn loss(fold: &Fold) -> Chart {
    let number = fold.plan.fold;
    let steps = fold.plan.steps.max(1) as f64;
    let by_step = |series: &view::Series| -> Points {
        let points = series.points().iter();
        points.map(|point| (f64::from(point.x) / steps, f64::from(point.y))).collect()
    };
    let raw = by_step(fold.curve.loss());
    let smooth = by_step(fold.curve.smooth.series());
    let valid = by_epoch(fold, |epoch| epoch.valid_loss);
    let reached = raw.iter().chain(&valid).map(|p| p.0).fold(0.0, f64::max);
    let guess = fold.plan.baseline;
    let must = valid.iter().chain(smooth.last()).map(|p| p.1).chain([guess]);
    let range = range(raw.iter().chain(&valid).map(|p| p.1).collect(), &must.collect::<Vec<_>>());
    let mut marks = interruptions(fold, steps);
    marks.extend(fold.best_epoch().map(|best| Mark {
        x: best.at.epoch as f64,
        label: format!("best {}", format::loss(best.valid_loss)),
    }));
    let faint = Style { weight: Weight::Faint, ..TRAIN };
    let mut series = vec![
        Series::line("training, each step", raw, faint),
        Series::line("smoothed", smooth, Style { weight: Weight::Strong, ..TRAIN }),
        Series::line("validation", valid, VALID),
    ];
    if guess.is_finite() && reached > 0.0 {
        series.push(constant(guess, (0.0, reached), CONSTANT));
    }
    let seed = fold.seed.map(|seed| format!(", seed {seed}")).unwrap_or_default();
    Chart {
        title: format!("Fold {number}{seed}"),
        x: Axis { range: (reached > 0.0).then_some((0.0, reached)), ..epochs() },
        y: Axis { range, ..Axis::new("loss") },
        series,
        marks,
    }
}

/// Returns marks where training was interrupted.
fn interruptions(fold: &Fold, steps: f64) -> Vec<Mark> {
    let mut marks: Vec<Mark> = Vec::new();
    for &(x, what) in &fold.curve.marks {
        let label = match what {
            view::Mark::Paused => "paused",
            view::Mark::Resumed => "resumed",
            view::Mark::Rate => "rate changed",
            // The best epoch has its own mark, saves are of no interest, and gaps have signs.
            view::Mark::Best | view::Mark::Saved | view::Mark::NonFinite => continue,
        };
        let x = f64::from(x) / steps;
        // A resume at the same step as its pause needs no mark of its own.
        if marks.last().is_none_or(|last| last.x < x) {
            marks.push(Mark { x, label: label.into() });
        }
    }
    marks
}

fn epochs() -> Axis {
    Axis { counts: true, ..Axis::new("epoch") }
}

fn constant(guess: f64, (from, to): (f64, f64), style: Style) -> Series {
    let name = format!("constant guess {}", format::loss(guess));
    Series::line(name, vec![(from, guess), (to, guess)], style)
}

fn over_epochs(title: &str, y: Axis, series: Vec<Series>) -> Chart {
    Chart { title: title.into(), x: epochs(), y, series, ..Chart::default() }
}

/// Returns a metric per finished epoch; NaN if undefined.
fn by_epoch(fold: &Fold, figure: impl Fn(&Epoch) -> f64) -> Points {
    fold.done().map(|epoch| (epoch.at.epoch as f64, figure(epoch))).collect()
}

/// Returns the range of losses worth showing, because an outlying step or epoch would flatten the rest.
/// Values within 1.5 times the rest are no outliers. `None` if all `losses` fit; otherwise the range
/// includes `must`, except for outliers among them.
fn range(mut losses: Vec<f64>, must: &[f64]) -> Option<(f64, f64)> {
    losses.retain(|x| x.is_finite());
    losses.sort_by(f64::total_cmp);
    let at = |share: f64| losses.get((share * losses.len().saturating_sub(1) as f64) as usize);
    let (&low, &median, &most) = (at(0.0)?, at(0.5)?, at(0.98)?);
    let robust = f64::max(1.25 * most, 1.5 * median);
    let sensible = || must.iter().copied().filter(|&x| x <= 3.0 * median.max(robust));
    let ceiling = 1.5 * sensible().fold(robust, f64::max);
    let spikes = losses.partition_point(|&x| x <= ceiling);
    let highest = *losses[..spikes].last()?;
    let (low, top) = sensible().fold((low, highest), |(l, h), x| (l.min(x), h.max(x)));
    let room = 0.05 * (top - low);
    (spikes < losses.len() && room > 0.0 && top.is_finite()).then_some((low - room, top + room))
}

/// Returns the folds to average: those with the most finished epochs, so that the mean is over the same
/// folds from start to end.
fn furthest<'a>(folds: &[&'a Fold]) -> Vec<&'a Fold> {
    let done = |fold: &Fold| fold.done().count();
    let most = folds.iter().map(|fold| done(fold)).max().unwrap_or(0);
    folds.iter().copied().filter(|fold| most > 0 && done(fold) == most).collect()
}

/// Averages a metric over folds, for each epoch that all of them have finished.
fn mean(folds: &[&Fold], figure: impl Fn(&Epoch) -> f64) -> Points {
    let of = |index: usize| {
        let epochs = folds.iter().map(|fold| fold.epochs.get(index)?.as_deref().map(&figure));
        let sum: f64 = epochs.sum::<Option<f64>>()?;
        Some((index as f64 + 1.0, sum / folds.len() as f64))
    };
    let longest = folds.first().map_or(0, |fold| fold.epochs.len());
    (0..longest).filter_map(of).collect()
}

fn mean_name(folds: &[&Fold]) -> String {
    match folds.len() {
        1 => format!("fold {}", folds[0].plan.fold),
        n => format!("mean of {n} folds"),
    }
}

/// Draws one metric of all folds by epoch, and their mean.
fn overlay(report: &Report, title: &str, y: &str, figure: impl Fn(&Epoch) -> f64 + Copy) -> Chart {
    let folds = drawn(report);
    let of = |(i, fold): (usize, &&Fold)| {
        Series::line(format!("fold {}", fold.plan.fold), by_epoch(fold, figure), Style::nth(i))
    };
    let mut series: Vec<Series> = folds.iter().enumerate().map(of).collect();
    let group = furthest(&folds);
    if group.len() > 1 {
        series.push(Series::line(mean_name(&group), mean(&group, figure), INK));
    }
    over_epochs(title, Axis::new(y), series)
}

/// Prevents an outlying epoch from flattening the rest.
fn ranged(mut chart: Chart) -> Chart {
    chart.y.range = range(chart.points().map(|p| p.1).collect(), &[]);
    chart
}

/// Draws all folds' validation losses, and the loss of a constant prediction.
pub fn validation(report: &Report) -> Chart {
    let mut chart = overlay(report, "Validation loss", "loss", |epoch| epoch.valid_loss);
    let folds = drawn(report);
    let guesses = folds.iter().map(|fold| fold.plan.baseline).filter(|guess| guess.is_finite());
    let guess = view::mean(&guesses.collect::<Vec<_>>()).map(|(mean, _)| mean);
    let last = folds.iter().filter_map(|fold| fold.last_epoch()).map(|epoch| epoch.at.epoch).max();
    if let (Some(guess), Some(last)) = (guess, last.filter(|&last| last > 1)) {
        let style = Style { color: Style::INK, weight: Weight::Faint, ..CONSTANT };
        chart.series.push(constant(guess, (1.0, last as f64), style));
    }
    ranged(chart)
}

/// Draws ROC AUC of the slice head and of the study head.
pub fn aucs(report: &Report) -> [Chart; 2] {
    let or_gap = |auc: Option<f64>| auc.unwrap_or(f64::NAN);
    [
        overlay(report, "Slice AUC", "ROC AUC", move |epoch| or_gap(epoch.slice_auc)),
        overlay(report, "Study AUC", "ROC AUC", move |epoch| or_gap(epoch.study_auc)),
    ]
}

/// Draws comparable training and validation losses of each head: the slice head's, the study head's.
pub fn heads(report: &Report) -> [Chart; 2] {
    [
        head(report, "Slice head", |e| e.train_slice_loss, |e| e.valid_slice_loss),
        head(report, "Study head", |e| e.train_study_loss, |e| e.valid_study_loss),
    ]
}

fn head(report: &Report, title: &str, train: fn(&Epoch) -> f64, valid: fn(&Epoch) -> f64) -> Chart {
    let folds = drawn(report);
    let group = furthest(&folds);
    let both = [
        ("training", train, Style { dash: 1, marker: Some(1), ..TRAIN }),
        ("validation", valid, VALID),
    ];
    let mut series = Vec::new();
    if folds.len() > 1 {
        for (_, figure, style) in both {
            let style = Style { weight: Weight::Faint, marker: None, ..style };
            series.extend(folds.iter().map(|fold| Series::line("", by_epoch(fold, figure), style)));
        }
    }
    if !group.is_empty() {
        for (what, figure, style) in both {
            let name = format!("{what}, {}", mean_name(&group));
            let style = Style { weight: Weight::Strong, ..style };
            series.push(Series::line(name, mean(&group, figure), style));
        }
    }
    let y = Axis::new("loss against the unmixed targets");
    ranged(over_epochs(title, y, series))
}

/// Draws the validation slice loss of C1 to C7, all on the same axes.
pub fn vertebrae(report: &Report) -> Vec<Chart> {
    let of = |v: usize| {
        let figure = move |epoch: &Epoch| epoch.valid_vertebra_loss[v].unwrap_or(f64::NAN);
        overlay(report, &format!("C{}", v + 1), "loss", figure)
    };
    let mut charts: Vec<Chart> = (0..7).map(of).collect();
    let points = || charts.iter().flat_map(Chart::points);
    let losses = || points().map(|p| p.1);
    let x = ends(points().map(|p| p.0));
    let y = range(losses().collect(), &[]).or_else(|| ends(losses()));
    for chart in &mut charts {
        (chart.x.range, chart.y.range) = (x, y);
        chart.series.iter_mut().for_each(|series| series.style.marker = None);
    }
    charts
}

/// Draws the learning rate by epoch: planned and, where it differed, actual.
pub fn learning_rates(report: &Report) -> Chart {
    let plan = report.state.plan.as_ref();
    let planned = plan.map_or(&[][..], |plan| &plan.learning_rates);
    let step = |name: String, rates: &[(usize, f64)], style| {
        // A rate holds from the start of its epoch to the end.
        let begin = rates.iter().map(|&(epoch, rate)| (epoch as f64 - 1.0, rate));
        let end = rates.last().map(|&(epoch, rate)| (epoch as f64, rate));
        let points = begin.chain(end).collect();
        Series { held: true, ..Series::line(name, points, style) }
    };
    let all: Vec<(usize, f64)> = (1..).zip(planned.iter().copied()).collect();
    let mut series = vec![step("planned".into(), &all, INK)];
    for (i, fold) in drawn(report).into_iter().enumerate() {
        let used = fold.done().map(|epoch| (epoch.at.epoch, epoch.learning_rate));
        let used: Vec<(usize, f64)> = used.collect();
        let as_planned = |&(epoch, rate): &(usize, f64)| {
            planned.get(epoch.wrapping_sub(1)).is_some_and(|p| (p - rate).abs() <= 1e-9 * p.abs())
        };
        if !used.iter().all(as_planned) {
            let style = Style { marker: None, ..Style::nth(i) };
            series.push(step(format!("fold {}", fold.plan.fold), &used, style));
        }
    }
    over_epochs("Learning rate", Axis::default(), series)
}

/// Draws the duration of each epoch, including validation.
pub fn times(report: &Report) -> Chart {
    let seconds = |epoch: &Epoch| epoch.train_seconds + epoch.valid_seconds;
    let mut chart = overlay(report, "Time an epoch", "", seconds);
    let highest = chart.points().map(|p| p.1).fold(0.0, f64::max);
    let (unit, each) = match highest {
        s if s < 300.0 => ("seconds", 1.0),
        s if s < 18_000.0 => ("minutes", 60.0),
        _ => ("hours", 3600.0),
    };
    for series in &mut chart.series {
        series.points.iter_mut().for_each(|point| point.1 /= each);
    }
    chart.y = Axis::new(unit);
    chart
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_out_of_all_proportion_is_beyond_the_range() {
        let mut losses: Vec<f64> =
            (0..200).map(|i| 0.2 + 0.5 * (-f64::from(i) / 40.0).exp()).collect();
        assert_eq!(range(losses.clone(), &[0.6]), None, "a descent is shown whole");
        losses[100] = 900.0;
        let (low, high) = range(losses.clone(), &[0.6, 800.0]).unwrap();
        assert!(low < 0.21 && (0.7..0.8).contains(&high), "{low} {high}");
        losses[100] = f64::NAN;
        assert_eq!(range(losses, &[]), None);
        assert_eq!(range(vec![0.5; 9], &[0.5]), None);
        assert_eq!(range(Vec::new(), &[0.5]), None);
    }
}
