//! ConvNeXt (Liu et al. 2022, <https://arxiv.org/abs/2201.03545>) as in timm, channels last: a stem,
//! blocks of depthwise 7×7 – LayerNorm – MLP – layer scale – residual, pooling, LayerNorm.

use super::{
    description::{Affine, Block, Encoder},
    graph,
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
        graph::layer_norm(x, &w, &b)
    }

    fn multiply(&self, x: &Tensor, track: bool) -> Result<Tensor> {
        let (w, b) = self.tensors(track);
        graph::linear(x, &w, &b)
    }
}

/// Rearranges [N, H, W, C] to [N·H/s·W/s, s·s·C]: each s×s patch becomes one row.
fn patches(x: &Tensor, s: usize) -> Result<Tensor> {
    let (n, h, w, c) = x.dims4()?;
    x.reshape(&[n, h / s, s, w / s, s, c][..])?
        .permute([0, 1, 3, 2, 4, 5])?
        .reshape((n * (h / s) * (w / s), s * s * c))
}

impl Block<Var> {
    /// Maps [N, H, W, C] to the same shape and type; intermediate values have the type `inner`.
    fn forward(&self, x: &Tensor, inner: DType, track: bool) -> Result<Tensor> {
        let (n, h, w, c) = x.dims4()?;
        let (weight, bias) = self.depthwise.tensors(track);
        let y = graph::depthwise7(&x.to_dtype(inner)?, &weight, &bias)?.reshape((n * h * w, c))?;
        let y = self.norm.normalise(&y, track)?;
        let (w1, b1) = self.fc1.tensors(track);
        let y = graph::bias_gelu(&graph::multiply(&y, &w1)?, &b1)?;
        let (w2, b2) = self.fc2.tensors(track);
        let y = graph::multiply(&y, &w2)?;
        let residual = x.reshape((n * h * w, c))?;
        graph::scale_residual(&y, &b2, &tensor(&self.gamma, track), &residual)?
            .reshape((n, h, w, c))
    }
}

impl ConvNeXt {
    /// Creates fresh weights under `encoder.…`.
    pub fn new(b: &mut Builder, spec: &Spec) -> Result<Self> {
        Ok(Self(Encoder::new(spec).try_map(&mut |weight| b.weight(weight))?))
    }

    /// Maps images [N, S, S, in], S a multiple of 32, to features [N, F]; in candle's graph if `track`.
    /// Products, convolutions and values inside a block have the images' type. The residual stream, the
    /// norms between stages and the features are f32 if that type is narrower, as under PyTorch's
    /// autocast.
    pub fn forward(&self, images: &Tensor, track: bool) -> Result<Tensor> {
        let x = self.feature_map(images, 4, track)?;
        let (n, h, w, c) = x.dims4()?;
        let pooled = x.reshape((n, h * w, c))?.mean(1)?;
        self.0.head_norm.normalise(&pooled, track)
    }

    /// Returns the map after the stem (`stages` = 0) or after that many stages, [N, H, W, C].
    pub fn feature_map(&self, images: &Tensor, stages: usize, track: bool) -> Result<Tensor> {
        let (n, h, w, _) = images.dims4()?;
        let x = match &self.0.second {
            None => self.0.stem.multiply(&patches(images, 4)?, track)?,
            Some(second) => {
                let x = self.0.stem.multiply(&graph::windows(images)?, track)?;
                let middle = x.reshape((n, h / 2, w / 2, ()))?;
                second.multiply(&graph::windows(&middle)?, track)?
            }
        };
        let (c, inner) = (x.dim(1)?, images.dtype());
        let wide = match inner {
            DType::BF16 | DType::F16 => DType::F32,
            other => other,
        };
        let x = self.0.stem_norm.normalise(&x.to_dtype(wide)?, track)?;
        let mut x = x.reshape((n, h / 4, w / 4, c))?;
        for stage in &self.0.stages[..stages] {
            if let Some((norm, product)) = &stage.downsample {
                let (n, h, w, _) = x.dims4()?;
                let y = norm.normalise(&x, track)?.to_dtype(inner)?;
                let y = product.multiply(&patches(&y, 2)?, track)?;
                let c = y.dim(1)?;
                x = y.to_dtype(wide)?.reshape((n, h / 2, w / 2, c))?;
            }
            for block in &stage.blocks {
                x = block.forward(&x, inner, track)?;
            }
        }
        Ok(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Config, Set},
        rng::{Key, Purpose},
    };
    use candle_core::Device;
    use rand::Rng;

    /// Returns the change that a block adds to `x`, and for the gradient `r` of its result the change it
    /// adds to the gradient of `x`.
    fn added(block: &Block<Var>, x: &Var, r: &Tensor, inner: DType) -> [Vec<f32>; 2] {
        let y = block.forward(x.as_tensor(), inner, true).unwrap();
        let grads = (&y * r).unwrap().sum_all().unwrap().backward().unwrap();
        let apart = |a: &Tensor, b: &Tensor| (a - b).unwrap().flatten_all().unwrap();
        [apart(&y, x), apart(grads.get(x).unwrap(), r)].map(|t| t.to_vec1().unwrap())
    }

    /// Layer scale starts at 1e-6: with 8 or 11 bits, such a term would be lost when added to values of
    /// magnitude 1.
    #[test]
    fn what_a_block_adds_is_not_rounded_away() {
        let config = Config::load(None, false, &[Set::new("model.backbone=convnext_micro")]);
        let mut builder = Builder::new(0, 0, DType::F32, &Device::Cpu);
        let net = ConvNeXt::new(&mut builder, &Spec::new(&config.unwrap())).unwrap();
        let block = &net.0.stages[0].blocks[0];
        let mut rng = Key::new(1, Purpose::Init).rng();
        let mut random = |shape: &[usize]| {
            let n = shape.iter().product();
            let values: Vec<f32> = (0..n).map(|_| rng.random_range(-1.0..1.0) as f32).collect();
            Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
        };
        for p in &builder.parameters.trainable {
            p.var.set(&random(p.var.dims())).unwrap();
        }
        let shape = [2, 5, 5, 16];
        let x = Var::from_tensor(&random(&shape)).unwrap();
        // Scaled as by loss scaling: otherwise gamma makes the gradients too small for f16.
        let r = (random(&shape) * 256.0).unwrap();
        for gamma in [1e-6f32, 0.1] {
            block.gamma.set(&Tensor::full(gamma, 16, &Device::Cpu).unwrap()).unwrap();
            let exact = added(block, &x, &r, DType::F32);
            for (inner, bound) in [(DType::F16, 0.03), (DType::BF16, 0.1)] {
                let narrow = added(block, &x, &r, inner);
                for (exact, narrow) in exact.iter().zip(&narrow) {
                    let norm = |v: &mut dyn Iterator<Item = f32>| v.map(|v| v * v).sum::<f32>();
                    let far = norm(&mut exact.iter().zip(narrow).map(|(a, b)| a - b));
                    let error = (far / norm(&mut exact.iter().copied())).sqrt();
                    assert!(error < bound, "{inner:?}, gamma {gamma}: {error}");
                }
            }
        }
    }
}
