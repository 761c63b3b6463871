//! The report's tables as text, independent of the output format.

use super::{MOST_ROWS, MOST_WORST, gather::Report, settings::Settings};
use crate::{
    run::event::{Epoch, FoldState, Level, SkippedStudy},
    view::{Fold, Mean, constant::Constants, format, mean, word},
};

/// A table.
#[derive(Debug, Default, PartialEq)]
pub struct Table {
    /// Names of its columns.
    pub head: Vec<&'static str>,
    /// Number of leading columns that hold words; the others hold numbers.
    pub words: usize,
    /// Its rows, each as long as the head.
    pub rows: Vec<Vec<Cell>>,
    /// Summary rows.
    pub foot: Vec<Vec<Cell>>,
    /// Number of rows left out.
    pub more: usize,
}

/// A cell.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Cell {
    /// Its text.
    pub text: String,
    /// Its darkness, 0 to 1, if the table is a heat map.
    pub tint: Option<f64>,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), tint: None }
    }
}

/// Makes a table with one row per fold, and mean and standard deviation over folds with a best epoch.
pub fn folds(report: &Report) -> Table {
    let three: fn(f64) -> String = |x| format!("{x:.3}");
    let ratio = |fold: &Fold, best: &Epoch| {
        Some(best.valid_loss / fold.plan.baseline).filter(|ratio| ratio.is_finite())
    };
    let folds = sorted(report);
    let row = |fold: &&Fold| -> Vec<Cell> {
        let best = fold.best_epoch();
        let plan = &fold.plan;
        vec![
            plan.fold.to_string().into(),
            state(report, fold).into(),
            format!("{}/{}", fold.epochs_done(), fold.epochs.len()).into(),
            format!("{}/{}", plan.train_studies, plan.valid_studies).into(),
            format::maybe_loss(best.map(|best| best.valid_loss)).into(),
            best.map_or("–".into(), |best| best.at.epoch.to_string()).into(),
            format::loss(plan.baseline).into(),
            best.and_then(|best| ratio(fold, best)).map_or("–".into(), three).into(),
            format::auc(best.and_then(|best| best.slice_auc)).into(),
            format::auc(best.and_then(|best| best.study_auc)).into(),
        ]
    };
    let best: Vec<(&Fold, &Epoch)> =
        folds.iter().filter_map(|f| Some((*f, f.best_epoch()?))).collect();
    let over = |of: &dyn Fn(&Fold, &Epoch) -> Option<f64>| {
        let values: Vec<f64> = best.iter().filter_map(|(fold, best)| of(fold, best)).collect();
        mean(&values)
    };
    let guess = |fold: &Fold, _: &Epoch| Some(fold.plan.baseline).filter(|b| b.is_finite());
    let columns = [
        over(&|_, best| Some(best.valid_loss)),
        None,
        over(&guess),
        over(&ratio),
        over(&|_, best| best.slice_auc),
        over(&|_, best| best.study_auc),
    ];
    let figures = [format::loss, three, format::loss, three, three, three];
    let row_of = |name: String, of: fn(Mean) -> Option<f64>| -> Vec<Cell> {
        let figure = |(column, figure): (&Option<Mean>, fn(f64) -> String)| {
            column.and_then(of).map_or(String::new(), figure)
        };
        let names = [String::new(), name, String::new(), String::new()].into_iter();
        names.chain(columns.iter().zip(figures).map(figure)).map(Cell::from).collect()
    };
    let foot = match best.len() {
        0 | 1 => Vec::new(),
        n => vec![row_of(format!("mean of {n}"), |m| Some(m.0)), row_of("sd".into(), |m| m.1)],
    };
    Table {
        head: vec![
            "fold",
            "state",
            "epochs",
            "studies train/valid",
            "best valid loss",
            "at epoch",
            "constant guess",
            "ratio",
            "slice AUC",
            "study AUC",
        ],
        words: 2,
        rows: folds.iter().map(row).collect(),
        foot,
        more: 0,
    }
}

/// Returns the folds by number; the run's state lists them in queue order.
pub fn sorted(report: &Report) -> Vec<&Fold> {
    let mut folds: Vec<&Fold> = report.state.folds.iter().collect();
    folds.sort_by_key(|fold| fold.plan.fold);
    folds
}

/// Returns a fold's state. A fold whose process died is not active.
fn state(report: &Report, fold: &Fold) -> String {
    let at_work = matches!(fold.state, FoldState::Training | FoldState::Validating);
    let word = match at_work && !report.in_use {
        true => "interrupted",
        false => word(fold.state),
    };
    match fold.seed {
        Some(seed) => format!("{word}, seed {seed}"),
        None => word.into(),
    }
}

/// Makes a heat map of C1..C7's validation slice loss at each fold's best epoch; `None` if none has one.
pub fn vertebrae(report: &Report) -> Option<Table> {
    let best: Vec<&Epoch> = sorted(report).into_iter().filter_map(Fold::best_epoch).collect();
    let finite = |epoch: &Epoch| epoch.valid_vertebra_loss.map(|x| x.filter(|x| x.is_finite()));
    let losses: Vec<f64> = best.iter().flat_map(|epoch| finite(epoch)).flatten().collect();
    let low = losses.iter().copied().reduce(f64::min)?;
    let high = losses.iter().copied().reduce(f64::max)?;
    let tint = |x: f64| if high > low { (x - low) / (high - low) } else { 0.0 };
    let cell = |x: Option<f64>| Cell { text: format::maybe_loss(x), tint: x.map(tint) };
    let row = |epoch: &&Epoch| -> Vec<Cell> {
        let names = [epoch.at.fold.to_string(), epoch.at.epoch.to_string()];
        names.map(Cell::from).into_iter().chain(finite(epoch).map(cell)).collect()
    };
    let mean = |v: usize| {
        let losses: Vec<f64> = best.iter().filter_map(|epoch| finite(epoch)[v]).collect();
        cell(mean(&losses).map(|(mean, _)| mean))
    };
    let means = || ["mean".into(), "".into()].into_iter().chain((0..7).map(mean)).collect();
    let foot = if best.len() > 1 { vec![means()] } else { Vec::new() };
    Some(Table {
        head: vec!["fold", "epoch", "C1", "C2", "C3", "C4", "C5", "C6", "C7"],
        words: 1,
        rows: best.iter().map(row).collect(),
        foot,
        more: 0,
    })
}

