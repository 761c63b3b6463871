//! ConvNeXt (Liu et al. 2022, <https://arxiv.org/abs/2201.03545>) as timm builds it, channels
//! last: a stem, blocks of depthwise 7×7 – LayerNorm – MLP – layer scale – residual, pooling,
//! LayerNorm.

use super::{
    description::{Affine, Block, EPS, Encoder},
    ops,
    parameters::{Builder, tensor},
    spec::Spec,
};
use candle_core::{DType, Result, Tensor, Var};

/// The encoder: images → features.
#[derive(Debug, Clone)]
pub struct ConvNeXt(Encoder<Var>);

impl Affine<Var> {
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

impl Block<Var> {
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
        Ok(Self(Encoder::new(spec).try_map(&mut |weight| b.weight(weight))?))
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
        self.0.head_norm.normalise(&pooled, track)
    }

    /// The map after the stem (`stages` = 0) or after that many stages, [N, H, W, C].
    pub fn feature_map(&self, images: &Tensor, stages: usize, track: bool) -> Result<Tensor> {
        let (n, h, w, _) = images.dims4()?;
        let x = match &self.0.second {
            None => self.0.stem.multiply(&patches(images, 4)?, track)?,
            Some(second) => {
                let x = self.0.stem.multiply(&ops::windows(images)?, track)?;
                let middle = x.reshape((n, h / 2, w / 2, ()))?;
                second.multiply(&ops::windows(&middle)?, track)?
            }
        };
        let c = x.dim(1)?;
        let mut x = self.0.stem_norm.normalise(&x, track)?.reshape((n, h / 4, w / 4, c))?;
        for stage in &self.0.stages[..stages] {
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
