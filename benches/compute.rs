//! Times of the training core for comparison with PyTorch's, as one line of JSON: see
//! `benches/vs_pytorch.py`.
//!
//! `cargo bench --bench compute -- enc|lstm|step|many [--bs N] [--size S] [--reps N] [--memory MIB]`:
//! the encoder's forward and forward + backward pass, both LSTMs', or a whole step, of the notebook's
//! network with random weights. Medians after one warm-up, as in the PyTorch counterpart's
//! `bench_torch.py`. `fwd_bwd_inputs` computes the blocks' inner values again. `many` times both of the
//! encoder's passes over `--bs` images: 64 are kept, 4 of them with the blocks' inner values, and the
//! others are encoded again 64 at a time.

use candle_core::{DType, Device, Tensor};
use rsna_tui::config::{Config, Set};
use rsna_tui::net::buffers::BufferPool;
use rsna_tui::net::encoder::{Arena, Encoder, Pass, Retention, WeightGradients};
use rsna_tui::net::recurrent::Lstms;
use rsna_tui::net::{Classifier, Spec};
use rsna_tui::train::adamw::AdamW;
use rsna_tui::train::loss::Weights;
use rsna_tui::train::memory::{self, Plan};
use rsna_tui::train::step::{Images, Stepper, Targets};
use std::ops::Range;
use std::time::Instant;

/// The allocator of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `n` values in 0..=1.
fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i * 7919 % 1009) as f32 / 1008.0).collect()
}

/// A few images, used repeatedly: the time does not depend on the values.
struct Pixels {
    size: usize,
    values: Vec<f32>,
}

impl Pixels {
    /// `images` different images of `size`².
    fn new(images: usize, size: usize) -> Self {
        Self { size, values: values(images * size * size * 6) }
    }
}

impl Images for Pixels {
    fn fill(&self, range: Range<usize>, out: &mut [f32]) {
        let n = self.size * self.size * 6;
        let images = self.values.len() / n;
        for (i, image) in range.zip(out.chunks_exact_mut(n)) {
            image.copy_from_slice(&self.values[i % images * n..][..n]);
        }
    }
    fn size(&self) -> usize {
        self.size
    }
    fn studies(&self) -> Vec<String> {
        Vec::new()
    }
}

struct Args {
    what: String,
    bs: usize,
    size: usize,
    reps: usize,
    memory: usize,
}

impl Args {
    fn parse() -> Self {
        let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
        let value = |name: &str, default: usize| {
            let at = args.iter().position(|a| a == name);
            at.map_or(default, |i| args[i + 1].parse().expect("a number"))
        };
        let what = args.first().cloned().unwrap_or_else(|| "enc".into());
        let (bs, size) = match &*what {
            "step" => (2, 64),
            _ => (8, 224),
        };
        Self {
            bs: value("--bs", bs),
            size: value("--size", size),
            reps: value("--reps", 5),
            memory: value("--memory", 0),
            what,
        }
    }

    /// Median of `reps` runs after a warm-up, in seconds.
    fn median(&self, mut run: impl FnMut()) -> f64 {
        run();
        let mut times: Vec<f64> = (0..self.reps)
            .map(|_| {
                let start = Instant::now();
                run();
                start.elapsed().as_secs_f64()
            })
            .collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }
}

fn main() {
    memory::small_pages();
    let args = Args::parse();
    let sets = [
        // A step needs at least two studies; the encoder and the LSTMs do not depend on this.
        format!("train.batch_size={}", args.bs.max(2)),
        format!("data.image_size={}", args.size),
        format!("train.memory={}", args.memory),
    ];
    let config = Config::load(None, false, &sets.map(Set::new)).expect("settings that there are");
    let spec = Spec::new(&config);
    let times = match &*args.what {
        "enc" => encoder(&args, &spec),
        "lstm" => lstms(&args, &spec),
        "step" => step(&args, &spec, &config),
        "many" => many(&args, &spec),
        other => panic!("{other}: expected enc, lstm, step or many"),
    };
    let fields: Vec<String> = times.iter().map(|(k, v)| format!("\"{k}\": {v:.3}")).collect();
    println!("{{{}, \"peak_rss_MiB\": {}}}", fields.join(", "), peak_rss_mib());
}

fn peak_rss_mib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()).unwrap_or(0) >> 10
}

