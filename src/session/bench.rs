//! `rsna-tui bench`: times the parts of a training step on images of noise.

use crate::{
    cli,
    config::{CHANNELS, Config},
    device::{self, speed},
    net::{Classifier, Spec, encoder::Arena},
    print,
    rng::{Key, Purpose},
    session,
    study::{Loader, Phantom, SliceIndex, SliceSource, Study},
    train::{
        adamw::AdamW,
        fold_inputs::compute,
        loss::Weights,
        memory::Plan,
        step::{
            Stepper, Targets,
            clock::{Clock, Part},
        },
    },
};
use candle_core::{DType, Device};
use eyre::{Result, eyre};
use rand::RngCore;
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write, sync::Arc, time::Instant};

/// Bytes that AdamW reads and writes per weight: the weight, its moments, and its gradient.
const ADAMW_BYTES: usize = 28;

/// Crops of noise from one buffer. The loader processes them like real ones.
struct Noise(Vec<u8>);

impl SliceSource for Noise {
    fn slice(&self, _: &Study, at: SliceIndex, out: &mut [u8]) -> Result<(), crate::study::Error> {
        let at = (usize::from(at.vertebra) * 31 + usize::from(at.slice) * 7) * 64
            % (self.0.len() - out.len()).max(1);
        out.copy_from_slice(&self.0[at..at + out.len()]);
        Ok(())
    }
}

/// Seconds of a step.
#[derive(Serialize)]
struct Times {
    median: f64,
    lowest: f64,
    highest: f64,
    mean: f64,
}

impl Times {
    /// Of at least one step.
    fn of(mut steps: Vec<f64>) -> Self {
        steps.sort_by(f64::total_cmp);
        let mean = steps.iter().sum::<f64>() / steps.len() as f64;
        let (lowest, highest) = (steps[0], steps[steps.len() - 1]);
        Self { median: steps[steps.len() / 2], lowest, highest, mean }
    }
}

