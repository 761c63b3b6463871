//! Depths and widths of the network.

use crate::config::{CHANNELS, Config, ModelSize, VERTEBRAE};

/// What a network is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// timm's name of the encoder.
    pub name: &'static str,
    /// Blocks of the four stages.
    pub depths: [usize; 4],
    /// Channels of the four stages; the last is the feature width.
    pub dims: [usize; 4],
    /// Whether timm builds the MLP from 1×1 convolutions (weights [out, in, 1, 1]).
    pub conv_mlp: bool,
    /// Channels of an image.
    pub in_channels: usize,
    /// Images a study.
    pub images: usize,
    /// Width of one LSTM direction.
    pub lstm_hidden: usize,
    /// Hidden width of each head.
    pub head_hidden: usize,
    /// Dropout of the heads.
    pub dropout: f64,
}

impl Spec {
    /// The network that the config asks for.
    pub fn new(config: &Config) -> Self {
        let (name, depths, dims, conv_mlp) = encoder(config.model.size);
        Self {
            name,
            depths,
            dims,
            conv_mlp,
            in_channels: CHANNELS,
            images: VERTEBRAE * config.data.slices_per_vertebra,
            lstm_hidden: config.model.lstm_hidden,
            head_hidden: config.model.head_hidden,
            dropout: config.model.dropout,
        }
    }

    /// Width of the encoder's features.
    pub fn features(&self) -> usize {
        self.dims[3]
    }

    /// Numbers of trainable values: the encoder's, and the LSTMs' and heads'.
    pub fn parameters(&self) -> (usize, usize) {
        let stem = self.dims[0] * (16 * self.in_channels + 3);
        let stage = |s: usize| {
            let c = self.dims[s];
            let downsample = match s {
                0 => 0,
                _ => 2 * self.dims[s - 1] + 4 * self.dims[s - 1] * c + c,
            };
            downsample + self.depths[s] * (8 * c * c + 58 * c)
        };
        let encoder = stem + (0..4).map(stage).sum::<usize>() + 2 * self.dims[3];
        let (f, h, m) = (self.features(), self.lstm_hidden, self.head_hidden);
        let lstm = 2 * 4 * h * ((f + h + 2) + (2 * h + h + 2));
        let head = 2 * h * m + 4 * m + 1;
        (encoder, 2 * (lstm + head))
    }

    /// Multiplications of one image of `size`² in the forward pass's products and convolutions:
    /// in the encoder, and in LSTMs and heads.
    pub fn multiplications(&self, size: usize) -> (u64, u64) {
        let pixels = |s: usize| ((size / 4) >> s) * ((size / 4) >> s);
        let stem = pixels(0) * 16 * self.in_channels * self.dims[0];
        let stage = |s: usize| {
            let c = self.dims[s];
            let block = c * 49 + 8 * c * c;
            let downsample = if s > 0 { 4 * self.dims[s - 1] * c } else { 0 };
            pixels(s) * (self.depths[s] * block + downsample)
        };
        let encoder = stem + (0..4).map(stage).sum::<usize>();
        let (f, h, m) = (self.features(), self.lstm_hidden, self.head_hidden);
        let tail = 2 * 2 * 4 * h * ((f + h) + (2 * h + h)) + 2 * h * m + m;
        (encoder as u64, tail as u64)
    }
}

/// Name, depths, widths and kind of MLP as in timm 1.0 (`timm/models/convnext.py`).
fn encoder(size: ModelSize) -> (&'static str, [usize; 4], [usize; 4], bool) {
    match size {
        ModelSize::Micro => ("convnext_micro", [1, 1, 2, 1], [16, 32, 64, 128], true),
        ModelSize::Atto => ("convnext_atto", [2, 2, 6, 2], [40, 80, 160, 320], true),
        ModelSize::Femto => ("convnext_femto", [2, 2, 6, 2], [48, 96, 192, 384], true),
        ModelSize::Pico => ("convnext_pico", [2, 2, 6, 2], [64, 128, 256, 512], true),
        ModelSize::Nano => ("convnext_nano", [2, 2, 8, 2], [80, 160, 320, 640], true),
        ModelSize::Tiny => ("convnext_tiny", [3, 3, 9, 3], [96, 192, 384, 768], false),
    }
}
