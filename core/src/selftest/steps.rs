//! Checks training on a device: the optimizer, the gradient of the loss, and a few steps.

use super::{Worst, apart, ops::random, reference, values};
use crate::{
    config::{Config, Set},
    net::{Classifier, Spec, description::Layout, encoder::Arena, parameters::Parameter},
    rng::{Key, Purpose},
    train::{
        adamw::AdamW,
        loss::Weights,
        memory::Plan,
        step::{Images, Stepper, Targets, WeightGradients},
    },
};
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Optimizer, ParamsAdamW};
use eyre::Result;
use std::ops::Range;

/// Height and width of an image.
const SIZE: usize = 64;
/// Learning rate. Small, because AdamW takes whole steps from gradients that are only rounding errors:
/// at 1e-3 two correct computations differ by 2 % after twenty steps.
const RATE: f64 = 1e-4;
/// Images of a batch: three studies of [`small_config`].
const IMAGES: usize = 42;

/// Images of noise, different for each number.
pub struct Noise(pub usize);

impl Images for Noise {
    fn fill(&self, range: Range<usize>, out: &mut [f32]) {
        for (i, image) in range.zip(out.chunks_exact_mut(SIZE * SIZE * 6)) {
            let value = |j: usize| (self.0 * 31 + i * 6151 + j * j * 7919 + j * 104_729) % 1009;
            (0..).zip(image).for_each(|(j, v)| *v = value(j) as f32 / 1008.0);
        }
    }

    fn size(&self) -> usize {
        SIZE
    }

    fn studies(&self) -> Vec<String> {
        vec!["a".into(), "b".into(), "c".into()]
    }
}

/// Config of a small network with 14 images per study, and `more` settings.
///
/// Errors: when a setting is wrong.
pub fn small_config(more: &[&str]) -> Result<Config> {
    let sets =
        ["model.backbone=convnext_micro", "data.slices_per_vertebra=2", "model.lstm_hidden=24"];
    let sets: Vec<_> = sets.iter().chain(more).copied().map(Set::new).collect();
    Ok(Config::load(None, false, &sets)?)
}

/// Labels: two of the second study's slices show a fracture.
fn labels() -> Vec<f32> {
    (0..IMAGES).map(|i| f32::from(u8::from(i % 14 < 2 && i > 13))).collect()
}

/// A plan of all images at once.
pub fn whole() -> Plan {
    Plan::of_chunk(IMAGES, IMAGES)
}

/// Trains `steps` steps on three studies in `dtype` on `device`; returns the losses.
///
/// Errors: when the device fails.
pub fn losses(device: &Device, dtype: DType, plan: Plan, steps: usize) -> Result<Vec<f64>> {
    let config = small_config(&[&format!("train.precision={}", dtype.as_str())])?;
    let model = Classifier::new(&Spec::new(&config), 1, 0, DType::F32, device)?;
    let sizes = model.parameters.trainable.iter().map(|p| p.var.elem_count());
    let mut optimizer = AdamW::new(&config.train, sizes);
    if let Some(scaler) = &mut optimizer.scaler {
        // At this scale no step is skipped, so all types take the same steps.
        scaler.scale = 256.0;
    }
    let arena = Arena::default();
    let stepper = Stepper { device, compute: dtype, ..Stepper::on_cpu(&model, plan, &arena) };
    let own = labels();
    let (targets, weights) = (Targets { own: &own, mixed: None }, Weights::from(&config.train));
    let mut losses = Vec::new();
    for i in 0..steps {
        let dropout = Some(Classifier::dropout_key(1, 0, 1, i));
        let made = stepper.step(&mut optimizer, RATE, &Noise(i), targets, weights, dropout)?;
        eyre::ensure!(!made.skipped, "step {} was skipped: a gradient is not finite", i + 1);
        losses.push(made.loss.loss);
    }
    Ok(losses)
}

/// Largest allowed relative difference between the losses in `dtype` and the CPU's in f32.
pub fn allowed(dtype: DType) -> f64 {
    if dtype == DType::F32 { 1e-2 } else { 5e-2 }
}

/// Runs three steps in `dtype`; returns the largest relative difference of a loss from the CPU's in f32.
///
/// Errors: when the device fails.
pub fn against_cpu(device: &Device, dtype: DType) -> Result<Worst> {
    let expected = losses(&Device::Cpu, DType::F32, whole(), 3)?;
    let mut worst = Worst::default();
    for (i, (a, b)) in losses(device, dtype, whole(), 3)?.iter().zip(&expected).enumerate() {
        worst.add((a / b - 1.0).abs(), || format!("step {}: loss {a:.5}, the CPU's {b:.5}", i + 1));
    }
    Ok(worst)
}

/// Repeats the same three steps; counts the losses that differ.
///
/// Errors: when the device fails.
pub fn repeat(device: &Device) -> Result<Worst> {
    let [first, second] = [(), ()].map(|()| losses(device, DType::F32, whole(), 3));
    let (first, second) = (first?, second?);
    let differ = first.iter().zip(&second).filter(|(a, b)| a != b).count();
    Ok(Worst { error: differ as f64, at: format!("losses {first:?}, then {second:?}") })
}

