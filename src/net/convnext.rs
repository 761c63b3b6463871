//! ConvNeXt (Liu et al. 2022, <https://arxiv.org/abs/2201.03545>) as timm builds it, channels
//! last: a stem, blocks of depthwise 7×7 – LayerNorm – MLP – layer scale – residual, pooling,
//! LayerNorm.

use super::{
    ops,
    parameters::{Builder, Init, Layout, tensor},
    spec::{Spec, Stem},
};
use candle_core::{DType, Result, Tensor, Var};

/// timm's LayerNorm epsilon.
const EPS: f64 = 1e-6;
/// timm's initial layer scale.
const GAMMA: f64 = 1e-6;

/// The encoder: images → features.
#[derive(Debug, Clone)]
pub struct ConvNeXt {
    stem: Affine,
    /// The second convolution of an overlapping stem.
    second: Option<Affine>,
    stem_norm: Affine,
    stages: Vec<Stage>,
    head_norm: Affine,
}

/// Weight and bias of a norm or a product.
#[derive(Debug, Clone)]
struct Affine {
    weight: Var,
    bias: Var,
}

#[derive(Debug, Clone)]
struct Stage {
    /// Norm and 2×2 patch product; the first stage has none.
    downsample: Option<(Affine, Affine)>,
    blocks: Vec<Block>,
}

#[derive(Debug, Clone)]
struct Block {
    depthwise: Affine,
    norm: Affine,
    fc1: Affine,
    fc2: Affine,
    gamma: Var,
}

impl Affine {
    fn norm(b: &mut Builder, name: &str, width: usize) -> Result<Self> {
        Ok(Self {
            weight: b.weight(
                &format!("{name}.weight"),
                &[width],
                Layout::Plain,
                Init::Constant(1.0),
            )?,
            bias: b.weight(
                &format!("{name}.bias"),
                &[width],
                Layout::Plain,
                Init::Constant(0.0),
            )?,
        })
    }

    fn product(b: &mut Builder, name: &str, shape: &[usize], layout: Layout) -> Result<Self> {
        Ok(Self {
            weight: b.weight(&format!("{name}.weight"), shape, layout, Init::Normal(0.02))?,
            bias: b.weight(
                &format!("{name}.bias"),
                &shape[..1],
                Layout::Plain,
                Init::Constant(0.0),
            )?,
        })
    }

    fn tensors(&self, track: bool) -> (Tensor, Tensor) {
        (tensor(&self.weight, track), tensor(&self.bias, track))
    }

    fn normalise(&self, x: &Tensor, track: bool) -> Result<Tensor> {
        let (w, b) = self.tensors(track);
        ops::layer_norm(x, &w, &b, EPS)
    }

    fn multiply(&self, x: &Tensor, track: bool) -> Result<Tensor> {
        let (w, b) = self.tensors(track);
        ops::linear(x, &w, &b)
    }
}

/// [N, H, W, C] → [N·H/s·W/s, s·s·C]: each s×s patch as one row.
fn patches(x: &Tensor, s: usize) -> Result<Tensor> {
    let (n, h, w, c) = x.dims4()?;
    x.reshape(&[n, h / s, s, w / s, s, c][..])?
        .permute([0, 1, 3, 2, 4, 5])?
        .reshape((n * (h / s) * (w / s), s * s * c))
}

impl Block {
    fn new(b: &mut Builder, name: &str, c: usize, conv_mlp: bool) -> Result<Self> {
        let gamma =
            b.weight(&format!("{name}.gamma"), &[c], Layout::Plain, Init::Constant(GAMMA))?;
        let depthwise =
            Affine::product(b, &format!("{name}.conv_dw"), &[c, 1, 7, 7], Layout::Depthwise)?;
        let norm = Affine::norm(b, &format!("{name}.norm"), c)?;
        let mut fc = |part: &str, out: usize, input: usize| {
            let name = format!("{name}.mlp.{part}");
            match conv_mlp {
                true => Affine::product(b, &name, &[out, input, 1, 1], Layout::Pointwise),
                false => Affine::product(b, &name, &[out, input], Layout::Plain),
            }
        };
        let (fc1, fc2) = (fc("fc1", 4 * c, c)?, fc("fc2", c, 4 * c)?);
        Ok(Self { depthwise, norm, fc1, fc2, gamma })
    }

