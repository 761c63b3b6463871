//! The catalogue of figures: one entry for each figure of a step, an epoch or the machine.
//!
//! The charts, the plain lines, TensorBoard, the CSV and `select.metric` go over these tables. A new
//! figure is a field of its event, an entry here, and the place where it is measured.

mod entry;
#[cfg(test)]
mod tests;

pub use entry::{Better, Chart, Figure, Tone, Unit, View};

use super::event::{Epoch, Gpu, Step, System};
use crate::{
    config::Metric,
    score::{self, Scores, TargetScores},
};
use Tone::{Faint, First, Second};

/// Figures of an optimizer step. The first is the training loss.
pub static STEP: &[Figure<Step>] = &[
    Figure::new("loss", "training loss", Unit::Loss, |s: &Step| Some(s.loss))
        .tag("loss")
        .word("loss")
        .curve("loss", "train", First),
    Figure::new("slice_loss", "training slice loss", Unit::Loss, |s: &Step| Some(s.slice_loss))
        .tag("slice_loss")
        .word("slice")
        .curve("loss by head", "slice train", First),
    Figure::new("study_loss", "training study loss", Unit::Loss, |s: &Step| Some(s.study_loss))
        .tag("study_loss")
        .word("study")
        .curve("loss by head", "study train", Second),
    of_level("c1", "vertebra_loss/C1", |s| Some(s.vertebra_loss[0])),
    of_level("c2", "vertebra_loss/C2", |s| Some(s.vertebra_loss[1])),
    of_level("c3", "vertebra_loss/C3", |s| Some(s.vertebra_loss[2])),
    of_level("c4", "vertebra_loss/C4", |s| Some(s.vertebra_loss[3])),
    of_level("c5", "vertebra_loss/C5", |s| Some(s.vertebra_loss[4])),
    of_level("c6", "vertebra_loss/C6", |s| Some(s.vertebra_loss[5])),
    of_level("c7", "vertebra_loss/C7", |s| Some(s.vertebra_loss[6])),
    Figure::new("learning_rate", "learning rate", Unit::LearningRate, |s: &Step| {
        Some(s.learning_rate)
    })
    .tag("learning_rate")
    .word("lr")
    .curve("learning rate", "rate", First),
    Figure::new("grad_norm", "gradient norm", Unit::Norm, |s: &Step| Some(s.grad_norm))
        .tag("grad_norm")
        .word("grad")
        .curve("gradient norm", "norm", First),
    Figure::new("skipped", "skipped", Unit::Flag, |s: &Step| Some(s.skipped.into())),
    Figure::new("mixup", "mixup's lambda", Unit::Number, |s: &Step| s.mixup),
    Figure::new("images", "images", Unit::Count, |s: &Step| Some(s.images as f64)),
    Figure::new("data_seconds", "time waiting for data", Unit::Seconds, |s: &Step| {
        Some(s.data_seconds)
    }),
    Figure::new("compute_seconds", "time computing", Unit::Seconds, |s: &Step| {
        Some(s.compute_seconds)
    }),
    Figure::new("steps_in_epoch", "steps in the epoch", Unit::Count, |s: &Step| {
        Some(s.steps as f64)
    }),
    Figure::new("images_per_second", "training images a second", Unit::PerSecond, |s: &Step| {
        Some(s.images as f64 / s.seconds()).filter(|_| s.seconds() > 0.0)
    })
    .derived()
    .tag("images_per_second")
    .panel("training images a second", First),
    Figure::new("data_wait", "waiting for data", Unit::Share, |s: &Step| {
        Some(s.data_seconds / s.seconds()).filter(|_| s.seconds() > 0.0)
    })
    .derived()
    .tag("data_wait")
    .panel("waiting for data", Second),
];

