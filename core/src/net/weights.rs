//! Weights in files: PyTorch's and timm's names and layouts, read and written.

mod fit;
mod names;
mod pth;
mod weight_location;

pub use fit::{Content, Differences, Filled, fill, fill_from, load_state_dict};

pub use super::layout::{from_torch, to_torch};

use super::parameters::{Parameter, Parameters};
use crate::bounded::{self, excerpt};
use candle_core::{DType, Device, Result as CandleResult, Tensor};
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

type Result<T> = std::result::Result<T, Error>;

/// Why a weights file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file does not exist or is not in a supported format.
    #[error(
        "cannot read the weights {}: {reason}; expected a .safetensors file, or a .pth that torch.save wrote", path.display()
    )]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Reason.
        reason: String,
    },
    /// The tensors do not fit the network.
    #[error("{}: {differences}; expected the weights of {model}{hint}", path.display())]
    Mismatch {
        /// Path of the file.
        path: PathBuf,
        /// Tensors that do not fit.
        differences: Box<Differences>,
        /// The network to fill.
        model: String,
        /// Backbone that would fit, if one is recognised.
        hint: String,
    },
    /// The tensors fit, but have NaN or infinite values.
    #[error("{}: {differences}; such weights predict nothing: take a checkpoint from before training diverged", path.display())]
    NotFinite {
        /// Path of the file.
        path: PathBuf,
        /// Tensors with such values.
        differences: Box<Differences>,
    },
    /// The file holds an encoder instead of a whole network, or the reverse.
    #[error("{}: it holds {held}; {instead}", path.display())]
    Content {
        /// Path of the file.
        path: PathBuf,
        /// Content of the file.
        held: Content,
        /// What to do with such a file.
        instead: &'static str,
    },
    /// A model of the Hugging Face hub cannot be downloaded.
    #[error("cannot get the weights {name}: {reason}")]
    Hub {
        /// Name, as given.
        name: String,
        /// Reason, and what to do.
        reason: String,
    },
    /// candle failed.
    #[error("{}", sentence(.0))]
    Candle(#[from] candle_core::Error),
}

/// Formats a candle error without its stack trace.
pub fn sentence(error: &candle_core::Error) -> String {
    excerpt(error.to_string().lines().next().unwrap_or_default(), 200)
}

/// Formats an error of any kind without the stack trace that candle adds to its own.
pub fn report(error: &eyre::Report) -> String {
    error.downcast_ref().map_or_else(|| error.to_string(), sentence)
}

/// The tensors of a file, and where they were taken from if it holds several networks.
struct Tensors {
    /// Tensors by PyTorch's names.
    by_name: HashMap<String, Tensor>,
    /// Whether they are a moving average of the weights.
    is_average: bool,
    /// Names of the set that was taken and of the set that was left, if the file holds both weights and
    /// a moving average.
    taken: Option<(String, String)>,
}

impl From<HashMap<String, Tensor>> for Tensors {
    fn from(by_name: HashMap<String, Tensor>) -> Self {
        Self { by_name, is_average: false, taken: None }
    }
}

/// Maximum size of a weights file, bytes; no supported network has more.
pub const LARGEST: u64 = 1 << 30;
/// Maximum size of a safetensors header, bytes; a nano's has 60 kB.
pub const LONGEST_HEADER: u64 = 16 << 20;
/// Maximum number of dimensions of a weight.
const MOST_DIMENSIONS: usize = 8;
/// Types of weights, and of BatchNorm's batch counter.
const TYPES: [DType; 5] = [DType::F32, DType::F64, DType::F16, DType::BF16, DType::I64];

/// Reads the tensors of a file under PyTorch's names. `average`: take the moving average if the file
/// holds both it and the weights.
///
/// Errors: [`Error::Read`].
fn read(path: &Path, average: bool) -> Result<Tensors> {
    let read = |reason: String| Error::Read { path: path.to_owned(), reason };
    let bytes = bounded::read(path, LARGEST).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => read("no such file".into()),
        _ => read(e.to_string()),
    })?;
    of_either(&bytes, average).map_err(read)
}

/// Reads the tensors of a file of either format. Errors: when it is malformed; a full sentence.
fn of_either(bytes: &[u8], average: bool) -> std::result::Result<Tensors, String> {
    match bytes {
        [b'P', b'K', 3, 4, ..] => pth::tensors(bytes, average),
        // First bytes of a pickle.
        [0x80, 2..=5, 1..=255, ..] => {
            Err("it is a bare pickle, as PyTorch wrote before 1.6: load it there \
                                  and torch.save its state_dict() anew"
                .into())
        }
        _ => Ok(tensors(bytes)?.into()),
    }
}

