//! Tensors by PyTorch's and timm's names, held against a network's weights and put into them.

use super::{Error, Result, Source, adapt_stem, from_torch, read};
use crate::{
    bounded::excerpt,
    config::{Backbone, Config},
    net::{
        Classifier, Spec, Stem,
        parameters::{Layout, Parameters},
    },
};
use candle_core::{DType, Result as CandleResult, Tensor, Var};
use std::{collections::HashMap, fmt, path::Path};

/// Names of each kind that a message tells.
const TOLD: usize = 3;
/// Channels of the pictures that timm's encoders are trained on.
const RGB: usize = 3;
/// What `DataParallel` puts before each name.
const PARALLEL: &str = "module.";
/// What a whole network puts before its encoder's names.
const ENCODER: &str = "encoder.";
/// What a weights file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A ConvNeXt under timm's names, or under those with `encoder.` before them.
    Encoder,
    /// Encoder, LSTMs and heads under the notebook's names.
    Network,
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Encoder => "an encoder's weights alone",
            Self::Network => "a whole network's weights",
        })
    }
}

/// How the tensors of a file differ from what a network takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    /// Names that are not there, in the network's order.
    pub missing: Vec<String>,
    /// Names, shapes there, and shapes as they should be.
    pub misshaped: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// Names that the network has no place for, sorted.
    pub extra: Vec<String>,
}

impl Differences {
    fn is_none(&self) -> bool {
        self.missing.is_empty() && self.misshaped.is_empty() && self.extra.is_empty()
    }
}

impl fmt::Display for Differences {
    /// The first names of each kind and how many more there are, in one sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = |names: Vec<String>, one: &str, several: &str| {
            let more = match names.len().saturating_sub(TOLD) {
                0 => String::new(),
                more => format!(" (and {more} more)"),
            };
            let verb = if names.len() == 1 { one } else { several };
            let first: Vec<String> = names.into_iter().take(TOLD).collect();
            (!first.is_empty()).then(|| format!("{}{more}{verb}", first.join(", ")))
        };
        let shapes = self.misshaped.iter().map(|(name, is, wanted)| {
            format!("{name} is {} instead of {wanted:?}", excerpt(&format!("{is:?}"), 80))
        });
        // Only these names are the file's own.
        let extra = self.extra.iter().map(|name| format!("{:?}", excerpt(name, 100)));
        let parts = [
            told(self.missing.clone(), " is missing", " are missing"),
            told(shapes.collect(), "", ""),
            told(extra.collect(), " has no place in it", " have no place in it"),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        f.write_str(&parts.join("; "))
    }
}

/// A weight of the network, under the name that a file has for it.
struct Slot<'a> {
    name: &'a str,
    shape: &'a [usize],
    layout: Layout,
    var: &'a Var,
}

/// Starts a network from `source`, as `model.pretrained` is written: a timm ConvNeXt fills the
/// encoder, a whole network everything. Nothing is changed unless all fits.
///
/// A name may have `module.` before it. Of an encoder the classifier `head.fc` is left aside, and a
/// stem for 3 channels is adapted as timm does.
///
/// Errors: the source cannot be read, holds something else than `wanted`, or tensors are missing,
/// left over or of another shape.
pub fn fill(model: &Classifier, source: &Path, wanted: Option<Content>) -> Result<Content> {
    let path = Source::of(source)?.fetch()?;
    let tensors = read(&path)?.into_iter();
    let bare = |name: String| name.strip_prefix(PARALLEL).map(String::from).unwrap_or(name);
    let mut dict: HashMap<String, Tensor> = tensors.map(|(name, t)| (bare(name), t)).collect();
    let held = content(&dict);
    if wanted.is_some_and(|wanted| wanted != held) {
        let instead = match held {
            Content::Encoder => "`rsna-tui import timm` takes it",
            Content::Network => "`rsna-tui import torch` takes it",
        };
        return Err(Error::Content { path, held, instead });
    }
    let fitted = match held {
        Content::Network => load_state_dict(&model.parameters, &dict)?,
        Content::Encoder => {
            if dict.keys().all(|name| name.starts_with(ENCODER)) {
                dict =
                    dict.into_iter().map(|(name, t)| (name[ENCODER.len()..].into(), t)).collect();
            }
            load_encoder(&model.parameters, &mut dict)?
        }
    };
    fitted.map_err(|differences| {
        let hint = match looks_like(&dict) {
            Some(name) if name != model.spec.name => {
                format!("; these look like {name}'s: --set model.backbone={name}")
            }
            _ => String::new(),
        };
        let model = match held {
            Content::Encoder => model.spec.name.to_string(),
            Content::Network => format!("a network with {}", model.spec.name),
        };
        Error::Mismatch { path, differences: Box::new(differences), model, hint }
    })?;
    Ok(held)
}