    /// [N, H, W, C] → the same.
    fn forward(&self, x: &Tensor, track: bool) -> Result<Tensor> {
        let (n, h, w, c) = x.dims4()?;
        let (weight, bias) = self.depthwise.tensors(track);
        let y = ops::depthwise7(x, &weight, &bias)?.reshape((n * h * w, c))?;
        let y = self.norm.normalise(&y, track)?;
        let (w1, b1) = self.fc1.tensors(track);
        let y = ops::bias_gelu(&ops::multiply(&y, &w1)?, &b1)?;
        let (w2, b2) = self.fc2.tensors(track);
        let y = ops::multiply(&y, &w2)?;
        let residual = x.reshape((n * h * w, c))?;
        ops::scale_residual(&y, &b2, &tensor(&self.gamma, track), &residual)?.reshape((n, h, w, c))
    }
}

impl ConvNeXt {
    /// Fresh weights under `encoder.…`.
    pub fn new(b: &mut Builder, spec: &Spec) -> Result<Self> {
        let d = spec.dims;
        let mut product = |name, shape: [usize; 4]| Affine::product(b, name, &shape, Layout::Patch);
        let (stem, second) = match spec.stem {
            Stem::Patch => (product("encoder.stem.0", [d[0], spec.in_channels, 4, 4])?, None),
            Stem::Overlap { middle } => (
                product("encoder.stem.0", [middle, spec.in_channels, 3, 3])?,
                Some(product("encoder.stem.1", [d[0], middle, 3, 3])?),
            ),
        };
        let norm = if second.is_some() { "encoder.stem.2" } else { "encoder.stem.1" };
        let stem_norm = Affine::norm(b, norm, d[0])?;
        let mut stages = Vec::with_capacity(4);
        for (s, &c) in d.iter().enumerate() {
            let name = format!("encoder.stages.{s}");
            let downsample = match s {
                0 => None,
                _ => Some((
                    Affine::norm(b, &format!("{name}.downsample.0"), d[s - 1])?,
                    Affine::product(
                        b,
                        &format!("{name}.downsample.1"),
                        &[c, d[s - 1], 2, 2],
                        Layout::Patch,
                    )?,
                )),
            };
            let blocks = (0..spec.depths[s])
                .map(|i| Block::new(b, &format!("{name}.blocks.{i}"), c, spec.conv_mlp))
                .collect::<Result<_>>()?;
            stages.push(Stage { downsample, blocks });
        }
        let head_norm = Affine::norm(b, "encoder.head.norm", d[3])?;
        Ok(Self { stem, second, stem_norm, stages, head_norm })
    }

    /// Images [N, S, S, in], S a multiple of 32 → features [N, F]. `track`: build the graph. It
    /// computes in the type of the images; the features are f32 where that is narrower.
    pub fn forward(&self, images: &Tensor, track: bool) -> Result<Tensor> {
        let x = self.feature_map(images, 4, track)?;
        let (n, h, w, c) = x.dims4()?;
        // The mean of many values, and the last norm, are not for 8 or 11 bits.
        let wide = match x.dtype() {
            DType::BF16 | DType::F16 => x.to_dtype(DType::F32)?,
            _ => x,
        };
        let pooled = wide.reshape((n, h * w, c))?.mean(1)?;
        self.head_norm.normalise(&pooled, track)
    }

    /// The map after the stem (`stages` = 0) or after that many stages, [N, H, W, C].
    pub fn feature_map(&self, images: &Tensor, stages: usize, track: bool) -> Result<Tensor> {
        let (n, h, w, _) = images.dims4()?;
        let x = match &self.second {
            None => self.stem.multiply(&patches(images, 4)?, track)?,
            Some(second) => {
                let x = self.stem.multiply(&ops::windows(images)?, track)?;
                let middle = x.reshape((n, h / 2, w / 2, ()))?;
                second.multiply(&ops::windows(&middle)?, track)?
            }
        };
        let c = x.dim(1)?;
        let mut x = self.stem_norm.normalise(&x, track)?.reshape((n, h / 4, w / 4, c))?;
        for stage in &self.stages[..stages] {
            if let Some((norm, product)) = &stage.downsample {
                let (n, h, w, _) = x.dims4()?;
                let y = product.multiply(&patches(&norm.normalise(&x, track)?, 2)?, track)?;
                let c = y.dim(1)?;
                x = y.reshape((n, h / 2, w / 2, c))?;
            }
            for block in &stage.blocks {
                x = block.forward(&x, track)?;
            }
        }
        Ok(x)
    }
}
