//! PyTorch and timm names and layouts, in and out.

use super::{
    classifier::Classifier,
    parameters::{Layout, Parameters},
};
use crate::bounded::{self, excerpt};
use candle_core::{DType, Device, Result as CandleResult, Tensor};
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

/// A weights file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such file, or no safetensors.
    #[error(
        "cannot read the weights {}: {reason}; expected a .safetensors file", path.display()
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A weight is missing or has another shape.
    #[error("{}: {problem}; expected the weights of {model}", path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// Which weight and what is wrong with it.
        problem: String,
        /// What was to be filled.
        model: String,
    },
    /// The engine failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// A larger timm file is none of a ConvNeXt that is known here.
const LARGEST_TIMM: u64 = 1 << 30;
/// A longer header is none of ours: a nano's has 60 kB.
pub const LONGEST_HEADER: u64 = 16 << 20;
/// No weight has more dimensions.
const MOST_DIMENSIONS: usize = 8;

/// The tensors of a safetensors file, as f32, f64, f16, bf16 or i64, on the CPU.
///
/// Errors: what is wrong with it, as a sentence of its own. Shapes are looked at before the engine
/// sees them: where one side is 0 the others may be so large that it overflows.
pub fn tensors(bytes: &[u8]) -> std::result::Result<HashMap<String, Tensor>, String> {
    let length = bytes.first_chunk::<8>().map(|n| u64::from_le_bytes(*n));
    if length.is_none_or(|n| n > LONGEST_HEADER) {
        return Err("it is no safetensors file".into());
    }
    let foreign = |e: safetensors::SafeTensorError| {
        format!("it is no safetensors file: {}", excerpt(&e.to_string(), 200))
    };
    let file = safetensors::SafeTensors::deserialize(bytes).map_err(foreign)?;
    let mut tensors = HashMap::new();
    for (name, view) in file.iter() {
        let told = || excerpt(name, 100);
        let dtype = match view.dtype() {
            safetensors::Dtype::F32 => DType::F32,
            safetensors::Dtype::F64 => DType::F64,
            safetensors::Dtype::F16 => DType::F16,
            safetensors::Dtype::BF16 => DType::BF16,
            // BatchNorm's count of batches.
            safetensors::Dtype::I64 => DType::I64,
            other => return Err(format!("{:?} is of type {other:?}", told())),
        };
        let shape = view.shape();
        if shape.contains(&0) || shape.len() > MOST_DIMENSIONS {
            let shape = excerpt(&format!("{shape:?}"), 80);
            return Err(format!("{:?} has the shape {shape}", told()));
        }
        let tensor = Tensor::from_raw_buffer(view.data(), dtype, shape, &Device::Cpu)
            .map_err(|e| excerpt(&e.to_string(), 200))?;
        tensors.insert(name.to_string(), tensor);
    }
    Ok(tensors)
}

/// From PyTorch's layout to ours.
pub fn from_torch(t: &Tensor, layout: Layout) -> CandleResult<Tensor> {
    match layout {
        Layout::Plain => Ok(t.clone()),
        Layout::Depthwise => t.flatten_from(1)?.t()?.contiguous(),
        Layout::Patch => t.permute((0, 2, 3, 1))?.contiguous()?.flatten_from(1),
        Layout::Pointwise => t.flatten_from(1),
    }
}

/// From our layout to PyTorch's `shape`.
pub fn to_torch(t: &Tensor, layout: Layout, shape: &[usize]) -> CandleResult<Tensor> {
    match layout {
        Layout::Plain => Ok(t.clone()),
        Layout::Depthwise => t.t()?.contiguous()?.reshape(shape),
        Layout::Patch => {
            let &[out, input, h, w] = shape else {
                candle_core::bail!("a patch weight has four dimensions, not {shape:?}")
            };
            t.reshape((out, h, w, input))?.permute((0, 3, 1, 2))?.contiguous()
        }
        Layout::Pointwise => t.reshape(shape),
    }
}

/// Every weight and buffer under PyTorch's name, in PyTorch's shape, on the CPU.
pub fn state_dict(parameters: &Parameters) -> CandleResult<BTreeMap<String, Tensor>> {
    let mut out = BTreeMap::new();
    for p in &parameters.trainable {
        let t = to_torch(&p.var.as_detached_tensor(), p.layout, &p.shape)?;
        out.insert(p.name.clone(), t.to_device(&Device::Cpu)?);
    }
    for b in &parameters.buffers {
        out.insert(b.name.clone(), b.var.as_detached_tensor().to_device(&Device::Cpu)?);
    }
    Ok(out)
}

