//! Gradients by hand, by autograd and in chunks; steps that fail.

mod graph;

use super::*;
use crate::{config::Config, config::Set, net::Spec};
use candle_core::{DType, Var};

/// Noise, of no uniform colour: with fresh biases of 0, the norms of a uniform image make its
/// gradient a thousand times larger, and the study head's BatchNorm over two nearly equal studies
/// makes rounding errors as large as everything else.
struct Noise;
impl Images for Noise {
    fn fill(&self, range: Range<usize>, out: &mut [f32]) {
        for (i, image) in range.zip(out.chunks_mut(32 * 32 * 6)) {
            let noise = |j: usize| (i * 6151 + j * j * 7919 + j * 104_729) % 1009;
            let dim = (i + 1) as f32 / 14.0;
            let values = (0..image.len()).map(|j| dim * noise(j) as f32 / 1008.0);
            image.iter_mut().zip(values).for_each(|(to, v)| *to = v);
        }
    }
    fn size(&self) -> usize {
        32
    }
    fn studies(&self) -> Vec<String> {
        vec!["study.a".into(), "study.b".into()]
    }
}

/// Compares gradients by hand and by autograd, in one pass and in chunks.
#[test]
fn gradients_do_not_depend_on_how_they_are_computed() {
    let sets =
        ["model.backbone=convnext_micro", "data.slices_per_vertebra=1", "model.lstm_hidden=8"];
    let config = Config::load(None, false, &sets.map(Set::new)).unwrap();
    let model = Classifier::new(&Spec::new(&config), 0, 0, DType::F32, &Device::Cpu).unwrap();
    // Layer scale starts at 1e-6, with which blocks would hardly contribute.
    for p in model.parameters.trainable.iter().filter(|p| p.name.ends_with("gamma")) {
        p.var.set(&Tensor::full(0.5f32, p.var.shape(), &Device::Cpu).unwrap()).unwrap();
    }
    let own = [1f32, 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 1., 0.];
    let arena = Arena::default();
    let run = |plan: Plan, by_hand: bool| {
        let stepper = Stepper::on_cpu(&model, plan, &arena);
        let targets = Targets { own: &own, mixed: None };
        let weights = Weights::from(&config.train);
        let dropout = None;
        let task = Task { images: &Noise, targets, weights, dropout, scale: 1.0 };
        let made = match by_hand {
            true => stepper.gradients_of(task).unwrap(),
            false => stepper.gradients_by_graph(task).unwrap(),
        };
        (made.loss.loss, made.slice_logits, made.of_weights.to_host().unwrap())
    };
    let (loss, logits, grads) = run(Plan::of_chunk(14, 14), false);
    let norm = |g: &[f32]| g.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    let whole = grads.iter().map(|g| norm(g).powi(2)).sum::<f64>().sqrt();
    let chunked = |n| Plan::of_chunk(n, 14);
    let inner = |inner| Plan { retention: Retention { inputs: 14, inner }, chunk: 14 };
    let ways = [chunked(14), inner(14), inner(7), chunked(5), chunked(1)].map(|p| (p, true));
    for (plan, by_hand) in ways {
        let (other_loss, other_logits, other) = run(plan, by_hand);
        assert!((loss - other_loss).abs() < 1e-6);
        assert!(logits.iter().zip(&other_logits).all(|(a, b)| (a - b).abs() < 1e-5));
        for ((p, a), b) in model.parameters.trainable.iter().zip(&grads).zip(&other) {
            // The gradient of a bias before a BatchNorm is only rounding error.
            if matches!(&*p.name, "head.0.bias" | "head2.0.bias") {
                continue;
            }
            let apart: Vec<f32> = a.iter().zip(b).map(|(a, b)| a - b).collect();
            let error = norm(&apart) / norm(a).max(1e-4 * whole);
            assert!(error < 1e-4, "{plan:?}, by hand {by_hand}: {} {error}", p.name);
        }
    }
}

#[test]
fn a_step_that_is_not_finite_changes_nothing_and_names_the_studies() {
    let sets =
        ["model.backbone=convnext_micro", "data.slices_per_vertebra=1", "model.lstm_hidden=8"];
    let config = Config::load(None, false, &sets.map(Set::new)).unwrap();
    let spec = Spec::new(&config);
    let model = Classifier::new(&spec, 0, 0, DType::F32, &Device::Cpu).unwrap();
    let sizes = model.parameters.trainable.iter().map(|p| p.var.elem_count());
    let mut optimizer = AdamW::new(&config.train, sizes);
    let targets = [1f32, 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0.];
    let (plan, arena) = (Plan::of_chunk(4, 14), Arena::default());
    let stepper = Stepper::on_cpu(&model, plan, &arena);
    let step = |optimizer: &mut AdamW| {
        let targets = Targets { own: &targets, mixed: None };
        let weights = Weights::from(&config.train);
        stepper.step(optimizer, 1e-3, &Noise, targets, weights, None)
    };
    step(&mut optimizer).unwrap();

    let bias = model.parameters.trainable.iter().find(|p| p.name == "head.4.bias").unwrap();
    bias.var.set(&Tensor::new(&[f32::NAN], &Device::Cpu).unwrap()).unwrap();
    let state = |model: &Classifier| -> Vec<Vec<u32>> {
        let trainable = model.parameters.trainable.iter().map(|p| &p.var);
        let statistics = model.parameters.buffers.iter().map(|b| &b.var);
        let values = trainable.chain(statistics).filter(|v| v.dtype() == DType::F32);
        let bits = |v: &Var| v.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        values.map(|v| bits(v).into_iter().map(f32::to_bits).collect()).collect()
    };
    let (before, moments) = (state(&model), optimizer.clone());
    let error = step(&mut optimizer).unwrap_err().to_string();
    assert!(error.contains("the loss is not finite"), "{error}");
    assert!(error.contains("study.a, study.b"), "{error}");
    assert_eq!(state(&model), before);
    assert_eq!(optimizer, moments);
}

