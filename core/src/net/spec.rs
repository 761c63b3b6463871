//! Sizes of the network.

use crate::config::{Backbone, CHANNELS, Config, VERTEBRAE};

/// The stem: maps images to the first map, at a quarter of their height and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stem {
    /// A product over 4×4 patches.
    Patch,
    /// Two 3×3 convolutions of stride 2 over overlapping windows (timm's `_ols`).
    Overlap {
        /// Channels between the convolutions.
        middle: usize,
    },
}

/// Sizes and kinds of a network's parts.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// timm's name of the encoder.
    pub name: &'static str,
    /// Kind of stem.
    pub stem: Stem,
    /// Blocks per stage.
    pub depths: [usize; 4],
    /// Channels per stage; the last is the feature width.
    pub dims: [usize; 4],
    /// Whether timm builds the MLP from 1×1 convolutions (weights [out, in, 1, 1]).
    pub conv_mlp: bool,
    /// Channels of an image.
    pub in_channels: usize,
    /// Images per study.
    pub images: usize,
    /// Width of one LSTM direction.
    pub lstm_hidden: usize,
    /// Hidden width of each head.
    pub head_hidden: usize,
    /// Dropout probability of the heads.
    pub dropout: f64,
}

impl Spec {
    /// Reads the sizes from the config.
    pub fn new(config: &Config) -> Self {
        use Backbone::*;
        // From timm 1.0 (`timm/models/convnext.py`).
        let (micro, six, eight) = ([1, 1, 2, 1], [2, 2, 6, 2], [2, 2, 8, 2]);
        // `overlap_tiered` halves the first width, rounded to a multiple of 8; `overlap` keeps it.
        let overlap = |middle| Stem::Overlap { middle };
        let (name, stem, depths, first, conv_mlp) = match config.model.backbone {
            ConvnextMicro => ("convnext_micro", Stem::Patch, micro, 16, true),
            ConvnextAtto => ("convnext_atto", Stem::Patch, six, 40, true),
            ConvnextAttoOls => ("convnext_atto_ols", overlap(24), six, 40, true),
            ConvnextFemto => ("convnext_femto", Stem::Patch, six, 48, true),
            ConvnextFemtoOls => ("convnext_femto_ols", overlap(24), six, 48, true),
            ConvnextPico => ("convnext_pico", Stem::Patch, six, 64, true),
            ConvnextPicoOls => ("convnext_pico_ols", overlap(32), six, 64, true),
            ConvnextNano => ("convnext_nano", Stem::Patch, eight, 80, true),
            ConvnextNanoOls => ("convnext_nano_ols", overlap(80), eight, 80, true),
            ConvnextTiny => ("convnext_tiny", Stem::Patch, [3, 3, 9, 3], 96, false),
        };
        Self {
            name,
            stem,
            depths,
            dims: [1, 2, 4, 8].map(|widths| widths * first),
            conv_mlp,
            in_channels: CHANNELS,
            images: VERTEBRAE * config.data.slices_per_vertebra,
            lstm_hidden: config.model.lstm_hidden,
            head_hidden: config.model.head_hidden,
            dropout: config.model.dropout,
        }
    }

    /// Returns the width of the encoder's features.
    pub fn features(&self) -> usize {
        self.dims[3]
    }
}