/// What was measured.
struct Measured {
    steps: usize,
    whole: Times,
    /// Seconds per step of waiting for data and of each part of the step.
    parts: [(&'static str, f64); 1 + Part::ALL.len()],
    images: usize,
    /// Floating-point operations per second while computing, without recomputation in the encoder, and
    /// those that the device reaches.
    operations: [f64; 2],
    /// Bytes per second that AdamW reads and writes, and those at which the device copies.
    bandwidth: [f64; 2],
    peak: Option<u64>,
    plan: Plan,
}

/// Times steps and prints how long each part takes.
///
/// Errors: when settings are invalid, the device does not exist, or a step does not fit into memory.
pub fn bench(args: &cli::Bench) -> Result<String> {
    let mut config = session::load(args.config.as_deref(), false, &args.sets)?;
    let chosen = session::set_up(&config, &args.device, config.train.precision)?;
    if let Some(why) = &chosen.why {
        print::warn(format_args!("on the CPU: {why}"));
    }
    config.train.epochs = 1;
    let measured = measure(&config, &chosen.device, args.steps as usize)?;
    let show = if args.json { json } else { table };
    show(&config, &chosen.name, &measured)
}

fn measure(config: &Config, device: &Device, steps: usize) -> Result<Measured> {
    let spec = Spec::new(config);
    let size = config.data.image_size;
    let mut noise = vec![0; size * size * CHANNELS + 64 * 512];
    Key::new(config.seed, Purpose::Phantom).rng().fill_bytes(&mut noise);
    let source = Arc::new(Noise(noise));
    let table = Phantom::table((steps + 1) * config.train.batch_size, 1, config.seed);
    let studies: Arc<[Study]> = table.studies.into();
    let model = Classifier::new(&spec, config.seed, 0, DType::F32, device)?;
    let sizes = model.parameters.trainable.iter().map(|p| p.var.elem_count());
    let mut optimizer = AdamW::new(&config.train, sizes);
    let (mut plan, _) = Plan::for_device(config, device, 1);
    let (arena, clock) = (Arena::default(), Clock::new(device));
    let (mut whole, mut data) = (Vec::new(), 0.0);
    let loader = Loader::train(source, studies, config, 0, 1);
    let mut start = Instant::now();
    for (i, batch) in loader.enumerate() {
        let batch = batch?;
        let waited = start.elapsed().as_secs_f64();
        let mixed = batch.targets_mixed();
        let lambda = batch.mixup.as_ref().map(|m| m.lambda);
        let stepper = Stepper {
            model: &model,
            plan,
            device,
            compute: compute(config.train.precision),
            arena: &arena,
            clock: Some(&clock),
        };
        let targets = Targets { own: &batch.targets, mixed: mixed.as_deref().zip(lambda) };
        let dropout = Some(Classifier::dropout_key(config.seed, 0, 1, i));
        let weights = Weights::from(&config.train);
        let lr = config.train.learning_rate;
        let out = stepper.step(&mut optimizer, lr, &batch, targets, weights, dropout)?;
        plan = out.plan;
        drop(batch);
        if i == 0 {
            // The first step allocates buffers and loads kernels; discard its times.
            clock.take()?;
        } else {
            data += waited;
            whole.push(start.elapsed().as_secs_f64());
        }
        start = Instant::now();
    }
    if whole.is_empty() {
        return Err(eyre!("no step was made: this is a bug in rsna-tui"));
    }
    let peak = device::peak_memory(device);
    let rate = speed::product(device, compute(config.train.precision))?;
    let bandwidth = speed::copy(device)?;
    let (steps, whole) = (whole.len(), Times::of(whole));
    let [upload, encode, tail, backward, optimizer] = clock.take()?.map(|s| s / steps as f64);
    let data = data / steps as f64;
    let images = config.train.batch_size * spec.images;
    let (of_encoder, of_tail) = spec.multiplications(size);
    // 2 operations per multiply-add forward, and twice that backward.
    let operations = 6.0 * (images as f64) * (of_encoder + of_tail) as f64;
    let adamw_bytes = (ADAMW_BYTES * model.parameters.count()) as f64;
    Ok(Measured {
        steps,
        operations: [operations / (whole.mean - data), rate],
        bandwidth: [adamw_bytes / optimizer, bandwidth],
        whole,
        parts: [
            ("waiting for data", data),
            ("upload", upload),
            ("encode", encode),
            ("LSTMs and heads", tail),
            ("backward", backward),
            ("optimizer", optimizer),
        ],
        images,
        peak,
        plan,
    })
}

fn table(config: &Config, device: &str, m: &Measured) -> Result<String> {
    let mut out = String::new();
    let (batch, size) = (config.train.batch_size, config.data.image_size);
    let precision = config.train.precision;
    let Times { median, lowest, highest, mean } = m.whole;
    writeln!(out, "device    {device}")?;
    let images = m.images;
    writeln!(out, "step      {batch} studies, {images} images of {size} x {size}, {precision}")?;
    writeln!(out, "plan      {}", m.plan.describe(images))?;
    writeln!(
        out,
        "time      {median:.3} s ({lowest:.3} to {highest:.3} in {} steps), {:.1} images/s",
        m.steps,
        images as f64 / median
    )?;
    writeln!(out, "\n{:<18}{:>10}{:>9}", "part", "ms", "share")?;
    let mut line = |name: &str, seconds: f64| {
        writeln!(out, "{name:<18}{:>10.1}{:>8.1}%", 1e3 * seconds, 100.0 * seconds / mean)
    };
    for (name, seconds) in m.parts {
        line(name, seconds)?;
    }
    line("between them", mean - m.parts.iter().map(|p| p.1).sum::<f64>())?;
    line("whole step, mean", mean)?;
    let ([operations, most_operations], [bandwidth, most_bandwidth]) = (m.operations, m.bandwidth);
    writeln!(
        out,
        "\nproducts  {:.0} GFLOP/s while computing, {:.0} % of the {:.0} that this device reaches",
        operations / 1e9,
        100.0 * operations / most_operations,
        most_operations / 1e9
    )?;
    writeln!(
        out,
        "AdamW     {:.1} GB/s, {:.0} % of the {:.1} at which this device copies",
        bandwidth / 1e9,
        100.0 * bandwidth / most_bandwidth,
        most_bandwidth / 1e9
    )?;
    match m.peak {
        Some(peak) => write!(out, "memory    {} MiB at most", peak >> 20)?,
        None => write!(out, "memory    this system does not tell")?,
    }
    Ok(out)
}

fn json(config: &Config, device: &str, m: &Measured) -> Result<String> {
    let parts = BTreeMap::from(m.parts.map(|(name, seconds)| (name, 1e3 * seconds)));
    let fields = serde_json::json!({
        "device": device,
        "precision": config.train.precision,
        "batch": config.train.batch_size,
        "images": m.images,
        "size": config.data.image_size,
        "chunk": m.plan.chunk,
        "step_s": m.whole,
        "parts_ms": parts,
        "product_share": m.operations[0] / m.operations[1],
        "adamw_bandwidth_share": m.bandwidth[0] / m.bandwidth[1],
        "peak_MiB": m.peak.map(|bytes| bytes >> 20),
    });
    Ok(fields.to_string())
}
