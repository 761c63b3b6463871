//! What the values may be.

use super::{Config, Error, Result};

/// Refuses values that cannot be; `refuse` makes the error from the key and what is allowed.
pub(super) fn check(c: &Config, refuse: &dyn Fn(&str, String) -> Error) -> Result<()> {
    let must = |ok: bool, key: &str, expected: &str| match ok {
        true => Ok(()),
        false => Err(refuse(key, format!("expected {expected}"))),
    };
    let d = &c.data;
    must(
        d.image_size >= 32 && d.image_size.is_multiple_of(32) && d.image_size <= 1024,
        "data.image_size",
        "a multiple of 32 from 32 to 1024",
    )?;
    must((2..=100_000).contains(&d.phantom_studies), "data.phantom_studies", "2 to 100000")?;
    must((1..=64).contains(&d.slices_per_vertebra), "data.slices_per_vertebra", "1 to 64")?;
    must(d.workers <= 256, "data.workers", "0 (automatic) to 256")?;
    must((1..=64).contains(&d.prefetch), "data.prefetch", "1 to 64 batches")?;
    let t = &c.train;
    must(!t.folds.is_empty(), "train.folds", "at least one fold")?;
    let mut folds = t.folds.clone();
    folds.sort_unstable();
    folds.dedup();
    must(folds.len() == t.folds.len(), "train.folds", "each fold once")?;
    must((1..=100_000).contains(&t.epochs), "train.epochs", "1 to 100000")?;
    must(
        (2..=4096).contains(&t.batch_size),
        "train.batch_size",
        "2 to 4096 studies (the study head's BatchNorm needs two rows)",
    )?;
    let positive = |x: f64| x.is_finite() && x > 0.0;
    must(
        positive(t.learning_rate) && t.learning_rate <= 10.0,
        "train.learning_rate",
        "a number above 0, at most 10",
    )?;
    must(
        t.min_learning_rate.is_finite() && (0.0..=t.learning_rate).contains(&t.min_learning_rate),
        "train.min_learning_rate",
        "0 to train.learning_rate",
    )?;
    must(
        t.betas.iter().all(|b| (0.0..1.0).contains(b)),
        "train.betas",
        "two numbers from 0 to below 1",
    )?;
    must(positive(t.eps), "train.eps", "a number above 0")?;
    must((0.0..=1.0).contains(&t.weight_decay), "train.weight_decay", "0 to 1")?;
    let share = |x: f64| (0.0..=1.0).contains(&x);
    for (key, p) in [
        ("train.mixup", t.mixup),
        ("train.vertebra_shuffle", t.vertebra_shuffle),
        ("train.slice_shuffle", t.slice_shuffle),
        ("augment.horizontal_flip", c.augment.horizontal_flip),
        ("augment.vertical_flip", c.augment.vertical_flip),
        ("augment.transpose", c.augment.transpose),
        ("augment.brightness", c.augment.brightness),
        ("augment.brightness_limit", c.augment.brightness_limit),
    ] {
        must(share(p), key, "0 to 1")?;
    }
    let weight = |x: f64| x.is_finite() && x >= 0.0;
    must(weight(t.slice_weight), "train.slice_weight", "a number, 0 or more")?;
    must(
        weight(t.study_weight) && t.slice_weight + t.study_weight > 0.0,
        "train.study_weight",
        "a number, 0 or more, and not both weights 0",
    )?;
    must(positive(t.positive_weight), "train.positive_weight", "a number above 0")?;
    let m = &c.model;
    must((1..=4096).contains(&m.lstm_hidden), "model.lstm_hidden", "1 to 4096")?;
    must((1..=4096).contains(&m.head_hidden), "model.head_hidden", "1 to 4096")?;
    must((0.0..1.0).contains(&m.dropout), "model.dropout", "0 to below 1")?;
    let k = &c.run.kernel_type;
    must(
        !k.is_empty() && k.len() <= 200 && !k.contains(['/', '\\', '\0']),
        "run.kernel_type",
        "a file name without slashes",
    )?;
    must(
        c.ui.preview_seconds.is_finite() && c.ui.preview_seconds >= 0.0,
        "ui.preview_seconds",
        "0 (none) or more seconds",
    )?;
    must((1..=60).contains(&c.ui.fps), "ui.fps", "1 to 60")?;
    Ok(())
}
