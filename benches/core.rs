//! The parts of the training core, as criterion groups.
//!
//! `cargo bench --bench core` prints times; `-- op/` only those whose name contains that. For a
//! comparison with PyTorch see `vs_pytorch.py`.

mod pixels;

use candle_core::{DType, Device, Tensor, Var};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pixels::{Pixels, values};
use rsna_tui::config::{Config, Set};
use rsna_tui::net::buffers::BufferPool;
use rsna_tui::net::encoder::{Arena, Encoder, Retention};
use rsna_tui::net::recurrent::Lstms;
use rsna_tui::net::{Classifier, Spec, ops};
use rsna_tui::train::adamw::AdamW;
use rsna_tui::train::loss::Weights;
use rsna_tui::train::memory::{self, Plan};
use rsna_tui::train::step::{Images, Stepper, Targets};
use std::hint::black_box;
use std::ops::Range;
use std::time::Duration;

/// The allocator of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn tensor(shape: &[usize]) -> Tensor {
    Tensor::from_vec(values(shape.iter().product()), shape, &Device::Cpu).expect("its shape")
}

/// Each op of the graph, forward and backward, on a feature map of the second stage.
fn op(c: &mut Criterion) {
    let map = Var::from_tensor(&tensor(&[8, 28, 28, 160])).expect("a leaf");
    let x = map.as_tensor();
    let (width, taps) = (tensor(&[160]), tensor(&[49, 160]));
    let gates = Var::from_tensor(&tensor(&[4, 105, 8, 1024])).expect("a leaf");
    let w_hh = tensor(&[4, 1024, 256]);
    let w_hh = (w_hh * 0.05).expect("a product");
    type Run<'a> = Box<dyn Fn() -> candle_core::Result<Tensor> + 'a>;
    let ops: [(&str, Run); 5] = [
        ("depthwise 7x7", Box::new(|| ops::depthwise7(x, &taps, &width))),
        ("layer norm", Box::new(|| ops::layer_norm(x, &width, &width, 1e-6))),
        ("bias + gelu", Box::new(|| ops::bias_gelu(x, &width))),
        ("scale + residual", Box::new(|| ops::scale_residual(x, &width, &width, x))),
        ("lstm recurrence", Box::new(|| ops::lstm_recurrence(gates.as_tensor(), &w_hh))),
    ];
    let mut group = c.benchmark_group("op");
    for (name, run) in &ops {
        group.bench_function(*name, |b| b.iter(|| black_box(run().expect("an op"))));
        group.bench_function(format!("{name}, and back"), |b| {
            b.iter(|| black_box(run().and_then(|y| y.backward()).expect("an op")));
        });
    }
    group.finish();
}

fn config(sets: &[&str]) -> Config {
    let sets: Vec<Set> = sets.iter().map(|s| Set::new(*s)).collect();
    Config::load(None, false, &sets).expect("a valid config")
}

fn model(spec: &Spec) -> Classifier {
    Classifier::new(spec, 0, 0, DType::F32, &Device::Cpu).expect("a network")
}

/// One block of each stage (and stem and downsampling), and the whole encoder: 8 images.
fn encoder(c: &mut Criterion) {
    let spec = Spec::new(&config(&[]));
    let pixels = Pixels::new(8, 224);
    let fill = |range: Range<usize>, out: &mut [f32]| pixels.fill(range, out);
    for (name, depths) in [("block", [1; 4]), ("encoder", spec.depths)] {
        let model = model(&Spec { depths, ..spec.clone() });
        let arena = Arena::default();
        let encoder = Encoder::new(&model, 224, &arena);
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(8));
        group.bench_function("forward", |b| {
            b.iter(|| encoder.forward(&fill, 0..8, Retention::default()).expect("on the CPU"));
        });
        for (name, inner) in [("and back", 8), ("and back, inputs kept only", 0)] {
            group.bench_function(name, |b| {
                b.iter(|| {
                    let retention = Retention { inputs: 8, inner };
                    let (grad, tapes) =
                        encoder.forward(&fill, 0..8, retention).expect("on the CPU");
                    let mut sums = encoder.gradients();
                    encoder.backward(&fill, tapes, &grad, &mut sums).expect("on the CPU");
                    let sums = encoder.finish(sums).expect("on the CPU");
                    sums.into_iter().for_each(|sum| arena.pool.give(sum));
                });
            });
        }
        group.finish();
    }
}

fn lstms(c: &mut Criterion) {
    let spec = Spec::new(&config(&[]));
    let (model, pool) = (model(&spec), BufferPool::default());
    let lstms = Lstms::new(&model, &pool);
    let x = values(8 * 105 * spec.features());
    let x = Tensor::from_vec(x, ((), spec.features()), &Device::Cpu).unwrap();
    let mut group = c.benchmark_group("lstms");
    group.bench_function("forward", |b| {
        b.iter(|| {
            let (_, tape) = lstms.forward(&x).expect("on the CPU");
            lstms.forget(tape).expect("on the CPU");
        });
    });
    group.bench_function("and back", |b| {
        b.iter(|| {
            let (out, tape) = lstms.forward(&x).expect("on the CPU");
            let (dx, grads) = lstms.backward(tape, &out).expect("on the CPU");
            drop(dx);
            let grads = grads.to_host().expect("on the CPU");
            grads.into_iter().for_each(|buffer| pool.give(buffer));
        });
    });
    group.finish();
}

fn step(c: &mut Criterion) {
    let config = config(&["train.batch_size=2", "data.image_size=64"]);
    let spec = Spec::new(&config);
    let model = model(&spec);
    let sizes = model.parameters.trainable.iter().map(|p| p.var.elem_count());
    let mut optimizer = AdamW::new(&config.train, sizes);
    let pixels = Pixels::new(210, 64);
    let own: Vec<f32> = (0..210).map(|i| f32::from(u8::from((15..30).contains(&i)))).collect();
    let (plan, arena) = (Plan::new(&config, 8 << 30), Arena::default());
    let stepper = Stepper::on_cpu(&model, plan, &arena);
    let weights = Weights::from(&config.train);
    let mut group = c.benchmark_group("step");
    group.throughput(Throughput::Elements(210));
    group.bench_function("2 x 105 at 64 x 64", |b| {
        b.iter(|| {
            let targets = Targets { own: &own, mixed: None };
            let dropout = Some(Classifier::dropout_key(0, 0, 1, 0));
            stepper.step(&mut optimizer, 23e-5, &pixels, targets, weights, dropout).expect("a step")
        });
    });
    group.finish();
}

fn settings() -> Criterion {
    memory::small_pages();
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
}

criterion_group! {
    name = benches;
    config = settings();
    targets = op, encoder, lstms, step
}
criterion_main!(benches);
