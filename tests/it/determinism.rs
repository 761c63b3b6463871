//! The same seed and number of threads give bit-identical weights.

use candle_core::{DType, Device};
use rsna_tui::{
    config::{Config, Set},
    net::{Classifier, Spec, encoder::Arena},
    selftest::steps::Noise,
    train::{
        adamw::AdamW,
        loss::Weights,
        memory::Plan,
        step::{Stepper, Targets},
    },
};

/// Returns the gradients of the first step, and the weights after `steps`, on `threads` threads.
fn run(threads: usize, steps: usize, plan: Plan) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let sets =
            ["model.backbone=convnext_micro", "data.slices_per_vertebra=2", "model.lstm_hidden=24"];
        let config = Config::load(None, false, &sets.map(Set::new)).unwrap();
        let spec = Spec::new(&config);
        let model = Classifier::new(&spec, 1, 0, DType::F32, &Device::Cpu).unwrap();
        let trainable = &model.parameters.trainable;
        let mut optimizer = AdamW::new(&config.train, trainable.iter().map(|p| p.var.elem_count()));
        let arena = Arena::default();
        let stepper = Stepper::on_cpu(&model, plan, &arena);
        let own: Vec<f32> = (0..42).map(|i| f32::from(u8::from(i % 14 < 2 && i > 13))).collect();
        let (targets, weights) = (Targets { own: &own, mixed: None }, Weights::from(&config.train));
        let first = stepper.gradients(&Noise(0), targets, weights, None).unwrap();
        for step in 0..steps {
            let dropout = Some(Classifier::dropout_key(1, 0, 1, step));
            let images = Noise(step);
            stepper.step(&mut optimizer, 1e-3, &images, targets, weights, dropout).unwrap();
        }
        let values = |v: &candle_core::Var| v.flatten_all().unwrap().to_vec1().unwrap();
        (first.of_weights.to_host().unwrap(), trainable.iter().map(|p| values(&p.var)).collect())
    })
}

#[test]
fn twenty_steps_give_the_same_bits() {
    for plan in [Plan::of_chunk(42, 42), Plan::of_chunk(16, 42)] {
        for threads in [1, 2, 3] {
            assert_eq!(run(threads, 20, plan).1, run(threads, 20, plan).1, "{threads} threads");
        }
    }
}

/// Another number of threads groups the images differently, so that sums round differently; no gradient
/// changes by more than a millionth of the norm of all gradients.
#[test]
fn the_number_of_threads_changes_the_last_digits_only() {
    let plan = Plan::of_chunk(42, 42);
    let norm = |g: &[f32]| g.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
    let (one, _) = run(1, 0, plan);
    let whole = one.iter().map(|g| norm(g)).sum::<f64>().sqrt();
    for threads in [2, 3, 8] {
        let (other, _) = run(threads, 0, plan);
        for (a, b) in one.iter().zip(&other) {
            let apart: Vec<f32> = a.iter().zip(b).map(|(a, b)| a - b).collect();
            assert!(norm(&apart).sqrt() < 1e-6 * whole, "{threads} threads");
        }
    }
}