/// Reads the tensors that a `data.pkl` describes, all with the values `stored`. For the fuzzer, which
/// could not guess an archive's checksums.
#[doc(hidden)]
pub fn of_pickle(
    pickle: &[u8],
    stored: &[u8],
) -> std::result::Result<HashMap<String, Tensor>, String> {
    let read = pth::of_pickle(pickle, 16 * stored.len(), false, &mut |_| Ok(stored));
    Ok(read?.by_name)
}

/// Reads the tensors of a safetensors file, as f32, f64, f16, bf16 or i64, on the CPU. Checks shapes
/// before candle sees them: if one side is 0, the others may be large enough to overflow.
///
/// Errors: when the file is malformed; a full sentence.
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
        let shown = || excerpt(name, 100);
        let dtype = match DType::try_from(view.dtype()) {
            Ok(dtype) if TYPES.contains(&dtype) => dtype,
            _ => return Err(format!("{:?} is of type {:?}", shown(), view.dtype())),
        };
        let shape = view.shape();
        if shape.contains(&0) || shape.len() > MOST_DIMENSIONS {
            let shape = excerpt(&format!("{shape:?}"), 80);
            return Err(format!("{:?} has the shape {shape}", shown()));
        }
        let tensor = Tensor::from_raw_buffer(view.data(), dtype, shape, &Device::Cpu)
            .map_err(|e| sentence(&e))?;
        tensors.insert(name.to_string(), tensor);
    }
    Ok(tensors)
}

/// Writes `tensors` as a safetensors file with the metadata sorted by key, so that the same network
/// gives the same bytes.
///
/// Errors: when the header would be longer than the format allows.
pub fn serialize(
    tensors: &BTreeMap<String, Tensor>,
    metadata: &BTreeMap<String, String>,
) -> std::result::Result<Vec<u8>, safetensors::SafeTensorError> {
    // The library takes metadata as an unordered map, so insert it here.
    let file = safetensors::serialize(tensors, None)?;
    let (length, rest) = file.split_at(8);
    let length = u64::from_le_bytes(length.try_into().expect("eight bytes")) as usize;
    let (header, values) = rest.split_at(length);
    let own = header.trim_ascii_end().strip_prefix(b"{").unwrap_or_default();
    let comma: &[u8] = if own == b"}" { b"" } else { b"," };
    let metadata = serde_json::to_vec(metadata)?;
    let mut header = [b"{\"__metadata__\":", &metadata[..], comma, own].concat();
    // The values start at a multiple of 8.
    header.resize(header.len().next_multiple_of(8), b' ');
    let length = header.len() as u64;
    if length > LONGEST_HEADER {
        return Err(safetensors::SafeTensorError::HeaderTooLarge);
    }
    Ok([&length.to_le_bytes(), &header[..], values].concat())
}

/// Counts the NaN or infinite values of a tensor.
pub fn not_finite(t: &Tensor) -> CandleResult<usize> {
    let t = t.flatten_all()?;
    Ok(match t.dtype() {
        DType::F32 => t.to_vec1::<f32>()?.into_iter().filter(|x| !x.is_finite()).count(),
        // Whole numbers are finite in f64 too.
        _ => t.to_dtype(DType::F64)?.to_vec1::<f64>()?.iter().filter(|x| !x.is_finite()).count(),
    })
}

/// Returns every weight and buffer under PyTorch's name, in PyTorch's shape, on the CPU.
pub fn state_dict(parameters: &Parameters) -> CandleResult<BTreeMap<String, Tensor>> {
    let on_cpu = |p: &Parameter| {
        let t = to_torch(&p.var.as_detached_tensor(), p.layout, &p.shape)?;
        Ok((p.name.clone(), t.to_device(&Device::Cpu)?))
    };
    parameters.all().map(on_cpu).collect()
}

/// Repeats a stem's 3 input channels to `channels` and scales by 3 / `channels` (timm's
/// `adapt_input_conv`): [out, 3, k, k] → [out, channels, k, k].
pub fn adapt_stem(weight: &Tensor, channels: usize) -> CandleResult<Tensor> {
    let from = weight.dim(1)?;
    let repeats: Vec<&Tensor> = vec![weight; channels.div_ceil(from)];
    let repeated = Tensor::cat(&repeats, 1)?.narrow(1, 0, channels)?;
    repeated.affine(from as f64 / channels as f64, 0.0)?.contiguous()
}
