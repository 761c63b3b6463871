//! `best` and `last` on disk.
//!
//! `best` is a plain state dict under PyTorch's names: two lines of Python load it with
//! `strict=True`. `last` holds the same under `model.…`, AdamW's moments under
//! `exp_avg.…` and `exp_avg_sq.…` in PyTorch's layout, and the rest in the file's metadata: all that
//! training needs to go on as if it had never stopped.

use super::{
    Error, Result,
    adamw::{AdamW, Moments},
    scaler::Scaler,
};
use crate::{
    net::{Classifier, weights},
    run::folder::write_atomically,
};
use candle_core::{Device, Tensor};
use safetensors::SafeTensors;
use std::{collections::BTreeMap, collections::HashMap, path::Path};

/// The first words of `last`'s metadata.
const FORMAT: &str = "rsna-tui last 2";

/// What `last` knows beside weights, moments and scaler.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// The fold's number.
    pub fold: usize,
    /// Epochs done.
    pub epoch: usize,
    /// Steps done in the epoch after them; 0 unless saved in mid-epoch.
    pub step: usize,
    /// Batches that the loader gave for them: more than steps where some were left out wholly.
    pub batches: usize,
    /// The epoch after them, as far as it went.
    pub sums: TrainSums,
    /// The best epoch so far, if one was finished.
    pub best: Option<Best>,
}

/// The notebook's `score_best`, and where it was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Best {
    /// The lowest metric.
    pub metric: f64,
    /// Its epoch, from 1.
    pub epoch: usize,
    /// Its ROC AUC over slices, where there was one.
    pub slice_auc: Option<f64>,
}

/// Sums over an epoch's training steps.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TrainSums {
    /// Of losses.
    pub loss: f64,
    /// Of the slice head's.
    pub slice: f64,
    /// Of the study head's.
    pub study: f64,
    /// Steps.
    pub steps: usize,
    /// Of their seconds.
    pub seconds: f64,
}

/// Writes the weights alone.
pub fn save_best(model: &Classifier, path: &Path) -> Result<()> {
    write(path, weights::state_dict(&model.parameters)?, None)
}

/// Writes weights, moments, scaler and progress.
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
    let TrainSums { loss, slice, study, steps, seconds } = progress.sums;
    let score = progress.best.map_or(f64::INFINITY, |best| best.metric);
    // A float's shortest decimals are read back as the same float.
    let mut metadata = HashMap::from([
        ("format".to_string(), FORMAT.to_string()),
        ("fold".into(), progress.fold.to_string()),
        ("epoch".into(), progress.epoch.to_string()),
        ("step".into(), progress.step.to_string()),
        ("batches".into(), progress.batches.to_string()),
        ("epoch_sums".into(), format!("{loss} {slice} {study} {steps} {seconds}")),
        ("score_best".into(), score.to_string()),
        ("adamw_steps".into(), optimizer.steps.to_string()),
    ]);
    if let Some(best) = progress.best {
        metadata.insert("best_epoch".into(), best.epoch.to_string());
        if let Some(auc) = best.slice_auc {
            metadata.insert("best_slice_auc".into(), auc.to_string());
        }
    }
    if let Some(scaler) = optimizer.scaler {
        metadata.insert("loss_scale".into(), scaler.scale.to_string());
        metadata.insert("loss_scale_good_steps".into(), scaler.good_steps.to_string());
    }
    write(path, tensors, Some(metadata))
}

/// Reads `last` into a network and its optimizer, to the bit as they were.
///
/// Errors: the file cannot be read, or is not a `last` of such a network. Both are then half
/// changed.
pub fn load_last(model: &Classifier, optimizer: &mut AdamW, path: &Path) -> Result<Progress> {
    let bad = |why: String| Error::Resume { path: path.into(), why };
    let bytes = std::fs::read(path).map_err(|e| bad(e.to_string()))?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| bad(e.to_string()))?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let text = |key: &str| metadata.get(key).ok_or_else(|| bad(format!("it has no {key}")));
    if text("format")? != FORMAT {
        return Err(bad(format!("its format is {:?}, not {FORMAT:?}", text("format")?)));
    }
    let mut parts: [HashMap<String, Tensor>; 3] = Default::default();
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)
        .map_err(|e| bad(e.to_string()))?;
    drop(bytes);
    for (name, tensor) in tensors {
        let part = match name.split_once('.') {
            Some(("model", name)) => (0, name),
            Some(("exp_avg", name)) => (1, name),
            Some(("exp_avg_sq", name)) => (2, name),
            _ => return Err(bad(format!("{name} has no place in it"))),
        };
        parts[part.0].insert(part.1.to_string(), tensor);
    }
    let [state, first, second] = parts;
    weights::load_state_dict(&model.parameters, &state)?.map_err(bad)?;
    let mut moments = Vec::with_capacity(model.parameters.trainable.len());
    for p in &model.parameters.trainable {
        let of = |dict: &HashMap<String, Tensor>| -> Result<Vec<f32>> {
            let t = dict.get(&p.name).filter(|t| t.dims() == p.shape);
            let t = t.ok_or_else(|| bad(format!("a moment of {} is missing", p.name)))?;
            Ok(weights::from_torch(t, p.layout)?.flatten_all()?.to_vec1()?)
        };
        moments.push(Moments { first: of(&first)?, second: of(&second)? });
    }
    fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
        text.parse().ok()
    }
    let no_number = |key: &str| bad(format!("its {key} is no number"));
    let whole = |key: &str| number(text(key)?).ok_or_else(|| no_number(key));
    let float = |key: &str| number::<f64>(text(key)?).ok_or_else(|| no_number(key));
    let sums = text("epoch_sums")?;
    let sums: Vec<f64> = sums.split(' ').filter_map(number).collect();
    let &[loss, slice, study, steps, seconds] = &sums[..] else {
        return Err(no_number("epoch_sums"));
    };
    let best = match metadata.contains_key("best_epoch") {
        false => None,
        true => Some(Best {
            metric: float("score_best")?,
            epoch: whole("best_epoch")?,
            slice_auc: metadata.get("best_slice_auc").and_then(|auc| number(auc)),
        }),
    };
    let scaler = match metadata.contains_key("loss_scale") {
        false => None,
        true => Some(Scaler {
            scale: float("loss_scale")?,
            good_steps: whole("loss_scale_good_steps")? as u64,
        }),
    };
    if scaler.is_some() != optimizer.scaler.is_some() {
        return Err(bad("it was trained in another train.precision".into()));
    }
    optimizer.restore(whole("adamw_steps")? as u64, moments, scaler);
    Ok(Progress {
        fold: whole("fold")?,
        epoch: whole("epoch")?,
        step: whole("step")?,
        batches: whole("batches")?,
        sums: TrainSums { loss, slice, study, steps: steps as usize, seconds },
        best,
    })
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