/// Sets every weight and buffer from PyTorch's; as `strict=True`, one that is missing or of
/// another shape is an error (told as text), and so is one left over.
pub fn load_state_dict(
    parameters: &Parameters,
    dict: &HashMap<String, Tensor>,
) -> CandleResult<std::result::Result<(), String>> {
    for p in &parameters.trainable {
        let Some(t) = dict.get(&p.name) else { return Ok(Err(format!("{} is missing", p.name))) };
        if t.dims() != p.shape {
            return Ok(Err(format!("{} is {:?}, not {:?}", p.name, t.dims(), p.shape)));
        }
        let t = t.to_device(p.var.device())?.to_dtype(p.var.dtype())?;
        p.var.set(&from_torch(&t, p.layout)?)?;
    }
    for b in &parameters.buffers {
        let Some(t) = dict.get(&b.name) else { return Ok(Err(format!("{} is missing", b.name))) };
        if t.dims() != b.var.dims() {
            return Ok(Err(format!("{} is {:?}, not {:?}", b.name, t.dims(), b.var.dims())));
        }
        b.var.set(&t.to_device(b.var.device())?.to_dtype(b.var.dtype())?)?;
    }
    let known = |name: &String| {
        parameters.trainable.iter().any(|p| p.name == *name)
            || parameters.buffers.iter().any(|b| b.name == *name)
    };
    Ok(match dict.keys().find(|k| !known(k)) {
        Some(extra) => Err(format!("{:?} has no place in this network", excerpt(extra, 100))),
        None => Ok(()),
    })
}

/// Fills the encoder from a timm ConvNeXt safetensors (names `stem.0.weight`,
/// `stages.0.blocks.0.conv_dw.weight`, …; the classifier's `head.fc` is left aside). A 3-channel
/// stem is adapted as timm's `adapt_input_conv` does.
pub fn load_timm(model: &Classifier, path: &Path) -> std::result::Result<(), Error> {
    let read = |reason: String| Error::Read { path: path.to_owned(), reason };
    if !path.is_file() {
        return Err(read("no such file".into()));
    }
    let bytes = bounded::read(path, LARGEST_TIMM).map_err(|e| read(e.to_string()))?;
    let dict = tensors(&bytes).map_err(read)?;
    drop(bytes);
    let mismatch = |problem: String| Error::Mismatch {
        path: path.to_owned(),
        problem,
        model: model.spec.name.into(),
    };
    for p in &model.parameters.trainable {
        let Some(name) = p.name.strip_prefix("encoder.") else { continue };
        let t = dict.get(name).ok_or_else(|| mismatch(format!("{name} is missing")))?;
        let mut t = t.to_dtype(DType::F32)?;
        if name == "stem.0.weight" && t.dims().len() == 4 && t.dim(1)? != p.shape[1] {
            t = adapt_stem(&t, p.shape[1])?;
        }
        // 1×1 convolutions and linear layers hold the same numbers.
        if t.dims() != p.shape && squeezed(t.dims()) == squeezed(&p.shape) {
            t = t.reshape(p.shape.as_slice())?;
        }
        if t.dims() != p.shape {
            return Err(mismatch(format!("{name} is {:?}, not {:?}", t.dims(), p.shape)));
        }
        let t = t.to_device(p.var.device())?.to_dtype(p.var.dtype())?;
        p.var.set(&from_torch(&t, p.layout)?)?;
    }
    let known = |name: &str| {
        let trainable = &model.parameters.trainable;
        trainable.iter().any(|p| p.name.strip_prefix("encoder.") == Some(name))
    };
    match dict.keys().filter(|name| name.starts_with("stages.")).find(|name| !known(name)) {
        Some(extra) => Err(mismatch(format!("{:?} has no place", excerpt(extra, 100)))),
        None => Ok(()),
    }
}

/// Repeats a stem's 3 input channels to `channels` and scales by 3 / `channels`
/// (timm's `adapt_input_conv`): [out, 3, k, k] → [out, channels, k, k].
pub fn adapt_stem(weight: &Tensor, channels: usize) -> CandleResult<Tensor> {
    let from = weight.dim(1)?;
    let repeats: Vec<&Tensor> = vec![weight; channels.div_ceil(from)];
    let repeated = Tensor::cat(&repeats, 1)?.narrow(1, 0, channels)?;
    repeated.affine(from as f64 / channels as f64, 0.0)?.contiguous()
}

fn squeezed(shape: &[usize]) -> Vec<usize> {
    shape.iter().copied().filter(|&d| d != 1).collect()
}
