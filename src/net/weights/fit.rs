//! Tensors by PyTorch's and timm's names, held against a network's weights and put into them.

use super::{
    Error, Result, WeightLocation, adapt_stem, from_torch,
    names::{content, unwrap},
    not_finite, read,
};
use crate::{
    bounded::excerpt,
    config::{Backbone, Config},
    net::{
        Classifier, Spec,
        description::{Encoder, Layout},
        parameters::Parameters,
    },
};
use candle_core::{DType, Result as CandleResult, Tensor, Var};
use std::{
    collections::{HashMap, HashSet},
    fmt,
    path::Path,
};

/// Names of each kind that a message tells.
const TOLD: usize = 3;
/// Channels of the pictures that timm's encoders are trained on.
const RGB: usize = 3;
/// What a whole network puts before its encoder's names.
const ENCODER: &str = "encoder.";
/// timm's classifier, which an encoder has no place for.
const CLASSIFIER: [&str; 2] = ["head.fc.weight", "head.fc.bias"];
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
    /// Names of tensors that fit, and how many of their values are NaN or infinite.
    pub not_finite: Vec<(String, usize)>,
}

impl Differences {
    /// Whether every tensor has its place.
    fn fits(&self) -> bool {
        self.missing.is_empty() && self.misshaped.is_empty() && self.extra.is_empty()
    }
}

/// What was put into a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filled {
    /// What the file holds.
    pub content: Content,
    /// Which weights were taken, where the file holds a moving average of them too; a sentence.
    pub note: Option<String>,
}

