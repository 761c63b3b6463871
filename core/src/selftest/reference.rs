//! The network built from candle-transformers' ConvNeXt and candle-nn's LSTM, linear layer and
//! BatchNorm; it shares only the weights with our code.

use super::{Worst, apart, values};
use crate::{
    config::{CHANNELS, Config, Set},
    net::{
        Classifier, Spec,
        encoder::Arena,
        parameters::Parameters,
        weights::{load_state_dict, state_dict},
    },
    rng::{Key, Purpose, hash},
    train::{
        memory::Plan,
        step::{Images, Stepper},
    },
};
use candle_core::{DType, Device, Module, Result, Tensor};
use candle_nn::{
    BatchNorm, Func, LSTM, Linear, ModuleT, RNN, VarBuilder, batch_norm, linear, lstm, ops,
    rnn::{Direction, LSTMConfig},
};
use candle_transformers::models::convnext;
use rand::Rng;
use std::{collections::HashMap, ops::Range};

/// Images of the one study, and their height and width.
const IMAGES: usize = 4;
const SIZE: usize = 64;
/// Input channels of candle-transformers' stem.
const RGB: usize = 3;
/// Epsilon of our BatchNorm and slope of our LeakyReLU.
const EPS: f64 = 1e-5;
const SLOPE: f64 = 0.1;
const LSTM_LAYERS: usize = 2;

/// Largest allowed difference between the encoder in `dtype` and the reference in f32.
pub fn allowed(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 1e-2,
        DType::BF16 => 5e-2,
        _ => 2e-5,
    }
}

/// Builds the notebook's network with weights that all matter: the initial layer scale of 1e-6 would
/// hide an error in a block.
///
/// Errors: when the device fails.
pub fn model(device: &Device) -> eyre::Result<Classifier> {
    let config = Config::load(None, false, &[Set::new("model.backbone=convnext_nano")])?;
    let spec = Spec { images: IMAGES, ..Spec::new(&config) };
    let model = Classifier::new(&spec, 0, 0, DType::F32, device)?;
    draw(&model.parameters)?;
    Ok(model)
}

/// Draws every weight and statistic, keyed by its name, scaled so that every layer's results have a
/// magnitude of 1.
///
/// Errors: when the device fails.
pub fn draw(parameters: &Parameters) -> eyre::Result<()> {
    let mut dict: HashMap<String, Tensor> = state_dict(parameters)?.into_iter().collect();
    for (name, tensor) in &mut dict {
        let (middle, width) = match name.rsplit('.').next() {
            Some("num_batches_tracked") => {
                // A variable cannot be set from a view of itself.
                *tensor = tensor.copy()?;
                continue;
            }
            Some("running_var") => (1.0, 0.3),
            Some("gamma") => (0.5, 0.3),
            Some(leaf) if leaf.starts_with("weight") && tensor.rank() == 1 => (1.0, 0.2),
            Some(leaf) if leaf.starts_with("weight") => {
                let inputs: usize = tensor.dims()[1..].iter().product();
                (0.0, (3.0 / inputs as f64).sqrt())
            }
            _ => (0.0, 0.1),
        };
        let mut rng = Key::new(0, Purpose::Init).study(hash(name)).rng();
        let mut value = || (middle + width * rng.random_range(-1.0..1.0)) as f32;
        let values: Vec<f32> = (0..tensor.elem_count()).map(|_| value()).collect();
        *tensor = Tensor::from_vec(values, tensor.shape(), &Device::Cpu)?;
    }
    load_state_dict(parameters, &dict)?.map_err(|differences| eyre::eyre!("{differences}"))
}

/// The network, from candle's crates.
struct Reference {
    encoder: Func<'static>,
    /// Per LSTM its layers, per layer its two directions.
    lstms: [Vec<[LSTM; 2]>; 2],
    heads: [(Linear, BatchNorm, Linear); 2],
}

impl Reference {
    /// Takes the weights of `model`, and of its stem the three channels from `channel`: candle's stem
    /// has three.
    fn new(model: &Classifier, channel: usize, device: &Device) -> Result<Self> {
        let mut dict: HashMap<String, Tensor> =
            state_dict(&model.parameters)?.into_iter().collect();
        let stem = "encoder.stem.0.weight";
        let Some(weight) = dict.get(stem) else { candle_core::bail!("there is no {stem}") };
        let weight = weight.narrow(1, channel, RGB)?.contiguous()?;
        dict.insert(stem.into(), weight);
        let spec = &model.spec;
        let (features, hidden) = (spec.features(), spec.lstm_hidden);
        // candle's model ends in a classifier after the norm: make it the identity.
        let identity = Tensor::eye(features, DType::F32, &Device::Cpu)?;
        dict.insert("encoder.head.fc.weight".into(), identity);
        let zeros = Tensor::zeros(features, DType::F32, &Device::Cpu)?;
        dict.insert("encoder.head.fc.bias".into(), zeros);
        let vb = VarBuilder::from_tensors(dict, DType::F32, device);
        let config = convnext::Config::nano();
        let direction = |name, layer, direction| {
            let input = if layer == 0 { features } else { 2 * hidden };
            let config = LSTMConfig { layer_idx: layer, direction, ..LSTMConfig::default() };
            lstm(input, hidden, config, vb.pp(name))
        };
        let lstm = |name| -> Result<Vec<[LSTM; 2]>> {
            let both = |layer| -> Result<[LSTM; 2]> {
                let forward = direction(name, layer, Direction::Forward)?;
                Ok([forward, direction(name, layer, Direction::Backward)?])
            };
            (0..LSTM_LAYERS).map(both).collect()
        };
        let head = |name| -> Result<(Linear, BatchNorm, Linear)> {
            let (vb, middle) = (vb.pp(name), spec.head_hidden);
            let first = linear(2 * hidden, middle, vb.pp(0))?;
            Ok((first, batch_norm(middle, EPS, vb.pp(1))?, linear(middle, 1, vb.pp(4))?))
        };
        Ok(Self {
            encoder: convnext::convnext(&config, features, vb.pp("encoder"))?,
            lstms: [lstm("lstm")?, lstm("lstm2")?],
            heads: [head("head")?, head("head2")?],
        })
    }

