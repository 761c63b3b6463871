//! `rsna-tui import`: converts other programs' weights to this program's format.

use super::out::{Destination, size};
use crate::{
    cli::Import,
    net::{
        Classifier, Spec,
        summary::grouped,
        weights::{self, Content},
    },
    print::CommandOutput,
    session,
};
use candle_core::{DType, Device};
use eyre::Result;

/// Writes the weights under the notebook's names, in its shapes, and explains how to train from them.
///
/// Errors: when settings are invalid, the file cannot be read or belongs to another network (judged by
/// its tensors' names), or the output cannot be written.
pub fn import(from: &Import) -> Result<CommandOutput> {
    let (content, args) = match from {
        Import::Timm(args) => (Content::Encoder, args),
        Import::Torch(args) => (Content::Network, args),
    };
    let destination = Destination::of(&args.out, true, args.force)?.refuse_terminal()?;
    let config = session::load(args.config.as_deref(), false, &args.sets)?;
    let spec = Spec::new(&config);
    let model = Classifier::new(&spec, 0, 0, DType::F32, &Device::Cpu)?;
    let filled = weights::fill_from(&model, &args.file, Some(content), args.ema)?;
    let mut dict = weights::state_dict(&model.parameters)?;
    let (encoder, others) = spec.parameters();
    let (what, count) = match content {
        Content::Encoder => {
            dict.retain(|name, _| name.starts_with("encoder."));
            (format!("the encoder, {}", spec.name), encoder)
        }
        Content::Network => (format!("the whole network with {}", spec.name), encoder + others),
    };
    let metadata = [("format".to_string(), "pt".to_string())].into();
    let bytes = weights::serialize(&dict, &metadata)?;
    destination.write(&bytes)?;
    let (size, count) = (size(bytes.len()), grouped(count));
    let mut lines = vec![format!("wrote {destination} ({size}): {what}, {count} weights")];
    lines.extend(filled.note);
    if destination.is_file() {
        let out = args.out.display();
        lines.push(format!("train from it: rsna-tui --set model.pretrained={out}"));
    }
    Ok(destination.output(lines))
}