/// Times in milliseconds per image.
fn encoder(args: &Args, spec: &Spec) -> Vec<(&'static str, f64)> {
    let model = Classifier::new(spec, 0, 0, DType::F32, &Device::Cpu).expect("a network");
    let pixels = Pixels::new(args.bs, args.size);
    let fill = |range: Range<usize>, out: &mut [f32]| pixels.fill(range, out);
    let arena = Arena::default();
    let encoder = Encoder::new(&model, args.size, &arena, &fill);
    let forward = args.median(|| {
        encoder.forward(0..args.bs, Retention::default()).expect("weights on the CPU");
        arena.pool.end_round();
    });
    let both = |retention| {
        args.median(|| {
            let (features, tapes) = encoder.forward(0..args.bs, retention).expect("on the CPU");
            let mut sums = encoder.sums().expect("sums on the CPU");
            encoder.backward(tapes, &features, &mut sums).expect("on the CPU");
            let WeightGradients::Host(sums) = encoder.finish(sums).expect("on the CPU") else {
                unreachable!("the CPU's gradients stay there")
            };
            sums.into_iter().for_each(|sum| arena.pool.give(sum));
            arena.pool.end_round();
        })
    };
    let inputs = both(Retention { inputs: args.bs, inner: 0 });
    let both = both(Retention { inputs: args.bs, inner: args.bs });
    let each = 1e3 / args.bs as f64;
    vec![("fwd", forward * each), ("fwd_bwd", both * each), ("fwd_bwd_inputs", inputs * each)]
}

/// Times in milliseconds per image.
fn many(args: &Args, spec: &Spec) -> Vec<(&'static str, f64)> {
    const KEPT: usize = 64;
    let model = Classifier::new(spec, 0, 0, DType::F32, &Device::Cpu).expect("a network");
    let pixels = Pixels::new(8, args.size);
    let fill = |range: Range<usize>, out: &mut [f32]| pixels.fill(range, out);
    let arena = Arena::default();
    let encoder = Encoder::new(&model, args.size, &arena, &fill);
    // By default, a step's plan keeps the inner values of this many images at 224².
    let retention = Retention { inputs: KEPT, inner: 4 };
    let both = args.median(|| {
        let (features, tapes) = encoder.forward(0..args.bs, retention).expect("on the CPU");
        let mut sums = encoder.sums().expect("sums on the CPU");
        let kept = Encoder::kept(&tapes).end;
        let grad = |range: Range<usize>| {
            features.narrow(0, range.start, range.len()).expect("a part of the features")
        };
        encoder.backward(tapes, &grad(0..kept), &mut sums).expect("on the CPU");
        for start in (kept..args.bs).step_by(KEPT) {
            let range = start..(start + KEPT).min(args.bs);
            let (_, tapes) = encoder.forward(range.clone(), retention).expect("on the CPU");
            encoder.backward(tapes, &grad(range), &mut sums).expect("on the CPU");
        }
        let WeightGradients::Host(sums) = encoder.finish(sums).expect("on the CPU") else {
            unreachable!("the CPU's gradients stay there")
        };
        sums.into_iter().for_each(|sum| arena.pool.give(sum));
        arena.pool.end_round();
    });
    vec![("fwd_bwd", both * 1e3 / args.bs as f64)]
}

/// Times in milliseconds.
fn lstms(args: &Args, spec: &Spec) -> Vec<(&'static str, f64)> {
    let model = Classifier::new(spec, 0, 0, DType::F32, &Device::Cpu).expect("a network");
    let pool = BufferPool::default();
    let lstms = Lstms::new(&model, &pool);
    let x = values(args.bs * spec.images * spec.features());
    let x = Tensor::from_vec(x, ((), spec.features()), &Device::Cpu).expect("whole rows");
    let forward = args.median(|| {
        let (_, tape) = lstms.forward(&x).expect("weights on the CPU");
        lstms.forget(tape).expect("weights on the CPU");
    });
    let both = args.median(|| {
        let (out, tape) = lstms.forward(&x).expect("weights on the CPU");
        // Gradient of the mean of squares, as in the PyTorch counterpart.
        let of = |out: &Tensor| out.affine(2.0 / out.elem_count() as f64, 0.0).expect("in f32");
        let grads = [of(&out[0]), of(&out[1])];
        let (_, sums) = lstms.backward(tape, &grads).expect("weights on the CPU");
        let sums = sums.to_host().expect("on the CPU");
        sums.into_iter().for_each(|buffer| pool.give(buffer));
    });
    vec![("fwd", forward * 1e3), ("fwd_bwd", both * 1e3)]
}

/// Times in seconds.
fn step(args: &Args, spec: &Spec, config: &Config) -> Vec<(&'static str, f64)> {
    let model = Classifier::new(spec, 0, 0, DType::F32, &Device::Cpu).expect("a network");
    let sizes = model.parameters.trainable.iter().map(|p| p.var.elem_count());
    let mut optimizer = AdamW::new(&config.train, sizes);
    let images = args.bs * spec.images;
    let pixels = Pixels::new(images, args.size);
    let own: Vec<f32> = (0..images).map(|i| f32::from(u8::from((15..30).contains(&i)))).collect();
    let (plan, arena) = (Plan::new(config, 8 << 30), Arena::default());
    let stepper = Stepper::on_cpu(&model, plan, &arena);
    let seconds = args.median(|| {
        let targets = Targets { own: &own, mixed: None };
        let dropout = Some(Classifier::dropout_key(0, 0, 1, 0));
        let weights = Weights::from(&config.train);
        stepper.step(&mut optimizer, 23e-5, &pixels, targets, weights, dropout).expect("a step");
    });
    vec![("step", seconds)]
}
