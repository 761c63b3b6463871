//! Checks the values of settings.

use super::{BINS, Config, Error, MOST_EPOCHS, MOST_FOLDS, Result};
use std::collections::HashSet;
use std::ops::RangeInclusive;

/// Rejects invalid values; `refuse` makes the error from the key and the allowed values.
pub(super) fn check(c: &Config, refuse: &dyn Fn(&str, String) -> Error) -> Result<()> {
    // Each check: the key, whether its value is allowed, and the allowed values.
    let is = |key, ok: bool, expected: &str| (key, ok, expected.to_string());
    let count = |key, n: usize, range: RangeInclusive<usize>, unit: &str| {
        (key, range.contains(&n), format!("{} to {}{unit}", range.start(), range.end()))
    };
    let or_zero = |key, n: usize, zero: &str, most: usize, unit: &str| {
        (key, n <= most, format!("0 ({zero}) to {most}{unit}"))
    };
    let share = |key, x: f64| (key, (0.0..=1.0).contains(&x), "0 to 1".to_string());
    let below_1 = |key, x: f64| (key, (0.0..1.0).contains(&x), "0 to below 1".to_string());
    let positive = |x: f64| x.is_finite() && x > 0.0;
    let not_negative = |x: f64| x.is_finite() && x >= 0.0;

    let Config { data: d, train: t, model: m, score: s, checkpoint, ui, .. } = c;
    let side = d.image_size;
    let sides = side.is_multiple_of(32) && (32..=1024).contains(&side);
    let each_once = t.folds.iter().collect::<HashSet<_>>().len() == t.folds.len();
    let rate = positive(t.learning_rate) && t.learning_rate <= 10.0;
    let least_rate = (0.0..=t.learning_rate).contains(&t.min_learning_rate);
    let betas = t.betas.iter().all(|b| (0.0..1.0).contains(b));
    let both = not_negative(t.study_weight) && t.slice_weight + t.study_weight > 0.0;
    let log = &c.run.kernel_type;
    let log = !log.is_empty() && log.len() <= 200 && !log.contains(['/', '\\', '\0']);
    let command = ui.on_alert.len() <= 8192 && !ui.on_alert.contains('\0');
    let batch = " studies (the study head's BatchNorm needs two rows)";
    let checks = [
        is("data.image_size", sides, "a multiple of 32 from 32 to 1024"),
        count("data.phantom_studies", d.phantom_studies, 2..=100_000, ""),
        count("data.slices_per_vertebra", d.slices_per_vertebra, 1..=64, ""),
        or_zero("data.workers", d.workers, "automatic", 256, ""),
        count("data.prefetch", d.prefetch, 1..=64, " batches"),
        is("train.folds", !t.folds.is_empty(), "at least one fold"),
        is("train.folds", t.folds.len() <= MOST_FOLDS, &format!("at most {MOST_FOLDS} folds")),
        is("train.folds", each_once, "each fold once"),
        count("train.epochs", t.epochs, 1..=MOST_EPOCHS, ""),
        or_zero("train.threads", t.threads, "automatic", 1024, ""),
        or_zero("train.memory", t.memory, "automatic", 1 << 24, " MiB"),
        count("train.batch_size", t.batch_size, 2..=4096, batch),
        is("train.learning_rate", rate, "a number above 0, at most 10"),
        is("train.min_learning_rate", least_rate, "0 to train.learning_rate"),
        is("train.betas", betas, "two numbers from 0 to below 1"),
        is("train.eps", positive(t.eps), "a number above 0"),
        share("train.weight_decay", t.weight_decay),
        share("train.mixup", t.mixup),
        share("train.vertebra_shuffle", t.vertebra_shuffle),
        share("train.slice_shuffle", t.slice_shuffle),
        is("train.slice_weight", not_negative(t.slice_weight), "a number, 0 or more"),
        is("train.study_weight", both, "a number, 0 or more, and not both weights 0"),
        is("train.positive_weight", positive(t.positive_weight), "a number above 0"),
        count("model.lstm_hidden", m.lstm_hidden, 1..=4096, ""),
        count("model.head_hidden", m.head_hidden, 1..=4096, ""),
        below_1("model.dropout", m.dropout),
        below_1("score.specificity", s.specificity),
        count("score.bins", s.bins, BINS, ""),
        or_zero("score.bootstrap", s.bootstrap, "no intervals", 10_000, " resamples"),
        is(
            "checkpoint.every_minutes",
            not_negative(checkpoint.every_minutes),
            "0 (not by time) or more minutes",
        ),
        count("checkpoint.keep", checkpoint.keep, 1..=100, " files"),
        is("run.kernel_type", log, "a file name without slashes"),
        is("ui.preview_seconds", not_negative(ui.preview_seconds), "0 (none) or more seconds"),
        count("ui.fps", ui.fps as usize, 1..=60, ""),
        is("ui.on_alert", command, "a command of at most 8192 bytes, without a zero byte"),
    ];
    if let Some((key, _, expected)) = checks.into_iter().find(|(_, ok, _)| !ok) {
        return Err(refuse(key, format!("expected {expected}")));
    }
    match c.augment.problem(d.image_size) {
        Some((key, expected)) => {
            Err(refuse(&format!("augment.{key}"), format!("expected {expected}")))
        }
        None => Ok(()),
    }
}
