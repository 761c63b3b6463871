//! The checkpoint files `best` and `last`.
//!
//! `best` is a plain state dict under PyTorch's names: two lines of Python load it with
//! `strict=True`. `last` holds the same under `model.…`, AdamW's moments under
//! `exp_avg.…` and `exp_avg_sq.…` in PyTorch's layout, and the rest in the file's metadata: all that
//! training needs to resume as if it had never stopped.
//!
//! Both have a checksum in their metadata, `crc32`: zlib's CRC-32 of the whole file with these
//! eight digits set to zero.

use super::{
    Error, Result,
    adamw::{AdamW, Moments},
    scaler::Scaler,
};
use crate::bounded::{self, excerpt};
use crate::net::{
    Classifier,
    weights::{self, LONGEST_HEADER},
};
use candle_core::{Device, Tensor};
use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Value of `format` in the metadata of `last`.
const FORMAT: &str = "rsna-tui last 3";
/// The checksum's entry before the checksum is computed.
const NO_SUM: &str = "\"crc32\":\"00000000\"";

/// Contents of `last` other than weights, moments and scaler.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Number of the fold.
    pub fold: usize,
    /// Seed of the fold's training.
    pub seed: u64,
    /// Epochs done.
    pub epoch: usize,
    /// Steps done in the next epoch; 0 unless saved in mid-epoch.
    pub step: usize,
    /// Batches taken from the loader for those steps; more than the steps if batches were left out.
    pub batches: usize,
    /// Sums over the steps of the next epoch.
    pub sums: TrainSums,
    /// Best epoch so far, if one was completed.
    pub best: Option<Best>,
}

/// The notebook's `score_best`, and its epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Best {
    /// Lowest metric.
    pub metric: f64,
    /// Its epoch, from 1.
    pub epoch: usize,
    /// Its validation loss, if the metric is a different figure.
    pub valid_loss: Option<f64>,
    /// Its ROC AUC over slices, if defined.
    pub slice_auc: Option<f64>,
}

/// Sums over the training steps of an epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TrainSums {
    /// Losses.
    pub loss: f64,
    /// Losses of the slice head.
    pub slice: f64,
    /// Losses of the study head.
    pub study: f64,
    /// Number of steps.
    pub steps: usize,
    /// Seconds. Written as 0, so that equal runs write equal files; older versions of the program wrote
    /// the value.
    pub seconds: f64,
}

/// A copy of the data to be written, so that training can continue meanwhile.
#[derive(Debug)]
pub struct Snapshot {
    tensors: BTreeMap<String, Tensor>,
    metadata: BTreeMap<String, String>,
}

impl Snapshot {
    /// Copies the weights alone.
    ///
    /// Errors: when a weight is NaN or infinite.
    pub fn best(model: &Classifier) -> Result<Self> {
        check_finite(model)?;
        Ok(Self { tensors: copied(model, "")?, metadata: BTreeMap::new() })
    }