/// Returns a small network with its optimizer and config.
fn micro(sets: &[&str]) -> (Config, Classifier, AdamW) {
    let small =
        ["model.backbone=convnext_micro", "data.slices_per_vertebra=1", "model.lstm_hidden=8"];
    let sets: Vec<Set> = small.iter().chain(sets).map(|&s| Set::new(s)).collect();
    let config = Config::load(None, false, &sets).unwrap();
    let model = Classifier::new(&Spec::new(&config), 0, 0, DType::F32, &Device::Cpu).unwrap();
    let sizes = model.parameters.trainable.iter().map(|p| p.var.elem_count());
    let optimizer = AdamW::new(&config.train, sizes);
    (config, model, optimizer)
}

const OWN: [f32; 14] = [1., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 1., 0.];

/// Makes a step with `images` and returns its output and all weights after it.
fn step(
    (config, model, optimizer): &mut (Config, Classifier, AdamW),
    images: &dyn Images,
    plan: Plan,
    arena: &Arena,
) -> (Result<StepOutput>, Vec<Vec<f32>>) {
    let stepper = Stepper::on_cpu(model, plan, arena);
    let targets = Targets { own: &OWN, mixed: None };
    let weights = Weights::from(&config.train);
    let out = stepper.step(optimizer, 1e-3, images, targets, weights, None);
    let buffers = model.parameters.buffers.iter().map(|b| &b.var);
    let vars = model.parameters.trainable.iter().map(|p| &p.var).chain(buffers);
    let values = |v: &Var| v.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1();
    (out, vars.map(|v| values(v).unwrap()).collect())
}

#[test]
fn out_of_memory_halves_the_chunk_and_makes_the_step_again() {
    let plan = Plan::of_chunk(12, 14);
    let spec = micro(&[]).1.spec;
    let short = Arena::limited(Plan::of_chunk(4, 14).bytes(&spec, 32));
    let enough = Arena::default();
    let (out, weights) = step(&mut micro(&[]), &Noise, plan, &short);
    // 12, 6, 3 images at once: BatchNorm's statistics must have moved only once.
    assert_eq!(out.unwrap().plan, Plan::of_chunk(3, 14));
    let (out, expected) = step(&mut micro(&[]), &Noise, Plan::of_chunk(3, 14), &enough);
    assert_eq!(out.unwrap().plan, Plan::of_chunk(3, 14));
    assert!(weights == expected);

    let mut net = micro(&[]);
    let nothing = Arena::limited(0);
    let (out, weights) = step(&mut net, &Noise, plan, &nothing);
    assert!(out.unwrap_err().to_string().starts_with("out of memory"));
    assert_eq!(net.2.steps, 0);
    let fresh = Classifier::new(&spec, 0, 0, DType::F32, &Device::Cpu).unwrap();
    let first = fresh.parameters.trainable[0].var.flatten_all().unwrap();
    assert!(weights[0] == first.to_vec1::<f32>().unwrap());
}

