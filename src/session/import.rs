//! `rsna-tui import`: weights from elsewhere as a file of ours.

use super::report_file::{cannot_write, check_place, size};
use crate::{
    cli::{self, From},
    net::{
        Classifier, Spec,
        summary::grouped,
        weights::{self, Content},
    },
    run::folder::write_atomically,
    session,
};
use candle_core::{DType, Device};
use eyre::Result;

/// Writes the weights under the notebook's names, in its shapes, and says how to train from them.
///
/// Errors: settings, a file that cannot be read or is of another network (told by its tensors'
/// names), one that cannot be written.
pub fn import(args: &cli::Import) -> Result<String> {
    let (content, args) = match &args.from {
        From::Timm(args) => (Content::Encoder, args),
        From::Torch(args) => (Content::Network, args),
    };
    check_place(&args.out, true, args.force)?;
    let config = session::load(args.config.as_deref(), false, &args.sets())?;
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
    write_atomically(&args.out, &bytes).map_err(|e| cannot_write(&args.out, &e))?;
    let out = args.out.display();
    let note = filled.note.map_or(String::new(), |note| format!("{note}\n"));
    Ok(format!(
        "wrote {out} ({}): {what}, {} weights\n{note}train from it: rsna-tui --set model.pretrained={out}",
        size(bytes.len()),
        grouped(count)
    ))
}
