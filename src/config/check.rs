//! Checks the values of settings.

use super::{Augment, BINS, Config, Error, MAX_NOISE_VARIANCE, MOST_EPOCHS, MOST_FOLDS, Result};

/// Rejects invalid values; `refuse` makes the error from the key and the allowed values.
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
    must(t.folds.len() <= MOST_FOLDS, "train.folds", "at most 1000 folds")?;
    let mut folds = t.folds.clone();
    folds.sort_unstable();
    folds.dedup();
    must(folds.len() == t.folds.len(), "train.folds", "each fold once")?;
    must((1..=MOST_EPOCHS).contains(&t.epochs), "train.epochs", &format!("1 to {MOST_EPOCHS}"))?;
    must(t.threads <= 1024, "train.threads", "0 (automatic) to 1024")?;
    must(t.memory <= 1 << 24, "train.memory", "0 (automatic) to 16777216 MiB")?;
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
    ] {
        must(share(p), key, "0 to 1")?;
    }
    augment(&c.augment, c.data.image_size, &must)?;
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
    let s = &c.score;
    must((0.0..1.0).contains(&s.specificity), "score.specificity", "0 to below 1")?;
    must(BINS.contains(&s.bins), "score.bins", "1 to 1000")?;
    must(s.bootstrap <= 10_000, "score.bootstrap", "0 (no intervals) to 10000 resamples")?;
    let k = &c.checkpoint;
    must(
        k.every_minutes.is_finite() && k.every_minutes >= 0.0,
        "checkpoint.every_minutes",
        "0 (not by time) or more minutes",
    )?;
    must((1..=100).contains(&k.keep), "checkpoint.keep", "1 to 100 files")?;
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
    must(
        c.ui.on_alert.len() <= 8192 && !c.ui.on_alert.contains('\0'),
        "ui.on_alert",
        "a command of at most 8192 bytes, without a zero byte",
    )?;
    Ok(())
}

fn augment(
    a: &Augment,
    image_size: usize,
    must: &dyn Fn(bool, &str, &str) -> Result<()>,
) -> Result<()> {
    for (key, p) in [
        ("augment.horizontal_flip", a.horizontal_flip),
        ("augment.vertical_flip", a.vertical_flip),
        ("augment.transpose", a.transpose),
        ("augment.brightness", a.brightness),
        ("augment.brightness_limit", a.brightness_limit),
        ("augment.shift_scale_rotate", a.shift_scale_rotate),
        ("augment.shift_limit", a.shift_limit),
        ("augment.blur_or_noise", a.blur_or_noise),
        ("augment.distortion", a.distortion),
        ("augment.optical_distortion_limit", a.optical_distortion_limit),
        ("augment.grid_distortion_limit", a.grid_distortion_limit),
        ("augment.cutout", a.cutout),
        ("augment.cutout_size", a.cutout_size),
    ] {
        must((0.0..=1.0).contains(&p), key, "0 to 1")?;
    }
    must((0.0..=0.95).contains(&a.scale_limit), "augment.scale_limit", "0 to 0.95")?;
    must((0.0..=180.0).contains(&a.rotate_limit), "augment.rotate_limit", "0 to 180 degrees")?;
    let [low, high] = a.gauss_noise_variance;
    must(
        0.0 <= low && low <= high && high <= MAX_NOISE_VARIANCE,
        "augment.gauss_noise_variance",
        "two numbers from 0 to 100, the smaller one first",
    )?;
    must(
        (1..=image_size).contains(&a.grid_steps),
        "augment.grid_steps",
        "1 to data.image_size cells",
    )?;
    let weights = [
        ("augment.motion_blur_weight", a.motion_blur_weight),
        ("augment.median_blur_weight", a.median_blur_weight),
        ("augment.gaussian_blur_weight", a.gaussian_blur_weight),
        ("augment.gauss_noise_weight", a.gauss_noise_weight),
        ("augment.optical_distortion_weight", a.optical_distortion_weight),
        ("augment.grid_distortion_weight", a.grid_distortion_weight),
    ];
    for (key, w) in weights {
        must((0.0..=1e6).contains(&w), key, "0 to 1000000")?;
    }
    let some = |of: &[(&str, f64)]| of.iter().any(|(_, w)| *w > 0.0);
    must(
        a.blur_or_noise == 0.0 || some(&weights[..4]),
        "augment.blur_or_noise",
        "0 where the weights of its four are all 0",
    )?;
    must(
        a.distortion == 0.0 || some(&weights[4..]),
        "augment.distortion",
        "0 where the weights of its two are both 0",
    )
}