    /// Copies weights, moments, scaler and progress; `config` is TOML.
    ///
    /// Errors: when a weight or moment is NaN or infinite.
    pub fn last(
        model: &Classifier,
        optimizer: &AdamW,
        progress: &Progress,
        config: &str,
    ) -> Result<Self> {
        check_finite(model)?;
        let mut tensors = copied(model, "model.")?;
        let moments = optimizer.host_moments()?;
        for (p, m) in model.parameters.trainable.iter().zip(&*moments) {
            for (prefix, values) in [("exp_avg", &m.first), ("exp_avg_sq", &m.second)] {
                if values.iter().any(|x| !x.is_finite()) {
                    return Err(Error::Diverged(format!("AdamW's {prefix} of {}", p.name)));
                }
                let t = Tensor::from_slice(values, p.var.shape(), &Device::Cpu)?;
                let t = weights::to_torch(&t, p.layout, &p.shape)?;
                tensors.insert(format!("{prefix}.{}", p.name), t);
            }
        }
        let TrainSums { loss, slice, study, steps, .. } = progress.sums;
        let score = progress.best.map_or(f64::INFINITY, |best| best.metric);
        // The shortest decimal form of a float reads back as the same float.
        let mut metadata = BTreeMap::from([
            ("format".to_string(), FORMAT.to_string()),
            ("fold".into(), progress.fold.to_string()),
            ("seed".into(), progress.seed.to_string()),
            ("epoch".into(), progress.epoch.to_string()),
            ("step".into(), progress.step.to_string()),
            ("batches".into(), progress.batches.to_string()),
            ("epoch_sums".into(), format!("{loss} {slice} {study} {steps} 0")),
            ("score_best".into(), score.to_string()),
            ("adamw_steps".into(), optimizer.steps.to_string()),
            ("config".into(), config.into()),
        ]);
        if let Some(best) = progress.best {
            metadata.insert("best_epoch".into(), best.epoch.to_string());
            let figures =
                [("best_valid_loss", best.valid_loss), ("best_slice_auc", best.slice_auc)];
            for (key, figure) in figures {
                metadata.extend(figure.map(|figure| (key.to_string(), figure.to_string())));
            }
        }
        if let Some(scaler) = optimizer.scaler {
            metadata.insert("loss_scale".into(), scaler.scale.to_string());
            metadata.insert("loss_scale_good_steps".into(), scaler.good_steps.to_string());
        }
        Ok(Self { tensors, metadata })
    }

    /// Serializes the file, checksum included.
    pub fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let mut metadata = self.metadata.clone();
        metadata.insert("crc32".into(), "00000000".into());
        let mut bytes = weights::serialize(&self.tensors, &metadata).map_err(io::Error::other)?;
        set_sum(&mut bytes).then_some(bytes).ok_or(io::Error::other("no place for a sum"))
    }
}

/// Writes the correct checksum into a file. Returns `false` if the file has no place for one.
pub fn set_sum(bytes: &mut [u8]) -> bool {
    let length = header_length(bytes).unwrap_or(u64::MAX);
    let header = length.checked_add(8).and_then(|end| bytes.get(..usize::try_from(end).ok()?));
    let Some(at) = header.and_then(find) else { return false };
    bytes[at..at + 8].copy_from_slice(b"00000000");
    let sum = crc32fast::hash(bytes);
    bytes[at..at + 8].copy_from_slice(format!("{sum:08x}").as_bytes());
    true
}

/// Refuses weights and running statistics that are NaN or infinite. The error gives the name.
pub fn check_finite(model: &Classifier) -> Result<()> {
    for p in model.parameters.all() {
        if weights::not_finite(&p.var.as_detached_tensor())? > 0 {
            return Err(Error::Diverged(format!("the weight {}", p.name)));
        }
    }
    Ok(())
}

/// Copies the weights, since the model's own change in place.
fn copied(model: &Classifier, prefix: &str) -> Result<BTreeMap<String, Tensor>> {
    let dict = weights::state_dict(&model.parameters)?;
    dict.into_iter().map(|(name, t)| Ok((format!("{prefix}{name}"), t.copy()?))).collect()
}

fn header_length(bytes: &[u8]) -> std::result::Result<u64, &'static str> {
    let length = bytes.first_chunk::<8>().map(|n| u64::from_le_bytes(*n));
    length.filter(|&n| n <= LONGEST_HEADER).ok_or("it is no safetensors file")
}

/// Position of the checksum's digits in a header, after `"crc32":"`.
fn find(header: &[u8]) -> Option<usize> {
    let key = &NO_SUM.as_bytes()[..NO_SUM.len() - 9];
    let at = memchr::memmem::find(header, key)? + key.len();
    (header.get(at + 8) == Some(&b'"')).then_some(at)
}

/// A checkpoint with a correct checksum.
#[derive(Debug)]
pub struct Whole {
    /// The file.
    pub path: PathBuf,
    metadata: HashMap<String, String>,
}