/// Sets every weight and buffer from PyTorch's; as `strict=True`, what is missing, of another shape
/// or left over is an error (the inner one), and nothing is changed then.
pub fn load_state_dict(
    parameters: &Parameters,
    dict: &HashMap<String, Tensor>,
) -> CandleResult<std::result::Result<(), Differences>> {
    let trainable = parameters.trainable.iter().map(|p| Slot {
        name: &p.name,
        shape: &p.shape,
        layout: p.layout,
        var: &p.var,
    });
    let buffers = parameters.buffers.iter().map(|b| Slot {
        name: &b.name,
        shape: b.var.dims(),
        layout: Layout::Plain,
        var: &b.var,
    });
    put(&trainable.chain(buffers).collect::<Vec<_>>(), dict)
}

/// Sets the encoder's weights from timm's.
fn load_encoder(
    parameters: &Parameters,
    dict: &mut HashMap<String, Tensor>,
) -> CandleResult<std::result::Result<(), Differences>> {
    let slots = parameters.trainable.iter().filter_map(|p| {
        let name = p.name.strip_prefix(ENCODER)?;
        Some(Slot { name, shape: &p.shape, layout: p.layout, var: &p.var })
    });
    let slots: Vec<Slot> = slots.collect();
    dict.retain(|name, _| !name.starts_with("head.fc."));
    for slot in &slots {
        let Some(t) = dict.get_mut(slot.name) else { continue };
        match (slot.name, t.dims(), slot.shape) {
            ("stem.0.weight", &[out, RGB, h, w], &[wanted, channels, height, width])
                if channels != RGB && (out, h, w) == (wanted, height, width) =>
            {
                *t = adapt_stem(&t.to_dtype(DType::F32)?, channels)?;
            }
            // 1×1 convolutions and linear layers hold the same numbers.
            (_, is, wanted) if is != wanted && squeezed(is) == squeezed(wanted) => {
                *t = t.reshape(wanted)?;
            }
            _ => {}
        }
    }
    put(&slots, dict)
}

/// Sets the slots from the tensors of their names, all or none.
fn put(
    slots: &[Slot],
    dict: &HashMap<String, Tensor>,
) -> CandleResult<std::result::Result<(), Differences>> {
    let mut differences = Differences::default();
    for slot in slots {
        match dict.get(slot.name) {
            None => differences.missing.push(slot.name.into()),
            Some(t) if t.dims() != slot.shape => {
                let (is, wanted) = (t.dims().to_vec(), slot.shape.to_vec());
                differences.misshaped.push((slot.name.into(), is, wanted));
            }
            Some(_) => {}
        }
    }
    let known = |name: &str| slots.iter().any(|slot| slot.name == name);
    differences.extra = dict.keys().filter(|name| !known(name)).cloned().collect();
    differences.extra.sort();
    if !differences.is_none() {
        return Ok(Err(differences));
    }
    for slot in slots {
        let t = dict[slot.name].to_device(slot.var.device())?.to_dtype(slot.var.dtype())?;
        slot.var.set(&from_torch(&t, slot.layout)?)?;
    }
    Ok(Ok(()))
}

/// What the names say that it is: timm has no LSTM, and no head of that name.
fn content(dict: &HashMap<String, Tensor>) -> Content {
    let whole = ["lstm.", "lstm2.", "head.0.", "head2."];
    match dict.keys().any(|name| whole.iter().any(|part| name.starts_with(part))) {
        true => Content::Network,
        false => Content::Encoder,
    }
}

/// The encoder whose stem and blocks are there.
fn looks_like(dict: &HashMap<String, Tensor>) -> Option<&'static str> {
    let mut config = Config::load(None, false, &[]).ok()?;
    let dims = |name: &str| {
        let t = dict.get(name).or_else(|| dict.get(&format!("{ENCODER}{name}")));
        t.map(Tensor::dims)
    };
    Backbone::ALL.into_iter().find_map(|backbone| {
        config.model.backbone = backbone;
        let spec = Spec::new(&config);
        let stem = match (spec.stem, dims("stem.0.weight")?) {
            (Stem::Patch, &[_, _, 4, 4]) => true,
            (Stem::Overlap { middle }, &[out, _, 3, 3]) => out == middle,
            _ => false,
        };
        let gamma = |stage, block| dims(&format!("stages.{stage}.blocks.{block}.gamma"));
        let has_stage = |stage: usize| {
            let depth = spec.depths[stage];
            gamma(stage, depth - 1) == Some(&[spec.dims[stage]]) && gamma(stage, depth).is_none()
        };
        (stem && (0..4).all(has_stage)).then_some(spec.name)
    })
}

fn squeezed(shape: &[usize]) -> Vec<usize> {
    shape.iter().copied().filter(|&d| d != 1).collect()
}
