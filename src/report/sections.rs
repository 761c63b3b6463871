//! The report's sections, in order, and the sentences in them.

use super::{
    document::{Block, Document, Section, Size, Table},
    evaluated::Evaluated,
    facts, figures,
    gather::Report,
    scores, tables,
};
use crate::{
    config::Metric,
    run::catalogue::{self, Better},
    view::{Fold, constant::Constants, report},
};

const SCORES: &str = "Of each fold's best epoch, over the studies that it validates on: vertebrae by \
                      the mean of their slices' logits, the patient by the study head, unless the \
                      settings say otherwise. Intervals are of 95 %, by the bootstrap. Chosen by \
                      these same studies, the best epoch looks a little better than it is.";

const OUT_OF_FOLD: &str = "Every study scored by the best weights of the fold that was not trained \
                           on it, as rsna-tui evaluate found.";

const HEADS: &str = "Here training and validation are on the same terms: each head's loss by \
                     itself, against the unmixed targets. Training is still the harder of the two \
                     where batches are mixed up and augmented, and it is a mean over the epoch \
                     while the network changed; so it may lie above validation.";

const VERTEBRAE: &str = "Validation loss of each vertebra's slices at the best epoch.";

const VERTEBRAE_BY_EPOCH: &str = "By epoch, all on the same axes; colours and dashes are those of \
                                  the folds in the chart of the validation loss, the thick line is \
                                  their mean.";

const WORST: &str = "The studies that the newest validation of each fold was worst at, by (slice \
                     loss + study loss) / 2; predicted is the study head's probability of a \
                     fracture anywhere.";

const CROPS: &str = "Above as the network saw them, below the same slices as they are on the disk.";

/// Makes the document.
pub(super) fn document(report: &Report) -> Document<'_> {
    let folds = figures::drawn(report);
    let charts = Block::Charts;
    let mut sections = Vec::new();
    let mut add = |heading, blocks: Vec<_>| {
        if !blocks.is_empty() {
            sections.push(Section { heading, blocks });
        }
    };
    add("Results", vec![Block::Table(tables::folds(report)), Block::Text(results(report))]);
    add("Scores at the best epochs", filled(scores::at_best(report).about(SCORES)));
    add("Out of fold", out_of_fold(report));
    add("Loss", losses(report, &folds));
    if folds.iter().any(|fold| fold.last_epoch().is_some()) {
        let both = figures::heads(report).into_iter().chain(figures::aucs(report));
        add("The two heads", vec![remark(HEADS), charts(Size::Half, both.collect())]);
    }
    if let Some(table) = tables::vertebrae(report) {
        let each = charts(Size::Small, figures::vertebrae(report));
        let table = Block::Table(table.about(VERTEBRAE));
        add("Vertebrae", vec![table, remark(VERTEBRAE_BY_EPOCH), each]);
    }
    let pace = vec![figures::learning_rates(report), figures::times(report)];
    add("Schedule and pace", vec![charts(Size::Half, pace)]);
    add("Worst studies", filled(tables::worst(report).about(WORST)));
    if !report.pictures.is_empty() {
        let pictures = report.pictures.iter().map(Block::Picture);
        add("Crops", std::iter::once(remark(CROPS)).chain(pictures).collect());
    }
    let constants = &report.state.constant;
    add("Crops without a picture", filled(tables::constant(constants).about(constant(constants))));
    let troubles = filled(tables::troubles(report));
    let none = || vec![Block::Text("None.".into())];
    add("Warnings and errors", if troubles.is_empty() { none() } else { troubles });
    let finished = report.state.finished.as_ref();
    if let Some(finished) = finished.filter(|finished| !finished.skipped.is_empty()) {
        let heading = Block::Text(format!("{}.", report::skipped_heading(&finished.skipped)));
        add("Studies left out", vec![heading, Block::Table(tables::left_out(&finished.skipped))]);
    }
    add("Settings", settings(report));
    let trained = folds.into_iter().filter(|fold| fold.last_epoch().is_some());
    Document {
        name: &report.name,
        outcome: facts::outcome(report),
        lead: facts::lead(report),
        alarms: facts::alarms(report),
        facts: facts::facts(report),
        epochs: trained.map(|fold| (fold.plan.fold, tables::epochs(fold))).collect(),
        sections,
    }
}

