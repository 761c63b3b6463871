//! The report's tables of folds, epochs, studies and settings.

use super::{
    document::{Cell, Table},
    gather::Report,
    settings::Settings,
};
use crate::{
    axis,
    run::event::{Epoch, FoldState, Level, SkippedStudy},
    view::{Fold, Mean, constant::Constants, format, mean, word},
};

/// Number of worst studies listed per fold.
const MOST_WORST: usize = 5;

/// Makes a table with one row per fold, and mean and standard deviation over folds with a best epoch.
pub fn folds(report: &Report) -> Table {
    type Figure = fn(&Fold) -> Option<f64>;
    let loss: Figure = |fold| Some(fold.best_epoch()?.valid_loss);
    let guess: Figure = |fold| Some(fold.plan.baseline).filter(|guess| guess.is_finite());
    let ratio: Figure = |fold| {
        let ratio = fold.best_epoch()?.valid_loss / fold.plan.baseline;
        Some(ratio).filter(|ratio| ratio.is_finite())
    };
    let slice_auc: Figure = |fold| fold.best_epoch()?.slice_auc;
    let study_auc: Figure = |fold| fold.best_epoch()?.study_auc;

    let folds = report.folds();
    let best: Vec<&Fold> = folds.iter().copied().filter(|f| f.best_epoch().is_some()).collect();
    let over = |of: Figure| mean(&best.iter().filter_map(|fold| of(fold)).collect::<Vec<_>>());
    let three = |x: f64| format!("{x:.3}");
    let foot = |name: &str, of: fn(Mean) -> Option<f64>| -> Vec<Cell> {
        let text = |figure: Figure, text: &dyn Fn(f64) -> String| {
            over(figure).and_then(of).map_or(String::new(), text)
        };
        let (loss, guess) = (text(loss, &format::loss), text(guess, &format::loss));
        let [ratio, slice, study] =
            [ratio, slice_auc, study_auc].map(|figure| text(figure, &three));
        ["", name, "", "", &loss, "", &guess, &ratio, &slice, &study].map(Cell::from).into()
    };
    let foot = match best.len() {
        0 | 1 => Vec::new(),
        n => vec![foot(&format!("mean of {n}"), |m| Some(m.0)), foot("sd", |m| m.1)],
    };
    let table = Table::of(
        2,
        folds,
        &[
            ("fold", &|fold| fold.plan.fold.to_string()),
            ("state", &|fold| state(report, fold)),
            ("epochs", &|fold| format!("{}/{}", fold.epochs_done(), fold.epochs.len())),
            ("studies train/valid", &|fold| {
                format!("{}/{}", fold.plan.train_studies, fold.plan.valid_studies)
            }),
            ("best valid loss", &|fold| format::maybe_loss(loss(fold))),
            ("at epoch", &|fold| {
                fold.best_epoch().map_or("–".into(), |best| best.at.epoch.to_string())
            }),
            ("constant guess", &|fold| format::loss(fold.plan.baseline)),
            ("ratio", &|fold| format::auc(ratio(fold))),
            ("slice AUC", &|fold| format::auc(slice_auc(fold))),
            ("study AUC", &|fold| format::auc(study_auc(fold))),
        ],
    );
    Table { foot, ..table }
}

/// Returns a fold's state. A fold whose process died is not active.
fn state(report: &Report, fold: &Fold) -> String {
    let at_work = matches!(fold.state, FoldState::Training | FoldState::Validating);
    let word = if at_work && !report.in_use { "interrupted" } else { word(fold.state) };
    fold.seed.map_or(word.into(), |seed| format!("{word}, seed {seed}"))
}

/// Makes a heat map of C1..C7's validation slice loss at each fold's best epoch; `None` if none has one.
pub fn vertebrae(report: &Report) -> Option<Table> {
    let best: Vec<&Epoch> = report.folds().into_iter().filter_map(Fold::best_epoch).collect();
    let finite = |epoch: &Epoch| epoch.valid_vertebra_loss.map(|x| x.filter(|x| x.is_finite()));
    let losses = best.iter().flat_map(|epoch| finite(epoch)).flatten();
    let (low, high) = axis::ends(losses)?;
    let tint = |x: f64| if high > low { (x - low) / (high - low) } else { 0.0 };
    let row = |fold: String, epoch: String, losses: [Option<f64>; 7]| -> Vec<Cell> {
        let cells = losses.map(|x| Cell { text: format::maybe_loss(x), tint: x.map(tint) });
        [fold, epoch].map(Cell::from).into_iter().chain(cells).collect()
    };
    let rows = best
        .iter()
        .map(|epoch| row(epoch.at.fold.to_string(), epoch.at.epoch.to_string(), finite(epoch)));
    let means = std::array::from_fn(|v| {
        let losses: Vec<f64> = best.iter().filter_map(|epoch| finite(epoch)[v]).collect();
        mean(&losses).map(|(mean, _)| mean)
    });
    let foot = (best.len() > 1).then(|| row("mean".into(), String::new(), means));
    Some(Table {
        head: vec!["fold", "epoch", "C1", "C2", "C3", "C4", "C5", "C6", "C7"],
        words: 1,
        rows: rows.collect(),
        foot: foot.into_iter().collect(),
        ..Table::default()
    })
}