/// Checks a file's checksum in one pass with little memory.
///
/// Errors: when the file is not a valid checkpoint; one sentence that says why.
pub fn verify(path: &Path) -> std::result::Result<Whole, String> {
    let cut = |_| "it is cut short".to_string();
    let mut file = bounded::open(path).map_err(|e| e.to_string())?;
    let mut header = vec![0; 8];
    file.read_exact(&mut header).map_err(cut)?;
    let length = header_length(&header)? as usize;
    header.resize(8 + length, 0);
    file.read_exact(&mut header[8..]).map_err(cut)?;
    let at = find(&header).ok_or("it has no checksum")?;
    let said = header[at..at + 8].to_vec();
    header[at..at + 8].copy_from_slice(b"00000000");
    let mut sum = crc32fast::Hasher::new();
    sum.update(&header);
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece).map_err(|e| e.to_string())? {
            0 => break,
            n => sum.update(&piece[..n]),
        }
    }
    if format!("{:08x}", sum.finalize()).as_bytes() != said {
        return Err("its checksum is wrong: it is damaged or cut short".into());
    }
    #[derive(serde::Deserialize)]
    struct Header {
        #[serde(rename = "__metadata__", default)]
        metadata: HashMap<String, String>,
    }
    let Header { metadata } =
        serde_json::from_slice(&header[8..]).map_err(|e| excerpt(&e.to_string(), 200))?;
    Ok(Whole { path: path.into(), metadata })
}

/// Returns the first valid one of a fold's files, which are given newest first, and the files before it
/// with the reason why each is invalid.
pub fn newest(files: impl Iterator<Item = PathBuf>) -> (Option<Whole>, Vec<(PathBuf, String)>) {
    let mut refused = Vec::new();
    // Treat a file whose existence cannot be checked as existing, so that its error is reported.
    for path in files.filter(|path| path.try_exists().unwrap_or(true)) {
        match verify(&path) {
            Ok(whole) => return (Some(whole), refused),
            Err(why) => refused.push((path, why)),
        }
    }
    (None, refused)
}

impl Whole {
    /// Its checksum, eight digits.
    pub fn sum(&self) -> &str {
        self.metadata.get("crc32").map_or("", |sum| sum)
    }

    /// The configuration that it was written with, as TOML; empty if it has none.
    pub fn config(&self) -> &str {
        self.metadata.get("config").map_or("", |config| config)
    }

    /// Returns its progress. Errors: when it is not a `last`.
    pub fn progress(&self) -> Result<Progress> {
        let format = self.text("format")?;
        if format != FORMAT {
            let format = excerpt(format, 40);
            return Err(self.bad(format!("its format is {format:?}, not {FORMAT:?}")));
        }
        let sums = self.text("epoch_sums")?.split(' ').filter_map(|text| text.parse().ok());
        let &[loss, slice, study, steps, seconds] = &sums.collect::<Vec<f64>>()[..] else {
            return Err(self.bad("its epoch_sums are not five numbers"));
        };
        if !(0.0..=f64::from(u32::MAX)).contains(&steps) {
            return Err(self.bad("its epoch_sums are of no number of steps"));
        }
        let figure = |key| self.metadata.get(key).and_then(|figure| figure.parse().ok());
        let best = match self.metadata.contains_key("best_epoch") {
            false => None,
            true => Some(Best {
                metric: self.number("score_best")?,
                epoch: self.count("best_epoch")?,
                valid_loss: figure("best_valid_loss"),
                slice_auc: figure("best_slice_auc"),
            }),
        };
        // No later epoch would ever be better than such a score.
        if let Some(best) = best.filter(|best| !best.metric.is_finite()) {
            return Err(self.bad(format!("its score_best is {}", best.metric)));
        }
        Ok(Progress {
            fold: self.count("fold")?,
            seed: self.number("seed")?,
            epoch: self.count("epoch")?,
            step: self.count("step")?,
            batches: self.count("batches")?,
            sums: TrainSums { loss, slice, study, steps: steps as usize, seconds },
            best,
        })
    }

    /// Returns the loss scaler, if the run has one.
    fn scaler(&self) -> Result<Option<Scaler>> {
        if !self.metadata.contains_key("loss_scale") {
            return Ok(None);
        }
        let scale: f64 = self.number("loss_scale")?;
        let good_steps = self.count("loss_scale_good_steps")? as u64;
        match scale.is_finite() && scale > 0.0 {
            true => Ok(Some(Scaler { scale, good_steps })),
            false => Err(self.bad(format!("its loss_scale is {scale}, expected a number above 0"))),
        }
    }