impl fmt::Display for Differences {
    /// The first names of each kind and how many more there are, in one sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: Vec<String>, one: &str, several: &str| {
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
        let not_finite = self.not_finite.iter().map(|(name, count)| match count {
            1 => format!("{name} has 1 NaN or infinite value"),
            count => format!("{name} has {count} NaN or infinite values"),
        });
        let parts = [
            list(self.missing.clone(), " is missing", " are missing"),
            list(shapes.collect(), "", ""),
            list(extra.collect(), " has no place in it", " have no place in it"),
            list(not_finite.collect(), "", ""),
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

/// [`fill_from`], of the weights and a moving average of them the weights.
pub fn fill(model: &Classifier, source: &Path, wanted: Option<Content>) -> Result<Content> {
    Ok(fill_from(model, source, wanted, false)?.content)
}

/// Starts a network from `source`, as `model.pretrained` is written: a timm ConvNeXt fills the
/// encoder, a whole network everything. Nothing is changed unless all fits and is finite.
///
/// What wrappers put before the names is taken off. Of an encoder the classifier `head.fc` is left
/// aside, and a stem for 3 channels is adapted as timm does. `average`: of the weights and a moving
/// average of them, the average.
///
/// Errors: the source cannot be read, holds something else than `wanted` or no moving average, or
/// tensors are missing, left over, of another shape, NaN or infinite.
pub fn fill_from(
    model: &Classifier,
    source: &Path,
    wanted: Option<Content>,
    average: bool,
) -> Result<Filled> {
    let path = WeightLocation::of(source)?.fetch()?;
    let mut tensors = read(&path, average)?;
    let held = content(tensors.by_name.keys());
    if wanted.is_some_and(|wanted| wanted != held) {
        let instead = match held {
            Content::Encoder => "`rsna-tui import timm` takes it",
            Content::Network => "`rsna-tui import torch` takes it",
        };
        return Err(Error::Content { path, held, instead });
    }
    let parameters = &model.parameters;
    let unusable = |reason: &str| Error::Read { path: path.clone(), reason: reason.into() };
    let all = parameters.trainable.iter().map(|p| &*p.name);
    let all = all.chain(parameters.buffers.iter().map(|b| &*b.name));
    let known: HashSet<&str> = match held {
        Content::Network => all.collect(),
        Content::Encoder => all.filter_map(|n| n.strip_prefix(ENCODER)).chain(CLASSIFIER).collect(),
    };
    let not_yet = average && !tensors.is_average;
    unwrap(&mut tensors, &known, not_yet).map_err(|why| unusable(&why))?;
    if average && !tensors.is_average {
        return Err(unusable(
            "it holds no moving average of the weights, as \"state_dict_ema\": leave --ema out",
        ));
    }
    let note = tensors.taken.as_ref().map(|(taken, other)| {
        let which = |average| if average { "the moving average" } else { "the weights" };
        let (own, beside) = (which(tensors.is_average), which(!tensors.is_average));
        let switch = if average { "without --ema" } else { "--ema" };
        format!(
            "took {own}, {taken}, and not {beside}, {other}: `rsna-tui import` {switch} takes those"
        )
    });
    let mut dict = tensors.by_name;
    let fitted = match held {
        Content::Network => load_state_dict(parameters, &dict)?,
        Content::Encoder => load_encoder(parameters, &mut dict)?,
    };
    fitted.map_err(|differences| {
        let differences = Box::new(differences);
        if differences.fits() {
            return Error::NotFinite { path: path.clone(), differences };
        }
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
        Error::Mismatch { path: path.clone(), differences, model, hint }
    })?;
    Ok(Filled { content: held, note })
}

/// Sets every weight and buffer from PyTorch's; as `strict=True`, what is missing, of another shape
/// or left over is an error (the inner one), and what is NaN or infinite is one too. Nothing is
/// changed then.
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
    dict.retain(|name, _| !CLASSIFIER.contains(&&**name));
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
    if !differences.fits() {
        return Ok(Err(differences));
    }
    let mut values = Vec::with_capacity(slots.len());
    for slot in slots {
        // What f64 holds may be beyond f32.
        let t = dict[slot.name].to_dtype(slot.var.dtype())?;
        match not_finite(&t)? {
            0 => values.push(t),
            count => differences.not_finite.push((slot.name.into(), count)),
        }
    }
    if !differences.not_finite.is_empty() {
        return Ok(Err(differences));
    }
    for (slot, t) in slots.iter().zip(values) {
        let t = t.to_device(slot.var.device())?;
        slot.var.set(&from_torch(&t, slot.layout)?)?;
    }
    Ok(Ok(()))
}

/// The encoder whose stem and blocks are there, and no further block.
fn looks_like(dict: &HashMap<String, Tensor>) -> Option<&'static str> {
    let mut config = Config::load(None, false, &[]).ok()?;
    let dims = |name: &str| {
        let name = name.strip_prefix(ENCODER).unwrap_or(name);
        let t = dict.get(name).or_else(|| dict.get(&format!("{ENCODER}{name}")));
        t.map(Tensor::dims)
    };
    Backbone::ALL.into_iter().find_map(|backbone| {
        config.model.backbone = backbone;
        let spec = Spec::new(&config);
        let encoder = Encoder::new(&spec);
        // Of the stem not the input channels, which may be a picture's, nor a patch's width, which
        // the first stage has too.
        let stem = &encoder.stem.weight.shape;
        let stem_fits = match dims(&encoder.stem.weight.name)? {
            &[out, _, h, w] => [h, w] == stem[2..] && (encoder.second.is_none() || out == stem[0]),
            _ => false,
        };
        let mut gammas = encoder.stages.iter().enumerate().map(|(s, stage)| {
            let gamma = &stage.blocks.last().expect("a stage has blocks").gamma;
            let next = format!("stages.{s}.blocks.{}.gamma", stage.blocks.len());
            dims(&gamma.name) == Some(&gamma.shape[..]) && dims(&next).is_none()
        });
        (stem_fits && gammas.all(|fits| fits)).then_some(spec.name)
    })
}

fn squeezed(shape: &[usize]) -> Vec<usize> {
    shape.iter().copied().filter(|&d| d != 1).collect()
}