/// Figures of an epoch and its validation, in the order of their columns.
pub static EPOCH: &[Figure<Epoch>] = &[
    Figure::new("learning_rate", "learning rate", Unit::LearningRate, |e: &Epoch| {
        Some(e.learning_rate)
    }),
    Figure::new("train_loss", "train loss", Unit::Loss, |e: &Epoch| Some(e.train_loss)),
    Figure::new("train_slice_loss", "slice train loss", Unit::Loss, |e: &Epoch| {
        Some(e.train_slice_loss)
    }),
    Figure::new("train_study_loss", "study train loss", Unit::Loss, |e: &Epoch| {
        Some(e.train_study_loss)
    }),
    Figure::new("valid_loss", "valid loss", Unit::Loss, |e: &Epoch| Some(e.valid_loss))
        .tag("loss")
        .curve("loss", "valid", Second)
        .selects(Metric::Loss),
    Figure::new("valid_slice_loss", "slice valid loss", Unit::Loss, |e: &Epoch| {
        Some(e.valid_slice_loss)
    })
    .tag("slice_loss")
    .curve("loss by head", "slice valid", First),
    Figure::new("valid_study_loss", "study valid loss", Unit::Loss, |e: &Epoch| {
        Some(e.valid_study_loss)
    })
    .tag("study_loss")
    .curve("loss by head", "study valid", Second),
    of_level("valid_c1", "vertebra_loss/C1", |e| e.valid_vertebra_loss[0]),
    of_level("valid_c2", "vertebra_loss/C2", |e| e.valid_vertebra_loss[1]),
    of_level("valid_c3", "vertebra_loss/C3", |e| e.valid_vertebra_loss[2]),
    of_level("valid_c4", "vertebra_loss/C4", |e| e.valid_vertebra_loss[3]),
    of_level("valid_c5", "vertebra_loss/C5", |e| e.valid_vertebra_loss[4]),
    of_level("valid_c6", "vertebra_loss/C6", |e| e.valid_vertebra_loss[5]),
    of_level("valid_c7", "vertebra_loss/C7", |e| e.valid_vertebra_loss[6]),
    Figure::new("slice_auc", "slice AUC", Unit::Score, |e: &Epoch| e.slice_auc)
        .tag("slice_auc")
        .word("slice AUC")
        .curve("ROC AUC", "slice", First),
    Figure::new("study_auc", "study AUC", Unit::Score, |e: &Epoch| e.study_auc)
        .tag("study_auc")
        .word("study AUC")
        .curve("ROC AUC", "study", Second),
    Figure::new("metric", "cost", Unit::Loss, |e: &Epoch| Some(e.metric)),
    Figure::new("best_metric", "best cost", Unit::Loss, |e: &Epoch| Some(e.best_metric)),
    Figure::new("is_best", "is the best", Unit::Flag, |e: &Epoch| Some(e.is_best.into())),
    Figure::new("competition", "competition metric", Unit::Loss, |e: &Epoch| {
        scores(e).map(|scores| scores.competition.value)
    })
    .tag("competition")
    .word("competition metric")
    .curve("competition metric", "metric", Second)
    .selects(Metric::Competition),
    Figure::new("patient_auc", "patient AUC", Unit::Score, |e: &Epoch| patient(e, |of| of.auc))
        .tag("patient_auc")
        .selects(Metric::PatientAuc),
    Figure::new(
        "patient_average_precision",
        "patient average precision",
        Unit::Score,
        |e: &Epoch| patient(e, |of| of.average_precision),
    )
    .tag("patient_average_precision")
    .selects(Metric::PatientAveragePrecision),
    Figure::new("vertebra_auc", "mean vertebra AUC", Unit::Score, |e: &Epoch| {
        scores(e).and_then(Scores::vertebra_auc)
    })
    .tag("vertebra_auc")
    .selects(Metric::VertebraAuc),
    Figure::new("patient_ece", "patient ECE", Unit::Score, |e: &Epoch| {
        patient(e, |of| Some(of.ece))
    })
    .better(Better::Lower),
    Figure::new("train_seconds", "training time", Unit::Seconds, |e: &Epoch| Some(e.train_seconds)),
    Figure::new("valid_seconds", "validation time", Unit::Seconds, |e: &Epoch| {
        Some(e.valid_seconds)
    }),
    Figure::new("valid_batches", "validation batches", Unit::Count, |e: &Epoch| {
        Some(e.valid_batches as f64)
    }),
];

/// Figures of the machine and this process.
pub static SYSTEM: &[Figure<System>] = &[
    Figure::new("cpu", "CPU, all cores", Unit::Percent, |s: &System| Some(s.cpu))
        .gauge("CPU, all cores", First),
    Figure::new("process_cpu", "CPU, this process", Unit::Percent, |s: &System| {
        Some(s.process_cpu)
    })
    .range(0.0, f64::INFINITY)
    .panel("CPU, this process", First),
    Figure::new("memory_used", "memory, all", Unit::Bytes, |s: &System| Some(s.memory_used as f64))
        .of(|s| Some(s.memory_total as f64))
        .gauge("memory, own and all", Faint),
    Figure::new("resident", "memory, own", Unit::Bytes, |s: &System| Some(s.resident as f64))
        .panel("memory, own and all", First),
    Figure::new("disk_free", "disk, free", Unit::Bytes, |s: &System| {
        s.disk_free.map(|free| free as f64)
    })
    .better(Better::Higher)
    .of(|s| s.disk_total.map(|total| total as f64))
    .panel("disk, free", Second),
];

/// Figures of the GPU.
pub static GPU: &[Figure<Gpu>] = &[
    Figure::new("gpu_utilisation", "GPU", Unit::Percent, |g: &Gpu| g.utilisation.map(f64::from))
        .gauge("GPU", First),
    Figure::new("gpu_memory", "GPU memory", Unit::Bytes, |g: &Gpu| Some(g.memory_used as f64))
        .of(|g| Some(g.memory_total as f64))
        .gauge("GPU memory", First),
    Figure::new("gpu_temperature", "GPU temperature", Unit::Celsius, |g: &Gpu| {
        g.temperature.map(f64::from)
    })
    .panel("GPU temperature", Second),
    Figure::new("gpu_watts", "GPU power", Unit::Watts, |g: &Gpu| g.watts)
        .panel("GPU power", Second),
];

/// Returns the figure that `metric` selects by.
pub fn selecting(metric: Metric) -> &'static Figure<Epoch> {
    let named = EPOCH.iter().find(|figure| figure.selects == Some(metric));
    named.expect("every metric has an entry")
}

const fn of_level<E>(
    id: &'static str,
    tag: &'static str,
    read: fn(&E) -> Option<f64>,
) -> Figure<E> {
    Figure::new(id, "slice loss of a vertebra", Unit::Loss, read).tag(tag)
}

fn scores(epoch: &Epoch) -> Option<&Scores> {
    epoch.scores.as_deref()
}

fn patient(epoch: &Epoch, of: fn(&TargetScores) -> Option<score::Figure>) -> Option<f64> {
    of(scores(epoch)?.patient()).map(|figure| figure.value)
}
