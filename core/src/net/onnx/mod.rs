//! The network as an ONNX file, for runtimes without PyTorch.
//!
//! The file holds the whole network in evaluation mode: images → slice and study logits. Weights keep
//! PyTorch's names and shapes, except those of the LSTMs: ONNX orders their gates differently, so they
//! are called `lstm.l0.W`, `.R` and `.B` after ONNX's own inputs.

mod build;
mod layers;
mod proto;
#[cfg(test)]
mod tests;

use super::{Classifier, description::Network, weights};
use build::{Build, int};
use candle_core::{Device, Result, Tensor};
use prost::Message;
use proto::{Entry, FLOAT, Model, Opset, Shape, Side, TensorType, Type, Value};

/// Version of ONNX's operations: the first with LayerNormalization.
pub const OPSET: i64 = 17;
/// Matching version of the file format.
const IR_VERSION: i64 = 8;

/// Input, f32 [batch, T, C, height, width]: pixels / 255.
pub const IMAGES: &str = "images";
/// Output, f32 [batch, T].
pub const SLICES: &str = "slice_logits";
/// Output, f32 [batch].
pub const STUDIES: &str = "study_logits";

/// Writes the file. `facts`: metadata, as names and values.
///
/// Errors: when candle fails.
pub fn to_bytes(model: &Classifier, facts: &[(&str, String)]) -> Result<Vec<u8>> {
    let spec = &model.spec;
    let dict = weights::state_dict(&model.parameters)?;
    let network = Network::new(spec);
    let mut b = Build::new(&dict);
    let (images, channels) = (spec.images as i64, spec.in_channels as i64);

    // [B, T, C, H, W] → [B·T, C, H, W], for any H and W.
    let size = b.node(IMAGES, "Shape", &[IMAGES], vec![int("start", 3)]);
    let first = Tensor::new(&[-1, channels], &Device::Cpu)?;
    let first = b.values("any number of images", &first)?;
    let shape = b.node(IMAGES, "Concat", &[&first, &size], vec![int("axis", 0)]);
    let x = b.node(IMAGES, "Reshape", &[IMAGES, &shape], Vec::new());
    let x = layers::encoder(&mut b, &network.encoder, &x)?;

    let features = b.reshape("features", &x, &[-1, images, spec.features() as i64])?;
    let features = b.transpose("features", &features, &[1, 0, 2]);
    let width = 2 * spec.lstm_hidden as i64;

    let x = layers::recurrent(&mut b, "lstm", &network.lstm, &features)?;
    let x = b.transpose("lstm", &x, &[1, 0, 2]);
    let x = b.reshape("lstm", &x, &[-1, width])?;
    let x = layers::head(&mut b, "head", &network.head, &x)?;
    b.reshape("head", &x, &[-1, images])?;
    b.call(SLICES);

    let x = layers::recurrent(&mut b, "lstm2", &network.lstm2, &features)?;
    // The study head reads position 0 only.
    let position = b.values("position 0", &Tensor::new(0i64, &Device::Cpu)?)?;
    let x = b.node("lstm2", "Gather", &[&x, &position], vec![int("axis", 0)]);
    let x = layers::head(&mut b, "head2", &network.head2, &x)?;
    b.reshape("head2", &x, &[-1])?;
    b.call(STUDIES);

    let mut graph = b.finish();
    graph.name = "rsna-tui".into();
    let batch = || any("batch");
    graph.input = vec![value(
        IMAGES,
        vec![batch(), number(images), number(channels), any("height"), any("width")],
        "Pixels / 255, height and width multiples of 32. Of each study the slices of C1, then of C2, \
         to C7; channels 0 to 4 are the CT slices z-2 to z+2, channel 5 is the vertebra's mask.",
    )];
    graph.output = vec![
        value(SLICES, vec![batch(), number(images)], "Whether the slice's vertebra is fractured."),
        value(STUDIES, vec![batch()], "Whether any of the study's vertebrae is."),
    ];
    let entry = |(key, value): &(&str, String)| Entry { key: (*key).into(), value: value.clone() };
    let file = Model {
        ir_version: IR_VERSION,
        producer_name: "rsna-tui".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        doc_string:
            "RSNA 2022 cervical spine fractures, 2.5D classifier with LSTM: a sigmoid of the \
                     logits gives probabilities."
                .into(),
        graph: Some(graph),
        opset_import: vec![Opset { domain: String::new(), version: OPSET }],
        metadata_props: facts.iter().map(entry).collect(),
    };
    Ok(file.encode_to_vec())
}

fn value(name: &str, dim: Vec<Side>, doc: &str) -> Value {
    let tensor_type = Some(TensorType { elem_type: FLOAT, shape: Some(Shape { dim }) });
    Value { name: name.into(), r#type: Some(Type { tensor_type }), doc_string: doc.into() }
}

/// A dimension of fixed length.
fn number(length: i64) -> Side {
    Side { dim_value: Some(length), dim_param: None }
}

/// A dimension of any length.
fn any(name: &str) -> Side {
    Side { dim_value: None, dim_param: Some(name.into()) }
}
