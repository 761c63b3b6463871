//! Compares tensors under PyTorch's and timm's names with a network's weights, and loads them.

use super::{
    Error, Result, adapt_stem, from_torch,
    names::{content, unwrap},
    not_finite, read,
    weight_location::fetch,
};
use crate::{
    bounded::excerpt,
    config::{Backbone, Config},
    net::{
        Classifier, Spec,
        description::Encoder,
        parameters::{Parameter, Parameters},
    },
};
use candle_core::{DType, Result as CandleResult, Tensor};
use clap::ValueEnum;
use std::{
    collections::{HashMap, HashSet},
    fmt,
    path::Path,
};

/// Names of each kind listed in a message.
const TOLD: usize = 3;
/// Input channels of timm's pretrained encoders.
const RGB: usize = 3;
/// Prefix of the encoder's names in a whole network.
const ENCODER: &str = "encoder.";
/// timm's classifier, which our encoder does not have.
const CLASSIFIER: [&str; 2] = ["head.fc.weight", "head.fc.bias"];
/// Content of a weights file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A ConvNeXt under timm's names, with or without the prefix `encoder.`.
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

/// Differences between a file's tensors and a network's weights.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    /// Missing names, in the network's order.
    pub missing: Vec<String>,
    /// Name, shape in the file, and expected shape.
    pub misshaped: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// Names unknown to the network, sorted.
    pub extra: Vec<String>,
    /// Names of fitting tensors with NaN or infinite values, and the number of those.
    pub not_finite: Vec<(String, usize)>,
}

impl Differences {
    /// Whether all names and shapes match.
    fn fits(&self) -> bool {
        self.missing.is_empty() && self.misshaped.is_empty() && self.extra.is_empty()
    }
}

/// Result of filling a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filled {
    /// Content of the file.
    pub content: Content,
    /// Which weights were taken, if the file also holds a moving average; a sentence.
    pub note: Option<String>,
}

impl fmt::Display for Differences {
    /// Writes the first names of each kind and the number of further ones, in one sentence.
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
        // Only these names come from the file: quote and shorten them.
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

/// A weight's name in the file, and the weight.
type Slot<'a> = (&'a str, &'a Parameter);

/// Like [`fill_from`], taking the weights and not their moving average.
pub fn fill(model: &Classifier, source: &Path, wanted: Option<Content>) -> Result<Content> {
    Ok(fill_from(model, source, wanted, false)?.content)
}

/// Starts a network from `source`, given as `model.pretrained` is: a timm ConvNeXt fills the encoder, a
/// whole network everything. Changes nothing unless all tensors fit and are finite.
///
/// Removes wrappers' prefixes from the names. Ignores an encoder's classifier `head.fc`, and adapts a
/// stem for 3 channels as timm does. `average`: take the moving average if the file holds both it and
/// the weights.
///
/// Errors: when the source cannot be read, is not the content `wanted`, or has no moving average; when
/// tensors are missing, left over, of another shape, NaN or infinite.
pub fn fill_from(
    model: &Classifier,
    source: &Path,
    wanted: Option<Content>,
    average: bool,
) -> Result<Filled> {
    let path = fetch(source)?;
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
    let all = parameters.all().map(|p| &*p.name);
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

/// Sets every weight and buffer from PyTorch's, as with `strict=True`. The inner error lists tensors
/// that are missing, of another shape, left over, NaN or infinite; then nothing is changed.
pub fn load_state_dict(
    parameters: &Parameters,
    dict: &HashMap<String, Tensor>,
) -> CandleResult<std::result::Result<(), Differences>> {
    put(&parameters.all().map(|p| (&*p.name, p)).collect::<Vec<_>>(), dict)
}

/// Sets the encoder's weights from timm's.
fn load_encoder(
    parameters: &Parameters,
    dict: &mut HashMap<String, Tensor>,
) -> CandleResult<std::result::Result<(), Differences>> {
    let slots =
        parameters.trainable.iter().filter_map(|p| Some((p.name.strip_prefix(ENCODER)?, p)));
    let slots: Vec<Slot> = slots.collect();
    dict.retain(|name, _| !CLASSIFIER.contains(&&**name));
    for &(name, p) in &slots {
        let Some(t) = dict.get_mut(name) else { continue };
        match (name, t.dims(), &p.shape[..]) {
            ("stem.0.weight", &[out, RGB, h, w], &[wanted, channels, height, width])
                if channels != RGB && (out, h, w) == (wanted, height, width) =>
            {
                *t = adapt_stem(&t.to_dtype(DType::F32)?, channels)?;
            }
            // 1×1 convolutions and linear layers hold the same values.
            (_, is, wanted) if is != wanted && squeezed(is) == squeezed(wanted) => {
                *t = t.reshape(wanted)?;
            }
            _ => {}
        }
    }
    put(&slots, dict)
}

/// Sets the slots from the tensors of the same names, all or none.
fn put(
    slots: &[Slot],
    dict: &HashMap<String, Tensor>,
) -> CandleResult<std::result::Result<(), Differences>> {
    let mut differences = Differences::default();
    for &(name, p) in slots {
        match dict.get(name) {
            None => differences.missing.push(name.into()),
            Some(t) if t.dims() != p.shape => {
                differences.misshaped.push((name.into(), t.dims().to_vec(), p.shape.clone()));
            }
            Some(_) => {}
        }
    }
    let known = |name: &str| slots.iter().any(|(known, _)| *known == name);
    differences.extra = dict.keys().filter(|name| !known(name)).cloned().collect();
    differences.extra.sort();
    if !differences.fits() {
        return Ok(Err(differences));
    }
    let mut values = Vec::with_capacity(slots.len());
    for &(name, p) in slots {
        // A finite f64 may overflow f32.
        let t = dict[name].to_dtype(p.var.dtype())?;
        match not_finite(&t)? {
            0 => values.push(t),
            count => differences.not_finite.push((name.into(), count)),
        }
    }
    if !differences.not_finite.is_empty() {
        return Ok(Err(differences));
    }
    for ((_, p), t) in slots.iter().zip(values) {
        p.var.set(&from_torch(&t.to_device(p.var.device())?, p.layout)?)?;
    }
    Ok(Ok(()))
}

/// Finds the encoder whose stem and blocks match and that has no further block.
fn looks_like(dict: &HashMap<String, Tensor>) -> Option<&'static str> {
    let mut config = Config::load(None, false, &[]).ok()?;
    let dims = |name: &str| {
        let name = name.strip_prefix(ENCODER).unwrap_or(name);
        let t = dict.get(name).or_else(|| dict.get(&format!("{ENCODER}{name}")));
        t.map(Tensor::dims)
    };
    Backbone::value_variants().iter().find_map(|&backbone| {
        config.model.backbone = backbone;
        let spec = Spec::new(&config);
        let encoder = Encoder::new(&spec);
        // Do not compare the stem's input channels, which may be 3, nor a patch stem's width, which the
        // first stage has too.
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