fn remark(text: &str) -> Block<'static> {
    Block::Remark(text.into())
}

/// Returns a table with any rows.
fn filled(table: Table) -> Vec<Block<'static>> {
    if table.rows.is_empty() { Vec::new() } else { vec![Block::Table(table)] }
}

fn results(report: &Report) -> String {
    let select = report.state.plan.as_ref().map_or(Metric::Loss, |plan| plan.select);
    let best = match select {
        Metric::Loss => "lowest validation loss".into(),
        metric => {
            let figure = catalogue::selecting(metric);
            let end = if figure.better == Better::Higher { "highest" } else { "lowest" };
            format!("{end} {}", figure.label)
        }
    };
    format!(
        "The best epoch of a fold is the one with the {best}. The constant guess is the validation \
         loss of a guess at the training prevalence; the ratio is the best epoch's loss over it, \
         below 1 where something was learned. AUCs are those of the best epoch, means over the folds \
         that have one."
    )
}

fn constant(constants: &Constants) -> String {
    format!(
        "There are {}, as of a vertebra that is not in the scan. The run trains and validates on \
         them as on all others.",
        constants.heading()
    )
}

fn out_of_fold(report: &Report) -> Vec<Block<'_>> {
    let Evaluated { evaluation, studies } = match &report.evaluated {
        None => return Vec::new(),
        Some(Err(why)) => return vec![Block::Text(why.clone())],
        Some(Ok(evaluated)) => evaluated,
    };
    let mut blocks = vec![Block::Text(OUT_OF_FOLD.into())];
    let outdated = scores::outdated(evaluation, &report.state.folds);
    blocks.extend(outdated.map(|outdated| Block::Text(format!("{outdated}."))));
    blocks.extend([
        Block::Table(scores::targets(evaluation)),
        Block::Text(format!("{}.", scores::notes(evaluation))),
        Block::Table(scores::folds(evaluation)),
        Block::Text(format!("{}.", scores::guess(evaluation))),
    ]);
    if !studies.is_empty() {
        let bins = evaluation.rules.bins;
        let charts = vec![scores::roc(studies), scores::reliability(studies, bins)];
        blocks.push(Block::Charts(Size::Half, charts));
    }
    blocks
}

/// Draws the losses of `folds`. Training and validation loss have different scales.
fn losses(report: &Report, folds: &[&Fold]) -> Vec<Block<'static>> {
    if folds.is_empty() {
        return Vec::new();
    }
    let weights = report.settings.as_ref().ok().and_then(|settings| settings.weights);
    let (slice, study) = weights.unwrap_or((15.0, 1.0));
    let text = format!(
        "As in the notebook, training and validation loss are different formulas: training weighs \
         the slice and the study head {slice}:{study} and counts mixed-up targets, validation is \
         the plain mean of the two heads. Compare each with itself; the next section has both on \
         the same terms. A training curve is smoothed over about 50 steps."
    );
    let mut blocks = vec![
        Block::Text(text),
        Block::Charts(Size::Wide, vec![figures::validation(report)]),
        Block::Charts(Size::Half, folds.iter().map(|fold| figures::loss(fold)).collect()),
        Block::Bars(folds.iter().flat_map(|fold| figures::bars(fold)).collect()),
    ];
    let more = figures::begun(report).len() - folds.len();
    if more > 0 {
        blocks.push(Block::Remark(format!("… and {more} more folds, which are not drawn.")));
    }
    blocks
}

fn settings(report: &Report) -> Vec<Block<'_>> {
    let settings = match &report.settings {
        Err(why) => return vec![Block::Text(why.clone())],
        Ok(settings) => settings,
    };
    let changed = filled(tables::changed(settings));
    let first = match changed.is_empty() {
        true => remark("All as by default, which is as in the notebook."),
        false => Block::Text("Those that are not the defaults, which are the notebook's:".into()),
    };
    let config = Block::Config(&settings.text);
    std::iter::once(first).chain(changed).chain([config]).collect()
}