    fn text(&self, key: &str) -> Result<&str> {
        let text = self.metadata.get(key).map(|text| &**text);
        text.ok_or_else(|| self.bad(format!("it has no {key}")))
    }

    fn number<T: std::str::FromStr>(&self, key: &str) -> Result<T> {
        self.text(key)?.parse().map_err(|_| self.bad(format!("its {key} is no number")))
    }

    /// Reads a count, as u32 so that training can add to it without overflow.
    fn count(&self, key: &str) -> Result<usize> {
        Ok(self.number::<u32>(key)? as usize)
    }

    fn bad(&self, why: impl Into<String>) -> Error {
        Error::Resume { path: self.path.clone(), why: why.into() }
    }
}

/// Reads `last` into a network and its optimizer, bit for bit.
///
/// Errors: when the file cannot be read, or is not a `last` of this network. Both may then be partly
/// changed.
pub fn load_last(model: &Classifier, optimizer: &mut AdamW, last: &Whole) -> Result<Progress> {
    let bad = |why: String| last.bad(why);
    let (progress, scaler) = (last.progress()?, last.scaler()?);
    if scaler.is_some() != optimizer.scaler.is_some() {
        return Err(last.bad("it was trained in another train.precision"));
    }
    let [mut state, mut first, mut second]: [HashMap<String, Tensor>; 3] = Default::default();
    for (name, tensor) in tensors(model, &last.path).map_err(bad)? {
        let (part, name) = match name.split_once('.') {
            Some(("model", name)) => (&mut state, name),
            Some(("exp_avg", name)) => (&mut first, name),
            Some(("exp_avg_sq", name)) => (&mut second, name),
            _ => return Err(bad(format!("{:?} has no place in it", excerpt(&name, 100)))),
        };
        part.insert(name.to_string(), tensor);
    }
    weights::load_state_dict(&model.parameters, &state)?
        .map_err(|differences| bad(differences.to_string()))?;
    let mut moments = Vec::with_capacity(model.parameters.trainable.len());
    for p in &model.parameters.trainable {
        let of = |dict: &HashMap<String, Tensor>| -> Result<Vec<f32>> {
            let t = dict.get(&p.name).filter(|t| t.dims() == p.shape);
            let t = t.ok_or_else(|| bad(format!("a moment of {} is missing", p.name)))?;
            if weights::not_finite(t)? > 0 {
                return Err(bad(format!("a moment of {} is NaN or infinite", p.name)));
            }
            Ok(weights::from_torch(t, p.layout)?.flatten_all()?.to_vec1()?)
        };
        moments.push(Moments { first: of(&first)?, second: of(&second)? });
    }
    optimizer.restore(last.count("adamw_steps")? as u64, moments, scaler);
    Ok(progress)
}

/// Reads only the weights into a network, from a `best` or a `last`.
///
/// Errors: when the file cannot be read, or is for a different network.
pub fn load_weights(model: &Classifier, from: &Whole) -> Result<()> {
    let bad = |why: String| Error::Checkpoint { path: from.path.clone(), why };
    let tensors = tensors(model, &from.path).map_err(bad)?;
    let state = match from.metadata.contains_key("format") {
        false => tensors,
        true => {
            let own = |(name, t): (String, Tensor)| Some((name.strip_prefix("model.")?.into(), t));
            tensors.into_iter().filter_map(own).collect()
        }
    };
    weights::load_state_dict(&model.parameters, &state)?
        .map_err(|differences| bad(differences.to_string()))
}

/// Reads the tensors of a checkpoint, of at most the size that fits this network.
fn tensors(
    model: &Classifier,
    path: &Path,
) -> std::result::Result<HashMap<String, Tensor>, String> {
    // Three values for each weight, plus room for the header and buffers.
    let most = 12 * model.parameters.count() as u64 + LONGEST_HEADER + (1 << 20);
    let size = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
    if size > most {
        return Err(format!("it has {size} bytes, more than such a network's {most}"));
    }
    let bytes = bounded::read(path, most).map_err(|e| e.to_string())?;
    weights::tensors(&bytes)
}
