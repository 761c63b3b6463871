//! `best` and `last` on disk.
//!
//! `best` is a plain state dict under PyTorch's names: two lines of Python load it with
//! `strict=True`. `last` holds the same under `model.…`, AdamW's moments under
//! `exp_avg.…` and `exp_avg_sq.…` in PyTorch's layout, and the rest in the file's metadata.

use super::{Error, Result, adamw::AdamW};
use crate::{
    net::{Classifier, weights},
    run::folder::write_atomically,
};
use candle_core::{Device, Tensor};
use std::{collections::BTreeMap, collections::HashMap, path::Path};

/// What `last` knows beside weights and moments.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// The fold's number.
    pub fold: usize,
    /// Epochs done.
    pub epoch: usize,
    /// Steps done in the epoch after them; 0 unless saved in mid-epoch.
    pub step: usize,
    /// Lowest metric so far (infinite before the first epoch), the notebook's `score_best`.
    pub best_metric: f64,
}

/// Writes the weights alone.
pub fn save_best(model: &Classifier, path: &Path) -> Result<()> {
    write(path, weights::state_dict(&model.parameters)?, None)
}

/// Writes weights, moments and progress.
pub fn save_last(
    model: &Classifier,
    optimizer: &AdamW,
    progress: &Progress,
    path: &Path,
) -> Result<()> {
    let mut tensors: BTreeMap<String, Tensor> = weights::state_dict(&model.parameters)?
        .into_iter()
        .map(|(name, t)| (format!("model.{name}"), t))
        .collect();
    let moments = optimizer.host_moments()?;
    for (p, m) in model.parameters.trainable.iter().zip(&*moments) {
        for (prefix, values) in [("exp_avg", &m.first), ("exp_avg_sq", &m.second)] {
            let t = Tensor::from_slice(values, p.var.shape(), &Device::Cpu)?;
            let t = weights::to_torch(&t, p.layout, &p.shape)?;
            tensors.insert(format!("{prefix}.{}", p.name), t);
        }
    }
    let mut metadata = HashMap::from([
        ("format".to_string(), "rsna-tui last 1".to_string()),
        ("fold".into(), progress.fold.to_string()),
        ("epoch".into(), progress.epoch.to_string()),
        ("step".into(), progress.step.to_string()),
        ("score_best".into(), progress.best_metric.to_string()),
        ("adamw_steps".into(), optimizer.steps.to_string()),
    ]);
    if let Some(scaler) = optimizer.scaler {
        metadata.insert("loss_scale".into(), scaler.scale.to_string());
        metadata.insert("loss_scale_good_steps".into(), scaler.good_steps.to_string());
    }
    write(path, tensors, Some(metadata))
}

fn write(
    path: &Path,
    tensors: BTreeMap<String, Tensor>,
    metadata: Option<HashMap<String, String>>,
) -> Result<()> {
    let bytes = safetensors::serialize(tensors, metadata)
        .map_err(|e| candle_core::Error::Msg(e.to_string()))?;
    write_atomically(path, &bytes).map_err(|source| Error::Write { path: path.into(), source })
}
