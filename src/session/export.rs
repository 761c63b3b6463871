//! `rsna-tui export`: writes a fold's weights for other programs.

use super::{
    named_run::named_run,
    out::{Destination, make_folder, size},
};
use crate::{
    cli::{self, WeightsFormat},
    config::Config,
    net::{Classifier, Spec, onnx, weights},
    print::{self, CommandOutput},
    run::{folder::Folder, shared},
    train::{
        checkpoint::{self, Whole},
        fold::MOST_KEPT,
    },
};
use candle_core::{DType, Device};
use eyre::{Result, bail, eyre};
use std::{collections::BTreeMap, path::Path};

/// Preprocessing that users of the file must apply to images.
const PREPROCESSING: &str = "uint8 crops / 255, no further normalisation; channels 0 to 4: CT slices \
                             z-2 to z+2, channel 5: the vertebra's mask; images: the slices of \
                             C1, then of C2, to C7";

/// Writes the weights and explains how to load them in Python.
///
/// Errors: when run, fold or checkpoint do not exist or are damaged, or the file cannot be written.
pub fn export(args: &cli::Export) -> Result<CommandOutput> {
    let folder = named_run(&args.named)?;
    let kind = if args.last { "last" } else { "best" };
    let ending = match args.format {
        WeightsFormat::Safetensors => "safetensors",
        WeightsFormat::Onnx => "onnx",
    };
    let name = format!("exports/fold{}_{kind}.{ending}", args.fold);
    let path = args.out.clone().unwrap_or_else(|| folder.path().join(name));
    let destination = Destination::of(&path, args.out.is_some(), args.force)?.refuse_terminal()?;

    let config = Config::load(Some(&folder.config()), false, &[])?;
    let (from, epoch) = weights_of(&folder, &config, args)?;
    let model = Classifier::new(&Spec::new(&config), 0, 0, DType::F32, &Device::Cpu)?;
    checkpoint::load_weights(&model, &from)?;

    let mut facts = vec![
        ("run", folder.name.clone()),
        ("fold", args.fold.to_string()),
        ("weights", kind.to_string()),
        ("backbone", model.spec.name.to_string()),
        ("image_size", config.data.image_size.to_string()),
        ("preprocessing", PREPROCESSING.to_string()),
    ];
    facts.extend(epoch.map(|epoch| ("epoch", epoch.to_string())));
    let bytes = match args.format {
        WeightsFormat::Onnx => onnx::to_bytes(&model, &facts)?,
        WeightsFormat::Safetensors => {
            let facts = facts.into_iter().map(|(key, value)| (key.to_string(), value));
            let mut metadata: BTreeMap<String, String> = facts.collect();
            metadata.insert("format".into(), "pt".into());
            weights::serialize(&weights::state_dict(&model.parameters)?, &metadata)?
        }
    };
    if args.out.is_none() {
        make_folder(&folder.path().join("exports"))?;
    }
    destination.write(&bytes)?;
    let of = epoch.map_or(String::new(), |epoch| format!(" of epoch {epoch}"));
    let (run, fold) = (&folder.name, args.fold);
    let mut lines = vec![format!(
        "wrote {destination} ({}): run {run}, fold {fold}, {kind}{of}",
        size(bytes.len())
    )];
    if destination.is_file() {
        lines.extend(in_python(args.format, &path));
    }
    Ok(destination.output(lines))
}

/// Reads the checkpoint, and its epoch if known.
fn weights_of(
    folder: &Folder,
    config: &Config,
    args: &cli::Export,
) -> Result<(Whole, Option<usize>)> {
    let fold = args.fold;
    let folds = shared::status(folder).map_or(Vec::new(), |status| status.folds);
    let status = folds.iter().find(|of| of.fold == fold);
    let retrain_seed = status.map(|of| of.seed).filter(|&seed| seed != config.seed);
    let files: Vec<_> = match args.last {
        true => (0..=MOST_KEPT).map(|older| folder.last(fold, retrain_seed, older)).collect(),
        false => vec![folder.best(fold, retrain_seed)],
    };
    let (whole, refused) = checkpoint::newest(files.into_iter());
    let Some(whole) = whole else {
        if let Some((path, why)) = refused.first() {
            bail!("cannot read the weights of {}: {why}", path.display());
        }
        let folds = config.train.folds.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        return Err(match (config.train.folds.contains(&fold), args.last) {
            (false, _) => eyre!("--fold {fold}: {} has the folds {folds}", folder.name),
            (true, false) => eyre!(
                "fold {fold} of {} was not validated yet: --last takes its newest weights",
                folder.name
            ),
            (true, true) => eyre!("fold {fold} of {} has no weights yet", folder.name),
        });
    };
    for (path, why) in &refused {
        print::warn(format_args!("passed over {}: {why}", path.display()));
    }
    let epoch = match args.last {
        true => Some(whole.progress()?.epoch),
        false => status.and_then(|of| of.best.as_ref()).map(|best| best.epoch),
    };
    Ok((whole, epoch))
}

/// Returns the two lines of Python that load it.
fn in_python(format: WeightsFormat, path: &Path) -> [String; 2] {
    let path = path.display().to_string();
    match format {
        WeightsFormat::Safetensors => [
            "from safetensors.torch import load_file".into(),
            format!("model.load_state_dict(load_file({path:?}))"),
        ],
        WeightsFormat::Onnx => [
            "import onnxruntime".into(),
            format!(
                "slices, studies = \
                 onnxruntime.InferenceSession({path:?}).run(None, {{\"images\": images}})"
            ),
        ],
    }
}