/// Compares the slope of a training batch's loss along its gradient, from finite differences, with the
/// gradient's norm. This checks the gradients of all weights at once, without a second implementation.
///
/// Errors: when the device fails.
pub fn slope(device: &Device) -> Result<Worst> {
    /// Approximate change of the loss: larger than its rounding, small enough to be linear.
    const CHANGE: f64 = 5e-4;
    let config = small_config(&[])?;
    let model = Classifier::new(&Spec::new(&config), 1, 0, DType::F32, device)?;
    reference::draw(&model.parameters)?;
    let arena = Arena::default();
    let stepper = Stepper { device, ..Stepper::on_cpu(&model, whole(), &arena) };
    let own = labels();
    let (targets, weights) = (Targets { own: &own, mixed: None }, Weights::from(&config.train));
    let gradients = || stepper.gradients(&Noise(0), targets, weights, None);
    let of_weights = gradients()?.of_weights.to_host()?;
    let square = |g: &f32| f64::from(*g) * f64::from(*g);
    let norm = of_weights.iter().flatten().map(square).sum::<f64>().sqrt();
    let parameters = &model.parameters.trainable;
    let start = parameters.iter().map(|p| p.var.as_detached_tensor().copy());
    let start = start.collect::<candle_core::Result<Vec<_>>>()?;
    let mut losses = [0.0; 2];
    for (loss, sign) in losses.iter_mut().zip([1.0, -1.0]) {
        for ((p, start), g) in parameters.iter().zip(&start).zip(&of_weights) {
            let g = Tensor::from_slice(g, start.shape(), device)?;
            p.var.set(&(start + (g * (sign * CHANGE / (norm * norm)))?)?)?;
        }
        *loss = gradients()?.loss.loss;
    }
    let slope = (losses[0] - losses[1]) / (2.0 * CHANGE) * norm;
    let at = format!("the gradient's norm is {norm:.5}, the loss rises by {slope:.5}");
    Ok(Worst { error: (slope / norm - 1.0).abs(), at })
}

/// Compares AdamW with a scaled gradient with candle-nn's in f64 on the CPU: the change of the weights
/// after five steps, and the sums of the squared gradients.
///
/// Errors: when the device fails.
pub fn adamw(device: &Device, seed: u64) -> Result<Worst> {
    /// Learning rate, large compared with the weights' rounding.
    const RATE: f64 = 0.01;
    // One shape larger than a chunk of the kernel, one smaller than a vector.
    let shapes = [&[300, 300][..], &[19, 7], &[3]];
    let config = small_config(&["train.precision=f16"])?;
    let mut rng = Key::new(seed, Purpose::Init).rng();
    let (mut parameters, mut theirs, mut start) = (Vec::new(), Vec::new(), Vec::new());
    for shape in shapes {
        let weight = random(&mut rng, shape)?.to_dtype(DType::F32)?;
        start.push(values(&weight)?);
        theirs.push(Var::from_tensor(&weight.to_dtype(DType::F64)?)?);
        let var = Var::from_tensor(&weight.to_device(device)?)?;
        let (name, shape) = (format!("{shape:?}"), shape.to_vec());
        parameters.push(Parameter { name, shape, layout: Layout::Plain, var });
    }
    let mut ours = AdamW::new(&config.train, start.iter().map(Vec::len));
    let scale = ours.scaler.map_or(1.0, |scaler| scaler.scale);
    let [beta1, beta2] = config.train.betas;
    let (eps, weight_decay) = (config.train.eps, config.train.weight_decay);
    let params = ParamsAdamW { lr: RATE, beta1, beta2, eps, weight_decay };
    let mut expected = candle_nn::AdamW::new(theirs.clone(), params)?;
    let mut worst = Worst::default();
    for _ in 0..5 {
        let (mut scaled, mut squares, mut terms) = (Vec::new(), Vec::new(), Vec::new());
        for (shape, var) in shapes.iter().zip(&theirs) {
            let g = random(&mut rng, shape)?.to_dtype(DType::F32)?;
            scaled.push((&g * scale)?.to_device(device)?);
            let g = g.to_dtype(DType::F64)?;
            squares.push(values(&g)?.iter().map(|g| (g * scale).powi(2)).sum::<f64>());
            terms.push((var.as_tensor() * g)?.sum_all()?);
        }
        // The gradients of this sum are the `g`.
        expected.backward_step(&Tensor::stack(&terms, 0)?.sum_all()?)?;
        let gradients = match device.is_cpu() {
            true => WeightGradients::Host(WeightGradients::Device(scaled).to_host()?),
            false => WeightGradients::Device(scaled),
        };
        let error = apart(&ours.squares(&gradients)?, &squares);
        worst.add(error, || "squares of the gradients".into());
        ours.step(&parameters, &gradients, RATE)?;
    }
    for ((p, theirs), start) in parameters.iter().zip(&theirs).zip(&start) {
        let from_start = |t: &Tensor| -> candle_core::Result<Vec<f64>> {
            Ok(values(t)?.iter().zip(start).map(|(v, s)| v - s).collect())
        };
        let error = apart(&from_start(p.var.as_tensor())?, &from_start(theirs.as_tensor())?);
        worst.add(error, || format!("weight of shape {}", p.name));
    }
    Ok(worst)
}