/// Makes a table of the studies with the highest loss in each fold's newest validation.
pub fn worst(report: &Report) -> Table {
    let worst = report.folds().into_iter().filter_map(|fold| fold.worst.as_ref());
    let studies = worst
        .flat_map(|worst| worst.studies.iter().take(MOST_WORST).map(|study| (worst.at, study)));
    Table::of(
        2,
        studies,
        &[
            ("study", &|(_, s)| format::brief(&s.prediction.study)),
            ("fractured", &|(_, s)| format::fractured(s.prediction.labels)),
            ("fold", &|(at, _)| at.fold.to_string()),
            ("epoch", &|(at, _)| at.epoch.to_string()),
            ("predicted", &|(_, s)| format!("{:.3}", s.prediction.probability)),
            ("loss", &|(_, s)| format::loss(s.loss)),
            ("slice loss", &|(_, s)| format::loss(s.slice_loss)),
            ("study loss", &|(_, s)| format::loss(s.study_loss)),
        ],
    )
}

/// Makes a table with one row per epoch.
pub fn epochs(fold: &Fold) -> Table {
    let best = fold.best_epoch().map(|best| best.at.epoch);
    let mark = |epoch: usize| if Some(epoch) == best { " ★" } else { "" };
    Table::of(
        0,
        fold.done(),
        &[
            ("epoch", &|e| format!("{}{}", e.at.epoch, mark(e.at.epoch))),
            ("learning rate", &|e| format::learning_rate(e.learning_rate)),
            ("train", &|e| format::loss(e.train_loss)),
            ("valid", &|e| format::loss(e.valid_loss)),
            ("slice train", &|e| format::loss(e.train_slice_loss)),
            ("slice valid", &|e| format::loss(e.valid_slice_loss)),
            ("study train", &|e| format::loss(e.train_study_loss)),
            ("study valid", &|e| format::loss(e.valid_study_loss)),
            ("slice AUC", &|e| format::auc(e.slice_auc)),
            ("study AUC", &|e| format::auc(e.study_auc)),
            ("took", &|e| format::duration(e.train_seconds + e.valid_seconds)),
        ],
    )
}

/// Makes a table of warnings and errors, oldest first.
pub fn troubles(report: &Report) -> Table {
    let word = |level| if level == Level::Error { "error" } else { "warning" };
    let table = Table::of(
        3,
        &report.troubles,
        &[
            ("at", &|line| format::duration(line.at)),
            ("", &|line| word(line.level).into()),
            ("what", &|line| line.text.clone()),
        ],
    );
    Table { more: report.troubles_total - table.rows.len(), ..table }
}

/// Makes a table of the studies that were left out.
pub fn left_out(studies: &[SkippedStudy]) -> Table {
    Table::of(
        4,
        studies,
        &[
            ("study", &|study| format::brief(&study.study)),
            ("fold", &|study| study.fold.to_string()),
            ("batches", &|study| study.times.to_string()),
            ("why", &|study| format::brief(&study.message)),
        ],
    )
}

/// Makes a table of the studies with crops without a picture.
pub fn constant(constants: &Constants) -> Table {
    Table::of(
        2,
        constants.rows(),
        &[
            ("study", &|(study, _)| format::brief(study)),
            ("every pixel the same in", &|(_, crops)| crops.clone()),
        ],
    )
}

/// Makes a table of the settings that differ from the defaults.
pub fn changed(settings: &Settings) -> Table {
    Table::of(
        3,
        &settings.changed,
        &[
            ("setting", &|changed| changed.key.clone()),
            ("this run", &|changed| changed.value.clone()),
            ("default", &|changed| changed.default.clone().unwrap_or("–".into())),
        ],
    )
}