/// Makes a table of the studies with the highest loss in each fold's newest validation.
pub fn worst(report: &Report) -> Table {
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    for worst in sorted(report).into_iter().filter_map(|fold| fold.worst.as_ref()) {
        for study in worst.studies.iter().take(MOST_WORST) {
            let prediction = &study.prediction;
            let cells = [
                format::brief(&prediction.study),
                format::fractured(prediction.labels),
                worst.at.fold.to_string(),
                worst.at.epoch.to_string(),
                format!("{:.3}", prediction.probability),
                format::loss(study.loss),
                format::loss(study.slice_loss),
                format::loss(study.study_loss),
            ];
            rows.push(cells.map(Cell::from).into());
        }
    }
    let head = vec![
        "study",
        "fractured",
        "fold",
        "epoch",
        "predicted",
        "loss",
        "slice loss",
        "study loss",
    ];
    Table { head, words: 2, rows, ..Table::default() }
}

/// Makes a table with one row per epoch.
pub fn epochs(fold: &Fold) -> Table {
    let best = fold.best_epoch().map(|best| best.at.epoch);
    let row = |e: &Epoch| -> Vec<Cell> {
        let mark = if Some(e.at.epoch) == best { " ★" } else { "" };
        let cells = [
            format!("{}{mark}", e.at.epoch),
            format::learning_rate(e.learning_rate),
            format::loss(e.train_loss),
            format::loss(e.valid_loss),
            format::loss(e.train_slice_loss),
            format::loss(e.valid_slice_loss),
            format::loss(e.train_study_loss),
            format::loss(e.valid_study_loss),
            format::auc(e.slice_auc),
            format::auc(e.study_auc),
            format::duration(e.train_seconds + e.valid_seconds),
        ];
        cells.map(Cell::from).into()
    };
    let done: Vec<&Epoch> = fold.done().collect();
    Table {
        head: vec![
            "epoch",
            "learning rate",
            "train",
            "valid",
            "slice train",
            "slice valid",
            "study train",
            "study valid",
            "slice AUC",
            "study AUC",
            "took",
        ],
        words: 0,
        rows: done.iter().take(MOST_ROWS).map(|epoch| row(epoch)).collect(),
        foot: Vec::new(),
        more: done.len().saturating_sub(MOST_ROWS),
    }
}

/// Makes a table of warnings and errors, oldest first.
pub fn troubles(report: &Report) -> Table {
    let past = &report.past;
    let word = |level| if level == Level::Error { "error" } else { "warning" };
    let rows = past.troubles.iter().map(|line| {
        let at = format::duration(line.at);
        vec![at.into(), word(line.level).into(), line.text.as_str().into()]
    });
    let rows: Vec<Vec<Cell>> = rows.collect();
    let more = past.troubles_total - rows.len();
    Table { head: vec!["at", "", "what"], words: 3, rows, foot: Vec::new(), more }
}

/// Makes a table of the studies that were left out.
pub fn left_out(studies: &[SkippedStudy]) -> Table {
    let row = |study: &SkippedStudy| -> Vec<Cell> {
        let times = study.times.to_string();
        let first = [format::brief(&study.study), study.fold.to_string(), times];
        first.into_iter().chain([format::brief(&study.message)]).map(Cell::from).collect()
    };
    Table {
        head: vec!["study", "fold", "batches", "why"],
        words: 4,
        rows: studies.iter().take(MOST_ROWS).map(row).collect(),
        foot: Vec::new(),
        more: studies.len().saturating_sub(MOST_ROWS),
    }
}

/// Makes a table of the studies with crops without a picture.
pub fn constant(constants: &Constants) -> Table {
    let rows = constants.rows();
    let more = rows.len().saturating_sub(MOST_ROWS);
    let rows = rows.take(MOST_ROWS);
    Table {
        head: vec!["study", "every pixel the same in"],
        words: 2,
        rows: rows.map(|(study, crops)| vec![format::brief(study).into(), crops.into()]).collect(),
        foot: Vec::new(),
        more,
    }
}

/// Makes a table of the settings that differ from the defaults.
pub fn changed(settings: &Settings) -> Table {
    let rows = settings.changed.iter().map(|changed| {
        let default = changed.default.as_deref().unwrap_or("–");
        vec![changed.key.as_str().into(), changed.value.as_str().into(), default.into()]
    });
    Table {
        head: vec!["setting", "this run", "default"],
        words: 3,
        rows: rows.collect(),
        ..Table::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_has_a_spread_of_two_values_or_more() {
        assert_eq!(mean(&[]), None);
        assert_eq!(mean(&[0.5]), Some((0.5, None)));
        let (mean, sd) = mean(&[1.0, 2.0, 3.0]).unwrap();
        assert_eq!((mean, sd), (2.0, Some(1.0)));
    }
}