/// On the CPU, the scaler's arithmetic is the same in f32.
#[test]
fn a_scaled_step_is_the_step_and_one_that_overflows_is_skipped() {
    let (plan, arena) = (Plan::of_chunk(14, 14), Arena::default());
    let (mut plain, mut scaled) = (micro(&[]), micro(&["train.precision=f16"]));
    assert_eq!(plain.2.scaler, None);
    let (a, expected) = step(&mut plain, &Noise, plan, &arena);
    let (b, weights) = step(&mut scaled, &Noise, plan, &arena);
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!(a.loss.loss, b.loss.loss);
    assert!((a.grad_norm / b.grad_norm - 1.0).abs() < 1e-5, "{} {}", a.grad_norm, b.grad_norm);
    // Scaling by a power of two changes no digit, except in the smallest numbers.
    let far = |a: &Vec<f32>, b: &Vec<f32>| {
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    let far = expected.iter().zip(&weights).map(|(a, b)| far(a, b)).fold(0.0, f32::max);
    assert!(far < 1e-6, "{far}");
    assert_eq!(scaled.2.scaler.unwrap().good_steps, 1);

    scaled.2.scaler = Some(super::super::scaler::Scaler { scale: 1e38, good_steps: 1 });
    let before = scaled.2.clone();
    let trainable = scaled.1.parameters.trainable.len();
    let (out, after) = step(&mut scaled, &Noise, plan, &arena);
    let out = out.unwrap();
    assert!(out.skipped && out.loss.loss.is_finite() && !out.grad_norm.is_finite());
    assert!(weights[..trainable] == after[..trainable]);
    assert_eq!((scaled.2.steps, &scaled.2.moments), (before.steps, &before.moments));
    let scaler = scaled.2.scaler.unwrap();
    assert_eq!((scaler.scale, scaler.good_steps), (5e37, 0));
}

/// [`Noise`] rounded to bytes, the first study mixed with the second.
struct Mixed(Vec<u8>);
impl Mixed {
    fn new() -> Self {
        let mut pixels = vec![0f32; 14 * 32 * 32 * 6];
        Noise.fill(0..14, &mut pixels);
        Self(pixels.iter().map(|p| (p * 255.0) as u8).collect())
    }
}
impl Images for Mixed {
    fn fill(&self, range: Range<usize>, out: &mut [f32]) {
        let n = 32 * 32 * 6;
        let [a, b] = self.bytes().unwrap().mixed.unwrap().1;
        for (i, out) in range.zip(out.chunks_mut(n)) {
            let of = |i: usize| self.0[i * n..(i + 1) * n].iter();
            for ((&x, &y), out) in of(i).zip(of((i + 7) % 14)).zip(out) {
                *out = f32::from(x) / 255.0 * a + f32::from(y) / 255.0 * b;
            }
        }
    }
    fn size(&self) -> usize {
        32
    }
    fn studies(&self) -> Vec<String> {
        Noise.studies()
    }
    fn bytes(&self) -> Option<Bytes<'_>> {
        let partner = (0..14).map(|i| (i + 7) % 14).collect();
        let pieces = self.0.chunks(7 * 32 * 32 * 6).collect();
        Some(Bytes { pieces, mixed: Some((partner, [0.25, 0.75])) })
    }
}

#[test]
fn bytes_become_what_fill_writes() {
    let (config, model, _) = micro(&[]);
    let arena = Arena::default();
    let targets = Targets { own: &OWN, mixed: None };
    let weights = Weights::from(&config.train);
    let images = Mixed::new();
    let run = |plan: Plan, by_graph: bool| {
        let stepper = Stepper::on_cpu(&model, plan, &arena);
        let dropout = None;
        let task = Task { images: &images, targets, weights, dropout, scale: 1.0 };
        match by_graph {
            true => stepper.gradients_by_graph(task).unwrap().slice_logits,
            false => stepper.gradients_of(task).unwrap().slice_logits,
        }
    };
    let expected = run(Plan::of_chunk(14, 14), false);
    let got = run(Plan::of_chunk(14, 14), true);
    assert!(got.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5));
}

/// Compares with the graph, with the encoder in narrower types.
#[test]
fn the_encoder_computes_in_narrower_numbers() {
    let (config, model, _) = micro(&[]);
    for p in model.parameters.trainable.iter().filter(|p| p.name.ends_with("gamma")) {
        p.var.set(&Tensor::full(0.5f32, p.var.shape(), &Device::Cpu).unwrap()).unwrap();
    }
    let arena = Arena::default();
    let images = Mixed::new();
    let run = |compute: DType, plan: Plan, scale: f64| {
        let stepper = Stepper { compute, ..Stepper::on_cpu(&model, plan, &arena) };
        let targets = Targets { own: &OWN, mixed: None };
        // Without the study head: its BatchNorm over two rows makes rounding errors ten times larger.
        let weights = Weights { study: 0.0, ..Weights::from(&config.train) };
        let dropout = None;
        let task = Task { images: &images, targets, weights, dropout, scale };
        let made = stepper.gradients_by_graph(task).unwrap();
        (made.loss.loss, made.of_weights.to_host().unwrap())
    };
    let (loss, exact) = run(DType::F32, Plan::of_chunk(14, 14), 1.0);
    let norm = |g: &[f32]| g.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    let whole = exact.iter().map(|g| norm(g).powi(2)).sum::<f64>().sqrt();
    // bf16 has 8 bits, and candle's products in it on the CPU: it shows that the types fit together, while
    // f16 shows that the values are right.
    for (compute, scale, tolerance) in [(DType::F16, 1024.0, 0.02), (DType::BF16, 1.0, 0.3)] {
        for plan in [Plan::of_chunk(14, 14)] {
            let (narrow_loss, grads) = run(compute, plan, scale);
            assert!((loss - narrow_loss).abs() < tolerance, "{compute:?} {loss} {narrow_loss}");
            for ((p, a), b) in model.parameters.trainable.iter().zip(&exact).zip(&grads) {
                let apart: Vec<f32> = a.iter().zip(b).map(|(a, b)| a - b / scale as f32).collect();
                let error = norm(&apart) / norm(a).max(0.05 * whole);
                assert!(error < tolerance, "{compute:?} {plan:?}: {} {error}", p.name);
            }
        }
    }
}