    /// Maps a study's features [T, F] to slice logits [T] and the study logit [1].
    fn tail(&self, features: &Tensor) -> Result<[Tensor; 2]> {
        let outs = [0, 1].map(|i| {
            let mut x = features.unsqueeze(0)?;
            for [forward, backward] in &self.lstms[i] {
                let ahead = forward.states_to_tensor(&forward.seq(&x)?)?;
                let back = backward.states_to_tensor(&backward.seq(&reversed(&x)?)?)?;
                x = Tensor::cat(&[ahead, reversed(&back)?], 2)?;
            }
            x.squeeze(0)
        });
        let [all, first] = outs;
        let head = |i: usize, x: Tensor| {
            let (hidden, norm, out) = &self.heads[i];
            let y = norm.forward_t(&x.apply(hidden)?, false)?;
            ops::leaky_relu(&y, SLOPE)?.apply(out)?.squeeze(1)
        };
        Ok([head(0, all?)?, head(1, first?.narrow(0, 0, 1)?)?])
    }
}

/// Reverses [1, T, F] along time.
fn reversed(x: &Tensor) -> Result<Tensor> {
    let order: Vec<u32> = (0..x.dim(1)? as u32).rev().collect();
    x.contiguous()?.index_select(&Tensor::new(order, x.device())?, 1)
}

/// Images of noise in the three channels from `channel`, 0 in the others.
struct Half {
    channel: usize,
}

impl Half {
    /// Value of a pixel in one of those channels.
    fn value(&self, image: usize, pixel: usize, of_three: usize) -> f32 {
        let i = ((image * SIZE * SIZE + pixel) * RGB + of_three + self.channel) as u64;
        (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f32 / (1u64 << 24) as f32
    }

    /// The images as [T, S, S, 6], and their noise as [T, 3, S, S], the layout of candle-transformers.
    fn images(&self, device: &Device) -> Result<[Tensor; 2]> {
        let mut pixels = vec![0.0; IMAGES * SIZE * SIZE * CHANNELS];
        self.fill(0..IMAGES, &mut pixels);
        let images = Tensor::from_vec(pixels, (IMAGES, SIZE, SIZE, CHANNELS), device)?;
        let noise = images.narrow(3, self.channel, RGB)?.permute((0, 3, 1, 2))?.contiguous()?;
        Ok([images, noise])
    }
}

impl Images for Half {
    fn fill(&self, range: Range<usize>, out: &mut [f32]) {
        out.fill(0.0);
        for (image, out) in range.zip(out.chunks_exact_mut(SIZE * SIZE * CHANNELS)) {
            for (pixel, out) in out.chunks_exact_mut(CHANNELS).enumerate() {
                let three = out[self.channel..][..RGB].iter_mut().enumerate();
                three.for_each(|(c, out)| *out = self.value(image, pixel, c));
            }
        }
    }

    fn size(&self) -> usize {
        SIZE
    }

    fn studies(&self) -> Vec<String> {
        vec!["selftest".into()]
    }
}

/// Both halves of the channels, so that all of the stem's weights are used.
const HALVES: [Half; 2] = [Half { channel: 0 }, Half { channel: RGB }];

/// Compares the encoder's features in `dtype`, computed op by op, with the reference in f32.
///
/// Errors: when the device fails.
pub fn encoder(device: &Device, dtype: DType) -> eyre::Result<Worst> {
    let model = model(device)?;
    let mut worst = Worst::default();
    for half in &HALVES {
        let [images, noise] = half.images(device)?;
        let expected = Reference::new(&model, half.channel, device)?.encoder.forward(&noise)?;
        let got = model.encoder.forward(&images.to_dtype(dtype)?, false)?;
        let error = apart(&values(&got)?, &values(&expected)?);
        worst.add(error, || format!("features, channels from {}", half.channel));
    }
    Ok(worst)
}

/// Compares slice and study logits, computed as in validation, with the reference in f32.
///
/// Errors: when the device fails.
pub fn network(device: &Device) -> eyre::Result<Worst> {
    let model = model(device)?;
    let arena = Arena::default();
    let plan = Plan::of_chunk(IMAGES, IMAGES);
    let stepper = Stepper { device, ..Stepper::on_cpu(&model, plan, &arena) };
    let mut worst = Worst::default();
    for half in &HALVES {
        let reference = Reference::new(&model, half.channel, device)?;
        let [_, noise] = half.images(device)?;
        let features = reference.encoder.forward(&noise)?;
        let expected = reference.tail(&features)?;
        let (slices, studies) = stepper.predict(half, 1)?;
        for (what, got, expected) in
            [("slice", slices, &expected[0]), ("study", studies, &expected[1])]
        {
            let error = apart(&values(&got)?, &values(expected)?);
            worst.add(error, || format!("{what} logits, channels from {}", half.channel));
        }
    }
    Ok(worst)
}
