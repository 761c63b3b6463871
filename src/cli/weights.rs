//! `rsna-tui import` and `export`.

use super::NamedRun;
use crate::config::Set;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `rsna-tui import`: whose weights they are.
#[derive(Debug, Subcommand)]
pub enum Import {
    /// A ConvNeXt of timm's: the encoder, its stem for 3 channels adapted to 6
    Timm(Weights),
    /// The notebook's whole network, as torch.save(model.state_dict(), FILE) writes it
    Torch(Weights),
}

/// `rsna-tui import timm` and `torch`
#[derive(Debug, Args)]
pub struct Weights {
    /// A .safetensors or .pth file (nothing in it is run), or hf:OWNER/NAME[@REVISION] of the Hugging
    /// Face hub
    pub file: PathBuf,
    /// The .safetensors file to write, - for stdout: --set model.pretrained=OUT trains from it
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Of a file that holds the weights and a moving average of them, as timm's state_dict_ema beside
    /// state_dict, take the average
    #[arg(long)]
    pub ema: bool,
    /// Write over what is already there at --out
    #[arg(long)]
    pub force: bool,
    /// Settings, for the network that the weights are of [default: ./config.toml where it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Change one setting, as in model.backbone=convnext_tiny; may be given again
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub sets: Vec<Set>,
}

/// `rsna-tui export`
#[derive(Debug, Args)]
pub struct Export {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub named: NamedRun,
    /// The fold
    #[arg(long, value_name = "K")]
    pub fold: usize,
    /// What to write
    #[arg(long, value_enum, default_value_t = WeightsFormat::Safetensors, value_name = "FORMAT")]
    pub format: WeightsFormat,
    /// The file to write, - for stdout [default: exports/fold{K}_best.safetensors or .onnx in the run's folder,
    /// written anew]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Write over what is already there at --out
    #[arg(long)]
    pub force: bool,
    /// The newest weights instead of those that validated best
    #[arg(long)]
    pub last: bool,
}

/// What weights are written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum WeightsFormat {
    /// What the notebook's model.load_state_dict takes
    Safetensors,
    /// The whole network at evaluation, images to logits, opset 17
    Onnx,
}
